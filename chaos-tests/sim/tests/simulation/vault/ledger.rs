//! What operators and clients of a vault hold: shares, tokens, and what they were served.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

#[derive(Default)]
pub struct Ledger {
    pub root: Mutex<String>,
    pub shares: Mutex<Vec<String>>,
    /// A token that may read the guarded secret while the policy allows it.
    pub reader: Mutex<String>,
    /// Tokens by number.
    tokens: Mutex<BTreeMap<u64, String>>,
    /// By node: the events at which it last served a read and a write.
    served: Mutex<BTreeMap<u64, [u64; 2]>>,
    /// Whether somebody changes the guarded secret and its policy.
    pub guarded: AtomicBool,
    /// How often somebody began to give shares, and how often that ended.
    openings: AtomicU64,
    opened: AtomicU64,
    members: Mutex<Vec<u64>>,
    operations: AtomicU64,
    acknowledged: AtomicU64,
}

impl Ledger {
    pub fn root(&self) -> String {
        self.root.lock().clone()
    }

    pub fn keep_token(&self, number: u64, token: String) {
        self.tokens.lock().insert(number, token);
    }

    pub fn token(&self, number: u64) -> Option<String> {
        self.tokens.lock().get(&number).cloned()
    }

    pub fn set_members(&self, members: Vec<u64>) {
        *self.members.lock() = members;
    }

    pub fn members(&self) -> Vec<u64> {
        self.members.lock().clone()
    }

    /// Somebody gives shares as long as what is returned lives.
    pub fn opening(&self) -> Opening<'_> {
        self.openings.fetch_add(1, Ordering::Relaxed);
        Opening(&self.opened)
    }

    /// How often somebody began to give shares; `None` while somebody does.
    pub fn openings(&self) -> Option<u64> {
        let begun = self.openings.load(Ordering::Relaxed);
        (begun == self.opened.load(Ordering::Relaxed)).then_some(begun)
    }

    /// An operation begins; its number.
    pub fn begin(&self) -> u64 {
        self.operations.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A node served a read, or a write, at this event.
    pub fn served(&self, node: u64, write: bool, event: u64) {
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
        self.served.lock().entry(node).or_default()[usize::from(write)] = event;
    }

    pub fn has_served(&self, node: u64, since: u64) -> bool {
        let served = self.served.lock();
        served
            .get(&node)
            .is_some_and(|events| events.iter().all(|event| *event > since))
    }

    pub fn operations(&self) -> u64 {
        self.operations.load(Ordering::Relaxed)
    }

    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }
}

/// Somebody gives shares, until this is dropped.
pub struct Opening<'a>(&'a AtomicU64);

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}
