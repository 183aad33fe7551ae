//! Ends of this node's audit chains, committed now and then: what was written before a committed head cannot be written anew
//! on the node's disk without showing. Rows are sealed like all others; who may, exports them.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use conclave_engine_api::{Millis, Page, Txn};

use crate::audit::chain::{self, Tip};
use crate::catalog::{decode_record, encode_record};
use crate::core::Core;
use crate::error::Error;
use crate::store::{Draft, Opened, Proposal, Space, Table, commit_once};

/// Most heads of one device of one node that are kept; older ones give way.
const KEPT: usize = 1024;
/// How long sealing waits for the last heads.
const PATIENCE: Duration = Duration::from_secs(2);
const SPACE: Space = Space::root(Table::AuditHead);

/// A head as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeadRecord {
    /// Names the chain.
    pub chain: String,
    /// The device, with trailing slash.
    pub device: String,
    /// The node.
    pub node: u64,
    /// Number of the chain's last record.
    pub seq: u64,
    /// Its hash, hexadecimal.
    pub hash: String,
    /// When it was committed, by the cluster's clock.
    pub time: Millis,
}

/// What this process committed last, by chain.
#[derive(Default)]
pub struct Heads(Mutex<BTreeMap<String, u64>>);

impl Core {
    /// Commits the ends of chains that moved since this last did.
    ///
    /// # Errors
    /// What keeps the cluster from committing.
    pub async fn commit_audit_heads(&self) -> Result<(), Error> {
        let known = self.heads.0.lock().clone();
        let mut moved = self.audit.current().heads();
        moved.retain(|(_, chain, tip)| known.get(chain) != Some(&tip.seq));
        if moved.is_empty() {
            return Ok(());
        }
        let (session, replica) = (self.seal.session()?, self.seal.replica()?);
        let (opened, _) = session.view(replica.view()?)?;
        let proposal = draft_of(
            &opened,
            &moved,
            (replica.node_id(), self.audit.node(), replica.now()),
        )?;
        drop(opened);
        commit_once(replica.as_ref(), proposal).await?;
        let moved = moved.into_iter().map(|(_, chain, tip)| (chain, tip.seq));
        self.heads.0.lock().extend(moved);
        Ok(())
    }

    /// Before keys go: the last heads, if they can be committed soon.
    pub(crate) async fn commit_last_heads(&self) {
        let committed = tokio::time::timeout(PATIENCE, self.commit_audit_heads()).await;
        if !matches!(committed, Ok(Ok(()))) {
            tracing::info!(
                "the last heads of audit chains are not committed; they are once the node is open again"
            );
        }
    }
}

/// Every head that the cluster keeps, by chain and number.
///
/// # Errors
/// The store's own.
pub fn all(opened: &Opened) -> Result<Vec<HeadRecord>, Error> {
    let reader = opened.space(SPACE);
    let mut heads = Vec::new();
    for chain in reader.names("", &Page::default())? {
        for seq in reader.names(&chain, &Page::default())? {
            let row = reader.row(&format!("{chain}{seq}"))?;
            if let Some(row) = row {
                heads.push(decode_record::<HeadRecord>(&row.value)?);
            }
        }
    }
    heads.sort_by(|a, b| (&a.chain, a.seq).cmp(&(&b.chain, b.seq)));
    Ok(heads)
}

/// The command that keeps these heads.
fn draft_of(
    opened: &Opened,
    moved: &[(String, String, Tip)],
    (node, name, time): (u64, &str, Millis),
) -> Result<Proposal, Error> {
    let reader = opened.space(SPACE);
    let mut txn = Txn::new(&reader);
    for (device, chain, tip) in moved {
        let record = HeadRecord {
            chain: chain.clone(),
            device: device.clone(),
            node,
            seq: tip.seq,
            hash: hex::encode(tip.hash),
            time,
        };
        let path = format!("{}/{:020}", hex::encode(chain), tip.seq);
        txn.get(&path)?;
        txn.put(&path, encode_record(&record)?)?;
        for old in surplus(opened, name, device)? {
            txn.get(&old)?;
            txn.delete(&old)?;
        }
    }
    let mut draft = Draft::new(opened);
    draft.include(SPACE, txn.into_changes())?;
    Ok(draft.finish())
}

/// The oldest of a device's heads, that are one too many: by time, for a chain whose file was gone at a start counts from 1
/// again, and a device that is enabled again has another chain.
fn surplus(opened: &Opened, node: &str, device: &str) -> Result<Vec<String>, Error> {
    let reader = opened.space(SPACE);
    let mut paths = Vec::new();
    for directory in reader.names("", &Page::default())? {
        let id = hex::decode(directory.trim_end_matches('/')).unwrap_or_default();
        if chain::is_of(&String::from_utf8_lossy(&id), node, device) {
            let names = reader.names(&directory, &Page::default())?;
            paths.extend(names.into_iter().map(|name| format!("{directory}{name}")));
        }
    }
    let too_many = (paths.len() + 1).saturating_sub(KEPT);
    if too_many == 0 {
        return Ok(Vec::new());
    }
    let mut heads = Vec::with_capacity(paths.len());
    for path in paths {
        if let Some(row) = reader.row(&path)? {
            heads.push((decode_record::<HeadRecord>(&row.value)?.time, path));
        }
    }
    heads.sort();
    Ok(heads.into_iter().take(too_many).map(|(_, path)| path).collect())
}
