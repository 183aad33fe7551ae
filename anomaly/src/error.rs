//! The one error type of this crate. It must not carry names or paths: only what is wrong.

use thiserror::Error;

/// Why something was refused.
#[derive(Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// Bytes that do not decode.
    #[error("a summary or a state of detection does not decode: {0}")]
    Damaged(&'static str),
    /// A rule has no such parameter.
    #[error("rule {rule} has no parameter {name:?}; it has: {known}")]
    UnknownParam {
        /// The rule.
        rule: &'static str,
        /// What was given.
        name: String,
        /// What there is.
        known: String,
    },
    /// A parameter is outside its bounds.
    #[error("{name} must be between {min} and {max}")]
    OutOfBounds {
        /// The parameter.
        name: &'static str,
        /// Least.
        min: f64,
        /// Most.
        max: f64,
    },
    /// Text that is no time zone.
    #[error(
        "{0:?} is no time zone: UTC, an offset such as +02:00, or a POSIX rule such as CET-1CEST,M3.5.0,M10.5.0/3"
    )]
    Zone(String),
    /// Text that is no span of hours.
    #[error("{0:?} are no working hours: days and hours such as mon-fri 7-19")]
    Hours(String),
}
