//! One device's output: a journal, and for a target elsewhere the way there. Says once when it begins to fail and once when
//! it works again.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::IntCounter;

use conclave_engine_api::Millis;

use crate::audit::chain::{self, Tip};
use crate::audit::courier::Couriers;
use crate::audit::journal::{Journal, Line, Ticket};
use crate::audit::options::{DeviceOptions, Output, RemoteOptions};
use crate::audit::place::NamedFile;
use crate::audit::shipping::Shipping;
use crate::audit::spool::{Spool, folder};
use crate::error::Error;

/// How long an answer waits for a device at most.
const PATIENCE: Duration = Duration::from_secs(10);
/// The share of a spool, in hundredths, from which on its filling is an alarm.
const ALARM: u64 = 80;

/// What outputs are made with.
pub struct Surroundings {
    /// Directories in which files may be made.
    pub directories: Arc<[PathBuf]>,
    /// Targets that devices enabled over the API may have.
    pub targets: Vec<String>,
    /// This node's name.
    pub node: String,
    /// Who takes records elsewhere.
    pub couriers: Arc<dyn Couriers>,
    /// Counts records that were taken there.
    pub sent: IntCounter,
}

/// An output.
pub struct Sink {
    path: String,
    /// Tells one enabling of a device from the next.
    tag: Option<String>,
    options: DeviceOptions,
    journal: Arc<Journal>,
    shipping: Option<Arc<Shipping>>,
    running: Mutex<Option<Running>>,
    failing: AtomicBool,
    /// What it failed with first.
    failed: Mutex<String>,
    /// Its disk did not answer in time: asked again by nobody but the one that still waits.
    stuck: AtomicBool,
    alarmed: AtomicBool,
}

/// How an output is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Bytes that wait, and bytes there is room for; `None` for files.
    pub spool: Option<(u64, u64)>,
    /// What is wrong, if anything.
    pub trouble: Option<String>,
    /// Records taken and refused since the node began.
    pub records: (u64, u64),
}

struct Running(tokio::task::AbortHandle);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Sink {
    /// The output of these options for the device at `path`. `tag` is part of its chain's name: a device that is enabled again,
    /// perhaps with another file, begins a chain of its own.
    ///
    /// # Errors
    /// There is no directory in which a spool may be.
    pub fn new(
        (path, tag): (&str, Option<&str>),
        options: DeviceOptions,
        around: &Surroundings,
    ) -> Result<Arc<Self>, Error> {
        let chain = options.chain.then(|| chain::name(&around.node, path, tag));
        let (journal, shipping) = match &options.output {
            Output::File(file) => {
                let place = NamedFile::new(file.clone(), around.directories.clone());
                (Journal::new(place, options.sync, chain), None)
            }
            Output::Remote(RemoteOptions { target, spool_bytes }) => {
                let directory = around.directories.first().ok_or_else(|| {
                    Error::invalid(
                        "this device needs audit_directories: its spool is kept in the first of them",
                    )
                })?;
                let spool = Arc::new(Spool::new(
                    folder(directory, &around.node, path),
                    *spool_bytes,
                    options.sync,
                ));
                let journal = Journal::new(spool.clone(), options.sync, chain);
                (journal, Some(Arc::new(Shipping::new(spool, target.clone()))))
            }
        };
        Ok(Arc::new(Self {
            path: path.to_owned(),
            tag: tag.map(str::to_owned),
            options,
            journal: Arc::new(journal),
            shipping,
            running: Mutex::default(),
            failing: AtomicBool::new(false),
            failed: Mutex::default(),
            stuck: AtomicBool::new(false),
            alarmed: AtomicBool::new(false),
        }))
    }

    /// Has records handed on, unless they are already; for a file there is nothing to do.
    pub fn start(&self, around: &Surroundings) {
        let mut running = self.running.lock();
        if let (Some(shipping), None, Ok(runtime)) =
            (&self.shipping, &*running, tokio::runtime::Handle::try_current())
        {
            let run = shipping
                .clone()
                .run(self.path.clone(), around.couriers.clone(), around.sent.clone());
            *running = Some(Running(runtime.spawn(run).abort_handle()));
        }
    }

    /// Hands nothing on until it is started again: connections end, whose buffers hold records.
    pub fn stop(&self) {
        *self.running.lock() = None;
    }

    /// Whether it is the output of a device with this tag and these options.
    pub fn is(&self, tag: Option<&str>, options: &DeviceOptions) -> bool {
        self.tag.as_deref() == tag && self.options == *options
    }

    /// Its options.
    pub fn options(&self) -> &DeviceOptions {
        &self.options
    }

    /// Whether records are chained.
    pub fn is_chained(&self) -> bool {
        self.journal.is_chained()
    }

    /// Name and end of its chain, once there is a record.
    pub fn head(&self) -> Option<(&str, Tip)> {
        self.journal.head()
    }

    /// Whether it could take records: opens what is to be written to.
    pub fn check(&self) -> io::Result<()> {
        self.journal.check()
    }

    /// Opens its file again.
    pub fn reopen(&self) -> io::Result<()> {
        match self.shipping {
            Some(_) => Ok(()),
            None => self.journal.reopen(),
        }
    }

    /// Puts records where the next write takes them.
    pub fn queue(&self, lines: Vec<Line>, now: Millis) -> Ticket {
        self.journal.queue(lines, now)
    }

    /// Whether so much waits that nobody else should be waited for.
    pub fn is_pressed(&self) -> bool {
        self.journal.is_pressed()
    }

    /// Writes what waits, unless another did.
    pub fn write(&self, ticket: &Ticket) -> io::Result<()> {
        self.noted(self.journal.write(ticket))
    }

    /// Writes, and waits until the records are as durable as the options ask; not for ever.
    pub async fn settle(self: &Arc<Self>, ticket: &Ticket) -> io::Result<()> {
        if !self.options.sync {
            return self.write(ticket);
        }
        let late = || io::Error::new(io::ErrorKind::TimedOut, "the disk did not answer in time");
        if self.stuck.load(Ordering::Relaxed) {
            return Err(late());
        }
        let settled = match tokio::time::timeout(PATIENCE, self.journal.settle(ticket)).await {
            Ok(settled) => settled,
            Err(_) => {
                self.wait_apart(ticket);
                Err(late())
            }
        };
        self.noted(settled)
    }

    /// Takes over whether records were taken: says so if that is new, and has them handed on.
    fn noted(&self, taken: io::Result<()>) -> io::Result<()> {
        self.note(taken.as_ref().err());
        if let (Some(shipping), Ok(())) = (&self.shipping, &taken) {
            shipping.wake();
            self.watch(shipping);
        }
        taken
    }

    /// Goes on waiting for a sync that takes too long; until it ends nobody else begins to.
    fn wait_apart(self: &Arc<Self>, ticket: &Ticket) {
        if !self.stuck.swap(true, Ordering::Relaxed) {
            let (sink, ticket) = (self.clone(), ticket.clone());
            tokio::spawn(async move {
                sink.journal.settle(&ticket).await.ok();
                sink.stuck.store(false, Ordering::Relaxed);
            });
        }
    }

    /// How it is.
    pub fn state(&self) -> State {
        let trouble = self.shipping.as_ref().and_then(|shipping| shipping.trouble());
        let trouble = trouble.map(|trouble| {
            format!(
                "not handed on for {} s: {}",
                trouble.since.elapsed().as_secs(),
                trouble.error
            )
        });
        let failing = self.failing.load(Ordering::Relaxed);
        let alarmed = self.alarmed.load(Ordering::Relaxed);
        State {
            records: self.journal.counts(),
            spool: self.shipping.as_ref().map(|shipping| shipping.spool.fill()),
            trouble: failing
                .then(|| format!("records are refused: {}", self.failed.lock()))
                .or(trouble)
                .or_else(|| alarmed.then(|| "its spool is nearly full".to_owned())),
        }
    }

    /// Says once that it fails, and once that it works again.
    fn note(&self, error: Option<&io::Error>) {
        let failed = error.is_some();
        if self.failing.load(Ordering::Relaxed) == failed
            || self.failing.swap(failed, Ordering::Relaxed) == failed
        {
            return;
        }
        match error {
            Some(error) => {
                *self.failed.lock() = error.to_string();
                tracing::error!(device = self.path, %error, "audit device refuses records");
            }
            None => tracing::info!(device = self.path, "audit device takes records again"),
        }
    }

    /// Says once that the spool is filling up.
    fn watch(&self, shipping: &Shipping) {
        let (waiting, room) = shipping.spool.fill();
        let high = waiting.saturating_mul(100) >= room.saturating_mul(ALARM);
        if self.alarmed.load(Ordering::Relaxed) == high || self.alarmed.swap(high, Ordering::Relaxed) == high
        {
            return;
        }
        if high {
            tracing::warn!(
                device = self.path,
                waiting,
                room,
                "the spool of an audit device is nearly full"
            );
        } else {
            tracing::info!(
                device = self.path,
                waiting,
                room,
                "the spool of an audit device has room again"
            );
        }
    }
}
