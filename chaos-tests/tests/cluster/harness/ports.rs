//! Loopback ports that nobody uses and that no outgoing connection takes while a node is down.

use std::net::TcpListener;
use std::ops::Range;

use super::Seed;

/// Below the range from which Linux takes ports for outgoing connections (32768 on).
const RANGE: Range<u16> = 12_000..32_000;

/// `count` free ports.
pub fn free(count: usize) -> Vec<u16> {
    // Not the scenario's seed: two runs of one seed must not fight for ports.
    let mut seed = Seed::fresh();
    let mut found = Vec::new();
    let mut held = Vec::new();
    while found.len() < count {
        let port = RANGE.start + u16::try_from(seed.below(RANGE.len())).expect("a port");
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            held.push(listener);
            found.push(port);
        }
    }
    found
}
