//! One thread that makes the log durable: it takes every waiting callback, syncs once, then answers them all (group
//! commit). Callbacks are queued after their writes, so a sync begun later covers them.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use openraft::storage::IOFlushed;

use crate::error::Error;
use crate::log::LogBackend;
use crate::log::store::Fatal;
use crate::log::types::TypeConfig;

/// Most callbacks answered by one sync; bounds the memory of a batch, not its durability.
const MAX_GROUP: usize = 4096;

/// Hands callbacks to the flusher. Dropping it ends the thread after what is queued.
pub struct Flusher {
    queue: Option<Sender<IOFlushed<TypeConfig>>>,
    thread: Option<JoinHandle<()>>,
}

impl Flusher {
    /// Starts the thread; a volatile backend needs none and is answered at once, which also keeps simulations
    /// deterministic.
    pub fn start(backend: Arc<dyn LogBackend>, fatal: Fatal) -> Result<Self, Error> {
        if backend.volatile() {
            return Ok(Self {
                queue: None,
                thread: None,
            });
        }
        let (queue, waiting) = channel();
        let thread = std::thread::Builder::new()
            .name("raft-log-flush".to_owned())
            .spawn(move || run(backend.as_ref(), &waiting, &fatal))
            .map_err(|e| Error::Storage(format!("the flusher thread does not start: {e}")))?;
        Ok(Self {
            queue: Some(queue),
            thread: Some(thread),
        })
    }

    /// Answers `callback` once everything written so far is durable.
    pub fn flush(&self, callback: IOFlushed<TypeConfig>) {
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

fn run(backend: &dyn LogBackend, waiting: &Receiver<IOFlushed<TypeConfig>>, fatal: &Fatal) {
    while let Ok(first) = waiting.recv() {
        let mut group = vec![first];
        group.extend(waiting.try_iter().take(MAX_GROUP));
        match sync(backend) {
            Ok(()) => group
                .into_iter()
                .for_each(|callback| callback.io_completed(Ok(()))),
            Err(error) => {
                // After a failed sync nobody knows what is on the disk: never retried, never answered with success.
                let message = format!("the Raft log cannot be made durable: {error}");
                fatal(&message);
                for callback in group {
                    callback.io_completed(Err(io::Error::other(message.clone())));
                }
                return;
            }
        }
    }
}

#[cfg(not(feature = "mutant-skip-fsync"))]
fn sync(backend: &dyn LogBackend) -> Result<(), Error> {
    backend.sync()
}

/// The mutant that a durability test must catch.
#[cfg(feature = "mutant-skip-fsync")]
fn sync(_backend: &dyn LogBackend) -> Result<(), Error> {
    Ok(())
}
