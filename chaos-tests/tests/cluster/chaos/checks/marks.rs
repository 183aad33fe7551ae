//! What clients wrote is nowhere in the clear: not in a data file, not in a log, not in an audit record. `cluster_canary` looks
//! for more forms, in more places, without faults.

use std::process::Command;

use crate::harness::{AUDIT, Cluster};

/// No file of a node holds the mark.
pub fn are_hidden(cluster: &Cluster, mark: &str) {
    let found = Command::new("grep")
        .args([
            "--recursive",
            "--files-with-matches",
            "--text",
            "--fixed-strings",
            "--",
            mark,
        ])
        .args(cluster.nodes.iter().map(|node| node.folder()))
        .arg(cluster.files().join(AUDIT))
        .output()
        .expect("grep runs");
    assert_eq!(
        found.status.code(),
        Some(1),
        "IN THE CLEAR: {mark} is in {}{}",
        String::from_utf8_lossy(&found.stdout),
        String::from_utf8_lossy(&found.stderr)
    );
}
