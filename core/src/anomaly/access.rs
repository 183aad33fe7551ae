//! Who read and who wrote a secret last, how often, when and from where. The leader gathers it from the same summaries and
//! stores it in batches of sealed rows, so a request pays nothing for it. It is about a minute behind.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use conclave_anomaly::{Act, Detector, Fact, Key};
use conclave_engine_api::{Millis, Txn};
use conclave_raft::Replica;

use crate::catalog::{Catalog, Category, MountRecord, decode_record, encode_record};
use crate::error::Error;
use crate::store::{CommitError, Draft, Opened, Space, Table, commit};

/// Most secrets whose use waits to be stored; beyond, what is new is not noted.
const MAX_WAITING: usize = 16_384;
/// Most rows of one command.
const BATCH: usize = 256;

/// The last of some uses, and how many there were.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Use {
    /// When.
    pub at: Millis,
    /// By whom, as events name them.
    pub by: String,
    /// From which network; empty if that is not known.
    pub from: String,
    /// How often in all.
    pub count: u64,
}

/// What is known of the use of a secret.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessRecord {
    /// Reads.
    pub read: Option<Use>,
    /// Writes and deletions.
    pub write: Option<Use>,
}

/// Where it lies: under the path beneath the mount.
pub fn space_of(mount: &MountRecord) -> Space {
    Space {
        table: Table::Access,
        namespace: mount.namespace,
        mount: mount.id,
    }
}

/// Whether a mount has secrets whose use is noted.
pub fn has_secrets(mount: &MountRecord) -> bool {
    mount.category == Category::Secret && !matches!(mount.kind.as_str(), "system" | "identity" | "cubbyhole")
}

#[derive(Clone, Copy)]
struct Since {
    at: Millis,
    who: Key,
    source: Key,
    count: u64,
}

#[derive(Default)]
struct Used {
    mount: u32,
    read: Option<Since>,
    write: Option<Since>,
}

/// Uses that wait to be stored.
#[derive(Default)]
pub struct Access(HashMap<Key, Used>);

/// One secret's, told in names.
pub struct Told {
    mount: u32,
    path: String,
    record: AccessRecord,
}

impl Access {
    /// Takes in a fact, if it is the use of a secret.
    pub fn note(&mut self, fact: &Fact) {
        let writes = match fact.act {
            Act::Read | Act::Canary => false,
            Act::Write => true,
            _ => return,
        };
        if fact.what == 0 || fact.mount == 0 {
            return;
        }
        if self.0.len() >= MAX_WAITING && !self.0.contains_key(&fact.what) {
            return;
        }
        let used = self.0.entry(fact.what).or_default();
        used.mount = fact.mount;
        let slot = if writes { &mut used.write } else { &mut used.read };
        let before = slot.map_or(0, |since| since.count);
        *slot = Some(Since {
            at: fact.at,
            who: fact.who,
            source: fact.source,
            count: before + u64::from(fact.count),
        });
    }

    /// Takes everything that waits, in names.
    pub fn take(&mut self, detector: &Detector) -> Vec<Told> {
        let told = |since: Since| Use {
            at: since.at,
            by: detector.name(since.who),
            from: match since.source {
                0 => String::new(),
                source => detector.name(source),
            },
            count: since.count,
        };
        let taken = std::mem::take(&mut self.0).into_iter();
        taken
            .map(|(what, used)| Told {
                mount: used.mount,
                path: detector.name(what),
                record: AccessRecord {
                    read: used.read.map(told),
                    write: used.write.map(told),
                },
            })
            .collect()
    }
}

/// Adds what was told to what is stored. Paths whose names are not known whole, and mounts that are gone, are left out.
pub async fn store(
    opened: &Opened,
    catalog: &Catalog,
    replica: &dyn Replica,
    told: Vec<Told>,
) -> Result<(), Error> {
    for batch in told.chunks(BATCH) {
        let proposal = {
            let mut draft = Draft::new(opened);
            for one in batch {
                add(opened, catalog, &mut draft, one)?;
            }
            draft.finish()
        };
        match commit(replica, proposal).await {
            // Another leader stores the same rows: what it knows is newer.
            Ok(_) | Err(CommitError::Retry | CommitError::Refused) => {}
            Err(CommitError::Failed(error)) => return Err(error),
        }
    }
    Ok(())
}

fn add(opened: &Opened, catalog: &Catalog, draft: &mut Draft<'_>, one: &Told) -> Result<(), Error> {
    let Some(mount) = catalog.mount_by_id(one.mount).filter(|mount| has_secrets(mount)) else {
        return Ok(());
    };
    let above = catalog
        .tree()
        .node(mount.namespace)
        .map(|node| node.record.path.clone());
    let rest = one.path.strip_prefix(above.unwrap_or_default().as_str());
    let Some(rest) = rest.and_then(|path| path.strip_prefix(mount.path.as_str())) else {
        return Ok(());
    };
    if rest.is_empty() || rest.ends_with('/') || is_versioned(mount) && !rest.starts_with("data/") {
        return Ok(());
    }
    let space = space_of(mount);
    let reader = opened.space(space);
    let mut txn = Txn::new(&reader);
    let mut record: AccessRecord = match txn.get(rest)? {
        Some(row) => decode_record(&row.value)?,
        None => AccessRecord::default(),
    };
    merge(&mut record.read, one.record.read.as_ref());
    merge(&mut record.write, one.record.write.as_ref());
    txn.put(rest, encode_record(&record)?)?;
    draft.include(space, txn.into_changes())
}

/// Whether a mount keeps versions: then secrets lie beneath `data/`.
pub fn is_versioned(mount: &MountRecord) -> bool {
    mount.kind == "kv" && mount.options.get("version").is_some_and(|version| version == "2")
}

fn merge(stored: &mut Option<Use>, new: Option<&Use>) {
    let Some(new) = new else { return };
    let before = stored.as_ref().map_or(0, |stored| stored.count);
    if stored.as_ref().is_none_or(|stored| stored.at <= new.at) {
        *stored = Some(new.clone());
    }
    if let Some(stored) = stored {
        stored.count = before.saturating_add(new.count);
    }
}
