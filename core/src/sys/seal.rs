//! `sys/seal`: of one node, or of the whole cluster.

use futures::FutureExt;
use futures::future::BoxFuture;

use crate::error::Error;
use crate::routes::{Act, Answer};

/// `operator seal`: this node drops its keys; with `cluster` all nodes do.
pub fn seal(act: Act) -> BoxFuture<'static, Result<Answer, Error>> {
    async move {
        if act.fields().bool("cluster")?.unwrap_or(false) {
            act.core.seal_cluster().await?;
        } else {
            act.core.seal_node().await?;
        }
        Ok(Answer::empty())
    }
    .boxed()
}
