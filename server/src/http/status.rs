//! The only place with HTTP status codes: what each refusal and each error of core becomes, and its text, as OpenBao
//! words it.

use http::StatusCode;

use conclave_core::Error;

/// Why the transport itself answers, without asking core.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The request is malformed; the text says how.
    Malformed(String),
    /// A header that counts is ambiguous or unreadable, or lengths are: nothing more is read from the connection.
    Ambiguous(&'static str),
    /// The body is too large.
    BodyTooLarge,
    /// The body did not come in time.
    TooSlow,
    /// PATCH with another content type; the text names it.
    PatchType(String),
    /// A compressed body.
    Encoded,
    /// Not a method of this API, or not of this path.
    Method,
    /// A page of an origin that may not ask.
    Origin,
    /// No such page.
    NoPage,
    /// There is no web UI.
    NoUi,
    /// Too much is under way.
    Busy,
    /// The request took too long.
    Overdue {
        /// Whether it may have changed something.
        write: bool,
    },
    /// The response could not be made.
    Broken,
}

/// A failure as HTTP says it.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    /// Status code.
    pub status: StatusCode,
    /// The entry of `errors`; none leaves the list empty.
    pub text: Option<String>,
    /// Whether trying again shortly makes sense.
    pub retry: bool,
    /// Whether the connection must not be used again.
    pub close: bool,
    /// Warnings of a 404, which then has the whole envelope.
    pub warnings: Vec<String>,
    /// Whether it is the login's that came with the request.
    pub of_login: bool,
}

impl Failure {
    fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self {
            status,
            text: Some(text.into()),
            retry: false,
            close: false,
            warnings: Vec::new(),
            of_login: false,
        }
    }

    fn bare(status: StatusCode) -> Self {
        Self {
            text: None,
            ..Self::new(status, "")
        }
    }

    fn retry(self) -> Self {
        Self { retry: true, ..self }
    }

    fn close(self) -> Self {
        Self { close: true, ..self }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Malformed(text) => Self::new(StatusCode::BAD_REQUEST, text),
            Refusal::Ambiguous(text) => Self::new(StatusCode::BAD_REQUEST, text).close(),
            Refusal::BodyTooLarge => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "http: request body too large").close()
            }
            Refusal::TooSlow => Self::new(
                StatusCode::REQUEST_TIMEOUT,
                "the request body did not arrive in time",
            )
            .close(),
            Refusal::PatchType(given) => Self::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                format!("PATCH requires Content-Type of application/merge-patch+json, provided {given}"),
            ),
            Refusal::Encoded => Self::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "compressed request bodies are not read",
            ),
            Refusal::Method => Self::bare(StatusCode::METHOD_NOT_ALLOWED),
            Refusal::Origin => Self::new(StatusCode::FORBIDDEN, "origin not allowed"),
            Refusal::NoPage => Self::bare(StatusCode::NOT_FOUND),
            Refusal::NoUi => Self::new(StatusCode::NOT_FOUND, "this server has no web UI"),
            Refusal::Busy => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "too many requests are under way; try again",
            )
            .retry(),
            Refusal::Overdue { write: true } => Self::new(
                StatusCode::GATEWAY_TIMEOUT,
                "the request took too long: the change may or may not have been committed",
            ),
            Refusal::Overdue { write: false } => {
                Self::new(StatusCode::GATEWAY_TIMEOUT, "the request took too long")
            }
            Refusal::Broken => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal error: the response could not be made",
            ),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        match error {
            Error::Invalid(_) => Self::new(StatusCode::BAD_REQUEST, text),
            Error::Listed(_) => Self::new(StatusCode::BAD_REQUEST, listed(&text)),
            Error::UnsupportedPath => Self::new(StatusCode::NOT_FOUND, listed(&text)),
            Error::Denied {
                unauthenticated: true,
            } => Self::new(StatusCode::FORBIDDEN, text),
            Error::Denied {
                unauthenticated: false,
            } => Self::new(StatusCode::FORBIDDEN, listed(&text)),
            Error::Preflight(_) | Error::BadToken | Error::SecondFactor(_) => {
                Self::new(StatusCode::FORBIDDEN, text)
            }
            Error::NotFound { warnings } => Self {
                warnings,
                ..Self::bare(StatusCode::NOT_FOUND)
            },
            Error::Missing(_) => Self::new(StatusCode::NOT_FOUND, listed(&text)),
            Error::LeasesExceeded(_) => Self::new(StatusCode::TOO_MANY_REQUESTS, text),
            Error::RateLimited { .. } => Self::new(StatusCode::TOO_MANY_REQUESTS, text).retry(),
            Error::Compacted { .. } => Self::new(StatusCode::GONE, text),
            Error::NoRoute(_) => Self::new(StatusCode::NOT_FOUND, text),
            Error::UnsupportedOperation => Self::new(StatusCode::METHOD_NOT_ALLOWED, listed(&text)),
            // 501 is the one code that Vault's clients do not try again.
            Error::Unsupported(_) => Self::new(StatusCode::NOT_IMPLEMENTED, text),
            Error::TooLarge(_) => Self::new(StatusCode::PAYLOAD_TOO_LARGE, text),
            Error::NoNamespace => Self::new(StatusCode::NOT_FOUND, text),
            Error::OtherNamespace => Self::new(StatusCode::INTERNAL_SERVER_ERROR, listed(&text)),
            Error::Locked(_) => Self::new(StatusCode::SERVICE_UNAVAILABLE, text),
            Error::Sealed | Error::NotInitialized | Error::NamespaceSealed { .. } => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, text)
            }
            Error::Overloaded(_) | Error::NoLeader(_) | Error::Contention => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, text).retry()
            }
            Error::OutcomeUnknown => Self::new(StatusCode::GATEWAY_TIMEOUT, text),
            Error::InlineLogin(error) => Self {
                of_login: true,
                ..Self::from(*error)
            },
            Error::Target(_) => Self::new(StatusCode::INTERNAL_SERVER_ERROR, listed(&text)),
            _ => Self::new(StatusCode::INTERNAL_SERVER_ERROR, text),
        }
    }
}

/// As Go's multierror prints a single error: clients show it as it is.
fn listed(text: &str) -> String {
    format!("1 error occurred:\n\t* {text}\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_of_core_has_its_code() {
        let rows = [
            (Error::Sealed, 503, false),
            (Error::NotInitialized, 503, false),
            (Error::invalid("no"), 400, false),
            (Error::listed("no"), 400, false),
            (Error::UnsupportedPath, 404, false),
            (Error::denied(), 403, false),
            (Error::unauthenticated(), 403, false),
            (Error::Preflight("a/".into()), 403, false),
            (Error::BadToken, 403, false),
            (
                Error::NotFound {
                    warnings: vec!["w".into()],
                },
                404,
                false,
            ),
            (Error::NoRoute("a/".into()), 404, false),
            (
                Error::Compacted {
                    after: 1,
                    revision: 2,
                },
                410,
                false,
            ),
            (Error::Missing("x".into()), 404, false),
            (
                Error::RateLimited {
                    path: "a".into(),
                    recorded: false,
                },
                429,
                true,
            ),
            (Error::UnsupportedOperation, 405, false),
            (Error::Unsupported("x".into()), 501, false),
            (Error::TooLarge("x".into()), 413, false),
            (Error::Overloaded("x".into()), 503, true),
            (Error::NoLeader("x".into()), 503, true),
            (Error::Contention, 503, true),
            (Error::OutcomeUnknown, 504, false),
            (Error::AuditRefused, 500, false),
            (Error::CommittedUnaudited, 500, false),
            (Error::internal("x"), 500, false),
        ];
        for (error, status, retry) in rows {
            let name = format!("{error:?}");
            let failure = Failure::from(error);
            assert_eq!(
                (failure.status.as_u16(), failure.retry, failure.close),
                (status, retry, false),
                "{name}"
            );
        }
    }
    #[test]
    fn a_failure_of_a_login_that_came_along_says_whose_it_is() {
        let failure = Failure::from(Error::InlineLogin(Box::new(Error::denied())));
        assert!(failure.of_login);
        assert_eq!(
            Failure {
                of_login: false,
                ..failure
            },
            Failure::from(Error::denied())
        );
    }
}
