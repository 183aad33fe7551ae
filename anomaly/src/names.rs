//! What keys stand for, as far as it was told: a bounded table. What falls out of it is shown as its key until it is told
//! again.

use std::collections::{HashMap, HashSet};

use crate::key::Key;
use crate::wire::cut;

/// Most names that are remembered; of 256 bytes each at most.
const MAX_NAMES: usize = 32_768;

/// Names by their keys, in two generations: when the young one is full, the old one is forgotten.
#[derive(Default)]
pub struct Names {
    young: HashMap<Key, Box<str>>,
    old: HashMap<Key, Box<str>>,
}

impl Names {
    /// A key stands for this.
    pub fn learn(&mut self, key: Key, name: &str) {
        if self.young.contains_key(&key) {
            return;
        }
        if self.young.len() >= MAX_NAMES / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, cut(name).into());
    }

    /// What a key stands for.
    pub fn of(&self, key: Key) -> String {
        let known = self.young.get(&key).or_else(|| self.old.get(&key));
        match known {
            Some(name) => (**name).to_owned(),
            None if key == 0 => "unknown".to_owned(),
            None => format!("#{key:016x}"),
        }
    }
}

/// Keys that were told already, bounded in the same way.
#[derive(Default)]
pub struct Told {
    young: HashSet<Key>,
    old: HashSet<Key>,
}

impl Told {
    /// Whether a key was told; those that are in use stay.
    pub fn knows(&mut self, key: Key) -> bool {
        self.young.contains(&key) || self.old.contains(&key) && self.add(key)
    }

    /// Adds one.
    pub fn add(&mut self, key: Key) -> bool {
        if self.young.len() >= MAX_NAMES / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded_and_those_last_told_stay() {
        let mut names = Names::default();
        for key in 1..200_000u64 {
            names.learn(key, "x");
        }
        assert!(names.young.len() + names.old.len() <= MAX_NAMES);
        assert_eq!(names.of(199_999), "x");
        assert_eq!(names.of(1), "#0000000000000001");
        assert_eq!(names.of(0), "unknown");
    }
}
