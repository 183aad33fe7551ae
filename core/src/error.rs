//! The one error type of core: what a caller can act on. Status codes belong to the transports. Texts name fields and
//! rules, never values.

use thiserror::Error;

use conclave_barrier as barrier;
use conclave_engine_api as engine;
use conclave_raft as raft;

/// Why a request was not done.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The node holds no keys.
    #[error("Vault is sealed")]
    Sealed,
    /// There is no cluster yet.
    #[error("Vault is not initialized")]
    NotInitialized,
    /// The request is wrong; the text says how.
    #[error("{0}")]
    Invalid(String),
    /// The same; the transport lays the text out as a list of one, where the original does.
    #[error("{0}")]
    Listed(String),
    /// No token, a wrong or expired one, or none that allows this.
    #[error("permission denied")]
    Denied {
        /// Whether no valid token was presented at all (gRPC tells the two apart).
        unauthenticated: bool,
    },
    /// A second factor is missing or wrong; the text says which.
    #[error("{0}")]
    SecondFactor(String),
    /// The token that is asked about is none.
    #[error("bad token")]
    BadToken,
    /// Asked before a kv command: the caller's policies do not reach the path. Vault's words, which guides quote.
    #[error(
        "preflight capability check returned 403, please ensure client's policies grant access to path {0:?}"
    )]
    Preflight(String),
    /// There is nothing here.
    #[error("not found")]
    NotFound {
        /// What may have been meant.
        warnings: Vec<String>,
    },
    /// There is nothing of this name, and the original says so in words.
    #[error("{0}")]
    Missing(String),
    /// The accessor is of a token in another namespace.
    #[error("cannot lookup token in different namespace")]
    OtherNamespace,
    /// There is no namespace as the request's header says.
    #[error("namespace not found")]
    NoNamespace,
    /// The namespace takes no requests until somebody unlocks it.
    #[error(
        "API access to this namespace has been locked by an administrator - {0:?} must be unlocked to gain access."
    )]
    Locked(String),
    /// The namespace, or one above it, has a seal of its own that is closed here.
    #[error("namespace is sealed")]
    NamespaceSealed {
        /// Which ring of keys is not there.
        ring: u16,
    },
    /// A quota is used up; try again.
    #[error("request path {path:?}: rate limit quota exceeded")]
    RateLimited {
        /// The path that was asked for.
        path: String,
        /// Whether audit devices are to record it.
        recorded: bool,
    },
    /// There are as many leases as a quota allows.
    #[error("request path {0:?}: lease count quota exceeded")]
    LeasesExceeded(String),
    /// No mount answers this path.
    #[error("no handler for route {0:?}. route entry not found.")]
    NoRoute(String),
    /// The mount has no such path.
    #[error("unsupported path")]
    UnsupportedPath,
    /// The path does not answer this operation.
    #[error("unsupported operation")]
    UnsupportedOperation,
    /// Not built: said plainly.
    #[error("unsupported: {0}")]
    Unsupported(String),
    /// Too large.
    #[error("{0}")]
    TooLarge(String),
    /// Too much is asked at once; try again.
    #[error("{0}")]
    Overloaded(String),
    /// A system outside the cluster did not do what it was asked; the text is what it said.
    #[error("{0}")]
    Target(String),
    /// No leader or no quorum: try again.
    #[error("no leader can be reached: {0}")]
    NoLeader(String),
    /// A watch cannot go on after the revision it was to go on after.
    #[error(
        "compacted: changes after revision {after} are no longer kept; list again, then watch from revision {revision}"
    )]
    Compacted {
        /// The revision that was asked for.
        after: u64,
        /// A revision that a list made from now on includes.
        revision: u64,
    },
    /// Others changed the same rows again and again: try again.
    #[error("the request kept conflicting with others; try again")]
    Contention,
    /// It may or may not have been done.
    #[error("the outcome is unknown: the change may or may not have been committed")]
    OutcomeUnknown,
    /// The request was not done because no audit device took its record.
    #[error("no audit device took the record of this request; nothing was done")]
    AuditRefused,
    /// The change was committed and its response could not be audited.
    #[error("the change was committed, but no audit device took the record of the response")]
    CommittedUnaudited,
    /// The login that came with the request failed: the request itself was not looked at.
    #[error("{0}")]
    InlineLogin(Box<Self>),
    /// Something that must hold does not.
    #[error("internal error: {0}")]
    Internal(String),
}

impl Error {
    /// A wrong request.
    pub fn invalid(text: impl Into<String>) -> Self {
        Self::Invalid(text.into())
    }

    /// A wrong request whose text is laid out as a list of one.
    pub fn listed(text: impl Into<String>) -> Self {
        Self::Listed(text.into())
    }

    /// Something that must hold does not.
    pub fn internal(text: impl Into<String>) -> Self {
        Self::Internal(text.into())
    }

    /// No valid token.
    pub fn unauthenticated() -> Self {
        Self::Denied {
            unauthenticated: true,
        }
    }

    /// A valid token that does not allow this.
    pub fn denied() -> Self {
        Self::Denied {
            unauthenticated: false,
        }
    }
}

impl From<engine::Error> for Error {
    fn from(error: engine::Error) -> Self {
        match error {
            engine::Error::Invalid(text) | engine::Error::BadCredentials(text) => Self::Invalid(text),
            engine::Error::Denied => Self::denied(),
            engine::Error::NotFound { warnings } => Self::NotFound { warnings },
            engine::Error::UnsupportedOperation => Self::UnsupportedOperation,
            engine::Error::UnsupportedPath => Self::UnsupportedPath,
            engine::Error::Unsupported(text) => Self::Unsupported(text),
            engine::Error::TooLarge(text) => Self::TooLarge(text),
            engine::Error::Target(text) => Self::Target(text),
            engine::Error::Internal(text) => Self::Internal(text),
            other => Self::Internal(other.to_string()),
        }
    }
}

impl From<raft::Error> for Error {
    fn from(error: raft::Error) -> Self {
        match error {
            // The other error's text says no more than this one's.
            raft::Error::NoLeader => Self::NoLeader("none is known, or too few members answer".to_owned()),
            raft::Error::NotLeader { .. } | raft::Error::NotCommitted => Self::NoLeader(error.to_string()),
            raft::Error::OutcomeUnknown => Self::OutcomeUnknown,
            raft::Error::Limit(what) => Self::Overloaded(format!("limit reached: {what}")),
            raft::Error::Membership(text) => Self::Invalid(text),
            raft::Error::TooNew { .. } => Self::Unsupported(error.to_string()),
            raft::Error::Peer { .. } => Self::NoLeader(error.to_string()),
            // Said before anything was handed on: another node can be asked.
            raft::Error::Stopped(_) => Self::NoLeader("this node is stopping".to_owned()),
            other => Self::Internal(other.to_string()),
        }
    }
}

impl From<barrier::Error> for Error {
    fn from(error: barrier::Error) -> Self {
        match error {
            barrier::Error::UnknownRing { ring } => Self::NamespaceSealed { ring },
            other => Self::Internal(other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_stopping_node_did_not_take_may_be_asked_of_another() {
        let error = Error::from(raft::Error::Stopped("channel closed".to_owned()));
        assert!(matches!(error, Error::NoLeader(_)), "{error}");
        let error = Error::from(raft::Error::NoLeader);
        assert_eq!(
            error.to_string(),
            "no leader can be reached: none is known, or too few members answer"
        );
        let error = Error::from(raft::Error::OutcomeUnknown);
        assert!(matches!(error, Error::OutcomeUnknown), "{error}");
    }
}
