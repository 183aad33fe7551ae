//! What operators scrape: whatever is in a label, one sample stays one line and can be read back.

use prometheus::{IntCounterVec, Opts, Registry, TextEncoder};

pub fn run(bytes: &[u8]) {
    let label = String::from_utf8_lossy(bytes);
    let counter = IntCounterVec::new(Opts::new("fuzzed_total", "Fuzzed."), &["label"]).expect("a counter");
    let registry = Registry::new();
    registry
        .register(Box::new(counter.clone()))
        .expect("a fresh registry");
    counter.with_label_values(&[&label]).inc();
    let text = TextEncoder::new()
        .encode_to_string(&registry.gather())
        .expect("a text");
    // Split as a scraper does: by line feeds and nothing else.
    let lines: Vec<&str> = text.trim_end_matches('\n').split('\n').collect();
    let [help, kind, sample] = lines.as_slice() else {
        panic!("{} lines", lines.len());
    };
    assert!(help.starts_with("# HELP ") && kind.starts_with("# TYPE "));
    let quoted = sample
        .strip_prefix("fuzzed_total{label=\"")
        .and_then(|rest| rest.strip_suffix("\"} 1"));
    assert_eq!(unescaped(quoted.expect("one sample")), label);
}

fn unescaped(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match (c, if c == '\\' { rest.next() } else { None }) {
            ('\\', Some('n')) => out.push('\n'),
            ('\\', Some(escaped)) => out.push(escaped),
            (c, _) => out.push(c),
        }
    }
    out
}
