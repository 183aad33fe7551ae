//! The one error type of the server: why it cannot start, or cannot do what an operator asked of it. What a client did
//! wrong is no error of the server and never comes here.

use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why the server cannot start or go on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// A configuration file is wrong.
    #[error("{file}:{line}:{column}: {message}")]
    Config {
        /// The file.
        file: String,
        /// Line, from 1.
        line: u32,
        /// Column, from 1.
        column: u32,
        /// What is wrong with it. Names keys, never values of secrets.
        message: String,
    },
    /// The configuration as a whole is wrong.
    #[error("configuration: {0}")]
    Settings(String),
    /// A file or directory could not be used.
    #[error("{what} {}: {source}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A certificate or key is missing or wrong.
    #[error("TLS: {0}")]
    Tls(String),
    /// An address could not be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another process uses the data directory.
    #[error("{}: the data directory is used by another process", .0.display())]
    Locked(PathBuf),
    /// The data directory holds something this build must not touch.
    #[error("{0}")]
    Data(String),
    /// Core refused.
    #[error(transparent)]
    Core(#[from] conclave_core::Error),
    /// Replication refused.
    #[error(transparent)]
    Raft(#[from] conclave_raft::Error),
}

impl Error {
    /// For `map_err` after a file operation.
    pub fn file(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { what, path, source }
    }
}
