//! How many bytes which part of the log holds, roughly: to cut the log by bytes, not by entries alone. This file must not
//! know what entries hold.

use std::collections::VecDeque;

/// Bytes after which a part ends: what is answered is at most this far off.
const PART: u64 = 256 << 10;

/// Bytes of the log by parts.
#[derive(Default)]
pub struct Sizes {
    /// First index and bytes of each part, in order.
    parts: VecDeque<(u64, u64)>,
}

impl Sizes {
    /// Counts an entry that follows all others.
    pub fn push(&mut self, index: u64, bytes: u64) {
        match self.parts.back_mut() {
            Some((_, sum)) if *sum < PART => *sum += bytes,
            _ => self.parts.push_back((index, bytes)),
        }
    }

    /// Forgets entries at and above `from`; of a part that is cut through, none.
    pub fn truncate(&mut self, from: u64) {
        while self.parts.back().is_some_and(|(first, _)| *first >= from) {
            self.parts.pop_back();
        }
    }

    /// Forgets entries up to and including `through`; of a part that is cut through, none.
    pub fn purge(&mut self, through: u64) {
        while self.parts.get(1).is_some_and(|(next, _)| *next <= through + 1) {
            self.parts.pop_front();
        }
    }

    /// Bytes of all entries.
    pub fn total(&self) -> u64 {
        self.parts.iter().map(|(_, bytes)| bytes).sum()
    }

    /// Bytes of the entries at and above `from`.
    pub fn since(&self, from: u64) -> u64 {
        let newest = self.parts.iter().rev();
        newest
            .take_while(|(first, _)| *first >= from)
            .map(|(_, bytes)| bytes)
            .sum()
    }

    /// The first index from which on the log holds at most `bytes`; `None` if all of it does.
    pub fn newest(&self, bytes: u64) -> Option<u64> {
        let mut sum = 0;
        let mut from = None;
        for (first, part) in self.parts.iter().rev() {
            sum += part;
            if sum > bytes {
                return from;
            }
            from = Some(*first);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_counted_and_cut() {
        let mut sizes = Sizes::default();
        assert_eq!((sizes.total(), sizes.newest(0)), (0, None));
        // Ten parts of two entries each.
        for index in 100..120 {
            sizes.push(index, PART / 2);
        }
        assert_eq!(sizes.total(), 10 * PART);
        assert_eq!(sizes.since(110), 5 * PART);
        assert_eq!(sizes.newest(10 * PART), None);
        assert_eq!(sizes.newest(3 * PART), Some(114));
        sizes.purge(113);
        assert_eq!((sizes.total(), sizes.newest(3 * PART)), (3 * PART, None));
        sizes.truncate(116);
        assert_eq!(sizes.total(), PART);
        sizes.push(116, 7);
        assert_eq!((sizes.total(), sizes.since(116)), (PART + 7, 7));
        sizes.purge(u64::MAX - 1);
        assert_eq!(sizes.total(), 7, "the newest part stays");
    }
}
