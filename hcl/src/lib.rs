//! The first dialect of HCL, in which policies and server configuration of Vault and OpenBao are written, and the same
//! tree from JSON. It must not know what any key means. What the dialect takes was learnt from OpenBao 2.7's
//! `bao policy fmt`; where that reads a mistake as something else, this refuses it (`tests/dialect.rs`).

mod cursor;
mod error;
mod hcl;
mod json;
mod lexer;
mod number;
mod string;
mod tree;

pub use error::Error;
pub use tree::{Attribute, Block, Body, Item, Key, Kind, Pos, Section, Value, duplicate};

/// Largest text, in bytes.
pub const MAX_INPUT_BYTES: usize = 1024 * 1024;
/// Deepest nesting of objects and lists.
pub const MAX_DEPTH: u32 = 32;
/// Most items and values in one text.
pub const MAX_NODES: u32 = 100_000;

/// Parses a text: JSON if its first character after white space is `{`, as upstream decides, else HCL.
/// Any text gives a tree or an error with its place; duplicates and order are kept.
pub fn parse(text: &str) -> Result<Body, Error> {
    if text.len() > MAX_INPUT_BYTES {
        let message = format!("text is larger than {MAX_INPUT_BYTES} bytes");
        return Err(Error::at(Pos { line: 1, column: 1 }, message));
    }
    if text.trim_start().starts_with('{') {
        json::parse(text)
    } else {
        hcl::parse(text)
    }
}

/// Counts what a parse has made, so that a small text cannot grow into a large tree.
struct Budget {
    nodes: u32,
}

impl Budget {
    fn new() -> Self {
        Self { nodes: 0 }
    }

    /// Pays for one item or value at `pos`.
    fn node(&mut self, pos: Pos) -> Result<(), Error> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(Error::at(pos, format!("more than {MAX_NODES} items")));
        }
        Ok(())
    }

    /// The depth of what opens at `pos` within `depth`.
    fn deeper(&self, depth: u32, pos: Pos) -> Result<u32, Error> {
        if depth >= MAX_DEPTH {
            return Err(Error::at(pos, format!("nested deeper than {MAX_DEPTH}")));
        }
        Ok(depth + 1)
    }
}
