//! What is kept of a lease. Never the secret itself: who was given one has it, and nobody else needs it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use conclave_engine_api::{Leased, Millis};

/// A lease.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRecord {
    /// The namespace it was handed out in.
    pub namespace: u32,
    /// Id of the mount that handed it out.
    pub mount: u32,
    /// The mount's path then, with trailing slash.
    pub mount_path: String,
    /// The mount's type.
    pub kind: String,
    /// The path that was read.
    pub path: String,
    /// Name of the row of the token it ends with; `None`: nobody's.
    pub owner: Option<String>,
    /// What the engine calls the target.
    pub target: String,
    /// When it was handed out.
    pub issued: Millis,
    /// When it ends.
    pub expires: Millis,
    /// When it was last renewed; 0 for never.
    pub renewed: Millis,
    /// No renewal passes this: the end of a token that cannot be renewed; 0: nothing such.
    #[serde(default)]
    pub latest: Millis,
    /// Whether it may be renewed.
    pub renewable: bool,
    /// What the engine keeps.
    pub internal: Map<String, Value>,
    /// The rule that counts it, if a quota does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted: Option<String>,
    /// How its revocation stands, once it is being revoked. There is no way back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<Ending>,
}

/// A revocation that has begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// When it began.
    pub since: Millis,
    /// How often the target was asked. Each time is committed before it is asked.
    pub attempts: u32,
    /// What was said the last time; empty: nothing went wrong.
    pub error: String,
    /// When the attempt began of which that was said.
    #[serde(default)]
    pub tried: Millis,
    /// Whether the target did not answer it.
    #[serde(default)]
    pub silent: bool,
    /// Whether the row goes even if the target does not do its part.
    #[serde(default)]
    pub force: bool,
}

impl Ending {
    /// Whether the last attempt failed.
    pub fn failed(&self) -> bool {
        !self.error.is_empty()
    }

    /// What was said of the last attempt, if that failed and did not begin before `began`.
    pub fn error_since(&self, began: Millis) -> Option<&str> {
        (self.failed() && self.tried >= began).then_some(self.error.as_str())
    }

    /// The last attempt failed.
    pub fn fail(&mut self, error: String, tried: Millis, silent: bool) {
        self.error = error;
        self.tried = tried;
        self.silent = silent;
    }

    /// What was there is gone; it is dropped again later, as if it had not been tried.
    pub fn start_over(&mut self) {
        self.attempts = 0;
        self.error.clear();
        self.silent = false;
    }
}

/// A lease in the making.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntentRecord {
    /// What it will be.
    pub lease: LeaseRecord,
    /// The executor begins nothing after this.
    pub run_until: Millis,
    /// What the executor's session is called at the target.
    pub session: String,
    /// How often what is left of it was dropped.
    pub sweeps: u32,
}

impl LeaseRecord {
    /// As its engine is asked about it.
    pub fn leased<'a>(&'a self, session: &'a str) -> Leased<'a> {
        Leased {
            internal: &self.internal,
            session,
        }
    }

    /// Begins its revocation, unless it has begun.
    pub fn begin_end(&mut self, now: Millis, force: bool) {
        let ending = self.ending.get_or_insert(Ending {
            since: now,
            attempts: 0,
            error: String::new(),
            tried: 0,
            silent: false,
            force: false,
        });
        ending.force |= force;
    }
}
