//! Checks audit files against themselves and against heads that the cluster committed: names the first record of each chain
//! that was altered, dropped, added or moved. Works offline, on lines, and keeps little of them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

use serde::Deserialize;

use crate::audit::chain::{self, Hash, Link, Tip};

/// Hashes of earlier records that are kept, to know a record that was sent twice.
const REMEMBERED: usize = 65_536;

/// Where a line stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its file as the caller names it.
    pub file: String,
    /// Counted from 1.
    pub line: u64,
}

/// What is wrong, first of its chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The chain; empty for a line that names none.
    pub id: String,
    /// Where it shows; `None` at the end of all files.
    pub place: Option<Place>,
    /// In words.
    pub what: String,
}

/// A head that the cluster committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The chain.
    pub id: String,
    /// Its end then.
    pub tip: Tip,
}

/// One chain that was met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Number of the first record here.
    pub first: u64,
    /// Number of the last good record here.
    pub last: u64,
    /// Committed heads that agree.
    pub heads: u64,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Every chain that was met.
    pub chains: BTreeMap<String, Summary>,
    /// The first fault of each chain, in the order they were met.
    pub faults: Vec<Fault>,
    /// What is worth knowing and no fault.
    pub notes: Vec<String>,
}

/// Reads lines one after the other.
#[derive(Default)]
pub struct Verifier {
    heads: BTreeMap<String, BTreeMap<u64, Hash>>,
    chains: BTreeMap<String, Known>,
    collected: bool,
    /// Lines before the first link, and where the last of them stands.
    unchained: u64,
    before: Option<Place>,
    /// A line that is no record: a fault, unless a node says next that it was torn by its own end.
    torn: Option<Place>,
    /// Records that have moved or are gone: looked for in what follows.
    sought: BTreeMap<(String, u64), usize>,
    report: Report,
}

struct Known {
    first: u64,
    tip: Tip,
    heads: u64,
    /// Hashes of the last records, the newest last.
    recent: VecDeque<Hash>,
    broken: bool,
}

/// What a node writes when it opens a file.
#[derive(Deserialize)]
struct Opening {
    #[serde(rename = "type")]
    kind: String,
    prev: String,
    #[serde(default)]
    torn: bool,
}

impl Verifier {
    /// Checks against these heads. `collected`: the lines come from a collector, which may put text before a record and
    /// have it twice.
    pub fn new(heads: impl IntoIterator<Item = Committed>, collected: bool) -> Self {
        let mut by_id: BTreeMap<String, BTreeMap<u64, Hash>> = BTreeMap::new();
        for head in heads {
            by_id
                .entry(head.id)
                .or_default()
                .insert(head.tip.seq, head.tip.hash);
        }
        Self {
            heads: by_id,
            collected,
            ..Self::default()
        }
    }

    /// Takes the next line, without its end.
    pub fn line(&mut self, place: Place, line: &[u8]) {
        let line = if self.collected {
            let start = line.iter().position(|byte| *byte == b'{').unwrap_or_default();
            line.get(start..).unwrap_or_default()
        } else {
            line
        };
        let Some((body, link)) = chain::split(line) else {
            self.unlinked(place, line);
            return;
        };
        let opening = opening(body);
        if let Some(torn) = self.torn.take() {
            if opening.as_ref().is_some_and(|opening| opening.torn) {
                let Place { file, line } = torn;
                self.report.notes.push(format!(
                    "{file}:{line}: a line that its node's end tore, as the next says"
                ));
            } else {
                self.fault("", Some(torn), "is no record of any chain".to_owned());
            }
        }
        let found = (link.id.clone(), link.tip.seq);
        if let Some(at) = self.sought.remove(&found)
            && let Some(fault) = self.report.faults.get_mut(at)
        {
            let Place { file, line } = &place;
            fault.what = format!("record {} is out of order: it stands at {file}:{line}", found.1);
        }
        match self.chains.contains_key(&link.id) {
            true => self.follow(place, body, link),
            false => self.begin(place, body, link, opening),
        }
    }

    /// All lines were taken.
    pub fn finish(mut self) -> Report {
        if let Some(torn) = self.torn.take() {
            self.fault("", Some(torn), "is no record of any chain".to_owned());
        }
        if self.unchained > 0 {
            let lines = self.unchained;
            self.report.notes.push(format!(
                "{lines} lines stand before the first record of a chain: unprotected"
            ));
        }
        let mut faults = Vec::new();
        for (id, heads) in &self.heads {
            let Some(known) = self.chains.get(id) else {
                self.report
                    .notes
                    .push(format!("{id}: no record of this chain is here"));
                continue;
            };
            let last = heads.keys().next_back().copied().unwrap_or_default();
            if !known.broken && last > known.tip.seq {
                faults.push(Fault {
                    id: id.clone(),
                    place: None,
                    what: format!(
                        "records {} to {last} are missing at the end: the cluster committed the head of {last}",
                        known.tip.seq + 1
                    ),
                });
            }
        }
        self.report.faults.extend(faults);
        let summary = |known: &Known| Summary {
            first: known.first,
            last: known.tip.seq,
            heads: known.heads,
        };
        let chains = self.chains.iter();
        self.report.chains = chains.map(|(id, known)| (id.clone(), summary(known))).collect();
        self.report
    }

    fn unlinked(&mut self, place: Place, line: &[u8]) {
        if let Some(torn) = self.torn.take() {
            self.fault("", Some(torn), "is no record of any chain".to_owned());
        }
        let whole = serde_json::from_slice::<serde::de::IgnoredAny>(line).is_ok();
        if self.chains.is_empty() && whole {
            self.unchained += 1;
            self.before = Some(place);
        } else if !line.is_empty() {
            self.torn = Some(place);
        }
    }

    /// The first record of a chain: one that says after which it comes.
    fn begin(&mut self, place: Place, body: &[u8], link: Link, opening: Option<Opening>) {
        let Link { id, tip } = link;
        let mut known = Known {
            first: tip.seq,
            tip,
            heads: 0,
            recent: VecDeque::new(),
            broken: false,
        };
        let mut prev = [0; 32];
        let told = opening
            .as_ref()
            .is_some_and(|opening| hex::decode_to_slice(&opening.prev, &mut prev).is_ok());
        let before = Tip {
            seq: tip.seq.saturating_sub(1),
            hash: prev,
        };
        let wrong = if !told {
            Some(format!(
                "record {} is the first of its chain here and does not say after which it comes: what stood before it is missing",
                tip.seq
            ))
        } else if before.seq == 0 && before != Tip::start(&id) || before.next(&chain::digest(body)) != tip {
            Some(format!("record {} was altered", tip.seq))
        } else {
            self.differs(&id, &before).or_else(|| self.differs(&id, &tip))
        };
        known.heads += self.agreeing(&id, &tip);
        // That of the record before it, too: the first may be sent twice.
        known.recent.extend([before.hash, tip.hash]);
        known.broken = wrong.is_some();
        self.chains.insert(id.clone(), known);
        if let Some(what) = wrong {
            // A line without a link right before it is what was its first record.
            let place = self.before.take().filter(|_| !told).unwrap_or(place);
            self.fault(&id, Some(place), what);
        }
    }

    fn follow(&mut self, place: Place, body: &[u8], link: Link) {
        let Link { id, tip } = link;
        let agreeing = self.agreeing(&id, &tip);
        let differs = self.differs(&id, &tip);
        let collected = self.collected;
        let Some(known) = self.chains.get_mut(&id) else {
            return;
        };
        if known.broken {
            return;
        }
        let expected = known.tip.next(&chain::digest(body));
        if tip == expected && differs.is_none() {
            known.tip = tip;
            known.heads += agreeing;
            known.recent.push_back(tip.hash);
            if known.recent.len() > REMEMBERED {
                known.recent.pop_front();
            }
            return;
        }
        let (wanted, seq) = (expected.seq, tip.seq);
        if seq < wanted && collected && known.is_again(&tip, body) {
            return;
        }
        known.broken = true;
        let what = if seq > wanted {
            self.sought.insert((id.clone(), wanted), self.report.faults.len());
            format!("record {wanted} is missing: record {seq} comes next")
        } else if seq < wanted {
            format!("record {seq} stands here again: record {wanted} should")
        } else {
            differs
                .filter(|_| tip == expected)
                .unwrap_or_else(|| format!("record {seq} was altered"))
        };
        self.fault(&id, Some(place), what);
    }

    fn agreeing(&self, id: &str, tip: &Tip) -> u64 {
        let head = self.heads.get(id).and_then(|heads| heads.get(&tip.seq));
        u64::from(head == Some(&tip.hash))
    }

    /// What is wrong if the cluster committed another head for this record.
    fn differs(&self, id: &str, tip: &Tip) -> Option<String> {
        let heads = self.heads.get(id)?;
        let head = heads.get(&tip.seq)?;
        let good = heads.range(..tip.seq).next_back().map_or(0, |(seq, _)| *seq);
        (*head != tip.hash).then(|| {
            format!(
                "record {} is not the one whose head the cluster committed: the chain was written anew after record {good}",
                tip.seq
            )
        })
    }

    fn fault(&mut self, id: &str, place: Option<Place>, what: String) {
        // Lines of no chain: the first is enough.
        if id.is_empty() && self.report.faults.iter().any(|fault| fault.id.is_empty()) {
            return;
        }
        self.report.faults.push(Fault {
            id: id.to_owned(),
            place,
            what,
        });
    }
}

impl Known {
    /// Whether this is an earlier record as it was.
    fn is_again(&self, tip: &Tip, body: &[u8]) -> bool {
        let back = usize::try_from(self.tip.seq - tip.seq).unwrap_or(usize::MAX);
        let hash = |back: usize| {
            let at = self.recent.len().checked_sub(back.checked_add(1)?)?;
            self.recent.get(at).copied()
        };
        let Some((own, before)) = hash(back).zip(back.checked_add(1).and_then(hash)) else {
            return false;
        };
        let before = Tip {
            seq: tip.seq.saturating_sub(1),
            hash: before,
        };
        own == tip.hash && before.next(&chain::digest(body)) == *tip
    }
}

fn opening(body: &[u8]) -> Option<Opening> {
    // Only these begin so: the rest of a record needs not be read.
    if !body
        .windows(15)
        .take(96)
        .any(|bytes| bytes == b"\"type\":\"chain\",")
    {
        return None;
    }
    let whole = [body, b"}"].concat();
    let opening: Opening = serde_json::from_slice(&whole).ok()?;
    Some(opening).filter(|opening| opening.kind == "chain")
}

/// Heads as `sys/audit-heads` answers them, alone or within its `data`.
///
/// # Errors
/// Says what is no list of heads.
pub fn read_heads(json: &[u8]) -> Result<Vec<Committed>, String> {
    #[derive(Deserialize)]
    struct Head {
        chain: String,
        seq: u64,
        hash: String,
    }
    let value: serde_json::Value = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    let heads = ["/data/heads", "/heads", ""]
        .iter()
        .find_map(|at| value.pointer(at).filter(|heads| heads.is_array()))
        .ok_or("there is no list of heads in it")?;
    let heads: Vec<Head> = serde_json::from_value(heads.clone()).map_err(|error| error.to_string())?;
    let read = |head: Head| {
        let mut hash = [0; 32];
        hex::decode_to_slice(&head.hash, &mut hash).map_err(|_| "a hash is not 64 digits".to_owned())?;
        Ok(Committed {
            id: head.chain,
            tip: Tip { seq: head.seq, hash },
        })
    };
    let heads: Result<Vec<_>, String> = heads.into_iter().map(read).collect();
    // One chain has one head a record: two that differ are a finding of their own.
    let heads = heads?;
    let mut seen = BTreeSet::new();
    for head in &heads {
        if !seen.insert((&head.id, head.tip.seq)) {
            return Err(format!("{} has two heads for record {}", head.id, head.tip.seq));
        }
    }
    Ok(heads)
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Place { file, line }) = &self.place {
            write!(f, "{file}:{line}: ")?;
        }
        if !self.id.is_empty() {
            write!(f, "{}: ", self.id)?;
        }
        f.write_str(&self.what)
    }
}
