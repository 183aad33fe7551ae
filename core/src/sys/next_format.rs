//! The one thing that only the next version can do: a command of its format, to try upgrades with. In no release.

use futures::FutureExt;
use futures::future::BoxFuture;

use conclave_raft::{Command, Op};

use crate::error::Error;
use crate::routes::{Act, Answer};

/// `sys/next-format`: commits the operation that the next version adds. Refused while a member does not know it.
pub fn commit(act: Act) -> BoxFuture<'static, Result<Answer, Error>> {
    async move {
        let replica = act.core.seal.replica()?;
        let command = Command {
            origin: replica.next_origin(),
            oldest_term: 0,
            now_used: replica.now(),
            expect: Vec::new(),
            ops: vec![Op::NextFormat],
        };
        match replica.propose(command).await? {
            conclave_raft::Outcome::Applied { .. } => Ok(Answer::empty()),
            _ => Err(Error::NoLeader(
                "the cluster did not take the command; try again".to_owned(),
            )),
        }
    }
    .boxed()
}
