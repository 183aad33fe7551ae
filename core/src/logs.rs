//! What core needs of the process' log: levels of its voices, and its lines as they come. Implemented by the server; core
//! must not know how lines are made.

use std::pin::Pin;

use futures::Stream;

use crate::error::Error;

/// Least gravity of the lines that are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Everything.
    Trace,
    /// What helps to find a fault.
    Debug,
    /// What happens.
    Info,
    /// What somebody should look at.
    Warn,
    /// What went wrong.
    Error,
    /// Nothing.
    Off,
}

impl Level {
    /// Reads a level as `sys/loggers` takes it, in any case; `None` if it is none.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text.trim().to_ascii_lowercase().as_str() {
            "trace" => Self::Trace,
            "debug" => Self::Debug,
            "info" | "notice" => Self::Info,
            "warn" | "warning" => Self::Warn,
            "err" | "error" => Self::Error,
            _ => return None,
        })
    }

    /// As it is shown.
    pub fn text(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::Off => "off",
        }
    }
}

/// Form of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// For people.
    #[default]
    Standard,
    /// One JSON object a line.
    Json,
}

/// Lines of the log, each with its end. Whoever drops it follows no more.
pub type Lines = Pin<Box<dyn Stream<Item = Vec<u8>> + Send + Sync>>;

/// The log of this process.
pub trait Logs: Send + Sync {
    /// Each voice that has a level of its own, by name.
    fn levels(&self) -> Vec<(&'static str, Level)>;

    /// From now on, lines of this level and graver ones are kept; of one voice or, without a name, of all. `level` of
    /// `None` is the configuration's. Answers whether there is such a voice.
    ///
    /// # Errors
    /// [`Error::Internal`] if the log is gone.
    fn set(&self, name: Option<&str>, level: Option<Level>) -> Result<bool, Error>;

    /// The lines from now on of this level and graver ones, whatever is kept elsewhere. A follower that is too slow loses
    /// lines and is told how many.
    ///
    /// # Errors
    /// [`Error::Overloaded`] if there are too many followers.
    fn follow(&self, level: Level, format: Format) -> Result<Lines, Error>;
}

/// A process whose log nobody can turn or follow: one that core is a guest in.
pub struct NoLogs;

impl Logs for NoLogs {
    fn levels(&self) -> Vec<(&'static str, Level)> {
        Vec::new()
    }

    fn set(&self, _: Option<&str>, _: Option<Level>) -> Result<bool, Error> {
        Err(unsupported())
    }

    fn follow(&self, _: Level, _: Format) -> Result<Lines, Error> {
        Err(unsupported())
    }
}

fn unsupported() -> Error {
    Error::Unsupported("the log of this process is not the server's".to_owned())
}
