//! `sys/storage/raft/snapshot` and `snapshot-force`: the state as a file, and back.

use futures::FutureExt;
use futures::future::BoxFuture;

use crate::backup::Accept;
use crate::error::Error;
use crate::routes::{Act, Answer};

/// `operator raft snapshot save`.
pub fn save(act: Act) -> BoxFuture<'static, Result<Answer, Error>> {
    async move {
        Ok(Answer {
            file: Some(act.core.save_backup().await?),
            ..Answer::empty()
        })
    }
    .boxed()
}

/// `operator raft snapshot restore`.
pub fn restore(act: Act) -> BoxFuture<'static, Result<Answer, Error>> {
    put_back(act, Accept::Own).boxed()
}

/// `operator raft snapshot restore -force`.
pub fn restore_forced(act: Act) -> BoxFuture<'static, Result<Answer, Error>> {
    put_back(act, Accept::Any).boxed()
}

async fn put_back(act: Act, accept: Accept) -> Result<Answer, Error> {
    let pause_effects = act.fields().bool("pause_effects")?.unwrap_or(false);
    let upload = act
        .upload
        .ok_or_else(|| Error::invalid("the request has no snapshot as its body"))?;
    act.core.restore_backup(upload, accept, pause_effects).await?;
    Ok(Answer::empty())
}
