//! `sys/seal`.

use futures::FutureExt;
use futures::future::BoxFuture;

use crate::error::Error;
use crate::routes::{Act, Answer};

/// `operator seal`: this node drops its keys.
pub fn seal(act: Act) -> BoxFuture<'static, Result<Answer, Error>> {
    async move {
        act.core.seal_node().await?;
        Ok(Answer::empty())
    }
    .boxed()
}
