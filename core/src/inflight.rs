//! The requests this node is answering now, for `sys/in-flight-req`. It must not know how they are answered.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use conclave_engine_api::Millis;

use crate::canon::CanonPath;
use crate::request::{Request, Verb};

/// Locks over which requests are spread, so that they do not wait for each other.
const SHARDS: usize = 16;
/// Most characters of a path that are kept.
const MAX_PATH: usize = 256;

/// All requests under way.
#[derive(Default)]
pub struct InFlight {
    next: AtomicU64,
    shards: [Mutex<HashMap<u64, Started>>; SHARDS],
}

/// One of them.
#[derive(Debug, Clone)]
pub struct Started {
    /// What is wanted.
    pub verb: Verb,
    /// Its path, cut where it is long.
    pub path: String,
    /// Where it came from.
    pub remote: Option<IpAddr>,
    /// Since when, on the cluster's clock.
    pub since: Millis,
}

/// Keeps a request in the list while it lives.
pub struct Listed<'l> {
    list: &'l InFlight,
    number: u64,
}

impl InFlight {
    /// Enters a request.
    pub fn enter(&self, request: &Request, path: &CanonPath, since: Millis) -> Listed<'_> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let started = Started {
            verb: request.verb,
            path: path.as_str().chars().take(MAX_PATH).collect(),
            remote: request.remote,
            since,
        };
        if let Some(shard) = self.shard(number) {
            shard.lock().insert(number, started);
        }
        Listed { list: self, number }
    }

    /// What is under way, by number, the oldest first.
    pub fn all(&self) -> Vec<(u64, Started)> {
        let mut all = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock();
            all.extend(shard.iter().map(|(number, started)| (*number, started.clone())));
        }
        all.sort_unstable_by_key(|(number, _)| *number);
        all
    }

    fn shard(&self, number: u64) -> Option<&Mutex<HashMap<u64, Started>>> {
        self.shards
            .get(usize::try_from(number).unwrap_or_default() % SHARDS)
    }
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        if let Some(shard) = self.list.shard(self.number) {
            shard.lock().remove(&self.number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_listed_while_they_run() {
        let list = InFlight::default();
        let path = CanonPath::parse("secret/a").unwrap();
        let request = Request::new(Verb::Read, "secret/a");
        let first = list.enter(&request, &path, 1);
        let second = list.enter(&request, &path, 2);
        let since = |list: &InFlight| {
            list.all()
                .iter()
                .map(|(_, started)| started.since)
                .collect::<Vec<_>>()
        };
        assert_eq!(since(&list), [1, 2]);
        drop(first);
        assert_eq!(since(&list), [2]);
        drop(second);
        assert!(list.all().is_empty());
    }
}
