//! Enters a campaign into a document, on demand: how many seeds, how long, of which commit, and what came of it.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::sum::Sum;

/// The line of the document above which a row is entered.
const HERE: &str = "<!-- a row for each `make sim RECORD=` above this line -->";

/// Adds a row to the document that `RECORD` names, a path from the root of the tree.
pub fn record(first: u64, sum: &Sum, verdict: &Result<(), String>) {
    let Ok(document) = std::env::var("RECORD") else {
        return;
    };
    let path = root().join(document);
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, after) = text.split_once(HERE).expect("the document has a place for rows");
    let last = first + sum.seeds - 1;
    let faults: u64 = sum.faults.values().sum();
    let row = format!(
        "| {first} to {last} | {} | {:.1} | {} | {} | {faults} | {} | {} |\n",
        sum.seeds,
        sum.took.as_secs_f64() / 60.0,
        sum.operations,
        sum.compared,
        commit(),
        match verdict {
            Ok(()) => "nothing",
            Err(why) => why,
        }
    );
    std::fs::write(&path, format!("{before}{row}{HERE}{after}")).unwrap();
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The commit that was run, marked if the tree differs from it.
fn commit() -> String {
    let git = |args: &[&str]| {
        let out = Command::new("git")
            .arg("-C")
            .arg(root())
            .args(args)
            .output()
            .ok()?;
        Some(String::from_utf8_lossy(&out.stdout).trim().to_owned())
    };
    let head = git(&["rev-parse", "--short", "HEAD"]).unwrap_or_default();
    let source = [
        "status",
        "--porcelain",
        "--",
        "raft",
        "barrier",
        "core",
        "engines",
        "chaos-tests/sim",
    ];
    match git(&source).is_some_and(|changed| !changed.is_empty()) {
        true => format!("{head} and changes"),
        false => head,
    }
}
