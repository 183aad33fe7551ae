//! Rows that were read lately, as they are stored, so that a read seldom asks the store. Shared by the views of one store:
//! a view of revision `i` gives a row only while nothing after `i` has begun to be written beside it, and takes what a view
//! of `i` or before gave. The row's own revision would not do: sealing it again changes its bytes and not that.
//! This file must not know what the rows mean.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use bytes::Bytes;
use parking_lot::Mutex;

use crate::command::Key;
use crate::error::Error;
use crate::state::{Row, WriteSet};

/// Independent parts, each with its own lock.
const SHARDS: usize = 16;
/// Estimated bytes an entry takes besides key and value.
const ENTRY_OVERHEAD: usize = 160;
/// Longer values are left to the store.
const MAX_VALUE: usize = 4096;

/// The rows of one store between two replacements of it.
pub(crate) struct Recent {
    shards: Vec<Mutex<Shard>>,
    /// Rows that were asked of the store.
    missed: AtomicU64,
}

/// Two generations of rows: when the young one is full it becomes the old one and the old one is dropped.
struct Shard {
    /// Greatest revision that began to write rows of this shard.
    floor: u64,
    young: HashMap<Key, Given>,
    old: HashMap<Key, Given>,
    young_bytes: usize,
    limit: usize,
}

/// A row and the revision of the view that gave it.
#[derive(Clone)]
struct Given {
    at: u64,
    row: Row,
}

impl Recent {
    /// Holds about `bytes` at most; none with 0.
    pub fn new(bytes: usize) -> Self {
        let shard = || {
            Mutex::new(Shard {
                floor: 0,
                young: HashMap::new(),
                old: HashMap::new(),
                young_bytes: 0,
                limit: bytes / SHARDS / 2,
            })
        };
        Self {
            shards: std::iter::repeat_with(shard).take(SHARDS).collect(),
            missed: AtomicU64::new(0),
        }
    }

    /// The row at `key` in a view of revision `revision`, which `stored` reads if it is not here.
    pub fn get(
        &self,
        key: &[u8],
        revision: u64,
        stored: impl FnOnce() -> Result<Option<Row>, Error>,
    ) -> Result<Option<Row>, Error> {
        let Some(shard) = self.shard(key) else {
            return stored();
        };
        if let Some(given) = shard.lock().get(key)
            && given.at <= revision
        {
            return Ok(Some(given.row));
        }
        let row = stored()?;
        self.missed.fetch_add(1, Ordering::Relaxed);
        if let Some(row) = &row {
            shard.lock().insert(key, row, revision);
        }
        Ok(row)
    }

    /// Forgets what is about to be written. Before the write: a row that is read while it is under way is the old one.
    pub fn write(&self, set: &WriteSet) {
        for (key, _) in &set.rows {
            if let Some(shard) = self.shard(key) {
                shard.lock().begin(key, set.applied.revision);
            }
        }
    }

    /// Rows that were asked of the store so far.
    #[cfg(test)]
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }

    /// Keys are ciphertext, so that their last byte spreads them.
    fn shard(&self, key: &[u8]) -> Option<&Mutex<Shard>> {
        let last = key.last().copied().unwrap_or_default();
        self.shards.get(usize::from(last) % SHARDS)
    }
}

impl Shard {
    fn get(&mut self, key: &[u8]) -> Option<Given> {
        if let Some(given) = self.young.get(key) {
            return Some(given.clone());
        }
        let (key, given) = self.old.remove_entry(key)?;
        self.keep(key, given.clone());
        Some(given)
    }

    fn insert(&mut self, key: &[u8], row: &Row, revision: u64) {
        if self.floor <= revision && row.value.len() <= MAX_VALUE {
            let (at, row) = (revision, row.clone());
            self.keep(Bytes::copy_from_slice(key), Given { at, row });
        }
    }

    fn keep(&mut self, key: Key, given: Given) {
        let bytes = key.len() + given.row.value.len() + ENTRY_OVERHEAD;
        if bytes > self.limit {
            return;
        }
        self.young_bytes += bytes;
        if self.young_bytes > self.limit {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = bytes;
        }
        self.young.insert(key, given);
    }

    fn begin(&mut self, key: &[u8], revision: u64) {
        self.floor = self.floor.max(revision);
        self.young.remove(key);
        self.old.remove(key);
    }
}

/// Which rows the views of a store share. While the store is replaced they share none.
pub(crate) struct Recents {
    now: ArcSwap<Recent>,
    bytes: usize,
}

impl Recents {
    /// Holds about `bytes` at most.
    pub fn new(bytes: usize) -> Self {
        Self {
            now: ArcSwap::from_pointee(Recent::new(bytes)),
            bytes,
        }
    }

    /// Those of the store as it is.
    pub fn now(&self) -> Arc<Recent> {
        self.now.load_full()
    }

    /// Those of a view that was taken since `before` was: none if the store may have been replaced meanwhile.
    pub fn since(&self, before: Arc<Recent>) -> Arc<Recent> {
        if Arc::ptr_eq(&before, &self.now.load()) {
            before
        } else {
            Arc::new(Recent::new(0))
        }
    }

    /// The store is being replaced: nothing of it is shared until [`Recents::begin`].
    pub fn end(&self) {
        self.now.store(Arc::new(Recent::new(0)));
    }

    /// The store was replaced.
    pub fn begin(&self) {
        self.now.store(Arc::new(Recent::new(self.bytes)));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::state::Applied;

    const BYTES: usize = 1 << 20;

    fn row(revision: u64) -> Row {
        Row {
            kind: 1,
            revision,
            generation: 1,
            term: 0,
            deadline: 0,
            value: Bytes::copy_from_slice(&revision.to_be_bytes()),
        }
    }

    fn set(revision: u64, keys: &[&'static [u8]]) -> WriteSet {
        let rows = keys.iter().map(|key| (Bytes::from_static(key), None));
        WriteSet {
            replaces: false,
            rows: rows.collect(),
            due: Vec::new(),
            changes: Vec::new(),
            trim_changes: None,
            applied: Applied {
                revision,
                ..Applied::initial()
            },
            membership: Bytes::new(),
        }
    }

    fn never() -> Result<Option<Row>, Error> {
        panic!("the store is asked")
    }

    #[test]
    fn a_row_is_read_once_and_again_after_a_write() {
        let recent = Recent::new(BYTES);
        assert_eq!(recent.get(b"a", 5, || Ok(Some(row(3)))).unwrap(), Some(row(3)));
        assert_eq!(recent.get(b"a", 9, never).unwrap(), Some(row(3)));
        recent.write(&set(10, &[b"a"]));
        assert_eq!(recent.get(b"a", 10, || Ok(Some(row(10)))).unwrap(), Some(row(10)));
        assert_eq!(
            recent.get(b"a", 9, || Ok(Some(row(3)))).unwrap(),
            Some(row(3)),
            "an older view"
        );
        assert_eq!(recent.get(b"a", 10, never).unwrap(), Some(row(10)));
        assert_eq!(recent.missed(), 3);
    }

    /// An older view may not know the key of the new term.
    #[test]
    fn a_row_that_was_sealed_again_is_not_shown_to_an_older_view() {
        let recent = Recent::new(BYTES);
        let of_term = |term| Row { term, ..row(3) };
        recent.get(b"a", 5, || Ok(Some(of_term(1)))).unwrap();
        recent.write(&set(10, &[b"a"]));
        recent.get(b"a", 10, || Ok(Some(of_term(2)))).unwrap();
        let older = recent.get(b"a", 9, || Ok(Some(of_term(1)))).unwrap();
        assert_eq!(older, Some(of_term(1)));
        assert_eq!(recent.get(b"a", 10, never).unwrap(), Some(of_term(2)));
    }

    #[test]
    fn what_was_read_before_a_write_is_not_kept_after_it() {
        let recent = Recent::new(BYTES);
        let read = recent.get(b"a", 5, || {
            recent.write(&set(6, &[b"a"]));
            Ok(Some(row(3)))
        });
        assert_eq!(read.unwrap(), Some(row(3)));
        assert_eq!(recent.get(b"a", 6, || Ok(Some(row(6)))).unwrap(), Some(row(6)));
    }

    #[test]
    fn nothing_is_shared_with_a_view_over_a_replaced_store() {
        let recents = Recents::new(BYTES);
        let before = recents.now();
        recents.end();
        recents.begin();
        let given = recents.since(before);
        given.get(b"a", 5, || Ok(Some(row(3)))).unwrap();
        assert_eq!(given.get(b"a", 5, || Ok(None)).unwrap(), None, "it keeps nothing");
        let now = recents.now();
        assert!(Arc::ptr_eq(&now, &recents.since(recents.now())));
    }

    #[test]
    fn stays_bounded() {
        let recent = Recent::new(SHARDS * 2000);
        for number in 0..10_000u32 {
            recent.get(&number.to_be_bytes(), 1, || Ok(Some(row(1)))).unwrap();
        }
        let kept: usize = recent
            .shards
            .iter()
            .map(|shard| {
                let shard = shard.lock();
                shard.young.len() + shard.old.len()
            })
            .sum();
        assert!((SHARDS..=SHARDS * 12).contains(&kept), "{kept}");
        let long = Row {
            value: Bytes::from(vec![0; MAX_VALUE + 1]),
            ..row(1)
        };
        recent.get(b"long", 1, || Ok(Some(long))).unwrap();
        assert_eq!(recent.get(b"long", 1, || Ok(None)).unwrap(), None);
    }

    /// What happens to three keys: a write begins, is done, or somebody reads in a view of some revision.
    #[derive(Debug, Clone)]
    enum Step {
        Write(Vec<u8>),
        Read { key: u8, age: usize },
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            proptest::collection::vec(0u8..3, 1..3).prop_map(Step::Write),
            (0u8..3, 0usize..4).prop_map(|(key, age)| Step::Read { key, age }),
        ]
    }

    proptest! {
        /// Each view reads what the store held at its revision, while later writes are under way too.
        #[test]
        fn every_view_reads_its_own_state(steps in proptest::collection::vec(step(), 1..60)) {
            let recent = Recent::new(BYTES);
            let mut states: Vec<BTreeMap<u8, u64>> = vec![BTreeMap::new()];
            for step in steps {
                match step {
                    Step::Write(keys) => {
                        let revision = states.len() as u64;
                        let names: Vec<&'static [u8]> = keys
                            .iter()
                            .map(|key| match key { 0 => b"0".as_slice(), 1 => b"1", _ => b"2" })
                            .collect();
                        recent.write(&set(revision, &names));
                        let mut next = states.last().cloned().unwrap_or_default();
                        next.extend(keys.iter().map(|key| (*key, revision)));
                        states.push(next);
                    }
                    Step::Read { key, age } => {
                        let at = states.len().saturating_sub(1 + age);
                        let wanted = states[at].get(&key).map(|revision| row(*revision));
                        let name = [b'0' + key];
                        let read = recent.get(&name, at as u64, || Ok(wanted.clone())).unwrap();
                        prop_assert_eq!(read, wanted);
                    }
                }
            }
        }
    }
}
