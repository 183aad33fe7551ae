//! How a client calls: endpoints, trust, token, limits of time.

use std::sync::Arc;
use std::time::Duration;

use tonic::metadata::{Ascii, MetadataValue};

use super::call::{Calls, Limits};
use super::endpoints::Endpoints;
use super::secret::SecretText;
use super::shown::Door;
use super::tls::Trust;
use super::{Conclave, Error};

/// Time for a call with all its attempts.
const DEADLINE: Duration = Duration::from_secs(10);
/// Time for one attempt.
const ATTEMPT: Duration = Duration::from_secs(3);
/// Most endpoints.
const MAX_ENDPOINTS: usize = 64;

/// A client under construction. See [`Conclave::connect`].
pub struct Builder {
    endpoints: Vec<String>,
    trust: Trust,
    token: Option<SecretText>,
    namespace: Option<String>,
    limits: Limits,
}

impl Builder {
    pub(super) fn new(endpoints: Vec<String>) -> Self {
        Self {
            endpoints,
            trust: Trust::default(),
            token: None,
            namespace: None,
            limits: Limits {
                deadline: DEADLINE,
                attempt: ATTEMPT,
            },
        }
    }

    /// The authorities that sign the nodes' certificates, in PEM, instead of the system's.
    #[must_use]
    pub fn ca_cert(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.trust.authorities = Some(pem.into());
        self
    }

    /// A certificate chain and its private key, in PEM, for nodes that ask for one.
    #[must_use]
    pub fn identity(mut self, chain: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.trust.identity = Some((chain.into(), zeroize::Zeroizing::new(key.into())));
        self
    }

    /// The name to expect in the nodes' certificates instead of the URLs' hosts.
    #[must_use]
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.trust.server_name = Some(name.into());
        self
    }

    /// Accepts any certificate. Whoever is on the path can then read and change everything: for tests only.
    #[must_use]
    pub fn danger_accept_any_certificate(mut self, accept: bool) -> Self {
        self.trust.anybody = accept;
        self
    }

    /// The token.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(SecretText::new(token.into()));
        self
    }

    /// The namespace; without, the root.
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    /// Time for a call with all its attempts. The default is 10 s.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.limits.deadline = deadline;
        self
    }

    /// Time for one attempt, before the call goes to another node. The default is 3 s.
    #[must_use]
    pub fn attempt_timeout(mut self, attempt: Duration) -> Self {
        self.limits.attempt = attempt;
        self
    }

    /// The client. Nothing is connected yet.
    ///
    /// # Errors
    /// [`Error::Config`] for URLs, PEM or names that cannot be used; texts repeat no key and no token.
    pub fn build(self) -> Result<Conclave, Error> {
        if self.endpoints.is_empty() || self.endpoints.len() > MAX_ENDPOINTS {
            return Err(Error::Config(format!("give 1 to {MAX_ENDPOINTS} endpoints")));
        }
        let endpoints = Endpoints::new(&self.endpoints, &self.trust)?;
        let token = self.token.as_ref().map(|token| token_value(token.expose()));
        let namespace = self.namespace.as_deref().map(|name| value("namespace", name));
        Ok(Conclave {
            calls: Arc::new(Calls::new(endpoints, self.limits)),
            token: Door::Fixed(token.transpose()?),
            namespace: namespace.transpose()?,
            wrap_ttl: None,
        })
    }
}

/// A token as metadata. Marked so that HTTP/2 keeps it out of its tables.
pub fn token_value(token: &str) -> Result<MetadataValue<Ascii>, Error> {
    let mut token = value("token", token)?;
    token.set_sensitive(true);
    Ok(token)
}

/// Text as metadata.
pub fn value(name: &str, text: &str) -> Result<MetadataValue<Ascii>, Error> {
    let checked = Some(text.trim()).filter(|text| text.bytes().all(|byte| byte.is_ascii_graphic()));
    let value = checked.and_then(|text| text.parse().ok());
    value.ok_or_else(|| Error::Config(format!("the {name} holds other than visible ASCII")))
}
