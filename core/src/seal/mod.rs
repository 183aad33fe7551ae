//! Whether this node belongs to a cluster and whether it holds keys. The replica outlives the keys: a sealed node still
//! replicates and votes.

mod ceremony;
mod init;
mod peers;
pub mod rows;

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;

use conclave_barrier::{Recipient, ShareProgress};
use conclave_engine_api::Millis;
use conclave_raft::Replica;

use crate::error::Error;
use crate::session::Session;

pub(crate) use ceremony::{decode_share, share_error};
pub use init::{Initialized, Threshold};
pub use peers::Peers;

/// The seal of one node.
#[derive(Default)]
pub struct Seal {
    replica: ArcSwapOption<Held>,
    session: ArcSwapOption<Session>,
    /// Shares given since the last reset.
    progress: Mutex<Option<ShareProgress>>,
    /// The key under which members send this start of the node shares and root keys.
    recipient: Mutex<Option<Arc<Recipient>>>,
    /// Founding, joining and resuming, one at a time.
    changing: tokio::sync::Mutex<()>,
}

/// `ArcSwap` holds sized things.
struct Held(Arc<dyn Replica>);

impl Seal {
    /// The replica, once the node belongs to a cluster.
    pub fn replica(&self) -> Result<Arc<dyn Replica>, Error> {
        self.replica
            .load()
            .as_ref()
            .map(|held| held.0.clone())
            .ok_or(Error::NotInitialized)
    }

    /// The keys, while unsealed.
    pub fn session(&self) -> Result<Arc<Session>, Error> {
        match self.session.load_full() {
            Some(session) if session.is_lost() => Err(Error::Sealed),
            Some(session) => Ok(session),
            None if self.replica.load().is_none() => Err(Error::NotInitialized),
            None => Err(Error::Sealed),
        }
    }

    /// Whether the node holds no keys.
    pub fn is_sealed(&self) -> bool {
        self.session
            .load()
            .as_ref()
            .is_none_or(|session| session.is_lost())
    }

    /// The cluster's time; 0 before there is a cluster.
    pub fn now(&self) -> Millis {
        self.replica.load().as_ref().map_or(0, |held| held.0.now())
    }

    fn set_replica(&self, replica: Arc<dyn Replica>) {
        self.replica.store(Some(Arc::new(Held(replica))));
    }
}
