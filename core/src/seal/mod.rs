//! Whether this node belongs to a cluster and whether it holds keys. The replica outlives the keys: a sealed node still
//! replicates and votes.

mod ceremony;
mod gather;
mod init;
mod introduction;
mod keys;
mod offer;
mod peer_unseal;
mod peers;
mod pgp;
mod ring_offer;
pub(crate) mod ring_rows;
mod rings;
pub mod rows;
pub(crate) mod stored;
mod tend;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use tokio::sync::watch;

use conclave_barrier::{Entropy as _, Recipient};
use conclave_engine_api::Millis;
use conclave_raft::Replica;

use crate::entropy::OsEntropy;
use crate::error::Error;
use crate::session::Session;

pub(crate) use ceremony::{decode_share, share_error};
use gather::Gathering;
pub use init::{Initialized, Threshold};
pub use peer_unseal::PeerUnseal;
pub use peers::Peers;
pub(crate) use pgp::{Handed, PgpKey, hand_out, read_all};
use rings::Rings;
pub(crate) use rings::{record_path, with_nested};
pub(crate) use stored::{StoredKeyring, StoredSeal};

/// The seal of one node.
#[derive(Default)]
pub struct Seal {
    replica: ArcSwapOption<Held>,
    session: ArcSwapOption<Session>,
    /// Shares given since the last reset.
    gathering: Mutex<Gathering>,
    /// The key under which members send this start of the node shares and root keys.
    recipient: Mutex<Option<Arc<Recipient>>>,
    /// Names this start of the node in what is sealed to it.
    boot: OnceLock<[u8; 16]>,
    /// Whether an operator sealed this node: then shares alone open it.
    marked: AtomicBool,
    /// Seals of namespaces.
    pub(crate) rings: Rings,
    /// How often the keys were dropped.
    seals: watch::Sender<u64>,
    /// Opening and sealing, one at a time.
    turning: Mutex<()>,
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

    /// Whether an operator sealed this node: then shares alone open it.
    pub fn is_marked(&self) -> bool {
        self.marked.load(Ordering::Acquire)
    }

    /// The cluster's time; 0 before there is a cluster.
    pub fn now(&self) -> Millis {
        self.replica.load().as_ref().map_or(0, |held| held.0.now())
    }

    /// Counts how often this node was sealed, for those who must then forget what they hold.
    pub(crate) fn seals(&self) -> watch::Receiver<u64> {
        self.seals.subscribe()
    }

    fn set_replica(&self, replica: Arc<dyn Replica>) {
        self.replica.store(Some(Arc::new(Held(replica))));
    }

    /// Names this start of the node in what is sealed to it.
    fn boot(&self) -> [u8; 16] {
        *self.boot.get_or_init(|| {
            let mut nonce = [0; 16];
            OsEntropy.fill(&mut nonce);
            nonce
        })
    }

    /// The key to which members seal what they send; made when it is first asked for.
    fn recipient(&self) -> Result<Arc<Recipient>, Error> {
        let mut slot = self.recipient.lock();
        if let Some(known) = slot.as_ref() {
            return Ok(known.clone());
        }
        let fresh = Arc::new(Recipient::new(&mut OsEntropy)?);
        *slot = Some(fresh.clone());
        Ok(fresh)
    }
}
