//! Answers that travel as a token which can be used once: `sys/wrapping/`, and any call whose answer is to be wrapped.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Map;
use tonic::metadata::MetadataMap;

use super::call::Repeat;
use super::logical::{Answer, Logical, Verb};
use super::secret::SecretText;
use super::{Conclave, Error, builder};

/// Wrapping answers, and taking them out. Whoever shows the token first has the answer; everybody after hears that it is no
/// valid token.
#[derive(Clone)]
pub struct Wrapping {
    cluster: Conclave,
}

/// An answer that is wrapped.
#[derive(Clone)]
pub struct Wrapped {
    /// Gives the answer once.
    pub token: SecretText,
    /// Names the token without giving its power.
    pub accessor: String,
    /// How long it waits to be taken out.
    pub ttl: Duration,
    /// Where and when it was wrapped.
    pub origin: Origin,
    /// Names the token that is inside, if one is.
    pub wrapped_accessor: String,
}

/// Where a wrapped answer comes from: worth a look before it is trusted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Origin {
    /// The path that answered.
    pub creation_path: String,
    /// When, RFC 3339.
    pub creation_time: String,
}

#[derive(Deserialize)]
struct Info {
    token: String,
    #[serde(default)]
    accessor: String,
    #[serde(default)]
    ttl: u64,
    #[serde(default)]
    creation_time: String,
    #[serde(default)]
    creation_path: String,
    #[serde(default)]
    wrapped_accessor: String,
}

#[derive(Serialize)]
struct Told<'a> {
    token: &'a str,
}

impl Wrapping {
    pub(super) fn new(cluster: Conclave) -> Self {
        Self { cluster }
    }

    /// Wraps an object of the application's own for `ttl`, in whole seconds.
    ///
    /// # Errors
    /// [`Error::Config`] if `data` is no JSON object.
    pub async fn wrap<T: Serialize + ?Sized>(&self, data: &T, ttl: Duration) -> Result<Wrapped, Error> {
        // One that nobody heard of ends with its time.
        self.wrapped(Repeat::Freely, Verb::Write, ("sys/wrapping/wrap", ttl), data)
            .await
    }

    /// Does anything at a path, as [`Logical::call`], and has the answer wrapped for `ttl`, in whole seconds: what was read
    /// or made passes this application by.
    ///
    /// # Errors
    /// As [`Logical::call`]; [`Error::Unsupported`] if there is no answer to wrap: what was asked for is done all the same.
    pub async fn answer<T: Serialize + ?Sized>(
        &self,
        verb: Verb,
        path: &str,
        data: &T,
        ttl: Duration,
    ) -> Result<Wrapped, Error> {
        let repeat = match verb {
            Verb::Read | Verb::List | Verb::Scan => Repeat::Freely,
            // The token is not the answer that a repetition is given.
            Verb::Write | Verb::Patch | Verb::Delete => Repeat::Never,
        };
        self.wrapped(repeat, verb, (path, ttl), data).await
    }

    /// Where a wrapped answer comes from. It stays wrapped.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the token holds no answer, or no longer.
    pub async fn lookup(&self, token: &str) -> Result<Origin, Error> {
        let told = Told { token };
        let path = "sys/wrapping/lookup";
        let answer = self
            .logical()
            .ask(Repeat::Freely, Verb::Write, path, &told)
            .await?;
        answer.data.decode()
    }

    /// Takes the answer out, by the token alone: the client's own is not shown.
    ///
    /// # Errors
    /// [`Error::Invalid`] if somebody was first, or the token never held an answer; [`Error::OutcomeUnknown`] if the answer
    /// was lost, and with it what was wrapped.
    pub async fn unwrap(&self, token: &str) -> Result<Answer, Error> {
        let holder = self.cluster.with_token(token)?.logical();
        holder
            .ask(Repeat::Never, Verb::Write, "sys/wrapping/unwrap", &Map::new())
            .await
    }

    /// Wraps the same answer anew, for as long as before; the old token is none any more.
    ///
    /// # Errors
    /// As [`Wrapping::unwrap`].
    pub async fn rewrap(&self, token: &str) -> Result<Wrapped, Error> {
        let path = "sys/wrapping/rewrap";
        let told = Told { token };
        let answer = self
            .logical()
            .ask(Repeat::Never, Verb::Write, path, &told)
            .await?;
        answer.wrapped.ok_or_else(nothing)
    }

    async fn wrapped<T: Serialize + ?Sized>(
        &self,
        repeat: Repeat,
        verb: Verb,
        (path, ttl): (&str, Duration),
        data: &T,
    ) -> Result<Wrapped, Error> {
        if ttl.as_secs() == 0 {
            return Err(Error::Config(
                "a wrapped answer must live for a second or more".to_owned(),
            ));
        }
        let wraps = Conclave {
            wrap_ttl: Some(builder::value("time to live", &ttl.as_secs().to_string())?),
            ..self.cluster.clone()
        };
        let answer = wraps.logical().ask(repeat, verb, path, data).await?;
        answer.wrapped.ok_or_else(nothing)
    }

    fn logical(&self) -> Logical {
        self.cluster.logical()
    }
}

fn nothing() -> Error {
    Error::Unsupported("the path gave no answer to wrap".to_owned())
}

/// What is said beside an answer, if it was wrapped.
pub(super) fn beside(metadata: &MetadataMap) -> Result<Option<Wrapped>, Error> {
    let Some(text) = metadata.get("x-conclave-wrap-info") else {
        return Ok(None);
    };
    let told: Option<Info> = serde_json::from_slice(text.as_bytes()).ok();
    let told = told.ok_or_else(|| Error::Internal("the node told no wrapping token".to_owned()))?;
    Ok(Some(Wrapped {
        token: SecretText::new(told.token),
        accessor: told.accessor,
        ttl: Duration::from_secs(told.ttl),
        origin: Origin {
            creation_path: told.creation_path,
            creation_time: told.creation_time,
        },
        wrapped_accessor: told.wrapped_accessor,
    }))
}
