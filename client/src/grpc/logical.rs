//! Any path of the API: the calls of service `Logical`.

use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value};
use tonic::Response;

use super::call::Repeat;
use super::secret::{SecretBytes, SecretData, object};
use super::token::Token;
use super::wrapping::{self, Wrapped};
use super::{Conclave, Error, v1};

/// Any path of the API, as it stands after `/v1/` there.
#[derive(Clone)]
pub struct Logical {
    cluster: Conclave,
}

/// What is done at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// GET.
    Read,
    /// LIST.
    List,
    /// SCAN: a list of everything beneath.
    Scan,
    /// POST or PUT.
    Write,
    /// PATCH by a JSON merge patch (RFC 7396).
    Patch,
    /// DELETE.
    Delete,
}

/// What a path answered.
#[derive(Clone, Default)]
pub struct Answer {
    /// The data.
    pub data: SecretData,
    /// What was answered instead of data, if it was no envelope.
    pub raw: Option<Raw>,
    /// What the cluster has to say beside it.
    pub warnings: Vec<String>,
    /// A token that was handed out.
    pub token: Option<Token>,
    /// The token that gives all this, if the answer was wrapped.
    pub wrapped: Option<Wrapped>,
    /// The lease of what was handed out; empty without.
    pub lease_id: String,
    /// How long the lease lasts.
    pub lease_duration: Duration,
    /// Whether the lease may be renewed.
    pub renewable: bool,
    /// There is nothing to read, yet something to tell.
    pub missing: bool,
    /// Work goes on in the background.
    pub accepted: bool,
}

/// An answer that is no envelope: a document, for example.
#[derive(Clone)]
pub struct Raw {
    /// Its MIME type.
    pub content_type: String,
    /// It.
    pub bytes: SecretBytes,
}

impl Logical {
    pub(super) fn new(cluster: Conclave) -> Self {
        Self { cluster }
    }

    /// Reads a path.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is nothing.
    pub async fn read(&self, path: &str) -> Result<Answer, Error> {
        self.call(Verb::Read, path, &Map::new()).await
    }

    /// The names beneath a path.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there are none.
    pub async fn list(&self, path: &str) -> Result<Vec<String>, Error> {
        let listed = self.call(Verb::List, path, &Map::new()).await?;
        let keys = listed.data.value("keys").and_then(Value::as_array);
        let keys = keys.map(Vec::as_slice).unwrap_or_default();
        Ok(keys
            .iter()
            .filter_map(|key| key.as_str().map(str::to_owned))
            .collect())
    }

    /// Writes a path.
    ///
    /// # Errors
    /// [`Error::OutcomeUnknown`] beneath `sys/` if the answer was lost: what is done there is not always repeatable.
    pub async fn write<T: Serialize + ?Sized>(&self, path: &str, data: &T) -> Result<Answer, Error> {
        self.call(Verb::Write, path, data).await
    }

    /// Patches a path by a JSON merge patch (RFC 7396).
    ///
    /// # Errors
    /// As [`Logical::write`].
    pub async fn patch<T: Serialize + ?Sized>(&self, path: &str, patch: &T) -> Result<Answer, Error> {
        self.call(Verb::Patch, path, patch).await
    }

    /// Deletes a path.
    ///
    /// # Errors
    /// As [`Logical::write`].
    pub async fn delete(&self, path: &str) -> Result<Answer, Error> {
        self.call(Verb::Delete, path, &Map::new()).await
    }

    /// Does anything at a path. `data` is an object: on writes the body, else what HTTP has in the query, for example
    /// `{"version": 2}` or `{"after": "a", "limit": 10}`.
    ///
    /// # Errors
    /// As [`Logical::write`].
    pub async fn call<T: Serialize + ?Sized>(
        &self,
        verb: Verb,
        path: &str,
        data: &T,
    ) -> Result<Answer, Error> {
        self.ask(repeat(verb, path), verb, path, data).await
    }

    /// The same where it is known how often the call may arrive.
    pub(super) async fn ask<T: Serialize + ?Sized>(
        &self,
        repeat: Repeat,
        verb: Verb,
        path: &str,
        data: &T,
    ) -> Result<Answer, Error> {
        let data = object(data)?;
        let message = v1::LogicalRequest {
            path: path.to_owned(),
            // Nothing to say is said by nothing.
            data: if data.as_ref() == b"{}" {
                Bytes::new()
            } else {
                data
            },
        };
        let send = |link: super::link::Link, request| async move {
            let mut logical = link.logical();
            match verb {
                Verb::Read => logical.read(request).await,
                Verb::List => logical.list(request).await,
                Verb::Scan => logical.scan(request).await,
                Verb::Write => logical.write(request).await,
                Verb::Patch => logical.patch(request).await,
                Verb::Delete => logical.delete(request).await,
            }
        };
        answer(self.cluster.exchange(repeat, message, send).await?)
    }
}

/// Operations on the cluster itself run outside of its replicated rows, where keys of repetitions are kept.
fn repeat(verb: Verb, path: &str) -> Repeat {
    match verb {
        Verb::Read | Verb::List | Verb::Scan => Repeat::Freely,
        Verb::Write | Verb::Patch | Verb::Delete if path.starts_with("sys/") => Repeat::Never,
        Verb::Write | Verb::Patch | Verb::Delete => Repeat::ByKey,
    }
}

fn answer(answered: Response<v1::LogicalResponse>) -> Result<Answer, Error> {
    let wrapped = wrapping::beside(answered.metadata())?;
    let answered = answered.into_inner();
    let (data, raw) = if answered.content_type.is_empty() {
        (SecretData::parse(&answered.data)?, None)
    } else {
        let raw = Raw {
            content_type: answered.content_type,
            bytes: SecretBytes::new(answered.data.into()),
        };
        (SecretData::default(), Some(raw))
    };
    Ok(Answer {
        data,
        raw,
        token: answered
            .auth
            .map(|auth| Token::new(auth, answered.warnings.clone())),
        wrapped,
        warnings: answered.warnings,
        lease_id: answered.lease_id,
        lease_duration: Duration::from_secs(answered.lease_duration_seconds),
        renewable: answered.renewable,
        missing: answered.missing,
        accepted: answered.accepted,
    })
}
