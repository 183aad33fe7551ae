//! How a command ends: its code and, if it failed, what is said. Knows no writer.

use conclave_client::http::Error;

/// An exit code: 0 success, 1 local or usage error, 2 error of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit(pub u8);

impl Exit {
    /// Success.
    pub const OK: Self = Self(0);
    /// A local error or wrong usage.
    pub const USAGE: Self = Self(1);
    /// An error of the server or on the way to it.
    pub const REMOTE: Self = Self(2);
    /// Whoever read the output wants no more: 128 and the number of the signal that a pipe ends other programs by.
    pub const CLOSED: Self = Self(141);
}

/// A failure: the code and the message for standard error.
#[derive(Debug)]
pub struct Fail {
    /// The exit code.
    pub exit: Exit,
    /// What is said; empty for nothing more.
    pub message: String,
}

impl Fail {
    /// A local error.
    pub fn usage(message: impl Into<String>) -> Self {
        Self {
            exit: Exit::USAGE,
            message: message.into(),
        }
    }

    /// An error of the server.
    pub fn remote(message: impl Into<String>) -> Self {
        Self {
            exit: Exit::REMOTE,
            message: message.into(),
        }
    }
}

impl From<Error> for Fail {
    /// A failed call without a sentence around it.
    fn from(error: Error) -> Self {
        Self::remote(error.to_string())
    }
}

/// Puts a sentence before a failed call's message.
pub trait Context<T> {
    /// `SENTENCE: ERROR`, as an error of the server.
    fn context(self, sentence: &str) -> Result<T, Fail>;
}

impl<T> Context<T> for Result<T, Error> {
    fn context(self, sentence: &str) -> Result<T, Fail> {
        self.map_err(|e| Fail::remote(format!("{sentence}: {e}")))
    }
}
