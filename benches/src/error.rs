//! The one error type of the load generator.

use thiserror::Error;

/// Why a run gives no numbers.
#[derive(Debug, Error)]
pub enum Error {
    /// The options make no run.
    #[error("{0}")]
    Setup(String),
    /// The server could not be reached or broke off.
    #[error("connection: {0}")]
    Connection(String),
    /// The server refused what the run needs.
    #[error("the server refused {0}")]
    Refused(String),
}
