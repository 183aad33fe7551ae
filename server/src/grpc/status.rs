//! The only place with gRPC status codes: what each error of core, and each refusal of this transport, becomes. Beside the
//! code goes a reason in metadata, because several reasons share a code.

use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

use conclave_core::Error;
use conclave_proto::v1::Reason;

/// Metadata of every failed call: the name of a [`Reason`].
const REASON: &str = "x-conclave-reason";
/// How the key-value engine words a check-and-set parameter that does not match: of a version, and of metadata.
const CAS_TEXTS: [&str; 2] = [
    "check-and-set parameter did not match the current version",
    "metadata check-and-set parameter does not match the current version",
];

/// What is said where core says no more than "not found".
const NOTHING: &str = "not found";

/// What core's error becomes.
pub fn of(error: Error) -> Status {
    let (code, reason) = match &error {
        // The keys of a namespace may be on another node, like those of the cluster.
        Error::Sealed | Error::NamespaceSealed { .. } => (Code::Unavailable, Reason::Sealed),
        Error::NotInitialized => (Code::Unavailable, Reason::NotInitialized),
        Error::NoLeader(_) => (Code::Unavailable, Reason::NoLeader),
        Error::Overloaded(_) => (Code::Unavailable, Reason::Overloaded),
        // Nothing was done, and the devices of another node may work.
        Error::AuditRefused => (Code::Unavailable, Reason::AuditRefused),
        Error::Contention => (Code::Aborted, Reason::Contention),
        // ABORTED would say that nothing was done.
        Error::OutcomeUnknown => (Code::Unknown, Reason::OutcomeUnknown),
        Error::Denied {
            unauthenticated: true,
        } => (Code::Unauthenticated, Reason::Unauthenticated),
        Error::Denied {
            unauthenticated: false,
        } => (Code::PermissionDenied, Reason::Denied),
        Error::Preflight(_) | Error::BadToken | Error::SecondFactor(_) => {
            (Code::PermissionDenied, Reason::Denied)
        }
        Error::Invalid(text) if CAS_TEXTS.contains(&text.as_str()) => {
            (Code::FailedPrecondition, Reason::CasMismatch)
        }
        Error::Invalid(_) | Error::Listed(_) => (Code::InvalidArgument, Reason::Invalid),
        Error::NotFound { warnings } if !warnings.is_empty() => return not_found(&warnings.join("\n")),
        Error::NotFound { .. } => return not_found(NOTHING),
        Error::Missing(text) => return not_found(text),
        Error::RateLimited { .. } | Error::LeasesExceeded(_) => (Code::ResourceExhausted, Reason::Overloaded),
        Error::NoNamespace => (Code::NotFound, Reason::NoMount),
        Error::OtherNamespace => (Code::InvalidArgument, Reason::Invalid),
        // Not for want of anything that another try would find.
        Error::Locked(_) => (Code::PermissionDenied, Reason::Denied),
        Error::NoRoute(_) | Error::UnsupportedPath => (Code::NotFound, Reason::NoMount),
        Error::UnsupportedOperation | Error::Unsupported(_) => (Code::Unimplemented, Reason::Unsupported),
        Error::TooLarge(_) => (Code::ResourceExhausted, Reason::TooLarge),
        Error::Compacted { revision, .. } => return compacted(&error, *revision),
        Error::CommittedUnaudited => (Code::Internal, Reason::CommittedUnaudited),
        _ => (Code::Internal, Reason::Internal),
    };
    new(code, reason, error.to_string())
}

/// A watch cannot go on. OUT_OF_RANGE would be taken for a message beyond the limit.
fn compacted(error: &Error, revision: u64) -> Status {
    let mut status = new(Code::FailedPrecondition, Reason::Compacted, error.to_string());
    status
        .metadata_mut()
        .insert("x-conclave-revision", revision.into());
    status
}

/// The request is malformed; the text says how.
pub fn invalid(text: impl Into<String>) -> Status {
    new(Code::InvalidArgument, Reason::Invalid, text)
}

/// There is nothing to read; the text says why.
pub fn not_found(text: &str) -> Status {
    new(Code::NotFound, Reason::NotFound, text)
}

/// What was asked for is not to be had by gRPC.
pub fn unsupported(text: &str) -> Status {
    new(Code::Unimplemented, Reason::Unsupported, text)
}

/// The message is larger than this transport takes.
pub fn too_large() -> Status {
    let limit = super::MAX_MESSAGE_BYTES;
    new(
        Code::ResourceExhausted,
        Reason::TooLarge,
        format!("the message is larger than {limit} bytes"),
    )
}

/// Large messages fill the memory kept for them.
pub fn busy() -> Status {
    new(
        Code::Unavailable,
        Reason::Overloaded,
        "too many large requests are under way; try again",
    )
}

/// The time is over.
pub fn overdue() -> Status {
    new(
        Code::DeadlineExceeded,
        Reason::Overdue,
        "the request took too long: a change may or may not have been committed",
    )
}

/// An answer could not be made.
pub fn broken() -> Status {
    new(
        Code::Internal,
        Reason::Internal,
        "internal error: the response could not be made",
    )
}

/// Whether there is nothing at the path, and nothing to say about that. A path without a mount is another matter.
pub fn is_nothing(status: &Status) -> bool {
    let reason = status.metadata().get(REASON).map(|reason| reason.as_bytes());
    reason == Some(Reason::NotFound.as_str_name().as_bytes()) && status.message() == NOTHING
}

/// Whether tonic refused a message by its size: the only use it makes of this code.
pub fn is_over_limit(status: &Status) -> bool {
    status.code() == Code::OutOfRange
}

fn new(code: Code, reason: Reason, text: impl Into<String>) -> Status {
    let mut status = Status::new(code, text);
    let name = MetadataValue::from_static(reason.as_str_name());
    status.metadata_mut().insert(REASON, name);
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Errors, their codes, and how their reasons begin after `REASON_`.
    fn table() -> Vec<(Error, Code, &'static str)> {
        let text = String::new;
        vec![
            (Error::Sealed, Code::Unavailable, "SEALED"),
            (Error::NotInitialized, Code::Unavailable, "NOT_INITIALIZED"),
            (Error::NoLeader(text()), Code::Unavailable, "NO_LEADER"),
            (Error::Overloaded(text()), Code::Unavailable, "OVERLOADED"),
            (Error::AuditRefused, Code::Unavailable, "AUDIT_REFUSED"),
            (Error::Contention, Code::Aborted, "CONTENTION"),
            (Error::OutcomeUnknown, Code::Unknown, "OUTCOME_UNKNOWN"),
            (Error::unauthenticated(), Code::Unauthenticated, "UNAUTHENTICATED"),
            (Error::denied(), Code::PermissionDenied, "DENIED"),
            (Error::invalid("no"), Code::InvalidArgument, "INVALID"),
            (Error::NoRoute(text()), Code::NotFound, "NO_MOUNT"),
            (Error::UnsupportedOperation, Code::Unimplemented, "UNSUPPORTED"),
            (Error::Unsupported(text()), Code::Unimplemented, "UNSUPPORTED"),
            (Error::TooLarge(text()), Code::ResourceExhausted, "TOO_LARGE"),
            (Error::CommittedUnaudited, Code::Internal, "COMMITTED_UNAUDITED"),
            (Error::internal("x"), Code::Internal, "INTERNAL"),
            (
                Error::Compacted {
                    after: 1,
                    revision: 2,
                },
                Code::FailedPrecondition,
                "COMPACTED",
            ),
        ]
    }

    fn reason(status: &Status) -> &str {
        status.metadata().get(REASON).unwrap().to_str().unwrap()
    }

    #[test]
    fn every_error_of_core_has_its_code_and_reason() {
        for (error, code, wanted) in table() {
            let name = format!("{error:?}");
            let status = of(error);
            assert_eq!(status.code(), code, "{name}");
            assert_eq!(reason(&status), format!("REASON_{wanted}"), "{name}");
        }
    }

    #[test]
    fn only_a_parameter_that_does_not_match_is_a_failed_precondition() {
        for text in CAS_TEXTS {
            let status = of(Error::invalid(text));
            assert_eq!(status.code(), Code::FailedPrecondition);
            assert_eq!(reason(&status), "REASON_CAS_MISMATCH");
        }
        let missing = of(Error::invalid("check-and-set parameter required for this call"));
        assert_eq!(missing.code(), Code::InvalidArgument);
    }

    #[test]
    fn what_is_missing_says_what_core_says() {
        let of = |warnings: &[&str]| {
            let warnings = warnings.iter().map(|&text| text.to_owned()).collect();
            of(Error::NotFound { warnings })
        };
        assert_eq!(of(&["look elsewhere"]).message(), "look elsewhere");
        assert!(!is_nothing(&of(&["look elsewhere"])));
        assert!(is_nothing(&of(&[])));
        assert!(!is_nothing(&super::of(Error::NoRoute("a/".to_owned()))));
    }
}
