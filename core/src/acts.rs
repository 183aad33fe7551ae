//! What a node does by itself is on record too: expiry, revocation, rotation, promotion, sealing. One record each, of type
//! `act`, after it was done; if no device takes it, that is said in the log, for nothing of this may be left undone.

use serde_json::{Map, Value};

use conclave_engine_api::{Env, Operation};

use crate::audit::{DeviceSet, Head, Lines, Record, Taken};
use crate::core::Core;
use crate::entropy::OsEntropy;

/// Something a node did by itself.
pub struct Act {
    /// What it comes to.
    pub operation: Operation,
    /// Of what, in the clear: no name that a client chose but those that paths have.
    pub path: String,
    /// More of it; values are hashed as those of requests are.
    pub data: Map<String, Value>,
}

impl Act {
    /// The end of something whose name is told hashed only.
    pub fn end(path: impl Into<String>, name: &'static str, value: impl Into<Value>) -> Self {
        Self {
            operation: Operation::Delete,
            path: path.into(),
            data: Map::from_iter([(name.to_owned(), value.into())]),
        }
    }

    /// A change that has no name.
    pub fn change(path: impl Into<String>) -> Self {
        Self {
            operation: Operation::Update,
            path: path.into(),
            data: Map::new(),
        }
    }
}

impl Core {
    /// Records what was done, in one write.
    pub(crate) async fn record_acts(&self, acts: &[Act]) {
        let devices = self.audit.current();
        if devices.is_empty() || acts.is_empty() {
            return;
        }
        let (mut lines, now) = (Lines::default(), self.seal.now());
        for act in acts {
            let request_id = Env::new(0, &mut OsEntropy).uuid();
            let head = Head {
                operation: act.operation,
                ..Head::step(&request_id, now, &act.path, None)
            };
            devices.add(&Record::act(head, &act.data), &mut lines);
            // What goes to different devices must not be lost, or counted, together.
            if devices.is_filtered() {
                finish(&devices, std::mem::take(&mut lines), 1).await;
            }
        }
        finish(&devices, lines, acts.len()).await;
    }
}

async fn finish(devices: &DeviceSet, lines: Lines, acts: usize) {
    if let Err(error) = devices.finish(lines, Taken::default()).await {
        tracing::error!(acts, %error, "what this node did by itself is not on record");
    }
}
