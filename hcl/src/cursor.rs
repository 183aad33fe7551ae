//! Walks over a text and knows the line and column. It must not know tokens.

use std::str::Chars;

use crate::error::Error;
use crate::tree::Pos;

/// A place in a text. Reads `\r\n` as `\n`.
pub struct Cursor<'a> {
    rest: Chars<'a>,
    pos: Pos,
}

impl<'a> Cursor<'a> {
    pub fn new(text: &'a str) -> Self {
        Self {
            rest: text.chars(),
            pos: Pos { line: 1, column: 1 },
        }
    }

    /// Where the next character stands.
    pub fn pos(&self) -> Pos {
        self.pos
    }

    /// The next character, left in place.
    pub fn peek(&self) -> Option<char> {
        self.peek_at(0)
    }

    /// The character after `skip` others, left in place.
    pub fn peek_at(&self, skip: usize) -> Option<char> {
        let mut ahead = self.rest.clone();
        let mut next = || match ahead.next() {
            Some('\r') if ahead.as_str().starts_with('\n') => ahead.next(),
            other => other,
        };
        for _ in 0..skip {
            next()?;
        }
        next()
    }

    /// Takes the next character. NUL is an error anywhere.
    pub fn bump(&mut self) -> Result<Option<char>, Error> {
        let mut next = self.rest.next();
        if next == Some('\r') && self.rest.as_str().starts_with('\n') {
            next = self.rest.next();
        }
        match next {
            Some('\0') => return Err(self.error("unexpected null character (0x00)")),
            Some('\n') => {
                self.pos = Pos {
                    line: self.pos.line + 1,
                    column: 1,
                }
            }
            Some(_) => self.pos.column += 1,
            None => {}
        }
        Ok(next)
    }

    /// Takes the next character if it is `wanted`.
    pub fn eat(&mut self, wanted: char) -> Result<bool, Error> {
        let found = self.peek() == Some(wanted);
        if found {
            self.bump()?;
        }
        Ok(found)
    }

    /// Takes characters as long as `keep` holds.
    pub fn take_while(&mut self, keep: impl Fn(char) -> bool) -> Result<String, Error> {
        let mut taken = String::new();
        while let Some(next) = self.peek().filter(|c| keep(*c)) {
            self.bump()?;
            taken.push(next);
        }
        Ok(taken)
    }

    /// Takes the rest of the line and its `\n`; `None` if the text ends before one.
    pub fn line(&mut self) -> Result<Option<String>, Error> {
        let mut line = String::new();
        while let Some(next) = self.bump()? {
            if next == '\n' {
                return Ok(Some(line));
            }
            line.push(next);
        }
        Ok(None)
    }

    /// An error at the next character.
    pub fn error(&self, message: &str) -> Error {
        Error::at(self.pos, message)
    }
}
