//! The state machine as openraft wants it: feeds committed entries to `state::Machine`, publishes how far it got and
//! hands outcomes to whoever on this node waits for them. This file must not know what commands mean.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::{Stream, StreamExt};
use openraft::OptionalSend;
use openraft::storage::{ApplyResponder, EntryResponder, RaftSnapshotBuilder, RaftStateMachine, Snapshot};
use openraft::type_config::alias::SnapshotOf;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::door::Waiters;
use crate::error::Error;
use crate::log::Fatal;
use crate::log::format::{decode_members, encode_members};
use crate::log::types::{LogEntry, LogId, LogPayload, StoredMembers, TypeConfig, position, term_of};
use crate::meter::{Meter, Work};
use crate::node::clock::ClusterClock;
use crate::node::offload::{Offload, offload};
use crate::node::snapshots::{Checkpoint, Meta, Snapshots, applied_log_id};
use crate::state::{Applied, Entry, Machine, Marks, Payload, Store, Views};

/// Most entries in one write of the state store.
const MAX_SLICE: usize = 1024;
/// Most payload bytes in one write of the state store.
const MAX_SLICE_BYTES: usize = 8 << 20;

/// The node's state machine. Clones share it, so that a Raft core can be replaced over it.
#[derive(Clone)]
pub struct StateMachine {
    shared: Arc<Shared>,
    /// Which Raft core writes through this handle.
    core: u64,
}

struct Shared {
    machine: Mutex<Machine>,
    store: Arc<dyn Store>,
    views: Views,
    marks: Marks,
    snapshots: Arc<Snapshots>,
    waiters: Arc<Waiters>,
    clock: Arc<ClusterClock>,
    applied: watch::Sender<Applied>,
    fatal: Fatal,
    offload: Arc<dyn Offload>,
    /// The Raft core that may write. One that was replaced may still have entries in hand.
    core: AtomicU64,
    applies: Meter,
    commands: AtomicU64,
    store_gets: AtomicU64,
}

impl StateMachine {
    /// Continues where `store` was left.
    ///
    /// # Errors
    /// The store's own.
    pub fn open(
        store: Arc<dyn Store>,
        snapshots: Arc<Snapshots>,
        waiters: Arc<Waiters>,
        clock: Arc<ClusterClock>,
        fatal: Fatal,
        offload: Arc<dyn Offload>,
    ) -> Result<Self, Error> {
        let machine = Machine::open(Arc::clone(&store))?;
        clock.applied(machine.applied().cluster_time);
        let (applied, _) = watch::channel(machine.applied());
        Ok(Self {
            shared: Arc::new(Shared {
                views: machine.views(),
                marks: machine.marks(),
                machine: Mutex::new(machine),
                store,
                snapshots,
                waiters,
                clock,
                applied,
                fatal,
                offload,
                core: AtomicU64::new(0),
                applies: Meter::default(),
                commands: AtomicU64::new(0),
                store_gets: AtomicU64::new(0),
            }),
            core: 0,
        })
    }

    /// The handle for a new Raft core; the core before it cannot write from here on.
    pub fn for_new_core(&self) -> Self {
        let _nobody_writes = self.shared.machine.lock();
        let core = self.shared.core.fetch_add(1, Ordering::SeqCst) + 1;
        Self {
            shared: Arc::clone(&self.shared),
            core,
        }
    }

    /// Which Raft core this handle is for.
    pub fn core(&self) -> u64 {
        self.core
    }

    fn may_write(&self) -> Result<(), Error> {
        match self.core == self.shared.core.load(Ordering::SeqCst) {
            true => Ok(()),
            false => Err(Error::Stopped("another Raft core has taken over".to_owned())),
        }
    }

    /// Views of the applied state.
    pub fn views(&self) -> Views {
        self.shared.views.clone()
    }

    /// Where views behind single commands are asked for.
    pub fn marks(&self) -> &Marks {
        &self.shared.marks
    }

    /// How far this node has applied; `index` counts positions.
    pub fn applied(&self) -> watch::Receiver<Applied> {
        self.shared.applied.subscribe()
    }

    /// What applying has cost; the log's part is for whoever has the log.
    pub fn work(&self) -> Work {
        Work {
            applies: self.shared.applies.read(),
            commands: self.shared.commands.load(Ordering::Relaxed),
            store_gets: self.shared.store_gets.load(Ordering::Relaxed),
            ..Work::default()
        }
    }

    /// Up to which position the newest snapshot reaches.
    pub fn snapshot_position(&self) -> u64 {
        let current = self.shared.snapshots.current();
        current.map_or(0, |(meta, _)| position(meta.last_log_id.as_ref()))
    }

    fn write(
        &self,
        entries: &mut Vec<Entry>,
        responders: &mut Vec<ApplyResponder<TypeConfig>>,
    ) -> Result<(), Error> {
        if entries.is_empty() {
            return Ok(());
        }
        let (outcomes, applied, took) = {
            let mut machine = self.shared.machine.lock();
            self.may_write()?;
            let begun = Instant::now();
            let outcomes = machine.apply(entries)?;
            let took = begun.elapsed();
            self.shared.applies.add(took);
            let stats = machine.stats();
            self.shared.commands.store(stats.commands, Ordering::Relaxed);
            self.shared.store_gets.store(stats.store_gets, Ordering::Relaxed);
            (outcomes, machine.applied(), took)
        };
        self.shared.clock.applied(applied.cluster_time);
        // Published before anybody hears of it: who has an outcome must find it in the next view.
        self.shared.applied.send_replace(applied);
        for (entry, applying) in entries.drain(..).zip(outcomes) {
            let waiters = &self.shared.waiters;
            waiters.trace((entry.term, entry.index), took, &applying.outcomes);
            waiters.applied(entry.term, applying.outcomes);
        }
        for responder in responders.drain(..) {
            responder.send(());
        }
        Ok(())
    }

    fn replace(&self, meta: &Meta, checkpoint: &Checkpoint) -> Result<(), Error> {
        let applied = {
            let mut machine = self.shared.machine.lock();
            self.may_write()?;
            if applied_log_id(&machine.applied()) < meta.last_log_id {
                machine.install(&checkpoint.data())?;
            }
            machine.applied()
        };
        if applied.index < position(meta.last_log_id.as_ref()) {
            return Err(Error::Corrupt {
                what: "snapshot",
                detail: format!("it ends at {} and was announced to reach {meta}", applied.index),
            });
        }
        self.shared.snapshots.adopt(meta, checkpoint)?;
        self.shared.clock.applied(applied.cluster_time);
        self.shared.applied.send_replace(applied);
        self.shared.waiters.jumped(applied.term);
        Ok(())
    }

    /// An error here leaves the node behind for ever or wrong: it stops.
    fn stop(&self, doing: &str, error: &Error) -> io::Error {
        let message = format!("{doing}: {error}");
        if self.may_write().is_ok() {
            (self.shared.fatal)(&message);
        }
        io::Error::other(message)
    }
}

/// An entry as the state machine takes it, and its payload bytes.
fn entry_of(entry: LogEntry) -> Result<(Entry, usize), Error> {
    let id = entry.log_id;
    let payload = match entry.payload {
        LogPayload::Blank => Payload::Blank,
        LogPayload::Normal(batch) => Payload::Commands(batch.0),
        LogPayload::Membership(members) => {
            Payload::Membership(encode_members(&StoredMembers::new(Some(id), members))?)
        }
    };
    let bytes = match &payload {
        Payload::Commands(bytes) => bytes.len(),
        _ => 0,
    };
    let entry = Entry {
        index: position(Some(&id)),
        term: term_of(&id),
        payload,
    };
    Ok((entry, bytes))
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = Checkpoint;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembers), io::Error> {
        let machine = self.shared.machine.lock();
        match decode_members(machine.membership()) {
            Ok(members) => Ok((applied_log_id(&machine.applied()), members)),
            Err(error) => Err(self.stop("the applied membership", &error)),
        }
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        let (mut slice, mut responders, mut bytes) = (Vec::new(), Vec::new(), 0);
        while let Some(item) = entries.next().await {
            let (entry, responder) = item?;
            let (entry, size) = entry_of(entry).map_err(|e| self.stop("a log entry", &e))?;
            slice.push(entry);
            responders.extend(responder);
            bytes += size;
            if slice.len() >= MAX_SLICE || bytes >= MAX_SLICE_BYTES {
                bytes = 0;
                self.write(&mut slice, &mut responders)
                    .map_err(|e| self.stop("apply", &e))?;
            }
        }
        self.write(&mut slice, &mut responders)
            .map_err(|e| self.stop("apply", &e))
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder {
            machine: self.clone(),
        }
    }

    async fn install_snapshot(&mut self, meta: &Meta, snapshot: Checkpoint) -> Result<(), io::Error> {
        let doing = "installing a snapshot";
        let (machine, meta) = (self.clone(), meta.clone());
        let replace = move || machine.replace(&meta, &snapshot);
        let installed = offload(self.shared.offload.as_ref(), doing, replace).await;
        let installed = installed.map_err(|e| io::Error::other(e.to_string()))?;
        installed.map_err(|e| self.stop(doing, &e))
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> Result<Option<SnapshotOf<TypeConfig, Checkpoint>>, io::Error> {
        let current = self.shared.snapshots.current();
        Ok(current.map(|(meta, snapshot)| Snapshot { meta, snapshot }))
    }
}

/// Makes snapshots beside the running state machine.
pub struct Builder {
    machine: StateMachine,
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    type SnapshotData = Checkpoint;

    async fn build_snapshot(&mut self) -> Result<SnapshotOf<TypeConfig, Checkpoint>, io::Error> {
        let machine = self.machine.clone();
        let doing = "making a snapshot";
        let building = machine.clone();
        let build = move || building.shared.snapshots.build(building.shared.store.as_ref());
        let built = offload(machine.shared.offload.as_ref(), doing, build).await;
        let built = built.map_err(|e| io::Error::other(e.to_string()))?;
        let (meta, snapshot) = built.map_err(|e| machine.stop(doing, &e))?;
        Ok(Snapshot { meta, snapshot })
    }
}
