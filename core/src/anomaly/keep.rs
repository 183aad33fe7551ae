//! What was learned outlives the leader: parts that changed are rows, written by the leader alone, read by the next.

use conclave_anomaly::{Detector, Saved};
use conclave_engine_api::{Page, Txn};
use conclave_raft::Replica;

use crate::anomaly::{STORED, events};
use crate::core::Core;
use crate::error::Error;
use crate::store::{Draft, Opened, commit_once};

/// Where parts of what was learned lie.
const LEARNED: &str = "learned/";
/// Most bytes of one command; a part is smaller.
const MAX_BYTES: usize = 512 * 1024;

impl Core {
    /// Reads what earlier leaders learned. What does not decode is left out and learned anew.
    pub(super) fn read_learned(&self, opened: &Opened, detector: &mut Detector) -> Result<(), Error> {
        let stored = opened.space(STORED);
        for name in stored.names(LEARNED, &Page::default())? {
            let Some(row) = stored.row(&format!("{LEARNED}{name}"))? else {
                continue;
            };
            if let Err(error) = detector.restore(&name, &row.value) {
                tracing::warn!(%error, "a part of what was learned of usual access is lost");
            }
        }
        for event in events::recent(opened, self.seal.now())? {
            if let Some((kind, key)) = event.episode() {
                detector.resume_episode(kind, key, event.last);
            }
        }
        Ok(())
    }
}

/// Stores parts that changed. Those that were not stored come back with the reason.
pub async fn store_learned(
    opened: &Opened,
    replica: &dyn Replica,
    mut parts: Vec<Saved>,
) -> Result<(), (Vec<Saved>, Error)> {
    // The part that says which summaries are in the others goes last.
    while !parts.is_empty() {
        let mut bytes = 0;
        let fits = parts.iter().take_while(|part| {
            bytes += part.bytes.len();
            bytes <= MAX_BYTES
        });
        let count = fits.count().max(1);
        let rest = parts.split_off(count);
        if let Err(error) = put(opened, replica, &parts).await {
            parts.extend(rest);
            return Err((parts, error));
        }
        parts = rest;
    }
    Ok(())
}

async fn put(opened: &Opened, replica: &dyn Replica, parts: &[Saved]) -> Result<(), Error> {
    let proposal = {
        let reader = opened.space(STORED);
        let mut txn = Txn::new(&reader);
        for part in parts {
            let row = format!("{LEARNED}{}", part.name);
            txn.put(&row, part.bytes.clone())?;
        }
        let mut draft = Draft::new(opened);
        draft.include(STORED, txn.into_changes())?;
        draft.finish()
    };
    commit_once(replica, proposal).await
}
