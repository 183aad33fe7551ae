//! What an engine answers. Bodies are data, not transport: status lines and envelopes are built at the edges.

use std::fmt;

use serde_json::{Map, Value};

use crate::effect::Effect;
use crate::error::Error;
use crate::heavy::Heavy;
use crate::login::Login;

/// What a handled request led to.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Outcome {
    /// An answer; the transaction is committed if it changed anything.
    Reply(Reply),
    /// Who asked is let in: a token is made in the same command as the transaction. Only for the paths in `logins`.
    Login(Box<Login>),
    /// This must be computed first; nothing is committed, and the engine is asked again with the answer in its `Env`.
    Heavy(Heavy),
    /// This is done outside the cluster: the transaction is committed first, then the plan runs, then its result is
    /// committed and answered.
    Effect(Box<Effect>),
}

impl Outcome {
    /// The answer to a list: `{"keys": [..]}`, or a 404 if there is none, as Vault answers.
    pub fn listing(keys: Vec<String>) -> Result<Self, Error> {
        if keys.is_empty() {
            return Err(Error::not_found());
        }
        Ok(Reply::keys(keys).into())
    }

    /// The answer to a scan: `{"keys": [..]}`, or `{}` if there is none, as OpenBao answers.
    pub fn scanned(keys: Vec<String>) -> Self {
        if keys.is_empty() {
            return Reply::data(Map::new()).into();
        }
        Reply::keys(keys).into()
    }
}

impl From<Reply> for Outcome {
    fn from(reply: Reply) -> Self {
        Self::Reply(reply)
    }
}

/// How the answer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Status {
    /// Done, with data (HTTP 200) or without (HTTP 204).
    #[default]
    Done,
    /// Done in the background (HTTP 202).
    Accepted,
    /// Not there, yet with a body: a deleted KV version (HTTP 404 with data).
    NotFoundWithBody,
    /// Done in part, as the data says: a batch with items that failed (this HTTP status, with data).
    InPart(u16),
}

/// An answer. `data: None` and no warnings means "done, nothing to say".
#[derive(Clone, PartialEq, Default)]
pub struct Reply {
    /// How it stands.
    pub status: Status,
    /// The `data` object.
    pub data: Option<Map<String, Value>>,
    /// Warnings for the caller.
    pub warnings: Vec<String>,
    /// Seconds shown as `lease_duration` when there is no lease (KV v1 reads).
    pub lease_duration_hint: Option<u64>,
    /// A body that replaces the envelope.
    pub raw: Option<RawBody>,
}

/// A body that is not the JSON envelope.
#[derive(Clone, PartialEq, Eq)]
pub struct RawBody {
    /// HTTP status.
    pub status: u16,
    /// MIME type.
    pub content_type: &'static str,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// Shows how the answer stands and what it has, never a value.
impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply")
            .field("status", &self.status)
            .field("fields", &self.data.as_ref().map(Map::len))
            .field("warnings", &self.warnings.len())
            .field("raw", &self.raw.as_ref().map(|raw| raw.status))
            .finish_non_exhaustive()
    }
}

impl Reply {
    /// Done, nothing to say.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Done, with data.
    pub fn data(data: Map<String, Value>) -> Self {
        Self {
            data: Some(data),
            ..Self::default()
        }
    }

    /// Done, with the object `value`; anything but an object becomes `{"value": ..}`.
    pub fn json(value: Value) -> Self {
        match value {
            Value::Object(map) => Self::data(map),
            other => Self::data(Map::from_iter([("value".to_owned(), other)])),
        }
    }

    /// The answer to a list: `{"keys": [..]}`.
    pub fn keys(keys: Vec<String>) -> Self {
        Self::data(Map::from_iter([(
            "keys".to_owned(),
            keys.into_iter().map(Value::from).collect(),
        )]))
    }

    /// The same answer with one more warning.
    #[must_use]
    pub fn warn(mut self, text: impl Into<String>) -> Self {
        self.warnings.push(text.into());
        self
    }
}
