//! What a node does by itself is on record too: expiry, revocation, rotation, promotion, sealing. One record each, of type
//! `act`. The command that does it leaves a note, and the note goes once the record is written: a crash in between loses
//! nothing, for whoever leads then finds the note and writes the record. Knows no job and no engine.

mod ledger;
mod members;
mod note;
mod tend;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use conclave_engine_api::{Env, Millis, Operation};

use crate::audit::{DeviceSet, Head, Lines, Record, Taken};
use crate::core::Core;
use crate::entropy::OsEntropy;
use crate::error::Error;

pub use ledger::Ledger;
pub use note::Noted;

/// Room that an act takes in a note besides its path and its data, roughly, in bytes.
const FRAME: usize = 32;

/// Something a node did by itself.
#[derive(Clone, Serialize, Deserialize)]
pub struct Act {
    /// Whether something ended; else something was changed.
    pub ends: bool,
    /// Of what, in the clear: no name that a client chose but those that paths have.
    pub path: String,
    /// More of it; values are hashed as those of requests are.
    pub data: Map<String, Value>,
}

impl Act {
    /// The end of something whose name is told hashed only.
    pub fn end(path: impl Into<String>, name: &'static str, value: impl Into<Value>) -> Self {
        Self {
            ends: true,
            path: path.into(),
            data: Map::from_iter([(name.to_owned(), value.into())]),
        }
    }

    /// A change that has no name.
    pub fn change(path: impl Into<String>) -> Self {
        Self {
            ends: false,
            path: path.into(),
            data: Map::new(),
        }
    }

    /// The same, and whether all of it was done.
    #[must_use]
    pub fn complete(mut self, done: bool) -> Self {
        self.data.insert("complete".to_owned(), done.into());
        self
    }

    /// Bytes it takes in a note, roughly.
    pub fn size(&self) -> usize {
        let text = |value: &Value| value.as_str().map_or(FRAME, str::len);
        let data = self.data.iter().map(|(name, value)| name.len() + text(value));
        FRAME + self.path.len() + data.sum::<usize>()
    }

    fn operation(&self) -> Operation {
        match self.ends {
            true => Operation::Delete,
            false => Operation::Update,
        }
    }
}

impl Core {
    /// Records what no command did, in one write. If no device takes it, that is said in the log.
    pub(crate) async fn record_acts(&self, acts: &[Act]) {
        let node = self.seal.replica().map_or(0, |replica| replica.node_id());
        let each = acts
            .iter()
            .map(|act| (Env::new(0, &mut OsEntropy).uuid(), act.clone()));
        let devices = self.audit.current();
        if let Err(error) = write_acts(&devices, each, (node, self.seal.now())).await {
            tracing::error!(acts = acts.len(), %error, "what this node did by itself is not on record");
        }
    }
}

/// Records acts of a node, each under its id, as of the time when they were done. Without any device there is nothing to do.
///
/// # Errors
/// [`Error::AuditRefused`]: no device took all of it, or one that must did not.
async fn write_acts(
    devices: &DeviceSet,
    acts: impl Iterator<Item = (String, Act)>,
    (node, time): (u64, Millis),
) -> Result<(), Error> {
    if devices.is_empty() {
        return Ok(());
    }
    let mut lines = Lines::default();
    for (id, mut act) in acts {
        act.data.insert("node".to_owned(), node.into());
        let head = Head {
            operation: act.operation(),
            ..Head::step(&id, time, &act.path, None)
        };
        devices.add(&Record::act(head, &act.data), &mut lines);
        // What goes to different devices must not be lost, or counted, together.
        if devices.is_filtered() {
            finish(devices, std::mem::take(&mut lines)).await?;
        }
    }
    finish(devices, lines).await
}

async fn finish(devices: &DeviceSet, lines: Lines) -> Result<(), Error> {
    devices.finish(lines, Taken::default()).await
}
