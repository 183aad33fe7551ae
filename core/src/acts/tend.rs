//! Puts on record what is not yet, and takes notes away whose records are written: on every node what it did itself and no
//! device took, on the leader also what a node left that ended, or lost its keys, in between.

use conclave_engine_api::Millis;
use conclave_raft::{Key, Op, Replica};

use crate::acts::ledger::Size;
use crate::acts::note::{NOTES, Note, SPACE};
use crate::acts::write_acts;
use crate::core::Core;
use crate::error::Error;
use crate::store::layout::after_prefix;
use crate::store::{CommitError, Opened, Proposal, commit};

/// Most notes that are put on record in one round.
const ROUND: usize = 256;
/// Most notes that one command takes away.
const REMOVED: usize = 512;
/// What another node did is its own to record for so long.
const OTHERS: Millis = 5_000;

/// A note that somebody has to put on record.
struct Left {
    key: Key,
    note: Note,
    size: Size,
}

impl Core {
    /// Whether something may be done that has to be on record: not while too much waits for an audit device already.
    ///
    /// # Errors
    /// [`Error::AuditRefused`]: later.
    pub(crate) fn may_act(&self) -> Result<(), Error> {
        match self.acts.is_full() && !self.audit.is_empty() {
            true => Err(Error::AuditRefused),
            false => Ok(()),
        }
    }

    /// One round.
    ///
    /// # Errors
    /// The store's own, and what keeps the cluster from committing.
    pub async fn tend_acts(&self) -> Result<(), Error> {
        let (session, replica) = (self.seal.session()?, self.seal.replica()?);
        let leads = replica.status().borrow().is_leader;
        if !self.audit.is_empty() && (leads || self.acts.waits()) {
            let left = {
                let (opened, derived) = session.view(replica.view()?)?;
                self.audit.follow(&derived)?;
                let mut left = self.own(&opened)?;
                if leads {
                    let room = ROUND.saturating_sub(left.len());
                    left.extend(self.abandoned(&opened, replica.as_ref(), room)?);
                }
                left
            };
            for Left { key, note, size } in left {
                if !put_on_record(self, &key, &note, size).await {
                    break;
                }
            }
        }
        self.remove_recorded(replica.as_ref()).await
    }

    /// What waits here. The leader may have taken it on meanwhile.
    fn own(&self, opened: &Opened) -> Result<Vec<Left>, Error> {
        let mut left = Vec::new();
        for key in self.acts.waiting(ROUND) {
            match opened.view().rows().get(&key)? {
                Some(row) => left.extend(self.read(opened, key, &row.value)),
                None => self.acts.gone(&[key]),
            }
        }
        Ok(left)
    }

    /// What nobody here knows of and nobody else can be about to record, oldest first.
    fn abandoned(&self, opened: &Opened, replica: &dyn Replica, room: usize) -> Result<Vec<Left>, Error> {
        let from = opened.key(SPACE, NOTES)?;
        let (mine, now) = (replica.node_id(), replica.now());
        let mut left = Vec::new();
        if self.acts.is_full() {
            return Ok(left);
        }
        let rows = opened.view().rows();
        rows.scan(&from, Some(&after_prefix(&from)), &mut |key, row| {
            let key = Key::copy_from_slice(key);
            if !self.acts.knows(&key) {
                let found = self.read(opened, key, &row.value);
                let due =
                    |left: &Left| left.note.node == mine || left.note.time.saturating_add(OTHERS) <= now;
                left.extend(found.filter(due));
            }
            Ok(left.len() < room)
        })?;
        left.sort_by_key(|left| left.note.time);
        Ok(left)
    }

    /// One that nobody can read holds up no other: it stays, and that is said.
    fn read(&self, opened: &Opened, key: Key, value: &[u8]) -> Option<Left> {
        match Note::read(opened, &key, value) {
            Ok((note, size)) => Some(Left { key, note, size }),
            Err(error) => {
                if self.acts.unreadable(&key) {
                    tracing::error!(%error, "a note of what was done cannot be read: it is on no record, and stays");
                }
                None
            }
        }
    }

    /// Notes whose records are written go.
    async fn remove_recorded(&self, replica: &dyn Replica) -> Result<(), Error> {
        loop {
            let keys = self.acts.to_remove(REMOVED);
            if keys.is_empty() {
                return Ok(());
            }
            let ops = keys.iter().map(|key| Op::Delete { key: key.clone() });
            match commit(replica, Proposal::new(Vec::new(), ops.collect())).await {
                Ok(_) => self.acts.gone(&keys),
                Err(CommitError::Failed(error)) => return Err(error),
                Err(CommitError::Retry | CommitError::Refused) => return Err(Error::Contention),
            }
        }
    }
}

/// Writes the records of one note. Whether the devices took them.
pub async fn put_on_record(core: &Core, key: &Key, note: &Note, size: Size) -> bool {
    let devices = core.audit.current();
    // Sealed meanwhile: the record would say less than it has to. Another node writes it, or this one when it is open again.
    if devices.is_empty() || !devices.has_keys() {
        return false;
    }
    let written = write_acts(&devices, note.records(), (note.node, note.time)).await;
    match written {
        Ok(()) => core.acts.recorded(key),
        Err(error) => {
            if core.acts.refused(key, size) {
                tracing::error!(
                    %error,
                    stopped = core.acts.is_full(),
                    "what this node did by itself is not on record yet: it is tried again, and expiry and rotation stop \
                     when too much waits"
                );
            }
            return false;
        }
    }
    true
}
