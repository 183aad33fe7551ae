//! A replica without consensus: one process, one store, always the leader. For tests of what is built on `Replica`
//! and for tools that work on a state offline. This file must not know how agreement is reached elsewhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::codec::{encode_batch, encode_command};
use crate::command::{Command, Millis, Op, Origin, Outcome};
use crate::error::Error;
use crate::replica::{Change, Member, PeerCall, Replica, Status};
use crate::state::{
    Applied, Entry, MAX_STEP, Machine, Marks, MemoryStore, Payload, Store, View, Views, registered_node,
};

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

/// The only node's id.
const NODE: u64 = 1;
/// The only term there is.
const TERM: u64 = 1;

/// One node that always leads, over any store.
pub struct LocalReplica {
    machine: Mutex<Machine>,
    views: Views,
    marks: Marks,
    clock: Arc<dyn Clock>,
    incarnation: u64,
    sequence: AtomicU64,
    /// The greatest time seen in the log, so that `now` never goes back.
    cluster_time: AtomicU64,
    status: watch::Sender<Status>,
}

impl LocalReplica {
    /// Continues where `store` was left, in a new incarnation.
    ///
    /// # Errors
    /// The store's own.
    pub fn open(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let machine = Machine::open(store)?;
        let applied = machine.applied();
        let replica = Self {
            views: machine.views(),
            marks: machine.marks(),
            machine: Mutex::new(machine),
            clock,
            // Every proposal takes an index, so a store in which anything was proposed gives a greater one.
            incarnation: applied.index + 1,
            sequence: AtomicU64::new(1),
            cluster_time: AtomicU64::new(applied.cluster_time),
            status: watch::channel(Status::default()).0,
        };
        replica.announce(applied)?;
        Ok(replica)
    }

    /// Starts empty, in memory.
    ///
    /// # Errors
    /// None today; the signature is `open`'s.
    pub fn in_memory(clock: Arc<dyn Clock>) -> Result<Self, Error> {
        Self::open(Arc::new(MemoryStore::new()), clock)
    }

    fn propose_now(&self, command: &Command) -> Result<Outcome, Error> {
        let encoded = encode_command(command)?;
        let mut machine = self.machine.lock();
        let now = self.now();
        let cluster_time = machine.applied().cluster_time;
        if cluster_time != 0 && now > cluster_time.saturating_add(MAX_STEP) {
            // A leader whose cluster was idle or dark for long moves the clock first; here it is a quorum itself.
            let origin = self.next_origin();
            let advance = Command {
                origin,
                oldest_term: 0,
                now_used: now,
                expect: vec![],
                ops: vec![Op::AdvanceClock],
            };
            self.commit(&mut machine, now, encode_command(&advance)?)?;
        }
        self.commit(&mut machine, now, encoded)
    }

    fn commit(&self, machine: &mut Machine, now: Millis, command: Bytes) -> Result<Outcome, Error> {
        let index = machine.applied().index + 1;
        let payload = Payload::Commands(encode_batch(now, &[command])?);
        let results = machine.apply(&[Entry {
            index,
            term: TERM,
            payload,
        }])?;
        let applied = machine.applied();
        self.cluster_time.store(applied.cluster_time, Ordering::SeqCst);
        self.announce(applied)?;
        let outcome = results.into_iter().flat_map(|result| result.outcomes).next();
        outcome.map(|(_, outcome)| outcome).ok_or(Error::OutcomeUnknown)
    }

    fn announce(&self, applied: Applied) -> Result<(), Error> {
        let record = registered_node(self.views.latest()?.as_ref(), NODE)?
            .unwrap_or_default()
            .record;
        let member = Member {
            id: NODE,
            record,
            voter: true,
            matched_index: Some(applied.index),
            last_contact_ms: Some(0),
        };
        self.status.send_replace(Status {
            term: TERM,
            leader: Some(NODE),
            is_leader: true,
            last_log_index: applied.index,
            committed_index: applied.index,
            applied_index: applied.index,
            revision: applied.revision,
            members: vec![member],
        });
        Ok(())
    }
}

impl Replica for LocalReplica {
    fn node_id(&self) -> u64 {
        NODE
    }

    fn next_origin(&self) -> Origin {
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
        Origin {
            node: NODE,
            incarnation: self.incarnation,
            sequence,
        }
    }

    fn view(&self) -> Result<Arc<View>, Error> {
        self.views.latest()
    }

    fn read(&self) -> BoxFuture<'_, Result<Arc<View>, Error>> {
        Box::pin(async { self.views.latest() })
    }

    fn propose(&self, command: Command) -> BoxFuture<'_, Result<Outcome, Error>> {
        Box::pin(async move { self.propose_now(&command) })
    }

    fn now(&self) -> Millis {
        self.clock.now().max(self.cluster_time.load(Ordering::SeqCst))
    }

    fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    fn mark(&self, origin: Origin) -> Result<(), Error> {
        self.marks.want(origin)
    }

    fn marked(&self, origin: Origin) -> Result<Option<Arc<View>>, Error> {
        self.marks.view(origin)
    }

    fn forget_mark(&self, origin: Origin) {
        self.marks.forget(origin);
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
