//! `sys/key-status` and `sys/rotate`: the keyring's age and its next key.

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::json;

use conclave_barrier::{CLUSTER_RING, Keyring};
use conclave_raft::Op;

use crate::catalog::{CONFIG, EPOCH};
use crate::clocktext::rfc3339;
use crate::entropy::OsEntropy;
use crate::error::Error;
use crate::routes::{Act, Answer, Call};
use crate::seal::rows;
use crate::store::{CommitError, Proposal, commit};
use crate::sys::open::object;

/// Tries before a rotation that keeps losing to other changes of the keyring is given up.
const TRIES: u32 = 8;

/// `operator key-status`.
pub fn status(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let keyring = call.work.opened().barrier().keyring();
    let active = keyring.active_term(CLUSTER_RING)?;
    let terms = keyring.terms(CLUSTER_RING)?;
    let created = terms
        .iter()
        .find(|info| info.term == active)
        .map_or(0, |info| info.created_ms);
    Ok(Answer::at_top_level(object(
        json!({"term": active, "install_time": rfc3339(created), "encryptions": 0}),
    )))
}

/// `operator rotate`: one command adds a key; from its revision on, everything new is sealed with it.
pub fn rotate(act: Act) -> BoxFuture<'static, Result<Answer, Error>> {
    async move {
        let core = &act.core;
        let (session, replica) = (core.seal.session()?, core.seal.replica()?);
        for _ in 0..TRIES {
            let view = replica.read().await?;
            let revision = rows::keyring_revision(&view)?;
            let blob = rows::keyring(&view)?;
            let (opened, _) = session.view(view)?;
            let mut keyring = Keyring::open(&session.root(), session.barrier_id(), &blob)?;
            keyring.rotate(CLUSTER_RING, replica.now(), &mut OsEntropy)?;
            let sealed = keyring.seal(&session.root(), session.barrier_id(), &mut OsEntropy)?;
            let epoch = Op::Touch {
                key: opened.key(CONFIG, EPOCH)?,
            };
            drop(opened);
            let proposal = Proposal::new(
                vec![rows::expect_keyring(revision)],
                vec![rows::put_keyring(sealed), epoch],
            );
            match commit(replica.as_ref(), proposal).await {
                Ok(_) => return Ok(Answer::empty()),
                Err(CommitError::Retry) => {}
                Err(CommitError::Failed(error)) => return Err(error),
                Err(CommitError::Refused) => return Err(Error::internal("a rotation was refused")),
            }
        }
        Err(Error::Contention)
    }
    .boxed()
}
