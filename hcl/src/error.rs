//! What a parse or a typed access answers when the text is not what was expected. It must not quote values of the
//! text: a configuration file may hold secrets.

use crate::tree::Pos;

/// Bad text, and where: lines and columns count from 1, columns in characters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("At {line}:{column}: {message}")]
pub struct Error {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// What is wrong. It names keys and kinds of tokens, never a value.
    pub message: String,
}

impl Error {
    /// An error at `pos`.
    pub fn at(pos: Pos, message: impl Into<String>) -> Self {
        Self {
            line: pos.line,
            column: pos.column,
            message: message.into(),
        }
    }
}
