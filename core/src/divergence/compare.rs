//! A comparison from its beginning to its verdict: every member is asked to hold its state behind one command, the command
//! is proposed, digests are gathered, the verdict is recorded. Any member may do it; the leader does it hourly.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::Instant;

use conclave_engine_api::Millis;
use conclave_raft::{Command, Member, Origin, PeerCall, Replica, Status, View};

use crate::acts::{Act, Noted};
use crate::core::Core;
use crate::divergence::member::{Told, encode_origin, read_told};
use crate::divergence::verdict::{compared_at, diverged, put_compared, put_diverged};
use crate::divergence::{HOLD, Outcome, TELL, judge};
use crate::error::Error;
use crate::store::{CommitError, Proposal, commit};

/// How long members may take to hash their states.
const PATIENCE: Duration = Duration::from_secs(600);
/// Between two questions whether a member is done.
const ASK_PAUSE: Duration = Duration::from_millis(100);
/// Tries of a verdict that conflicts.
const TRIES: u32 = 8;

/// What a comparison found.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// What it came to.
    pub outcome: Outcome,
    /// Commands applied where states were compared; 0 if no member told.
    pub revision: u64,
    /// Every member and what it told.
    pub members: Vec<(Member, Result<Told, String>)>,
    /// Ids of the members that differ from the majority.
    pub differ: Vec<u64>,
}

impl Core {
    /// Compares the states of all members, records who differs, and says so.
    ///
    /// # Errors
    /// `Error::Overloaded` while another comparison is under way here; what keeps the cluster from committing.
    pub async fn compare_states(self: &Arc<Self>) -> Result<Comparison, Error> {
        let replica = self.seal.replica()?;
        let origin = replica.next_origin();
        self.hold(origin)?;
        let status = replica.status().borrow().clone();
        let held = self.ask_to_hold(replica.as_ref(), &status, origin).await;
        if let Err(error) = propose(replica.as_ref(), origin).await {
            self.let_go(origin);
            return Err(error);
        }
        let gathered = held
            .into_iter()
            .map(|(member, held)| self.gather(replica.as_ref(), member, held, origin));
        let members = join_all(gathered).await;
        let comparison = Comparison::of(members);
        self.metrics.compared(comparison.outcome);
        comparison.say();
        self.record(replica.as_ref(), &comparison).await?;
        self.follow_verdict().await;
        Ok(comparison)
    }

    /// As the leader: compares if the last comparison is long ago. `since` stands for it where there was none.
    pub(crate) async fn compare_if_due(
        self: &Arc<Self>,
        every: Duration,
        since: Millis,
    ) -> Result<(), Error> {
        let replica = self.seal.replica()?;
        let status = replica.status().borrow().clone();
        if !status.is_leader || self.seal.is_sealed() || status.members.len() < 2 {
            return Ok(());
        }
        let last = compared_at(&*replica.view()?)?.max(since);
        let every = Millis::try_from(every.as_millis()).unwrap_or(Millis::MAX);
        if replica.now() < last.saturating_add(every) {
            return Ok(());
        }
        self.compare_states().await.map(drop)
    }

    async fn ask_to_hold(
        &self,
        replica: &dyn Replica,
        status: &Status,
        origin: Origin,
    ) -> Vec<(Member, Result<(), String>)> {
        let asked = status.members.iter().map(async |member| {
            let held = match member.id == replica.node_id() {
                true => Ok(()),
                false => {
                    let call = call(HOLD, origin);
                    let asked = replica.call_peer(member.id, call).await;
                    asked.map(drop).map_err(|error| error.to_string())
                }
            };
            (member.clone(), held)
        });
        join_all(asked).await
    }

    async fn gather(
        &self,
        replica: &dyn Replica,
        member: Member,
        held: Result<(), String>,
        origin: Origin,
    ) -> (Member, Result<Told, String>) {
        let told = match held {
            Err(why) => Err(why),
            Ok(()) => self.wait_for(replica, member.id, origin).await,
        };
        (member, told)
    }

    async fn wait_for(&self, replica: &dyn Replica, node: u64, origin: Origin) -> Result<Told, String> {
        let until = Instant::now() + PATIENCE;
        loop {
            let told = if node == replica.node_id() {
                self.tell(origin)
            } else {
                let answer = replica.call_peer(node, call(TELL, origin)).await;
                let told = answer.map_err(Error::from).and_then(|answer| read_told(&answer));
                told.map_err(|error| error.to_string())?
            };
            match told {
                Some(told) => return told,
                None if Instant::now() < until => tokio::time::sleep(ASK_PAUSE).await,
                None => return Err("it did not tell in time".to_owned()),
            }
        }
    }

    /// Commits who differs, if that has changed. Members that told nothing stay what they were; who was removed goes.
    async fn record(&self, replica: &dyn Replica, comparison: &Comparison) -> Result<(), Error> {
        if comparison.outcome == Outcome::Undecided {
            return Ok(());
        }
        for _ in 0..TRIES {
            let view = replica.read().await?;
            let known = diverged(&view)?;
            let ids = comparison.verdict(&known);
            if ids == known {
                return Ok(());
            }
            let (expect, op) = put_diverged(&view, &ids)?;
            let noted = self.note_verdict(replica, view, &known, &ids)?;
            let ops = std::iter::once(op).chain(noted.op());
            match commit(replica, Proposal::new(vec![expect], ops.collect())).await {
                Ok(_) => {
                    self.record_noted(noted).await;
                    return Ok(());
                }
                Err(CommitError::Retry) => {}
                Err(CommitError::Refused) => return Err(Error::internal("a verdict was refused")),
                Err(CommitError::Failed(error)) => return Err(error),
            }
        }
        Err(Error::Contention)
    }

    /// What is to be on record of a verdict: who differs now, and who no longer does.
    fn note_verdict(
        &self,
        replica: &dyn Replica,
        view: Arc<View>,
        before: &BTreeSet<u64>,
        after: &BTreeSet<u64>,
    ) -> Result<Noted<'_>, Error> {
        let (opened, _) = self.seal.session()?.view(view)?;
        let path = |node: &u64| format!("sys/storage/raft/differs/{node}");
        let fresh = after.difference(before).map(|node| Act::change(path(node)));
        let over = before.difference(after).map(|node| Act {
            ends: true,
            ..Act::change(path(node))
        });
        self.note(&opened, replica, fresh.chain(over).collect())
    }
}

fn call(kind: u16, origin: Origin) -> PeerCall {
    PeerCall {
        kind,
        payload: encode_origin(origin),
    }
}

/// The command behind which all hash. It expects nothing, so only the clock can be in its way.
async fn propose(replica: &dyn Replica, origin: Origin) -> Result<(), Error> {
    let now = replica.now();
    let command = Command {
        origin,
        oldest_term: 0,
        now_used: now,
        expect: Vec::new(),
        ops: vec![put_compared(now)],
    };
    match replica.propose(command).await? {
        conclave_raft::Outcome::Applied { .. } => Ok(()),
        _ => Err(Error::NoLeader(
            "the cluster did not take the command to compare behind; try again".to_owned(),
        )),
    }
}

impl Comparison {
    fn of(members: Vec<(Member, Result<Told, String>)>) -> Self {
        let digests: Vec<_> = members
            .iter()
            .map(|(member, told)| (member.id, told.as_ref().ok().map(|told| told.digest)))
            .collect();
        let (outcome, differ) = judge(&digests);
        let revision = members.iter().find_map(|(_, told)| told.as_ref().ok());
        Self {
            outcome,
            revision: revision.map_or(0, |told| told.revision),
            members,
            differ,
        }
    }

    /// Whose id belongs to the list of those that differ, which held `known` so far.
    fn verdict(&self, known: &BTreeSet<u64>) -> BTreeSet<u64> {
        let of = self.members.iter().filter(|(member, told)| {
            self.differ.contains(&member.id) || told.is_err() && known.contains(&member.id)
        });
        of.map(|(member, _)| member.id).collect()
    }

    fn say(&self) {
        let named = |(member, told): &(Member, Result<Told, String>)| match told {
            Ok(told) => format!("{} {}", member.record.name, hex::encode(told.digest)),
            Err(why) => format!("{} ({why})", member.record.name),
        };
        let all: Vec<String> = self.members.iter().map(named).collect();
        let all = all.join(", ");
        match self.outcome {
            Outcome::Equal => tracing::info!(revision = self.revision, "the members' states are equal"),
            Outcome::Differs => {
                let differ = self
                    .members
                    .iter()
                    .filter(|(member, _)| self.differ.contains(&member.id));
                let differ: Vec<&str> = differ.map(|(member, _)| member.record.name.as_str()).collect();
                tracing::error!(
                    revision = self.revision,
                    differ = differ.join(", "),
                    all,
                    "members differ from the majority's state and stop serving"
                );
            }
            Outcome::Undecided => {
                let mut digests: Vec<_> = self
                    .members
                    .iter()
                    .filter_map(|(_, told)| told.as_ref().ok())
                    .collect();
                digests.dedup_by_key(|told| told.digest);
                if digests.len() > 1 {
                    tracing::error!(
                        revision = self.revision,
                        all,
                        "the members' states differ, and none has a majority: an operator must decide which is right"
                    );
                } else {
                    tracing::warn!(
                        all,
                        "too few members told the digest of their state to compare them"
                    );
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u64) -> Member {
        Member {
            id,
            record: conclave_raft::NodeRecord::default(),
            voter: true,
            matched_index: None,
            last_contact_ms: None,
        }
    }

    #[test]
    fn who_told_nothing_stays_what_it_was_and_who_left_goes() {
        let told = |byte| {
            Ok(Told {
                revision: 1,
                digest: [byte; 32],
            })
        };
        let found = Comparison::of(vec![
            (member(1), told(1)),
            (member(2), told(1)),
            (member(3), told(1)),
            (member(4), told(2)),
            (member(5), Err("silent".to_owned())),
        ]);
        assert_eq!((found.outcome, &found.differ[..]), (Outcome::Differs, &[4][..]));
        let verdict = found.verdict(&BTreeSet::from([3, 5, 9]));
        assert_eq!(verdict, BTreeSet::from([4, 5]));
        assert_eq!(found.verdict(&BTreeSet::new()), BTreeSet::from([4]));
    }
}
