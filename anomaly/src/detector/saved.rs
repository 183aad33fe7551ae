//! What was learned, as bytes that outlive the leader: parts that changed since they were saved last. What runs within a
//! window is not in them: nodes send the summaries of the last minutes again.

use std::collections::{BTreeSet, HashMap};

use crate::error::Error;
use crate::key::Key;
use crate::wire::{Reader, Writer};

use super::failures::Failures;
use super::profile::Profile;
use super::{Detector, MAX_NETWORKS, MAX_NODES, MAX_PROFILES};

/// Parts into which profiles are divided.
const SHARDS: u64 = 256;
/// First byte of every part.
const FORMAT: u8 = 1;
/// Most mounts of which a peak is saved.
const MAX_PLACES: usize = 4096;
/// Longest part: a shard with far more than its share.
const MAX_SHARD: usize = MAX_PROFILES;

/// A part: its name, one segment of a path, and its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// `p-<shard>`, `s-<page>` or `rest`.
    pub name: String,
    /// What is kept.
    pub bytes: Vec<u8>,
}

/// What changed.
#[derive(Default)]
pub struct Dirty {
    shards: BTreeSet<u64>,
    rest: bool,
}

impl Dirty {
    pub fn profile(&mut self, who: Key) {
        self.shards.insert(who % SHARDS);
        self.rest = true;
    }

    pub fn rest(&mut self) {
        self.rest = true;
    }
}

impl Detector {
    /// Takes what changed since the last time, at most so many parts beside the one that is always there if anything is.
    pub fn take_saved(&mut self, limit: usize) -> Vec<Saved> {
        let mut parts = Vec::new();
        while parts.len() < limit
            && let Some(shard) = self.dirty.shards.pop_first()
        {
            parts.push(Saved {
                name: format!("p-{shard}"),
                bytes: self.shard(shard),
            });
        }
        let left = limit.saturating_sub(parts.len());
        parts.extend(
            self.pairs
                .take_dirty(left)
                .into_iter()
                .map(|(page, cells)| Saved {
                    name: format!("s-{page}"),
                    bytes: [&[FORMAT], cells.as_slice()].concat(),
                }),
        );
        if std::mem::take(&mut self.dirty.rest) || !parts.is_empty() {
            parts.push(Saved {
                name: "rest".to_owned(),
                bytes: self.rest(),
            });
        }
        parts
    }

    /// What was taken was not kept: it is to be taken again.
    pub fn not_saved(&mut self, parts: &[Saved]) {
        for part in parts {
            if let Some(shard) = part.name.strip_prefix("p-").and_then(|shard| shard.parse().ok()) {
                self.dirty.shards.insert(shard);
            } else if let Some(page) = part.name.strip_prefix("s-").and_then(|page| page.parse().ok()) {
                self.pairs.taint(page);
            }
        }
        self.dirty.rest = true;
    }

    fn shard(&self, shard: u64) -> Vec<u8> {
        let mut out = Writer::default();
        out.u8(FORMAT);
        let mut members: Vec<_> = self
            .profiles
            .iter()
            .filter(|(who, _)| **who % SHARDS == shard)
            .collect();
        members.sort_unstable_by_key(|(who, _)| **who);
        out.count(members.len());
        for (who, profile) in members {
            out.u64(*who);
            profile.write(&mut out);
        }
        out.0
    }

    /// `format | heard | peaks of mounts | networks`
    fn rest(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.u8(FORMAT);
        out.count(self.heard.len());
        for ((node, boot), number) in &self.heard {
            for number in [node, boot, number] {
                out.u64(*number);
            }
        }
        let peaks = self.failures.peaks.iter().take(MAX_PLACES);
        out.count(peaks.len());
        for ((namespace, mount), peak) in peaks {
            out.u32(*namespace);
            out.u32(*mount);
            out.f32(*peak);
        }
        out.count(self.networks.len());
        for (network, shared) in &self.networks {
            out.u64(*network);
            out.u16(*shared);
        }
        out.0
    }

    /// Puts one part back.
    ///
    /// # Errors
    /// [`Error::Damaged`] for what was not saved.
    pub fn restore(&mut self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let mut reader = Reader(bytes);
        if reader.u8()? != FORMAT {
            return Err(Error::Damaged("a state of another format"));
        }
        if name == "rest" {
            return self.restore_rest(reader);
        }
        if let Some(page) = name.strip_prefix("s-") {
            let page = page.parse().map_err(|_| Error::Damaged("a part of no number"))?;
            return self.pairs.restore(page, reader.0);
        }
        for _ in 0..reader.count(MAX_SHARD)? {
            let who = reader.u64()?;
            self.profiles.insert(who, Box::new(Profile::read(&mut reader)?));
        }
        reader.end()
    }

    fn restore_rest(&mut self, mut reader: Reader<'_>) -> Result<(), Error> {
        let mut heard = HashMap::new();
        for _ in 0..reader.count(2 * MAX_NODES)? {
            heard.insert((reader.u64()?, reader.u64()?), reader.u64()?);
        }
        let mut failures = Failures::default();
        for _ in 0..reader.count(MAX_PLACES)? {
            failures
                .peaks
                .insert((reader.u32()?, reader.u32()?), reader.f32()?);
        }
        let mut networks = HashMap::new();
        for _ in 0..reader.count(MAX_NETWORKS)? {
            networks.insert(reader.u64()?, reader.u16()?);
        }
        reader.end()?;
        (self.heard, self.failures, self.networks) = (heard, failures, networks);
        Ok(())
    }
}
