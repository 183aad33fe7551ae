//! Takes the records of a spool to their target, one batch after the other, for as long as the device is there. What fails
//! is tried again for ever, with longer and longer pauses; requests never wait for it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::IntCounter;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::audit::courier::{Courier, Couriers};
use crate::audit::spool::{BATCH, Spool};
use crate::audit::target::Target;

/// Pause after the first failure; doubled with each further one ...
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// ... up to this.
const MAX_PAUSE: Duration = Duration::from_secs(15);
/// How long at most nobody looks whether there is something to send.
const LOOK: Duration = Duration::from_secs(5);

/// Pause after a batch that was not full: records gather, and each batch costs reading, sending and a mark on the disk that
/// requests sync to.
const GATHER: Duration = Duration::from_millis(50);

/// One device's way out.
pub struct Shipping {
    /// What waits.
    pub spool: Arc<Spool>,
    target: Target,
    news: Notify,
    trouble: Mutex<Option<Trouble>>,
}

/// Why nothing is sent.
#[derive(Clone)]
pub struct Trouble {
    /// Since when.
    pub since: Instant,
    /// What the last try came to.
    pub error: String,
}

impl Shipping {
    /// Sends what is in the spool to the target once it runs.
    pub fn new(spool: Arc<Spool>, target: Target) -> Self {
        Self {
            spool,
            target,
            news: Notify::new(),
            trouble: Mutex::default(),
        }
    }

    /// There is something to send.
    pub fn wake(&self) {
        self.news.notify_one();
    }

    /// Why nothing is sent, if so.
    pub fn trouble(&self) -> Option<Trouble> {
        self.trouble.lock().clone()
    }

    /// Sends for ever.
    pub async fn run(self: Arc<Self>, path: String, couriers: Arc<dyn Couriers>, sent: IntCounter) {
        let mut courier = None;
        let mut pause = FIRST_PAUSE;
        loop {
            match self.step(&mut courier, couriers.as_ref(), &sent).await {
                Ok(Some(bytes)) => {
                    pause = FIRST_PAUSE;
                    if self.trouble.lock().take().is_some() {
                        tracing::info!(device = path, "audit records are handed on again");
                    }
                    if (bytes as u64) < BATCH / 2 {
                        tokio::time::sleep(GATHER).await;
                    }
                }
                Ok(None) => {
                    pause = FIRST_PAUSE;
                    // Looked at now and then all the same: what an earlier process left tells nobody.
                    tokio::time::timeout(LOOK, self.news.notified()).await.ok();
                }
                Err(error) => {
                    courier = None;
                    self.fail(&path, &error);
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(MAX_PAUSE);
                }
            }
        }
    }

    /// Sends one batch. Its bytes, if there was one.
    async fn step(
        &self,
        courier: &mut Option<Box<dyn Courier>>,
        couriers: &dyn Couriers,
        sent: &IntCounter,
    ) -> io::Result<Option<usize>> {
        let spool = self.spool.clone();
        let batch = blocking(move || spool.next()).await?;
        let Some(batch) = batch else { return Ok(None) };
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, "the target did not take records in time");
        let mut open = match courier.take() {
            Some(open) => open,
            None => tokio::time::timeout(self.target.timeout, couriers.connect(&self.target))
                .await
                .map_err(late)??,
        };
        let lines: Vec<&[u8]> = batch
            .bytes
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .collect();
        tokio::time::timeout(self.target.timeout, open.send(&lines))
            .await
            .map_err(late)??;
        *courier = Some(open);
        sent.inc_by(lines.len() as u64);
        let (spool, upto) = (self.spool.clone(), batch.upto);
        blocking(move || spool.sent(upto)).await?;
        Ok(Some(batch.bytes.len()))
    }

    fn fail(&self, path: &str, error: &io::Error) {
        let mut trouble = self.trouble.lock();
        let since = match &*trouble {
            Some(before) => before.since,
            None => {
                tracing::warn!(device = path, target = %self.target, %error, "audit records are not handed on; they wait in the spool");
                Instant::now()
            }
        };
        *trouble = Some(Trouble {
            since,
            error: error.to_string(),
        });
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|_| Err(io::Error::other("reading the spool broke off")))
}
