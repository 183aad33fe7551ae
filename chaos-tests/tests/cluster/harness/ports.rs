//! Loopback ports that nobody uses and that no outgoing connection takes while a node is down.

use std::collections::HashSet;
use std::net::TcpListener;
use std::ops::Range;
use std::sync::Mutex;

use super::Seed;

/// Below the range from which Linux takes ports for outgoing connections (32768 on).
const RANGE: Range<u16> = 12_000..32_000;

/// Ports that this process has given out: their nodes may not have bound them yet, or be down.
static GIVEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);

/// `count` free ports that no earlier call has given.
pub fn free(count: usize) -> Vec<u16> {
    // Not the scenario's seed: two runs of one seed must not fight for ports.
    let mut seed = Seed::fresh();
    let mut found = Vec::new();
    let mut held = Vec::new();
    let mut given = GIVEN.lock().expect("no test panics in here");
    let given = given.get_or_insert_default();
    while found.len() < count {
        let port = RANGE.start + u16::try_from(seed.below(RANGE.len())).expect("a port");
        if !given.contains(&port)
            && let Ok(listener) = TcpListener::bind(("127.0.0.1", port))
        {
            given.insert(port);
            held.push(listener);
            found.push(port);
        }
    }
    found
}
