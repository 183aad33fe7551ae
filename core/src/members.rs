//! Membership as the leader keeps it: changes asked on any node reach the leader, and admitted nodes are replicated to.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use conclave_raft::{Change, Op, PeerCall, Replica};

use crate::core::Core;
use crate::error::Error;
use crate::seal::rows;
use crate::store::{CommitError, Proposal, commit};

/// Message to the leader: make this change.
pub const CHANGE: u16 = 4;

/// Tries of a change to the list of demoted nodes that keeps losing to others.
const TRIES: u32 = 8;

/// How long a leader is looked for that makes a change: one may hand leadership over first, above all to be removed itself.
const LEADERSHIP_MOVES: Duration = Duration::from_secs(5);
/// Pause before a leader is asked that was none a moment ago.
const LEADER_PAUSE: Duration = Duration::from_millis(50);

/// What came of asking one node for a change.
enum Asked {
    Done,
    /// It does not lead, or leads no more.
    Elsewhere,
}

impl Core {
    /// Makes a membership change that an operator asked for. A node that was demoted stays so until it is promoted.
    pub(crate) async fn change_as_asked(&self, change: Change) -> Result<(), Error> {
        match change {
            Change::Demote { node } => self.keep_demoted(node, true).await?,
            Change::Promote { node } | Change::Remove { node } => self.keep_demoted(node, false).await?,
            Change::AddLearner { .. } | Change::Transfer { .. } => {}
        }
        self.change_members(change).await
    }

    /// Makes a change on the leader, which is what this node has to be.
    async fn change_as_leader(&self, replica: &dyn Replica, change: Change) -> Result<Asked, Error> {
        let removed = match change {
            Change::Remove { node } => Some(node),
            _ => None,
        };
        let came = came_of(replica.change(change).await)?;
        if let (Asked::Done, Some(node)) = (&came, removed) {
            self.refuse_for_ever(replica, node).await?;
        }
        Ok(came)
    }

    /// Takes a removed node out of the register: its key is refused from now on, whoever holds its disk.
    async fn refuse_for_ever(&self, replica: &dyn Replica, node: u64) -> Result<(), Error> {
        for _ in 0..TRIES {
            let forget = vec![Op::ForgetNode { node }];
            match commit(replica, Proposal::new(Vec::new(), forget)).await {
                Ok(_) => return Ok(()),
                Err(CommitError::Retry) => {}
                // Twice is as good as once.
                Err(CommitError::Failed(Error::OutcomeUnknown)) => {}
                Err(CommitError::Refused) => return Err(Error::internal("a removal was refused")),
                Err(CommitError::Failed(error)) => return Err(error),
            }
        }
        Err(Error::Contention)
    }

    /// Notes that a node is not to vote, or that it may: one that may not is not promoted by itself.
    pub(crate) async fn keep_demoted(&self, node: u64, demoted: bool) -> Result<(), Error> {
        let replica = self.seal.replica()?;
        for _ in 0..TRIES {
            let view = replica.read().await?;
            let mut ids = rows::nonvoters(&view)?;
            let changed = if demoted {
                ids.insert(node)
            } else {
                ids.remove(&node)
            };
            if !changed {
                return Ok(());
            }
            let (expect, op) = rows::put_nonvoters(&view, &ids)?;
            match commit(replica.as_ref(), Proposal::new(vec![expect], vec![op])).await {
                Ok(_) => return Ok(()),
                Err(CommitError::Retry) => {}
                Err(CommitError::Refused) => {
                    return Err(Error::internal("the list of demoted nodes was refused"));
                }
                Err(CommitError::Failed(error)) => return Err(error),
            }
        }
        Err(Error::Contention)
    }

    /// Makes a membership change, here or through the leader.
    pub(crate) async fn change_members(&self, change: Change) -> Result<(), Error> {
        let replica = self.seal.replica()?;
        let mut status = replica.status();
        let until = Instant::now() + LEADERSHIP_MOVES;
        loop {
            let led = tokio::time::timeout_at(until, status.wait_for(|seen| seen.leader.is_some()));
            let leader = match led.await {
                Ok(Ok(seen)) => seen.leader,
                _ => None,
            };
            let leader = leader.ok_or_else(|| Error::NoLeader("no leader is known".to_owned()))?;
            let came = if leader == replica.node_id() {
                self.change_as_leader(replica.as_ref(), change.clone()).await?
            } else {
                let call = PeerCall {
                    kind: CHANGE,
                    payload: encode(&change),
                };
                read_answer(&replica.call_peer(leader, call).await?)?
            };
            match came {
                Asked::Done => return Ok(()),
                Asked::Elsewhere if Instant::now() < until => tokio::time::sleep(LEADER_PAUSE).await,
                Asked::Elsewhere => return Err(Error::NoLeader("leadership moves; try again".to_owned())),
            }
        }
    }

    /// The leader's side of `change_members`.
    pub(crate) async fn receive_change(&self, payload: &[u8]) -> Result<Bytes, Error> {
        let change = decode(payload).ok_or_else(|| Error::invalid("a member's message does not decode"))?;
        let replica = self.seal.replica()?;
        answer(self.change_as_leader(replica.as_ref(), change).await)
    }

    /// Has the leader replicate to a registered node.
    pub(crate) async fn enrol(&self, node: u64) -> Result<(), Error> {
        let known = self
            .seal
            .replica()?
            .status()
            .borrow()
            .members
            .iter()
            .any(|member| member.id == node);
        if known {
            Ok(())
        } else {
            self.change_members(Change::AddLearner { node }).await
        }
    }
}

fn came_of(changed: Result<(), conclave_raft::Error>) -> Result<Asked, Error> {
    match changed {
        Ok(()) => Ok(Asked::Done),
        Err(conclave_raft::Error::NotLeader { .. }) => Ok(Asked::Elsewhere),
        Err(error) => Err(error.into()),
    }
}

/// `0` done, `1` elsewhere, `2 | text` refused for a reason the operator can act on. Other failures are the call's.
fn answer(came: Result<Asked, Error>) -> Result<Bytes, Error> {
    match came {
        Ok(Asked::Done) => Ok(Bytes::from_static(&[0])),
        Ok(Asked::Elsewhere) => Ok(Bytes::from_static(&[1])),
        Err(Error::Invalid(text)) => Ok([&[2], text.as_bytes()].concat().into()),
        Err(error) => Err(error),
    }
}

fn read_answer(answer: &[u8]) -> Result<Asked, Error> {
    match answer.split_first() {
        Some((0, [])) => Ok(Asked::Done),
        Some((1, [])) => Ok(Asked::Elsewhere),
        Some((2, text)) => Err(Error::invalid(String::from_utf8_lossy(text))),
        _ => Err(Error::internal("a member's answer does not decode")),
    }
}

/// `kind u8 | node u64`, big-endian; node 0 stands for none.
fn encode(change: &Change) -> Bytes {
    let (kind, node) = match change {
        Change::AddLearner { node } => (1u8, *node),
        Change::Promote { node } => (2, *node),
        Change::Demote { node } => (3, *node),
        Change::Remove { node } => (4, *node),
        Change::Transfer { to } => (5, to.unwrap_or(0)),
    };
    [&[kind][..], &node.to_be_bytes()].concat().into()
}

fn decode(payload: &[u8]) -> Option<Change> {
    let (kind, node) = payload.split_first()?;
    let node = u64::from_be_bytes(<[u8; 8]>::try_from(node).ok()?);
    Some(match kind {
        1 => Change::AddLearner { node },
        2 => Change::Promote { node },
        3 => Change::Demote { node },
        4 => Change::Remove { node },
        5 => Change::Transfer {
            to: Some(node).filter(|node| *node > 0),
        },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_survive_the_wire() {
        let told = |came| read_answer(&answer(came).unwrap());
        assert!(matches!(told(Ok(Asked::Done)), Ok(Asked::Done)));
        assert!(matches!(told(Ok(Asked::Elsewhere)), Ok(Asked::Elsewhere)));
        let refused = told(Err(Error::invalid("the last voter must stay")));
        assert!(matches!(refused, Err(Error::Invalid(text)) if text == "the last voter must stay"));
        assert!(answer(Err(Error::Sealed)).is_err());
        for bad in [&[][..], &[3], &[0, 0], &[1, 1]] {
            assert!(matches!(read_answer(bad), Err(Error::Internal(_))));
        }
    }

    #[test]
    fn changes_survive_the_wire() {
        for change in [
            Change::AddLearner { node: 1 },
            Change::Promote { node: 2 },
            Change::Demote { node: u64::MAX },
            Change::Remove { node: 4 },
            Change::Transfer { to: None },
            Change::Transfer { to: Some(5) },
        ] {
            assert_eq!(decode(&encode(&change)), Some(change));
        }
        for bad in [&[][..], &[9; 9], &[1; 8], &[1; 10]] {
            assert_eq!(decode(bad), None);
        }
    }
}
