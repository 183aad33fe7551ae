//! Watches tell what happened and nothing else: each version of a key once and in its turn, in the order of revisions, on every
//! node the same, and every write that was acknowledged.

use std::collections::BTreeMap;

use crate::chaos::clients::{History, KEPT, LOOSE, name};
use crate::chaos::key::{Input, Output};

/// What a watch wrote down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// It was told of this.
    Event {
        revision: u64,
        key: String,
        what: What,
        versions: Vec<u64>,
    },
    /// It had missed something and began anew after a revision: these were the newest versions of all keys a moment later.
    Listed {
        revision: u64,
        versions: BTreeMap<String, u64>,
    },
}

/// What happened to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    Written,
    Changed,
    Removed,
}

/// What clients did to a key: what was acknowledged, and how much more may have been done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Done {
    /// How often each version was acknowledged.
    pub written: BTreeMap<u64, usize>,
    /// Writes whose outcome nobody knows.
    pub unknown: usize,
    /// Deletions and removals, acknowledged or not.
    pub deleted: usize,
    pub removed: usize,
}

/// Fails if a watch told too little, too much, or in another order. How many events were checked.
pub fn tell_everything(heard: &[Vec<Note>], history: &History) -> u64 {
    let done = done(history);
    let mut checked = 0;
    for (node, notes) in heard.iter().enumerate() {
        if let Err(why) = explain(notes, &done) {
            panic!("UNTOLD: the watch through node{}: {why}", node + 1);
        }
        checked += notes.len() as u64;
    }
    if let Err(why) = agree(heard) {
        panic!("UNTOLD: {why}");
    }
    checked
}

/// What clients did, by key.
fn done(history: &History) -> BTreeMap<String, Done> {
    let mut done: BTreeMap<String, Done> = (0..KEPT + LOOSE)
        .map(|key| (name(key), Done::default()))
        .collect();
    for called in &history.calls {
        let of_key = done.entry(name(called.key)).or_default();
        match (called.call.input, called.call.end) {
            (Input::Put { .. }, Some((_, Output::Written(version)))) => {
                *of_key.written.entry(version).or_default() += 1;
            }
            (Input::Put { .. }, None) => of_key.unknown += 1,
            (Input::Delete, _) => of_key.deleted += 1,
            (Input::Remove, _) => of_key.removed += 1,
            _ => {}
        }
    }
    done
}

/// Where a key stands after what was told so far.
#[derive(Default)]
struct Standing {
    /// Its newest version; `None` right after a list, when it may be anything up to `listed`.
    version: Option<u64>,
    listed: u64,
    written: BTreeMap<u64, usize>,
    changed: usize,
    removed: usize,
}

/// Whether what one watch told can be what was done.
pub fn explain(notes: &[Note], done: &BTreeMap<String, Done>) -> Result<(), String> {
    let start = || Standing {
        version: Some(0),
        ..Standing::default()
    };
    let mut keys: BTreeMap<&str, Standing> = done.keys().map(|key| (key.as_str(), start())).collect();
    let (mut last, mut whole) = (0, true);
    for note in notes {
        match note {
            Note::Listed { revision, versions } => {
                if *revision < last {
                    return Err(format!("it began anew after {revision} and had told of {last}"));
                }
                (last, whole) = (*revision, false);
                for (key, listed) in versions {
                    let standing = keys
                        .get_mut(key.as_str())
                        .ok_or_else(|| format!("{key} was listed"))?;
                    (standing.version, standing.listed) = (None, *listed);
                }
            }
            Note::Event {
                revision,
                key,
                what,
                versions,
            } => {
                if *revision <= last {
                    return Err(format!(
                        "{what:?} {key} at {revision} came after what is of {last}"
                    ));
                }
                last = *revision;
                let standing = keys
                    .get_mut(key.as_str())
                    .ok_or_else(|| format!("nobody wrote {key}"))?;
                standing
                    .follow(*what, versions)
                    .map_err(|why| format!("{key} at {revision}: {why}"))?;
            }
        }
    }
    for (key, standing) in &keys {
        done.get(*key)
            .map_or(Ok(()), |done| standing.compare(done, whole))
            .map_err(|why| format!("{key}: {why}"))?;
    }
    Ok(())
}

impl Standing {
    /// Each version follows the one before it, and begins anew once the key was removed.
    fn follow(&mut self, what: What, versions: &[u64]) -> Result<(), String> {
        match (what, versions) {
            (What::Written, [version]) => {
                let fits = match self.version {
                    Some(before) => *version == before + 1,
                    // Between the revision and the list it may have been written or removed any number of times.
                    None => *version >= 1,
                };
                if !fits {
                    return Err(format!("version {version} was told after {:?}", self.version));
                }
                self.version = Some(*version);
                *self.written.entry(*version).or_default() += 1;
            }
            (What::Changed | What::Removed, []) if self.version == Some(0) => {
                return Err(format!("{what:?} was told of a key that is not there"));
            }
            (What::Changed, []) => self.changed += 1,
            (What::Removed, []) => {
                self.version = Some(0);
                self.removed += 1;
            }
            other => return Err(format!("{other:?} makes no sense")),
        }
        Ok(())
    }

    /// All that was acknowledged was told, unless a part was listed only, and no more than was asked for.
    fn compare(&self, done: &Done, whole: bool) -> Result<(), String> {
        for (version, acknowledged) in done.written.iter().filter(|_| whole) {
            let told = self.written.get(version).copied().unwrap_or(0);
            if told < *acknowledged {
                return Err(format!(
                    "version {version} was acknowledged {acknowledged} times and told {told} times"
                ));
            }
        }
        let told: usize = self.written.values().sum();
        let asked = done.written.values().sum::<usize>() + done.unknown;
        if told > asked || self.changed > done.deleted || self.removed > done.removed {
            return Err(format!(
                "{told} writes, {} deletions and {} removals were told where {asked}, {} and {} were asked for",
                self.changed, self.removed, done.deleted, done.removed
            ));
        }
        if self.version.is_none() && done.removed == 0 {
            let newest = done.written.keys().last().copied().unwrap_or(0);
            if self.listed < newest {
                return Err(format!(
                    "version {newest} was acknowledged, and the list has {}",
                    self.listed
                ));
            }
        }
        Ok(())
    }
}

/// Watches that heard everything heard the same.
pub fn agree(heard: &[Vec<Note>]) -> Result<(), String> {
    let is_event = |note: &Note| matches!(note, Note::Event { .. });
    let mut whole = heard
        .iter()
        .enumerate()
        .filter(|(_, notes)| notes.iter().all(is_event));
    let Some((first, one)) = whole.next() else {
        return Ok(());
    };
    for (node, other) in whole {
        if one == other {
            continue;
        }
        let at = one.iter().zip(other).position(|(one, other)| one != other);
        let at = at.unwrap_or_else(|| one.len().min(other.len()));
        return Err(format!(
            "the watches through node{} and node{} differ: {:?} and {:?}",
            first + 1,
            node + 1,
            one.get(at),
            other.get(at)
        ));
    }
    Ok(())
}

#[cfg(test)]
mod proofs {
    use super::*;

    /// Notes as `revision what key version`, or `revision listed key version`.
    fn notes(lines: &[&str]) -> Vec<Note> {
        lines.iter().map(|line| note(line)).collect()
    }

    fn note(line: &str) -> Note {
        let words: Vec<&str> = line.split(' ').collect();
        let revision = words[0].parse().unwrap();
        let key = words[2].to_owned();
        let version = words.get(3).map(|version| version.parse().unwrap());
        let what = match words[1] {
            "written" => What::Written,
            "changed" => What::Changed,
            "removed" => What::Removed,
            _ => {
                return Note::Listed {
                    revision,
                    versions: BTreeMap::from([(key, version.unwrap())]),
                };
            }
        };
        Note::Event {
            revision,
            key,
            what,
            versions: version.into_iter().collect(),
        }
    }

    /// A key with so many acknowledged versions, one write without an answer, one deletion and one removal.
    fn done(versions: u64, removed: usize) -> BTreeMap<String, Done> {
        let done = Done {
            written: (1..=versions).map(|version| (version, 1)).collect(),
            unknown: 1,
            deleted: 1,
            removed,
        };
        BTreeMap::from([("a".to_owned(), done)])
    }

    fn verdict(lines: &[&str], done: &BTreeMap<String, Done>) -> Result<(), String> {
        explain(&notes(lines), done)
    }

    #[test]
    fn what_may_be_is_believed() {
        let cases: &[(usize, &[&str])] = &[
            (0, &["3 written a 1", "5 written a 2"]),
            // The write without an answer came in between, or at the end.
            (0, &["3 written a 1", "5 written a 2", "6 written a 3"]),
            (0, &["3 written a 1", "4 changed a", "5 written a 2"]),
            (
                1,
                &["3 written a 1", "4 written a 2", "7 removed a", "8 written a 1"],
            ),
            // It missed the first, and says so.
            (0, &["3 listed a 2", "5 written a 2"]),
            (0, &["3 written a 1", "9 listed a 2"]),
        ];
        for (removed, lines) in cases {
            assert_eq!(verdict(lines, &done(2, *removed)), Ok(()), "{lines:?}");
        }
    }

    /// What is wrong, how many removals were asked for, what a watch told, and what is said of it.
    type Case<'c> = (&'c str, usize, &'c [&'c str], &'c str);

    fn are_found(cases: &[Case<'_>]) {
        for (wrong, removed, lines, said) in cases {
            let why = verdict(lines, &done(2, *removed)).expect_err(wrong);
            assert!(why.contains(said), "{wrong}: {why}");
        }
    }

    #[test]
    fn what_cannot_be_is_found() {
        are_found(&[
            ("the last is missing", 0, &["3 written a 1"], "told 0 times"),
            (
                "one between is missing",
                0,
                &["3 written a 1", "6 written a 3"],
                "after Some(1)",
            ),
            ("the first is missing", 0, &["5 written a 2"], "after Some(0)"),
            (
                "one comes twice",
                0,
                &["3 written a 1", "3 written a 1", "5 written a 2"],
                "came after",
            ),
            (
                "one comes again",
                0,
                &["3 written a 1", "4 written a 1", "5 written a 2"],
                "after Some(1)",
            ),
            (
                "two are exchanged",
                0,
                &["5 written a 2", "3 written a 1"],
                "after Some(0)",
            ),
            (
                "revisions go back",
                0,
                &["5 written a 1", "3 written a 2"],
                "came after",
            ),
        ]);
    }

    #[test]
    fn what_nobody_did_is_found() {
        are_found(&[
            (
                "too many",
                0,
                &["1 written a 1", "2 written a 2", "3 written a 3", "4 written a 4"],
                "4 writes",
            ),
            (
                "nobody deleted twice",
                0,
                &["1 written a 1", "2 changed a", "3 changed a", "4 written a 2"],
                "2 deletions",
            ),
            (
                "nobody removed",
                0,
                &["1 written a 1", "2 written a 2", "3 removed a"],
                "1 removals",
            ),
            (
                "a removal is missing",
                1,
                &["1 written a 1", "2 written a 2", "4 written a 1"],
                "after Some(2)",
            ),
            ("there is nothing to delete", 0, &["1 changed a"], "not there"),
            ("another key", 0, &["1 written b 1"], "nobody wrote b"),
            (
                "the list is too old",
                0,
                &["3 written a 1", "9 listed a 1"],
                "the list has 1",
            ),
            (
                "it begins anew in the past",
                0,
                &["3 written a 1", "2 listed a 2"],
                "had told of 3",
            ),
        ]);
    }

    #[test]
    fn watches_that_differ_are_found_unless_one_began_anew() {
        let one = notes(&["1 written a 1", "2 changed a", "3 written a 2"]);
        let other = notes(&["1 written a 1", "3 written a 2"]);
        let anew = notes(&["2 listed a 1", "3 written a 2"]);
        assert_eq!(agree(&[one.clone(), anew.clone(), one.clone()]), Ok(()));
        let why = agree(&[one.clone(), anew, other.clone()]).expect_err("they differ");
        assert!(why.contains("node1 and node3 differ"), "{why}");
        let why = agree(&[one.clone(), one[..2].to_vec()]).expect_err("one is shorter");
        assert!(why.contains("None"), "{why}");
    }
}
