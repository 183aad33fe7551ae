//! Makes the log durable: one thread (a task, where a node has no threads) takes every waiting callback, syncs once, then
//! answers them all (group commit). Callbacks are queued after their writes, so a sync begun later covers them.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use openraft::storage::IOFlushed;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::error::Error;
use crate::log::LogBackend;
use crate::log::store::Fatal;
use crate::log::types::TypeConfig;
use crate::meter::Meter;
use crate::mutant;
use crate::node::offload::{Offload, offload};

/// Most callbacks answered by one sync; bounds the memory of a batch, not its durability.
const MAX_GROUP: usize = 4096;

type Callback = IOFlushed<TypeConfig>;

/// Hands callbacks to the flusher. Dropping it ends the thread after what is queued.
pub struct Flusher {
    queue: Option<mpsc::UnboundedSender<Callback>>,
    thread: Option<JoinHandle<()>>,
}

impl Flusher {
    /// Starts the thread or task; a volatile backend needs none and is answered at once. `meter` counts the syncs.
    pub fn start(
        backend: Arc<dyn LogBackend>,
        fatal: Fatal,
        offload: &Arc<dyn Offload>,
        meter: Arc<Meter>,
    ) -> Result<Self, Error> {
        if backend.volatile() {
            return Ok(Self {
                queue: None,
                thread: None,
            });
        }
        let (queue, waiting) = mpsc::unbounded_channel();
        let thread = if offload.has_threads() {
            let thread = std::thread::Builder::new().name("raft-log-flush".to_owned());
            let thread = thread.spawn(move || run(backend.as_ref(), waiting, &fatal, &meter));
            Some(thread.map_err(|e| Error::Storage(format!("the flusher thread does not start: {e}")))?)
        } else {
            tokio::spawn(run_as_task(backend, waiting, fatal, Arc::clone(offload), meter));
            None
        };
        Ok(Self {
            queue: Some(queue),
            thread,
        })
    }

    /// Answers `callback` once everything written so far is durable.
    pub fn flush(&self, callback: Callback) {
        match &self.queue {
            None => callback.io_completed(Ok(())),
            Some(queue) => {
                if let Err(unsent) = queue.send(callback) {
                    unsent
                        .0
                        .io_completed(Err(io::Error::other("the log flusher has ended")));
                }
            }
        }
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // A panic in the thread has already been reported through its callbacks.
            thread.join().ok();
        }
    }
}

fn run(
    backend: &dyn LogBackend,
    mut waiting: mpsc::UnboundedReceiver<Callback>,
    fatal: &Fatal,
    meter: &Meter,
) {
    let mut group = Vec::new();
    while waiting.blocking_recv_many(&mut group, MAX_GROUP) > 0 {
        answer_early(&mut group, fatal);
        let begun = Instant::now();
        let synced = backend.sync();
        meter.add(begun.elapsed());
        if !answer(&mut group, synced, fatal) {
            return;
        }
    }
}

/// Nothing, but for the mutant that answers before the sync.
fn answer_early(group: &mut Vec<Callback>, fatal: &Fatal) {
    if mutant::is("early-ack") {
        answer(group, Ok(()), fatal);
    }
}

async fn run_as_task(
    backend: Arc<dyn LogBackend>,
    mut waiting: mpsc::UnboundedReceiver<Callback>,
    fatal: Fatal,
    to: Arc<dyn Offload>,
    meter: Arc<Meter>,
) {
    let mut group = Vec::new();
    while waiting.recv_many(&mut group, MAX_GROUP).await > 0 {
        answer_early(&mut group, &fatal);
        let backend = Arc::clone(&backend);
        let begun = Instant::now();
        let synced = offload(to.as_ref(), "a sync of the log", move || backend.sync()).await;
        meter.add(begun.elapsed());
        if !answer(&mut group, synced.and_then(|synced| synced), &fatal) {
            return;
        }
    }
}

/// Tells a group what became of its sync; false if there must not be another.
fn answer(group: &mut Vec<Callback>, synced: Result<(), Error>, fatal: &Fatal) -> bool {
    let Err(error) = synced else {
        group.drain(..).for_each(|callback| callback.io_completed(Ok(())));
        return true;
    };
    // After a failed sync nobody knows what is on the disk: never retried, never answered with success.
    let message = format!("the Raft log cannot be made durable: {error}");
    fatal(&message);
    for callback in group.drain(..) {
        callback.io_completed(Err(io::Error::other(message.clone())));
    }
    false
}
