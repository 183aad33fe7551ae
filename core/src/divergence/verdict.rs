//! Who differs, as the cluster has recorded it, and what a node does that finds itself there. The rows are clear: they hold
//! a time and node ids, and sealed members follow them too.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use conclave_engine_api::Millis;
use conclave_raft::{Expect, Op, View};

use crate::acts::Act;
use crate::core::Core;
use crate::error::Error;
use crate::store::clear::{node_ids, put_clear, put_node_ids};
use crate::store::layout::clear_key;

const COMPARED: &str = "compared";
const DIVERGED: &str = "diverged";

/// When states were last compared; 0 for never.
pub fn compared_at(view: &View) -> Result<Millis, Error> {
    match view.rows().get(&clear_key(COMPARED))? {
        None => Ok(0),
        Some(row) => {
            let time = <[u8; 8]>::try_from(row.value.as_ref());
            let time = time.map_err(|_| Error::internal("the time of the last comparison is damaged"))?;
            Ok(u64::from_be_bytes(time))
        }
    }
}

/// The operation of the command behind which states are compared.
pub fn put_compared(now: Millis) -> Op {
    put_clear(COMPARED, now.to_be_bytes().to_vec())
}

/// Ids of the nodes that differ from the majority.
pub fn diverged(view: &View) -> Result<BTreeSet<u64>, Error> {
    node_ids(view, DIVERGED)
}

/// The expectation and the operation that replace the list of nodes that differ.
pub fn put_diverged(view: &View, ids: &BTreeSet<u64>) -> Result<(Expect, Op), Error> {
    put_node_ids(view, DIVERGED, ids)
}

impl Core {
    /// Names of the members that are recorded to differ, as this node knows it.
    pub(crate) fn diverged_members(&self) -> Vec<String> {
        let Ok(replica) = self.seal.replica() else {
            return Vec::new();
        };
        let ids = replica
            .view()
            .map_err(Error::from)
            .and_then(|view| diverged(&view));
        let ids = ids.unwrap_or_default();
        let status = replica.status();
        let status = status.borrow();
        let members = status.members.iter().filter(|member| ids.contains(&member.id));
        members.map(|member| member.record.name.clone()).collect()
    }

    /// Stops serving if this node is among those that differ: for what it holds would be told for true. It drops its keys as
    /// by an operator's `seal`, so that no member opens it again, and goes on replicating, for its log is as good as any.
    pub(crate) async fn follow_verdict(self: &Arc<Self>) {
        let Ok(replica) = self.seal.replica() else { return };
        let known = replica
            .view()
            .map_err(Error::from)
            .and_then(|view| diverged(&view));
        let Ok(ids) = known else { return };
        let differs = ids.contains(&replica.node_id());
        let differed = self.divergence.differs.swap(differs, Ordering::AcqRel);
        self.metrics.diverged(differs);
        if differs && !differed {
            tracing::error!(
                node = replica.node_id(),
                name = self.launcher.record().name,
                "the state of this node differs from the other members': it serves nothing any more. Remove it with \
                 conclave operator raft remove-peer, give it an empty data directory and have it join anew"
            );
        }
        if differed && !differs {
            tracing::warn!("the state of this node is equal to the other members' again; shares open it");
        }
        if differs && !self.seal.is_sealed() {
            if let Err(error) = self.seal_node().await {
                tracing::error!(%error, "this node differs and was sealed");
            }
            self.record_acts(&[Act::change("sys/seal")]).await;
        }
    }
}
