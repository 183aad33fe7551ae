//! More connections than the process may open files: those that are there are served, others wait or are turned away, and the
//! store keeps what it needs.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use crate::node::{Node, until};

/// Files that the process may have open.
const FILES: usize = 256;
/// Connections that are tried.
const MANY: usize = 600;

#[test]
fn running_out_of_files_stops_no_node() {
    let node = Node::unsealed_with(FILES);
    let mut old = node.connect().unwrap();
    assert!(answers(&mut old), "a connection that was there before");
    // What is not accepted waits in the queue of the system.
    let flood: Vec<_> = (0..MANY).filter_map(|_| node.connect().ok()).collect();
    assert!(flood.len() > FILES, "{} connections", flood.len());
    for round in 0..20 {
        assert!(answers(&mut old), "round {round}");
    }
    drop(flood);
    until("it serves everybody again", || {
        let written = node.connect().is_ok_and(|mut stream| answers(&mut stream));
        written && node.put("secret/data/a", &json!({"data": {"k": "v"}})).status == 200
    });
    // Files of the store can be made: a snapshot of the state takes some.
    let saved = node.page("sys/storage/raft/snapshot");
    let head = saved.lines().next().unwrap_or_default();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
}

/// One request on a connection that stays open, and its whole answer.
fn answers(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let asked = stream.write_all(b"HEAD /v1/sys/health HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    while asked.is_ok() && !answer.ends_with(b"\r\n\r\n") {
        match stream.read(&mut piece) {
            Ok(read) if read > 0 => answer.extend_from_slice(&piece[..read]),
            _ => return false,
        }
    }
    answer.starts_with(b"HTTP/1.1 200")
}
