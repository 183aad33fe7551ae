//! Any path of the API: the calls of service `Logical`.

use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;

use super::call::Repeat;
use super::secret::{SecretData, object};
use super::token::Token;
use super::{Conclave, Error, v1};

/// Any path of the API, as it stands after `/v1/` there.
#[derive(Clone)]
pub struct Logical {
    cluster: Conclave,
}

/// What a path answered.
#[derive(Clone, Default)]
pub struct Answer {
    /// The data.
    pub data: SecretData,
    /// What the cluster has to say beside it.
    pub warnings: Vec<String>,
    /// A token that was handed out.
    pub token: Option<Token>,
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

impl Logical {
    pub(super) fn new(cluster: Conclave) -> Self {
        Self { cluster }
    }

    /// Reads a path.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is nothing.
    pub async fn read(&self, path: &str) -> Result<Answer, Error> {
        let message = request(path, Bytes::new());
        let answered = self
            .cluster
            .call(Repeat::Freely, message, |link, request| async move {
                link.logical().read(request).await
            })
            .await?;
        answer(answered)
    }

    /// The names beneath a path.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there are none.
    pub async fn list(&self, path: &str) -> Result<Vec<String>, Error> {
        let message = request(path, Bytes::new());
        let answered = self
            .cluster
            .call(Repeat::Freely, message, |link, request| async move {
                link.logical().list(request).await
            })
            .await?;
        let data = answer(answered)?.data;
        let keys = data.value("keys").and_then(|keys| keys.as_array());
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
        let answered = self
            .cluster
            .call(
                repeat(path),
                request(path, object(data)?),
                |link, request| async move { link.logical().write(request).await },
            )
            .await?;
        answer(answered)
    }

    /// Patches a path by a JSON merge patch (RFC 7396).
    ///
    /// # Errors
    /// As [`Logical::write`].
    pub async fn patch<T: Serialize + ?Sized>(&self, path: &str, patch: &T) -> Result<Answer, Error> {
        let answered = self
            .cluster
            .call(
                repeat(path),
                request(path, object(patch)?),
                |link, request| async move { link.logical().patch(request).await },
            )
            .await?;
        answer(answered)
    }

    /// Deletes a path.
    ///
    /// # Errors
    /// As [`Logical::write`].
    pub async fn delete(&self, path: &str) -> Result<Answer, Error> {
        let answered = self
            .cluster
            .call(
                repeat(path),
                request(path, Bytes::new()),
                |link, request| async move { link.logical().delete(request).await },
            )
            .await?;
        answer(answered)
    }
}

/// Operations on the cluster itself run outside of its replicated rows, where keys of repetitions are kept.
fn repeat(path: &str) -> Repeat {
    if path.starts_with("sys/") {
        Repeat::Never
    } else {
        Repeat::ByKey
    }
}

fn request(path: &str, data: Bytes) -> v1::LogicalRequest {
    v1::LogicalRequest {
        path: path.to_owned(),
        data,
    }
}

fn answer(answered: v1::LogicalResponse) -> Result<Answer, Error> {
    if !answered.content_type.is_empty() {
        let kind = answered.content_type;
        return Err(Error::Unsupported(format!(
            "the path answers {kind}, which is no JSON"
        )));
    }
    Ok(Answer {
        data: SecretData::parse(&answered.data)?,
        token: answered
            .auth
            .map(|auth| Token::new(auth, answered.warnings.clone())),
        warnings: answered.warnings,
        lease_id: answered.lease_id,
        lease_duration: Duration::from_secs(answered.lease_duration_seconds),
        renewable: answered.renewable,
        missing: answered.missing,
        accepted: answered.accepted,
    })
}
