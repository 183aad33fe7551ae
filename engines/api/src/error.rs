//! The one error type of engines. It names what went wrong for the caller; transports turn it into a status. It must
//! not carry secrets: texts name fields and paths, never values.

use thiserror::Error;

/// Why an engine did not do what it was asked.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The request is wrong; the text says how (HTTP 400).
    #[error("{0}")]
    Invalid(String),
    /// A login whose credentials are wrong (HTTP 400). The text must be the same for names that exist and for others.
    #[error("{0}")]
    BadCredentials(String),
    /// The caller may not do this (HTTP 403).
    #[error("permission denied")]
    Denied,
    /// There is nothing here (HTTP 404), with warnings that say what may be meant.
    #[error("not found")]
    NotFound {
        /// Warnings for the caller.
        warnings: Vec<String>,
    },
    /// The path does not answer this operation (HTTP 405).
    #[error("unsupported operation")]
    UnsupportedOperation,
    /// The engine has no such path (HTTP 404 with the router's text).
    #[error("unsupported path")]
    UnsupportedPath,
    /// Not built: said plainly (HTTP 501).
    #[error("unsupported: {0}")]
    Unsupported(String),
    /// Too large (HTTP 413).
    #[error("{0}")]
    TooLarge(String),
    /// A system outside did not do what it was asked (HTTP 500); the text is what it said.
    #[error("{0}")]
    Target(String),
    /// Stored bytes make no sense (HTTP 500).
    #[error("internal error: {0}")]
    Internal(String),
}

impl Error {
    /// A 400 with this text.
    pub fn invalid(text: impl Into<String>) -> Self {
        Self::Invalid(text.into())
    }

    /// A bare 404.
    pub fn not_found() -> Self {
        Self::NotFound { warnings: Vec::new() }
    }

    /// A 500 with this text.
    pub fn internal(text: impl Into<String>) -> Self {
        Self::Internal(text.into())
    }
}
