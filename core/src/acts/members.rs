//! Members on record: who joined, came to vote or went, by whoever's doing. A change of members is no command that a note could
//! go with; so the leader compares who is there with who is on record, and notes what differs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use conclave_engine_api::Txn;
use conclave_raft::Replica;

use crate::acts::Act;
use crate::acts::note::SPACE;
use crate::catalog::{decode_record, encode_record};
use crate::core::Core;
use crate::error::Error;
use crate::store::{Draft, commit_once};

/// Where it is kept who is on record.
const ROW: &str = "members";

/// The members that are on record, and whether they vote.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Members(BTreeMap<u64, bool>);

impl Core {
    /// Puts on record how the members changed since this was last done; at first only who they are. The row comes behind the
    /// change in the log, so that what it tells of is committed if it is.
    ///
    /// # Errors
    /// The store's own, and what keeps the cluster from committing.
    pub(crate) async fn record_members(&self, replica: &dyn Replica) -> Result<(), Error> {
        if self.audit.is_empty() || self.seal.is_sealed() {
            return Ok(());
        }
        let status = replica.status().borrow().clone();
        let there = status.members.iter().map(|member| (member.id, member.voter));
        let there = Members(there.collect());
        let (opened, _) = self.seal.session()?.view(replica.view()?)?;
        let row = opened.space(SPACE).row(ROW)?;
        let known: Option<Members> = row.map(|row| decode_record(&row.value)).transpose()?;
        if known.as_ref() == Some(&there) {
            return Ok(());
        }
        let acts = known.map(|known| changes(&known, &there)).unwrap_or_default();
        let noted = self.note(&opened, replica, acts)?;
        let proposal = {
            let reader = opened.space(SPACE);
            let mut txn = Txn::new(&reader);
            txn.get(ROW)?;
            txn.put(ROW, encode_record(&there)?)?;
            let mut draft = Draft::new(&opened);
            draft.include(SPACE, txn.into_changes())?;
            noted.add_to(&mut draft);
            draft.finish()
        };
        drop(opened);
        commit_once(replica, proposal).await?;
        self.record_noted(noted).await;
        Ok(())
    }
}

/// What came about between two lists of members.
fn changes(before: &Members, after: &Members) -> Vec<Act> {
    let mut acts = Vec::new();
    let mut tell = |what: &str, node: u64| acts.push(Act::change(format!("sys/storage/raft/{what}/{node}")));
    for (node, votes) in &after.0 {
        let voted = before.0.get(node);
        if voted.is_none() {
            tell("join", *node);
        }
        match (voted.copied().unwrap_or(false), *votes) {
            (false, true) => tell("promote", *node),
            (true, false) => tell("demote", *node),
            _ => {}
        }
    }
    for node in before.0.keys().filter(|node| !after.0.contains_key(node)) {
        tell("remove-peer", *node);
    }
    acts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_change_of_members_is_told_of() {
        let members = |list: &[(u64, bool)]| Members(list.iter().copied().collect());
        let told = |before, after| {
            let acts = changes(&members(before), &members(after)).into_iter();
            acts.map(|act| act.path.replace("sys/storage/raft/", ""))
                .collect::<Vec<_>>()
        };
        let three = [(1, true), (2, true), (3, true)];
        assert!(told(&three, &three).is_empty());
        assert_eq!(told(&[(1, true)], &[(1, true), (2, false)]), ["join/2"]);
        assert_eq!(
            told(&[(1, true), (2, false)], &[(1, true), (2, true)]),
            ["promote/2"]
        );
        assert_eq!(
            told(&three, &[(1, true), (2, false), (4, true)]),
            ["demote/2", "join/4", "promote/4", "remove-peer/3"]
        );
    }
}
