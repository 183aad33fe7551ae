//! Loopback ports that nobody uses, that no other test is given while this one runs, and that no outgoing connection takes while
//! a node is down.

use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::net::TcpListener;
use std::ops::Range;
use std::path::Path;
use std::sync::Mutex;

/// Below the range from which Linux takes ports for outgoing connections (32768 on).
const RANGE: Range<u16> = 12_000..32_000;
/// Ports that a process takes for itself at a time: other tests run beside it, and a node that is down holds none.
const BLOCK: u16 = 200;

/// What this process took.
static OWN: Mutex<Own> = Mutex::new(Own {
    locks: Vec::new(),
    left: Vec::new(),
});

struct Own {
    /// One file for each block, locked until the process ends.
    locks: Vec<File>,
    /// Ports that were not given out yet; the next one is last.
    left: Vec<u16>,
}

impl Own {
    /// Takes a block that no other process has. Which one is not the scenario's choice: two runs of one seed must not fight.
    fn take_block(&mut self) {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ports");
        std::fs::create_dir_all(&folder).expect("a folder");
        let blocks = u16::try_from(RANGE.len()).expect("ports") / BLOCK;
        let first = u16::try_from(RandomState::new().hash_one("first") % u64::from(blocks)).expect("a block");
        for block in (0..blocks).map(|more| (first + more) % blocks) {
            let lock = File::create(folder.join(block.to_string())).expect("a file");
            if lock.try_lock().is_ok() {
                self.locks.push(lock);
                let begin = RANGE.start + block * BLOCK;
                self.left = (begin..begin + BLOCK).rev().collect();
                return;
            }
        }
        panic!("all blocks of ports are taken");
    }
}

/// `count` free ports that no other call is given, in this process or another.
pub fn free(count: usize) -> Vec<u16> {
    let mut own = OWN.lock().expect("ports are left");
    let (mut found, mut held) = (Vec::new(), Vec::new());
    while found.len() < count {
        let Some(port) = own.left.pop() else {
            own.take_block();
            continue;
        };
        if let Ok(listener) = listener(port) {
            held.push(listener);
            found.push(port);
        }
    }
    found
}

/// The first of a row of ports, of which those so far behind it are free. No other call is given any of the row.
pub fn free_row(offsets: &[u16]) -> u16 {
    let length = 1 + offsets.iter().max().copied().unwrap_or_default();
    let mut own = OWN.lock().expect("ports are left");
    loop {
        let Some(keep) = own.left.len().checked_sub(usize::from(length)) else {
            own.take_block();
            continue;
        };
        let row = own.left.split_off(keep);
        if let Some(first) = row.last()
            && offsets.iter().all(|offset| listener(first + offset).is_ok())
        {
            return *first;
        }
    }
}

fn listener(port: u16) -> std::io::Result<TcpListener> {
    TcpListener::bind(("127.0.0.1", port))
}
