//! Tokens of the HCL syntax. It must not know how they combine.

use crate::cursor::Cursor;
use crate::error::Error;
use crate::number::number;
use crate::string::{heredoc, quoted};
use crate::tree::{Kind, Pos};

/// A token and where it begins.
pub struct Token {
    pub kind: TokenKind,
    pub pos: Pos,
}

/// What a token is.
pub enum TokenKind {
    Eof,
    /// A bare word.
    Word(String),
    /// A quoted string: a key or a value.
    Quoted(String),
    /// Any other literal: number, bool, heredoc.
    Literal(Kind),
    LeftBracket,
    RightBracket,
    LeftBrace,
    RightBrace,
    Comma,
    Assign,
    /// `.`, `+` or `-` on its own: tokens that no rule takes.
    Stray(&'static str),
}

impl TokenKind {
    /// The name that HashiCorp's parser gives it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Eof => "EOF",
            Self::Word(_) => "IDENT",
            Self::Quoted(_) => "STRING",
            Self::Literal(Kind::Bool(_)) => "BOOL",
            Self::Literal(Kind::Int(_)) => "NUMBER",
            Self::Literal(Kind::Float(_)) => "FLOAT",
            Self::Literal(_) => "HEREDOC",
            Self::LeftBracket => "LBRACK",
            Self::RightBracket => "RBRACK",
            Self::LeftBrace => "LBRACE",
            Self::RightBrace => "RBRACE",
            Self::Comma => "COMMA",
            Self::Assign => "ASSIGN",
            Self::Stray(name) => name,
        }
    }
}

/// Reads the next token, past white space and comments.
pub fn next(cursor: &mut Cursor<'_>) -> Result<Token, Error> {
    skip_blank(cursor)?;
    let pos = cursor.pos();
    let Some(first) = cursor.peek() else {
        return Ok(Token {
            kind: TokenKind::Eof,
            pos,
        });
    };
    let kind = match first {
        c if is_letter(c) => word(cursor)?,
        c if c.is_ascii_digit() => TokenKind::Literal(number(cursor, false, pos)?),
        '.' if digit_follows(cursor) => TokenKind::Literal(number(cursor, false, pos)?),
        '-' if digit_follows(cursor) => {
            cursor.bump()?;
            TokenKind::Literal(number(cursor, true, pos)?)
        }
        _ => {
            cursor.bump()?;
            match first {
                '"' => TokenKind::Quoted(quoted(cursor, pos)?),
                '<' => TokenKind::Literal(Kind::String(heredoc(cursor, pos)?)),
                '[' => TokenKind::LeftBracket,
                ']' => TokenKind::RightBracket,
                '{' => TokenKind::LeftBrace,
                '}' => TokenKind::RightBrace,
                ',' => TokenKind::Comma,
                '=' => TokenKind::Assign,
                '.' => TokenKind::Stray("PERIOD"),
                '+' => TokenKind::Stray("ADD"),
                '-' => TokenKind::Stray("SUB"),
                _ => return Err(Error::at(pos, "illegal char")),
            }
        }
    };
    Ok(Token { kind, pos })
}

/// A letter that a bare word or a heredoc's anchor may begin with.
pub fn is_letter(c: char) -> bool {
    c == '_' || c.is_alphabetic()
}

/// A digit of a bare word or a heredoc's anchor.
pub fn is_digit(c: char) -> bool {
    c.is_numeric()
}

fn word(cursor: &mut Cursor<'_>) -> Result<TokenKind, Error> {
    let word = cursor.take_while(|c| is_letter(c) || is_digit(c) || matches!(c, '-' | '.'))?;
    Ok(match word.as_str() {
        "true" => TokenKind::Literal(Kind::Bool(true)),
        "false" => TokenKind::Literal(Kind::Bool(false)),
        _ => TokenKind::Word(word),
    })
}

fn digit_follows(cursor: &Cursor<'_>) -> bool {
    cursor.peek_at(1).is_some_and(|c| c.is_ascii_digit())
}

/// Skips white space and `#`, `//` and `/* */` comments.
fn skip_blank(cursor: &mut Cursor<'_>) -> Result<(), Error> {
    loop {
        match cursor.peek() {
            Some(' ' | '\t' | '\n' | '\r') => {
                cursor.bump()?;
            }
            Some('#') => {
                cursor.line()?;
            }
            Some('/') => comment(cursor)?,
            _ => return Ok(()),
        }
    }
}

fn comment(cursor: &mut Cursor<'_>) -> Result<(), Error> {
    let start = cursor.pos();
    cursor.bump()?;
    if cursor.eat('/')? {
        cursor.line()?;
        return Ok(());
    }
    if !cursor.eat('*')? {
        return Err(Error::at(start, "expected '/' for comment"));
    }
    while let Some(next) = cursor.bump()? {
        if next == '*' && cursor.eat('/')? {
            return Ok(());
        }
    }
    Err(Error::at(start, "comment not terminated"))
}
