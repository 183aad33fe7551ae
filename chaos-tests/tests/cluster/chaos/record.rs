//! Adds a run to the table in a document.

use std::fs;
use std::path::Path;

/// The table's first line: a run is added below its last.
const HEAD: &str = "| Date | Seeds | Minutes | Nodes | Commit | Operations checked | Faults injected |";

/// One run.
pub struct Run {
    pub date: String,
    pub seeds: String,
    pub minutes: f64,
    pub nodes: usize,
    pub commit: String,
    pub operations: u64,
    /// How often each fault happened.
    pub faults: Vec<(&'static str, u64)>,
}

/// Adds the run's line. Fails if the document has no such table.
pub fn add(document: &Path, run: &Run) {
    let text = fs::read_to_string(document).expect("the document to record in");
    fs::write(document, with(&text, run)).expect("the document to record in");
}

fn with(text: &str, run: &Run) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let head = lines.iter().position(|line| line == HEAD);
    let head = head.unwrap_or_else(|| panic!("the document has no table with this head: {HEAD}"));
    let rows = lines
        .iter()
        .skip(head)
        .take_while(|line| line.starts_with('|'))
        .count();
    let faults: Vec<String> = run
        .faults
        .iter()
        .map(|(name, times)| format!("{name} {times}"))
        .collect();
    let line = format!(
        "| {} | {} | {:.1} | {} | {} | {} | {} |",
        run.date,
        run.seeds,
        run.minutes,
        run.nodes,
        run.commit,
        run.operations,
        faults.join(", ")
    );
    lines.insert(head + rows, line);
    lines.join("\n") + "\n"
}

#[test]
fn a_run_is_added_below_the_last() {
    let run = Run {
        date: "2030-01-02".to_owned(),
        seeds: "7".to_owned(),
        minutes: 1.0,
        nodes: 3,
        commit: "abc".to_owned(),
        operations: 5,
        faults: vec![("kill-all", 2)],
    };
    let text = format!("# T\n\n{HEAD}\n|---|\n| old |\n\nmore\n");
    let added = with(&with(&text, &run), &run);
    let line = "| 2030-01-02 | 7 | 1.0 | 3 | abc | 5 | kill-all 2 |";
    assert_eq!(
        added,
        format!("# T\n\n{HEAD}\n|---|\n| old |\n{line}\n{line}\n\nmore\n")
    );
}
