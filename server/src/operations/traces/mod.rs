//! Sends traces of requests to a collector by OTLP: spans are taken off the log's machinery, gathered in a bounded queue and
//! posted. Nothing waits for it: what does not fit or is not taken is dropped and told of in the log.

mod collect;
mod otlp;
mod post;

use std::time::Duration;

use tokio::sync::mpsc;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::{Layer, Registry};

use conclave_raft::meter::TRACES;

use collect::Collect;
pub use collect::Ended;
pub use post::Collector;

/// Most spans that wait to be sent.
const QUEUE: usize = 8192;
/// Most spans in one message.
const BATCH: usize = 512;
/// How long spans are gathered before they are sent.
const LINGER: Duration = Duration::from_millis(500);

/// Who says it: this process.
#[derive(Debug, Clone)]
pub struct Speaker {
    /// The node's name.
    pub node: String,
}

/// What takes spans, as a part of the log's machinery, and what sends them.
pub fn start() -> (Box<dyn Layer<Registry> + Send + Sync>, mpsc::Receiver<Ended>) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let only = Targets::new().with_target(TRACES, LevelFilter::TRACE);
    (Collect::new(sender).with_filter(only).boxed(), receiver)
}

/// Sends what was taken for as long as the process runs.
pub async fn send(collector: Collector, speaker: Speaker, mut ended: mpsc::Receiver<Ended>) {
    let mut batch = Vec::with_capacity(BATCH);
    let (mut failing, mut lost) = (false, 0);
    let mut way = post::Way::new(collector);
    while ended.recv_many(&mut batch, BATCH).await > 0 {
        tokio::time::sleep(LINGER).await;
        while batch.len() < BATCH
            && let Ok(more) = ended.try_recv()
        {
            batch.push(more);
        }
        let message = otlp::message(&speaker, &batch);
        match way.post(message).await {
            Ok(()) if failing => {
                tracing::info!(lost, "the collector takes traces again");
                (failing, lost) = (false, 0);
            }
            Ok(()) => {}
            Err(error) => {
                lost += batch.len();
                if !failing {
                    tracing::warn!(%error, "the collector takes no traces: they are dropped until it does");
                }
                failing = true;
            }
        }
        batch.clear();
    }
}

#[cfg(test)]
mod tests;
