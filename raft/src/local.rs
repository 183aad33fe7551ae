//! A replica without consensus: one process, one store, always the leader. For tests of what is built on `Replica`
//! and for tools that work on a state offline. This file must not know how agreement is reached elsewhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::command::{Command, Millis, Origin, Outcome};
use crate::error::Error;
use crate::replica::{Change, PeerCall, Replica, Status};
use crate::state::{Machine, Store, View, Views};

/// Where time comes from.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since the Unix epoch.
    fn now(&self) -> Millis;
}

/// A clock that moves when told to.
#[derive(Debug, Default)]
pub struct ManualClock {
    now: AtomicU64,
}

impl ManualClock {
    /// Starts at `now`.
    pub fn new(now: Millis) -> Self {
        Self {
            now: AtomicU64::new(now),
        }
    }

    /// Moves forward by `by` milliseconds.
    pub fn advance(&self, by: Millis) {
        self.now.fetch_add(by, Ordering::SeqCst);
    }

    /// Jumps to `now`, backwards too.
    pub fn set(&self, now: Millis) {
        self.now.store(now, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Millis {
        self.now.load(Ordering::SeqCst)
    }
}

/// One node that always leads, over any store.
pub struct LocalReplica {
    machine: Mutex<Machine>,
    views: Views,
    clock: Arc<dyn Clock>,
    sequence: AtomicU64,
    status: watch::Sender<Status>,
}

impl LocalReplica {
    /// Continues where `store` was left.
    ///
    /// # Errors
    /// The store's own.
    pub fn open(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let machine = Machine::open(store)?;
        let views = machine.views();
        let (status, _) = watch::channel(Status::default());
        Ok(Self {
            machine: Mutex::new(machine),
            views,
            clock,
            sequence: AtomicU64::new(0),
            status,
        })
    }
}

impl Replica for LocalReplica {
    fn node_id(&self) -> u64 {
        1
    }

    fn next_origin(&self) -> Origin {
        Origin {
            node: 1,
            incarnation: 1,
            sequence: self.sequence.fetch_add(1, Ordering::Relaxed),
        }
    }

    fn view(&self) -> Result<Arc<View>, Error> {
        self.views.latest()
    }

    fn read(&self) -> BoxFuture<'_, Result<Arc<View>, Error>> {
        Box::pin(async { self.views.latest() })
    }

    fn propose(&self, _command: Command) -> BoxFuture<'_, Result<Outcome, Error>> {
        Box::pin(async {
            let _machine = self.machine.lock();
            Err(Error::NotCommitted)
        })
    }

    fn now(&self) -> Millis {
        self.clock.now()
    }

    fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    fn call_peer(&self, node: u64, _call: PeerCall) -> BoxFuture<'_, Result<Bytes, Error>> {
        Box::pin(async move {
            Err(Error::Peer {
                node,
                detail: "this cluster has one node".to_owned(),
            })
        })
    }

    fn change(&self, _change: Change) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async {
            Err(Error::Membership(
                "this cluster has one node and no consensus".to_owned(),
            ))
        })
    }
}
