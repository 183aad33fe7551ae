//! The grammar of the HCL syntax. It must not know JSON, nor what any key means.

use crate::Budget;
use crate::cursor::Cursor;
use crate::error::Error;
use crate::lexer::{self, Token, TokenKind};
use crate::tree::{Attribute, Block, Body, Item, Key, Kind, Pos, Value};

/// Parses a whole text.
pub fn parse(text: &str) -> Result<Body, Error> {
    let mut cursor = Cursor::new(text);
    let token = lexer::next(&mut cursor)?;
    let mut parser = Parser {
        cursor,
        token,
        budget: Budget::new(),
    };
    let items = parser.items(TokenKind::is_eof, 0)?;
    Ok(Body {
        items,
        pos: Pos { line: 1, column: 1 },
    })
}

/// One token ahead of the cursor.
struct Parser<'a> {
    cursor: Cursor<'a>,
    token: Token,
    budget: Budget,
}

impl TokenKind {
    fn is_eof(&self) -> bool {
        matches!(self, Self::Eof)
    }

    fn is_right_brace(&self) -> bool {
        matches!(self, Self::RightBrace)
    }
}

impl Parser<'_> {
    /// Takes the current token and reads the next.
    fn take(&mut self) -> Result<Token, Error> {
        let next = lexer::next(&mut self.cursor)?;
        Ok(std::mem::replace(&mut self.token, next))
    }

    /// An error at the current token.
    fn error(&self, message: &str) -> Error {
        Error::at(
            self.token.pos,
            format!("{message} got: {}", self.token.kind.name()),
        )
    }

    /// Items up to the token that ends them, which is left. A comma may follow each.
    fn items(&mut self, ends: fn(&TokenKind) -> bool, depth: u32) -> Result<Vec<Item>, Error> {
        let mut items = Vec::new();
        while !ends(&self.token.kind) {
            items.push(self.item(depth)?);
            if matches!(self.token.kind, TokenKind::Comma) {
                self.take()?;
            }
        }
        Ok(items)
    }

    /// `key = value` or `key label.. { .. }`.
    fn item(&mut self, depth: u32) -> Result<Item, Error> {
        self.budget.node(self.token.pos)?;
        let key = self.key()?;
        let mut labels = Vec::new();
        loop {
            match self.token.kind {
                TokenKind::Assign if labels.is_empty() => {
                    self.take()?;
                    return Ok(Item::Attribute(Attribute {
                        key,
                        value: self.value(depth)?,
                    }));
                }
                TokenKind::Assign => return Err(self.error("nested object expected: LBRACE")),
                TokenKind::LeftBrace => {
                    let body = self.body(depth)?;
                    return Ok(Item::Block(Block { key, labels, body }));
                }
                TokenKind::Word(_) | TokenKind::Quoted(_) => {
                    self.budget.node(self.token.pos)?;
                    labels.push(self.key()?);
                }
                TokenKind::Eof | TokenKind::RightBrace => {
                    return Err(Error::at(
                        self.token.pos,
                        "key expected start of object ('{') or assignment ('=')",
                    ));
                }
                _ => return Err(self.error("expected: IDENT | STRING | ASSIGN | LBRACE")),
            }
        }
    }

    fn key(&mut self) -> Result<Key, Error> {
        match self.token.kind {
            TokenKind::Word(_) | TokenKind::Quoted(_) => {}
            TokenKind::Assign => return Err(Error::at(self.token.pos, "no object keys found!")),
            TokenKind::LeftBrace => return Err(self.error("expected: IDENT | STRING")),
            TokenKind::Eof => return Err(self.error("object expected closing RBRACE")),
            _ => return Err(self.error("expected: IDENT | STRING | ASSIGN | LBRACE")),
        }
        let Token { kind, pos } = self.take()?;
        match kind {
            TokenKind::Word(name) | TokenKind::Quoted(name) => Ok(Key { name, pos }),
            other => Err(Error::at(
                pos,
                format!("expected: IDENT | STRING got: {}", other.name()),
            )),
        }
    }

    /// `{ .. }`, from its brace.
    fn body(&mut self, depth: u32) -> Result<Body, Error> {
        let open = self.take()?.pos;
        let depth = self.budget.deeper(depth, open)?;
        let items = self.items(TokenKind::is_right_brace, depth)?;
        self.take()?;
        Ok(Body { items, pos: open })
    }

    fn value(&mut self, depth: u32) -> Result<Value, Error> {
        let pos = self.token.pos;
        self.budget.node(pos)?;
        let kind = match self.token.kind {
            TokenKind::LeftBrace => Kind::Object(self.body(depth)?),
            TokenKind::LeftBracket => Kind::List(self.list(depth)?),
            _ => match self.take()? {
                Token {
                    kind: TokenKind::Quoted(text),
                    ..
                } => Kind::String(text),
                Token {
                    kind: TokenKind::Literal(kind),
                    ..
                } => kind,
                Token { kind, .. } => {
                    return Err(Error::at(pos, format!("expected a value, got: {}", kind.name())));
                }
            },
        };
        Ok(Value { kind, pos })
    }

    /// `[ .. ]`, from its bracket. Commas before, between and after are all taken, as upstream does.
    fn list(&mut self, depth: u32) -> Result<Vec<Value>, Error> {
        let open = self.take()?.pos;
        let depth = self.budget.deeper(depth, open)?;
        let mut values = Vec::new();
        let mut comma = true;
        loop {
            match self.token.kind {
                TokenKind::RightBracket => {
                    self.take()?;
                    return Ok(values);
                }
                TokenKind::Comma => {
                    self.take()?;
                    comma = true;
                }
                TokenKind::Eof => return Err(self.error("error parsing list, expected list end,")),
                _ if !comma => {
                    return Err(self.error("error parsing list, expected comma or list end,"));
                }
                _ => {
                    values.push(self.value(depth)?);
                    comma = false;
                }
            }
        }
    }
}
