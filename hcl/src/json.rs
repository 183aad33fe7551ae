//! The JSON syntax (RFC 8259) read into the same tree: members become attributes, duplicates and order are kept, and a
//! comma after the last element is let through as upstream does. It must not know HCL.

use crate::Budget;
use crate::cursor::Cursor;
use crate::error::Error;
use crate::tree::{Attribute, Body, Item, Key, Kind, Value};

/// Parses a whole text, which must be one object.
pub fn parse(text: &str) -> Result<Body, Error> {
    let mut parser = Parser {
        cursor: Cursor::new(text),
        budget: Budget::new(),
    };
    parser.blank()?;
    let body = parser.object(0)?;
    parser.blank()?;
    if parser.cursor.peek().is_some() {
        return Err(parser.cursor.error("unexpected text after the JSON object"));
    }
    Ok(body)
}

struct Parser<'a> {
    cursor: Cursor<'a>,
    budget: Budget,
}

impl Parser<'_> {
    fn blank(&mut self) -> Result<(), Error> {
        self.cursor
            .take_while(|c| matches!(c, ' ' | '\t' | '\n' | '\r'))
            .map(drop)
    }

    fn expect(&mut self, wanted: char) -> Result<(), Error> {
        self.blank()?;
        if self.cursor.eat(wanted)? {
            Ok(())
        } else {
            Err(self.cursor.error(&format!("expected {wanted:?}")))
        }
    }

    /// After an element: whether another may follow before `end`, which is taken.
    fn more(&mut self, end: char) -> Result<bool, Error> {
        self.blank()?;
        let comma = self.cursor.eat(',')?;
        self.blank()?;
        if self.cursor.eat(end)? {
            return Ok(false);
        }
        if comma {
            Ok(true)
        } else {
            Err(self.cursor.error(&format!("expected ',' or {end:?}")))
        }
    }

    fn object(&mut self, depth: u32) -> Result<Body, Error> {
        let pos = self.cursor.pos();
        let depth = self.budget.deeper(depth, pos)?;
        self.expect('{')?;
        self.blank()?;
        let mut items = Vec::new();
        let mut more = !self.cursor.eat('}')?;
        while more {
            items.push(Item::Attribute(self.member(depth)?));
            more = self.more('}')?;
        }
        Ok(Body { items, pos })
    }

    fn member(&mut self, depth: u32) -> Result<Attribute, Error> {
        self.blank()?;
        let pos = self.cursor.pos();
        self.budget.node(pos)?;
        self.expect('"')?;
        let name = self.string()?;
        self.expect(':')?;
        Ok(Attribute {
            key: Key { name, pos },
            value: self.value(depth)?,
        })
    }

    fn value(&mut self, depth: u32) -> Result<Value, Error> {
        self.blank()?;
        let pos = self.cursor.pos();
        self.budget.node(pos)?;
        let kind = match self.cursor.peek() {
            Some('{') => Kind::Object(self.object(depth)?),
            Some('[') => Kind::List(self.list(depth)?),
            Some('"') => {
                self.cursor.bump()?;
                Kind::String(self.string()?)
            }
            Some('-' | '0'..='9') => self.number()?,
            _ => match self.cursor.take_while(|c| c.is_ascii_alphabetic())?.as_str() {
                "true" => Kind::Bool(true),
                "false" => Kind::Bool(false),
                "null" => Kind::Null,
                _ => return Err(Error::at(pos, "expected a JSON value")),
            },
        };
        Ok(Value { kind, pos })
    }

    fn list(&mut self, depth: u32) -> Result<Vec<Value>, Error> {
        let depth = self.budget.deeper(depth, self.cursor.pos())?;
        self.expect('[')?;
        self.blank()?;
        let mut values = Vec::new();
        let mut more = !self.cursor.eat(']')?;
        while more {
            values.push(self.value(depth)?);
            more = self.more(']')?;
        }
        Ok(values)
    }

    /// A number as RFC 8259 section 6 spells it.
    fn number(&mut self) -> Result<Kind, Error> {
        let illegal = self.cursor.error("illegal number");
        let text = self
            .cursor
            .take_while(|c| c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | 'e' | 'E'))?;
        let digits = text.strip_prefix('-').unwrap_or(&text);
        let leading_zero = digits.len() > 1 && digits.starts_with('0');
        if digits.bytes().all(|b| b.is_ascii_digit()) && !leading_zero {
            return text.parse().map(Kind::Int).map_err(|_| illegal);
        }
        let (mantissa, _) = digits.split_once(['e', 'E']).unwrap_or((digits, ""));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
        if whole.is_empty() || fraction.is_empty() || (whole.len() > 1 && whole.starts_with('0')) {
            return Err(illegal);
        }
        match text.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(Kind::Float(value)),
            _ => Err(illegal),
        }
    }

    /// A string whose opening quote was taken.
    fn string(&mut self) -> Result<String, Error> {
        let mut text = String::new();
        loop {
            let pos = self.cursor.pos();
            match self.cursor.bump()? {
                Some('"') => return Ok(text),
                Some('\\') => text.push(self.escape()?),
                Some(c) if c < ' ' => return Err(Error::at(pos, "control character in a string")),
                Some(c) => text.push(c),
                None => return Err(Error::at(pos, "literal not terminated")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Error> {
        let illegal = self.cursor.error("illegal char escape");
        Ok(match self.cursor.bump()? {
            Some(c @ ('"' | '\\' | '/')) => c,
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('u') => {
                let first = self.unit()?;
                if !(0xd800..0xdc00).contains(&first) {
                    return char::from_u32(first).ok_or(illegal);
                }
                let pair = self.cursor.eat('\\')? && self.cursor.eat('u')?;
                let second = if pair { self.unit()? } else { 0 };
                if !(0xdc00..0xe000).contains(&second) {
                    return Err(illegal);
                }
                let scalar = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                return char::from_u32(scalar).ok_or(illegal);
            }
            _ => return Err(illegal),
        })
    }

    /// The four digits of a `\u` escape.
    fn unit(&mut self) -> Result<u32, Error> {
        let illegal = self.cursor.error("illegal char escape");
        let mut value = 0;
        for _ in 0..4 {
            let digit = self
                .cursor
                .bump()?
                .and_then(|c| c.to_digit(16))
                .ok_or_else(|| illegal.clone())?;
            value = value * 16 + digit;
        }
        Ok(value)
    }
}
