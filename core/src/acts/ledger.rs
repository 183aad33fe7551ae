//! What one node knows of notes: which are being put on record, which no audit device has taken yet, and which are on record
//! and only have to go. Holds sealed keys and sizes, never what a note says.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use parking_lot::Mutex;
use prometheus::{IntGauge, Registry};

use conclave_raft::Key;

use crate::error::Error;

/// Bytes of waiting notes after which nothing more is begun, whatever their number.
const MAX_BYTES: usize = 16 << 20;

/// How large a note is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Acts in it.
    pub acts: usize,
    /// Its bytes.
    pub bytes: usize,
}

/// The notes that one node has to do with.
pub struct Ledger {
    /// Waiting notes after which nothing more is begun.
    most: usize,
    state: Mutex<State>,
    waiting: IntGauge,
}

#[derive(Default)]
struct State {
    /// Being committed, or put on record.
    held: HashSet<Key>,
    /// Done, and taken by no device.
    waiting: BTreeMap<Key, Size>,
    acts: usize,
    bytes: usize,
    /// On record; the rows are still there.
    recorded: BTreeSet<Key>,
    /// Nobody can read them: said once.
    unreadable: HashSet<Key>,
}

impl Ledger {
    /// Empty. At most `most` notes wait before nothing more is begun.
    ///
    /// # Errors
    /// A number that is registered already.
    pub fn new(most: usize, registry: &Registry) -> Result<Self, Error> {
        let internal = |error: prometheus::Error| Error::internal(error.to_string());
        let waiting = IntGauge::new(
            "conclave_audit_acts_waiting",
            "What this node did by itself and no audit device has taken the record of.",
        );
        let waiting = waiting.map_err(internal)?;
        registry.register(Box::new(waiting.clone())).map_err(internal)?;
        Ok(Self {
            most,
            state: Mutex::default(),
            waiting,
        })
    }

    /// A note is about to be committed.
    pub fn hold(&self, key: &Key) {
        self.state.lock().held.insert(key.clone());
    }

    /// Whoever held it has done what can be done now.
    pub fn release(&self, key: &Key) {
        self.state.lock().held.remove(key);
    }

    /// Whether somebody here knows of it.
    pub fn knows(&self, key: &Key) -> bool {
        let state = self.state.lock();
        state.held.contains(key)
            || state.waiting.contains_key(key)
            || state.recorded.contains(key)
            || state.unreadable.contains(key)
    }

    /// Whether so much waits that nothing more may be begun.
    pub fn is_full(&self) -> bool {
        let state = self.state.lock();
        state.waiting.len() >= self.most || state.bytes >= MAX_BYTES
    }

    /// Whether anything waits for a device.
    pub fn waits(&self) -> bool {
        !self.state.lock().waiting.is_empty()
    }

    /// No device took it. Whether that is news: the first that waits, or the one that makes it full.
    pub fn refused(&self, key: &Key, size: Size) -> bool {
        let was_full = self.is_full();
        let mut state = self.state.lock();
        let first = state.waiting.is_empty();
        if state.waiting.insert(key.clone(), size).is_none() {
            state.acts += size.acts;
            state.bytes += size.bytes;
        }
        self.show(&state);
        drop(state);
        first || (!was_full && self.is_full())
    }

    /// It is on record: its row may go.
    pub fn recorded(&self, key: &Key) {
        let mut state = self.state.lock();
        state.stop_waiting(key);
        state.recorded.insert(key.clone());
        self.show(&state);
    }

    /// Nobody can read it. Whether that is news.
    pub fn unreadable(&self, key: &Key) -> bool {
        let mut state = self.state.lock();
        state.stop_waiting(key);
        self.show(&state);
        state.unreadable.insert(key.clone())
    }

    /// These rows are gone.
    pub fn gone(&self, keys: &[Key]) {
        let mut state = self.state.lock();
        for key in keys {
            state.stop_waiting(key);
            state.recorded.remove(key);
        }
        self.show(&state);
    }

    /// Some that wait.
    pub fn waiting(&self, limit: usize) -> Vec<Key> {
        self.state.lock().waiting.keys().take(limit).cloned().collect()
    }

    /// Some whose rows may go.
    pub fn to_remove(&self, limit: usize) -> Vec<Key> {
        self.state.lock().recorded.iter().take(limit).cloned().collect()
    }

    fn show(&self, state: &State) {
        self.waiting.set(i64::try_from(state.acts).unwrap_or(i64::MAX));
    }
}

impl State {
    fn stop_waiting(&mut self, key: &Key) {
        if let Some(size) = self.waiting.remove(key) {
            self.acts = self.acts.saturating_sub(size.acts);
            self.bytes = self.bytes.saturating_sub(size.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u8) -> Key {
        Key::copy_from_slice(&[number])
    }

    #[test]
    fn what_waits_is_bounded_by_number_and_by_size_and_goes_when_it_is_on_record() {
        let ledger = Ledger::new(3, &Registry::new()).unwrap();
        let small = Size { acts: 2, bytes: 10 };
        assert!(ledger.refused(&key(1), small), "the first is news");
        assert!(!ledger.refused(&key(1), small), "the same once more is not");
        assert!(!ledger.refused(&key(2), small));
        assert!(!ledger.is_full());
        assert!(ledger.refused(&key(3), small), "and the one that fills it");
        assert!(ledger.is_full());
        assert_eq!(ledger.waiting.get(), 6);
        ledger.recorded(&key(2));
        assert!(!ledger.is_full() && ledger.knows(&key(2)));
        assert_eq!(
            (ledger.waiting(9), ledger.to_remove(9)),
            (vec![key(1), key(3)], vec![key(2)])
        );
        ledger.gone(&[key(1), key(2), key(3)]);
        assert!(!ledger.waits() && !ledger.knows(&key(2)));
        assert_eq!(ledger.waiting.get(), 0);
        let large = Size {
            acts: 1,
            bytes: MAX_BYTES,
        };
        ledger.refused(&key(4), large);
        assert!(ledger.is_full(), "by its bytes alone");
    }

    #[test]
    fn what_is_held_is_known_until_it_is_released() {
        let ledger = Ledger::new(3, &Registry::new()).unwrap();
        ledger.hold(&key(1));
        assert!(ledger.knows(&key(1)));
        ledger.release(&key(1));
        assert!(!ledger.knows(&key(1)));
        assert!(ledger.unreadable(&key(1)) && !ledger.unreadable(&key(1)));
        assert!(ledger.knows(&key(1)), "nobody tries it again");
    }
}
