//! A bounded write-through cache of row headers, so that apply seldom reads the store. Pure cache: what it holds
//! never changes an outcome. This file must not know what the rows mean.

use std::collections::HashMap;

use bytes::Bytes;

use crate::command::{Key, Millis};
use crate::state::Row;

/// Values up to this many bytes are kept with the header: counters and empty markers.
const SMALL_VALUE: usize = 16;
/// Estimated bytes an entry takes besides its key.
const ENTRY_OVERHEAD: usize = 160;

/// A row without its value, unless that is small.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    pub kind: u8,
    pub revision: u64,
    pub generation: u64,
    pub term: u32,
    pub deadline: Millis,
    pub value: Option<Bytes>,
}

impl Head {
    pub fn of(row: &Row) -> Self {
        let small = row.value.len() <= SMALL_VALUE;
        Self {
            kind: row.kind,
            revision: row.revision,
            generation: row.generation,
            term: row.term,
            deadline: row.deadline,
            value: small.then(|| Bytes::copy_from_slice(&row.value)),
        }
    }

    /// The whole row, if the value is here.
    pub fn row(&self) -> Option<Row> {
        Some(Row {
            kind: self.kind,
            revision: self.revision,
            generation: self.generation,
            term: self.term,
            deadline: self.deadline,
            value: self.value.clone()?,
        })
    }
}

/// Two generations of entries: when the young one is full it becomes the old one and the old one is dropped.
pub(crate) struct Cache {
    young: HashMap<Key, Option<Head>>,
    old: HashMap<Key, Option<Head>>,
    young_bytes: usize,
    limit: usize,
}

impl Cache {
    /// Holds about `bytes` at most.
    pub fn new(bytes: usize) -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            young_bytes: 0,
            limit: bytes / 2,
        }
    }

    /// What is known about a key: nothing, that it has no row, or its header.
    pub fn get(&mut self, key: &[u8]) -> Option<Option<Head>> {
        if let Some(head) = self.young.get(key) {
            return Some(head.clone());
        }
        let head = self.old.remove(key)?;
        self.put(key, head.clone());
        Some(head)
    }

    /// Replaces what is known about a key. The key is copied: keys in commands share the whole batch's buffer.
    pub fn put(&mut self, key: &[u8], head: Option<Head>) {
        if let Some(known) = self.young.get_mut(key) {
            *known = head;
            return;
        }
        self.young_bytes += key.len() + ENTRY_OVERHEAD;
        if self.young_bytes > self.limit {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = key.len() + ENTRY_OVERHEAD;
        }
        self.young.insert(Bytes::copy_from_slice(key), head);
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
        self.young_bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(revision: u64) -> Option<Head> {
        Some(Head {
            kind: 1,
            revision,
            generation: 1,
            term: 0,
            deadline: 0,
            value: None,
        })
    }

    #[test]
    fn stays_bounded_and_never_answers_an_old_value() {
        let mut cache = Cache::new(20 * (ENTRY_OVERHEAD + 4));
        for round in 0..5u64 {
            for number in 0..1000u32 {
                cache.put(&number.to_be_bytes(), head(round));
                cache.put(&7u32.to_be_bytes(), head(round * 1000 + u64::from(number)));
                let known = cache.get(&7u32.to_be_bytes()).flatten().map(|head| head.revision);
                assert_eq!(known, Some(round * 1000 + u64::from(number)));
            }
        }
        assert!(cache.young.len() + cache.old.len() <= 20);
        assert_eq!(cache.get(&1u32.to_be_bytes()), None, "pushed out");
        cache.put(b"gone", None);
        assert_eq!(cache.get(b"gone"), Some(None), "absence is known");
        cache.clear();
        assert_eq!(cache.get(b"gone"), None);
    }
}
