//! Why a call failed, as something to act on, and what an attempt's failure means for the next one. Texts come from the
//! cluster or the system; none holds a token or a secret.

use tonic::{Code, Status};

use conclave_proto::v1::Reason;

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The client is set up wrongly, or was given what cannot be sent.
    #[error("{0}")]
    Config(String),
    /// Every node that answered holds no keys.
    #[error("the cluster is sealed")]
    Sealed,
    /// Every node that answered belongs to no cluster.
    #[error("the cluster is not initialized")]
    NotInitialized,
    /// No token, or none that is valid.
    #[error("no valid token")]
    Unauthenticated,
    /// The token's policies do not allow it.
    #[error("permission denied")]
    Denied,
    /// There is nothing at this path; the text says more.
    #[error("{0}")]
    NotFound(String),
    /// A check-and-set parameter did not match: somebody else wrote first.
    #[error("the check-and-set parameter did not match the current version")]
    CasMismatch,
    /// The request is wrong; the text says how.
    #[error("{0}")]
    Invalid(String),
    /// The path does not answer this operation, or it is not built.
    #[error("{0}")]
    Unsupported(String),
    /// The request, or a value in it, is too large.
    #[error("{0}")]
    TooLarge(String),
    /// No node could do it within the deadline; certainly nothing was changed. The text is the last reason.
    #[error("no node could answer in time: {0}")]
    Unavailable(String),
    /// A change may or may not have been committed: its answer was lost, and none came within the deadline.
    #[error("the outcome is unknown: the change may or may not have been committed")]
    OutcomeUnknown,
    /// The change was committed, and its record of the response could not be audited.
    #[error("the change was committed, but no audit device took the record of the response")]
    CommittedUnaudited,
    /// What came after the revision that a watch was to go on after is no longer kept: list again, then watch from this one.
    #[error(
        "changes after that revision are no longer kept; list again, then watch from revision {revision}"
    )]
    Compacted {
        /// A list made from now on includes everything up to here.
        revision: u64,
    },
    /// Something that must hold does not.
    #[error("{0}")]
    Internal(String),
}

impl Error {
    /// Whether the same call may fare better in a while, without anybody doing anything about the call itself.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::Sealed | Self::NotInitialized | Self::Unavailable(_) | Self::OutcomeUnknown
        )
    }
}

/// What an attempt's failure means.
pub enum Verdict {
    /// The cluster has decided: asking again would be answered alike.
    Final(Error),
    /// Another attempt may fare better.
    Again {
        /// The error if it was the last attempt.
        error: Error,
        /// Whether a change may have been made all the same.
        doubt: bool,
    },
    /// The attempt's time was over before the node was reached: nothing was sent, and nobody said why.
    CutShort,
}

impl Verdict {
    /// The node could not be reached: nothing was sent.
    pub fn unreached(reason: String) -> Self {
        Self::Again {
            error: Error::Unavailable(reason),
            doubt: false,
        }
    }

    /// No answer came in the attempt's time, whether the request was `sent` or not.
    pub fn late(sent: bool) -> Self {
        if !sent {
            return Self::CutShort;
        }
        Self::Again {
            error: Error::Unavailable("no answer came in time".to_owned()),
            doubt: true,
        }
    }

    /// Judges what came instead of an answer.
    pub fn of(status: &Status) -> Self {
        let text = || status.message().to_owned();
        let again = |error, doubt| Self::Again { error, doubt };
        match reason(status) {
            Reason::Unspecified => of_transport(status),
            Reason::Sealed => again(Error::Sealed, false),
            Reason::NotInitialized => again(Error::NotInitialized, false),
            Reason::NoLeader | Reason::Overloaded | Reason::AuditRefused | Reason::Contention => {
                again(Error::Unavailable(text()), false)
            }
            Reason::OutcomeUnknown | Reason::Overdue => again(Error::Unavailable(text()), true),
            Reason::Unauthenticated => Self::Final(Error::Unauthenticated),
            Reason::Denied => Self::Final(Error::Denied),
            Reason::Compacted => Self::Final(Error::Compacted {
                revision: number(status, "x-conclave-revision"),
            }),
            Reason::CasMismatch => Self::Final(Error::CasMismatch),
            Reason::Invalid => Self::Final(Error::Invalid(text())),
            Reason::NotFound | Reason::NoMount => Self::Final(Error::NotFound(text())),
            Reason::Unsupported => Self::Final(Error::Unsupported(text())),
            Reason::TooLarge => Self::Final(Error::TooLarge(text())),
            Reason::CommittedUnaudited => Self::Final(Error::CommittedUnaudited),
            Reason::Internal => Self::Final(Error::Internal(text())),
        }
    }
}

/// Why, as the cluster says; unspecified if it was not the cluster that answered.
fn reason(status: &Status) -> Reason {
    let name = status.metadata().get("x-conclave-reason");
    let name = name.and_then(|name| name.to_str().ok());
    name.and_then(Reason::from_str_name)
        .unwrap_or(Reason::Unspecified)
}

/// A number beside a status; 0 if there is none.
fn number(status: &Status, name: &str) -> u64 {
    let text = status.metadata().get(name).and_then(|value| value.to_str().ok());
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// A failure that the cluster did not word: of the connection, of a proxy, or of this side.
fn of_transport(status: &Status) -> Verdict {
    let text = status.message().to_owned();
    match status.code() {
        Code::Unavailable
        | Code::Unknown
        | Code::Cancelled
        | Code::Internal
        | Code::Aborted
        | Code::DeadlineExceeded => Verdict::Again {
            error: Error::Unavailable(text),
            doubt: true,
        },
        Code::Unauthenticated => Verdict::Final(Error::Unauthenticated),
        Code::PermissionDenied => Verdict::Final(Error::Denied),
        Code::NotFound => Verdict::Final(Error::NotFound(text)),
        Code::Unimplemented => Verdict::Final(Error::Unsupported(text)),
        Code::ResourceExhausted | Code::OutOfRange => Verdict::Final(Error::TooLarge(text)),
        Code::InvalidArgument | Code::FailedPrecondition | Code::AlreadyExists => {
            Verdict::Final(Error::Invalid(text))
        }
        _ => Verdict::Final(Error::Internal(text)),
    }
}
