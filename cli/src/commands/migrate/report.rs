//! What a migration did and what people must still do. Holds names and counts, no value of a secret.

use std::collections::BTreeMap;

use conclave_client::http::{Fields, Json};

use super::calls::{number, text};

/// Most things that are named one by one; more are counted.
const MAX_ATTENTION: usize = 10_000;

/// How much of one kind was copied.
#[derive(Clone, Copy, Default)]
pub struct Count {
    /// Made on the target by this migration.
    pub copied: u64,
    /// Versions of keys among it.
    pub versions: u64,
    /// There before, and the same.
    pub kept: u64,
    /// Not copied.
    pub failed: u64,
}

/// Something a person should look at.
pub struct Attention {
    /// Its path.
    pub what: String,
    /// What about it.
    pub why: String,
    /// Whether it was not copied although it could be.
    pub failed: bool,
}

/// The whole account.
#[derive(Default)]
pub struct Report {
    counts: BTreeMap<String, Count>,
    attention: Vec<Attention>,
    unnamed: u64,
}

impl Report {
    /// The count of a kind, to add to.
    pub fn count(&mut self, kind: &str) -> &mut Count {
        self.counts.entry(kind.to_owned()).or_default()
    }

    /// Counts of all kinds.
    pub fn counts(&self) -> impl Iterator<Item = (&str, &Count)> {
        self.counts.iter().map(|(kind, count)| (kind.as_str(), count))
    }

    /// What people should look at.
    pub fn attention(&self) -> &[Attention] {
        &self.attention
    }

    /// How many of them were not named.
    pub fn unnamed(&self) -> u64 {
        self.unnamed
    }

    /// How many things were not copied although they could be.
    pub fn failed(&self) -> u64 {
        self.counts.values().map(|count| count.failed).sum()
    }

    /// Notes what cannot be copied by its nature.
    pub fn note(&mut self, what: impl Into<String>, why: impl Into<String>) {
        self.name(what.into(), why.into(), false);
    }

    /// Notes and counts a failure.
    pub fn fail(&mut self, kind: &str, what: impl Into<String>, why: impl Into<String>) {
        self.count(kind).failed += 1;
        self.name(what.into(), why.into(), true);
    }

    fn name(&mut self, what: String, why: String, failed: bool) {
        if self.attention.len() < MAX_ATTENTION {
            self.attention.push(Attention { what, why, failed });
        } else {
            self.unnamed += 1;
        }
    }

    /// As a document.
    pub fn to_json(&self) -> Fields {
        let counts = self.counts.iter().map(|(kind, count)| {
            let mut out = Fields::new();
            out.push("kind", kind.as_str());
            out.push("copied", count.copied);
            out.push("versions", count.versions);
            out.push("already_there", count.kept);
            out.push("failed", count.failed);
            out
        });
        let attention = self.attention.iter().map(|one| {
            let mut out = Fields::new();
            out.push("what", one.what.as_str());
            out.push("why", one.why.as_str());
            out.push("failed", one.failed);
            out
        });
        let mut out = Fields::new();
        out.push("counts", counts.collect::<Vec<_>>());
        out.push("attention", attention.collect::<Vec<_>>());
        out.push("unnamed", self.unnamed);
        out
    }

    /// Reads what [`Report::to_json`] made.
    pub fn from_json(json: &Json) -> Self {
        let items = |name: &str| {
            let items = json.get(name).and_then(Json::as_array).unwrap_or_default();
            items
                .iter()
                .filter_map(Json::as_object)
                .cloned()
                .collect::<Vec<_>>()
        };
        let counts = items("counts").into_iter().map(|one| {
            let count = Count {
                copied: number(&one, "copied"),
                versions: number(&one, "versions"),
                kept: number(&one, "already_there"),
                failed: number(&one, "failed"),
            };
            (text(&one, "kind").to_owned(), count)
        });
        let attention = items("attention").into_iter().map(|one| Attention {
            what: text(&one, "what").to_owned(),
            why: text(&one, "why").to_owned(),
            failed: one.get("failed").and_then(Json::as_bool).unwrap_or_default(),
        });
        Self {
            counts: counts.collect(),
            attention: attention.collect(),
            unnamed: json.as_object().map_or(0, |fields| number(fields, "unnamed")),
        }
    }
}
