//! Who read and who wrote a secret last, how often, when and from where; and the same of each entity. The leader gathers it
//! from the same summaries and stores it in batches of sealed rows, so a request pays nothing for it. It is about a minute
//! behind.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use conclave_anomaly::{Act, Detector, Fact, Key};
use conclave_engine_api::{Millis, Txn};
use conclave_raft::Replica;

use crate::anomaly::STORED;
use crate::anomaly::identity::entity_of;
use crate::catalog::{Catalog, Category, MountRecord, decode_record, encode_record};
use crate::error::Error;
use crate::store::{CommitError, Draft, Opened, Space, Table, commit};

/// Most secrets whose use waits to be stored, and most identities; beyond, what is new is not noted.
const MAX_WAITING: usize = 16_384;
/// Most rows of one command.
const BATCH: usize = 256;
/// Where the use of secrets by entities is stored, by their ids.
const BY_ENTITY: &str = "entity/";

/// The last of some uses, and how many there were.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Use {
    /// When.
    pub at: Millis,
    /// By whom, as events name them; of an entity: of which path.
    pub by: String,
    /// From which network; empty if that is not known.
    pub from: String,
    /// How often in all.
    pub count: u64,
}

/// What is known of the use of a secret, or of secrets by an entity.
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

/// What is known of an entity's use of secrets.
///
/// # Errors
/// The store's own.
pub fn of_entity(opened: &Opened, entity: &str) -> Result<Option<AccessRecord>, Error> {
    let row = opened.space(STORED).row(&format!("{BY_ENTITY}{entity}"))?;
    row.map(|row| decode_record(&row.value)).transpose()
}

#[derive(Clone, Copy)]
struct Since {
    at: Millis,
    by: Key,
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
pub struct Access {
    secrets: HashMap<Key, Used>,
    identities: HashMap<Key, Used>,
}

/// One secret's or one entity's, told in names.
pub struct Told {
    of: Of,
    record: AccessRecord,
}

enum Of {
    Secret { mount: u32, path: String },
    Entity(String),
}

impl Access {
    /// Takes in a fact about a mount with secrets, if it is the use of one.
    pub fn note(&mut self, fact: &Fact) {
        let writes = match fact.act {
            Act::Read | Act::Canary => false,
            Act::Write => true,
            _ => return,
        };
        note(&mut self.secrets, (fact.what, fact.who), fact, writes);
        note(&mut self.identities, (fact.who, fact.what), fact, writes);
    }

    /// Takes everything that waits, in names. Of identities only entities: tokens come and go.
    pub fn take(&mut self, detector: &Detector) -> Vec<Told> {
        let secrets = std::mem::take(&mut self.secrets).into_iter();
        let mut told: Vec<Told> = secrets
            .map(|(what, used)| Told {
                of: Of::Secret {
                    mount: used.mount,
                    path: detector.name(what),
                },
                record: record_of(detector, &used),
            })
            .collect();
        for (who, used) in std::mem::take(&mut self.identities) {
            if let Some(entity) = entity_of(&detector.name(who)) {
                told.push(Told {
                    of: Of::Entity(entity.to_owned()),
                    record: record_of(detector, &used),
                });
            }
        }
        told
    }
}

fn note(uses: &mut HashMap<Key, Used>, (of, by): (Key, Key), fact: &Fact, writes: bool) {
    if of == 0 || uses.len() >= MAX_WAITING && !uses.contains_key(&of) {
        return;
    }
    let used = uses.entry(of).or_default();
    used.mount = fact.mount;
    let slot = if writes { &mut used.write } else { &mut used.read };
    let before = slot.map_or(0, |since| since.count);
    *slot = Some(Since {
        at: fact.at,
        by,
        source: fact.source,
        count: before + u64::from(fact.count),
    });
}

fn record_of(detector: &Detector, used: &Used) -> AccessRecord {
    let told = |since: Since| Use {
        at: since.at,
        by: detector.name(since.by),
        from: match since.source {
            0 => String::new(),
            source => detector.name(source),
        },
        count: since.count,
    };
    AccessRecord {
        read: used.read.map(told),
        write: used.write.map(told),
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
    let (space, row) = match &one.of {
        Of::Entity(id) => (STORED, format!("{BY_ENTITY}{id}")),
        Of::Secret { mount, path } => match row_of(catalog, *mount, path) {
            Some(place) => place,
            None => return Ok(()),
        },
    };
    let reader = opened.space(space);
    let mut txn = Txn::new(&reader);
    let mut record: AccessRecord = match txn.get(&row)? {
        Some(row) => decode_record(&row.value)?,
        None => AccessRecord::default(),
    };
    merge(&mut record.read, one.record.read.as_ref());
    merge(&mut record.write, one.record.write.as_ref());
    txn.put(&row, encode_record(&record)?)?;
    draft.include(space, txn.into_changes())
}

/// Where the use of a secret is stored, if its path leads to one.
fn row_of(catalog: &Catalog, mount: u32, path: &str) -> Option<(Space, String)> {
    let mount = catalog.mount_by_id(mount).filter(|mount| has_secrets(mount))?;
    let above = catalog
        .tree()
        .node(mount.namespace)
        .map(|node| node.record.path.clone());
    let rest = path.strip_prefix(above.unwrap_or_default().as_str())?;
    let rest = rest.strip_prefix(mount.path.as_str())?;
    let is_secret =
        !rest.is_empty() && !rest.ends_with('/') && (!is_versioned(mount) || rest.starts_with("data/"));
    is_secret.then(|| (space_of(mount), rest.to_owned()))
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
