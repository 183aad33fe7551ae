//! One node's side: requests that are alike become one fact, and once a second all facts one summary for the leader. What is
//! gathered is bounded: beyond that paths are counted together, and beyond that requests are only counted.

use std::collections::HashMap;

use crate::Millis;
use crate::act::Act;
use crate::error::Error;
use crate::fact::Fact;
use crate::key::Key;
use crate::names::Told;
use crate::wire::{MAX_TEXT_BYTES, Reader, Writer};

/// Most facts of a summary that tell their path.
const MAX_FACTS: usize = 16_384;
/// Most facts of a summary.
const MAX_COARSE: usize = MAX_FACTS + 8_192;
/// Most names of a summary.
const MAX_NAMES: usize = 4096;
/// First byte of every summary.
const FORMAT: u8 = 1;

/// Act, who, what, source, mount.
type Alike = (Act, Key, Key, Key, u32);

/// What a node saw in about a second.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Names this start of the node.
    pub boot: u64,
    /// One more with each summary of this start, from 1.
    pub number: u64,
    /// What it saw.
    pub facts: Vec<Fact>,
    /// What keys stand for that it has not told this leader yet.
    pub names: Vec<(Key, String)>,
    /// Requests that were not looked at, because there were too many.
    pub dropped: u64,
}

/// Gathers facts until they are taken.
#[derive(Default)]
pub struct Gather {
    facts: HashMap<Alike, Fact>,
    names: Vec<(Key, String)>,
    told: Told,
    dropped: u64,
}

impl Gather {
    /// Takes one fact in.
    pub fn add(&mut self, fact: Fact) {
        let alike = |what| (fact.act, fact.who, what, fact.source, fact.mount);
        if let Some(known) = self.facts.get_mut(&alike(fact.what)) {
            return known.merge(&fact);
        }
        // A canary keeps its path, however busy the node is.
        if self.facts.len() < MAX_FACTS || fact.act == Act::Canary && self.facts.len() < MAX_COARSE {
            self.facts.insert(alike(fact.what), fact);
        } else if let Some(known) = self.facts.get_mut(&alike(0)) {
            known.merge(&fact);
        } else if self.facts.len() < MAX_COARSE {
            self.facts.insert(alike(0), Fact { what: 0, ..fact });
        } else {
            self.dropped += u64::from(fact.count);
        }
    }

    /// Tells what a key stands for, unless it was told to this leader already.
    pub fn name(&mut self, key: Key, text: impl FnOnce() -> String) {
        if key != 0 && self.names.len() < MAX_NAMES && !self.told.knows(key) {
            self.told.add(key);
            self.names.push((key, text()));
        }
    }

    /// So many requests were not looked at.
    pub fn missed(&mut self, requests: u64) {
        self.dropped += requests;
    }

    /// Another leader knows no names yet.
    pub fn forget_told(&mut self) {
        self.told = Told::default();
    }

    /// Takes what was gathered; `None` if that is nothing.
    pub fn take(&mut self, boot: u64, number: u64) -> Option<Summary> {
        if self.facts.is_empty() && self.dropped == 0 {
            return None;
        }
        let mut facts: Vec<Fact> = std::mem::take(&mut self.facts).into_values().collect();
        facts.sort_unstable_by_key(|fact| (fact.at, fact.who, fact.what, fact.act));
        Some(Summary {
            boot,
            number,
            facts,
            names: std::mem::take(&mut self.names),
            dropped: std::mem::take(&mut self.dropped),
        })
    }
}

impl Fact {
    fn merge(&mut self, other: &Self) {
        self.count = self.count.saturating_add(other.count);
        self.listed = self.listed.saturating_add(other.listed);
        self.at = self.at.min(other.at);
        self.token = other.token;
    }
}

impl Summary {
    /// Those who use the same access: the time of its first fact.
    pub fn at(&self) -> Option<Millis> {
        self.facts.first().map(|fact| fact.at)
    }

    /// `format u8 | boot u64 | number u64 | dropped u64 | facts | names`, each list with its length before it, big-endian.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.u8(FORMAT);
        for number in [self.boot, self.number, self.dropped] {
            out.u64(number);
        }
        out.count(self.facts.len());
        for fact in &self.facts {
            fact.write(&mut out);
        }
        out.count(self.names.len());
        for (key, name) in &self.names {
            out.u64(*key);
            out.text(name);
        }
        out.0
    }

    /// The other way.
    ///
    /// # Errors
    /// [`Error::Damaged`] for anything that no node encodes.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader(bytes);
        if reader.u8()? != FORMAT {
            return Err(Error::Damaged("a summary of another format"));
        }
        let (boot, number, dropped) = (reader.u64()?, reader.u64()?, reader.u64()?);
        let facts = (0..reader.count(MAX_COARSE)?).map(|_| Fact::read(&mut reader));
        let facts = facts.collect::<Result<_, _>>()?;
        let names = (0..reader.count(MAX_NAMES)?).map(|_| Ok((reader.u64()?, reader.text()?)));
        let names = names.collect::<Result<_, Error>>()?;
        reader.end()?;
        Ok(Self {
            boot,
            number,
            facts,
            names,
            dropped,
        })
    }

    /// No summary is longer than this, in bytes.
    pub const MAX_BYTES: usize = 64 + MAX_COARSE * 57 + MAX_NAMES * (10 + MAX_TEXT_BYTES);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(who: Key, what: Key) -> Fact {
        Fact {
            who,
            what,
            ..Fact::new(Act::Read, 1000)
        }
    }

    #[test]
    fn alike_requests_are_one_fact_and_names_are_told_once() {
        let mut gather = Gather::default();
        for _ in 0..3 {
            gather.add(read(1, 2));
            gather.name(1, || "ada".to_owned());
        }
        gather.add(read(1, 3));
        let summary = gather.take(7, 1).unwrap();
        assert_eq!(
            summary.facts.iter().map(|fact| fact.count).collect::<Vec<_>>(),
            [3, 1]
        );
        assert_eq!(summary.names, [(1, "ada".to_owned())]);
        assert_eq!(Summary::decode(&summary.encode()).unwrap(), summary);
        assert_eq!(gather.take(7, 2), None);
        gather.name(1, || "ada".to_owned());
        gather.forget_told();
        gather.name(1, || "ada".to_owned());
        gather.missed(5);
        let summary = gather.take(7, 2).unwrap();
        assert_eq!((summary.names.len(), summary.dropped), (1, 5));
    }

    #[test]
    fn a_flood_of_paths_is_bounded_and_every_request_counted() {
        let mut gather = Gather::default();
        let all = 100_000u64;
        for path in 1..=all {
            gather.add(read(path % 20_000, path));
        }
        gather.add(Fact {
            what: 9,
            ..Fact::new(Act::Canary, 1)
        });
        let summary = gather.take(1, 1).unwrap();
        assert!(summary.facts.len() <= MAX_COARSE);
        let counted: u64 = summary.facts.iter().map(|fact| u64::from(fact.count)).sum();
        assert_eq!(counted + summary.dropped, all + 1);
        assert!(
            summary
                .facts
                .iter()
                .any(|fact| fact.act == Act::Canary && fact.what == 9)
                || summary.dropped > 0
        );
        let encoded = summary.encode();
        assert!(encoded.len() <= Summary::MAX_BYTES);
        assert_eq!(Summary::decode(&encoded).unwrap(), summary);
    }

    proptest! {
        #[test]
        fn damaged_summaries_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 0usize..60) {
            let _ = Summary::decode(&bytes);
            let mut gather = Gather::default();
            gather.add(read(1, 2));
            let whole = gather.take(1, 1).unwrap().encode();
            let part = &whole[..whole.len().saturating_sub(1 + cut)];
            prop_assert!(Summary::decode(part).is_err());
        }
    }
}
