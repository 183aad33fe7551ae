//! Quoted strings and heredocs of the HCL syntax. It must not know the tokens around them.

use crate::cursor::Cursor;
use crate::error::Error;
use crate::lexer::{is_digit, is_letter};
use crate::tree::Pos;

/// Reads a string whose opening quote was taken. `${..}` is text and may hold quotes and line ends.
pub fn quoted(cursor: &mut Cursor<'_>, start: Pos) -> Result<String, Error> {
    // Bytes, because `\xc3\xa9` spells one character with two escapes.
    let mut bytes = Vec::new();
    let mut braces = 0u32;
    loop {
        let next = match cursor.bump()? {
            None => return Err(cursor.error("literal not terminated")),
            Some('\n') if braces == 0 => return Err(Error::at(start, "literal not terminated")),
            Some('"') if braces == 0 => break,
            Some('\\') if braces == 0 => {
                escape(cursor, &mut bytes)?;
                continue;
            }
            Some(next) => next,
        };
        if braces == 0 && next == '$' && cursor.peek() == Some('{') {
            braces = 1;
            cursor.bump()?;
            bytes.extend_from_slice(b"${");
            continue;
        }
        match next {
            '{' if braces > 0 => braces += 1,
            '}' if braces > 0 => braces -= 1,
            _ => {}
        }
        bytes.extend_from_slice(next.encode_utf8(&mut [0; 4]).as_bytes());
    }
    String::from_utf8(bytes).map_err(|_| Error::at(start, "string is not valid UTF-8"))
}

/// Reads what follows a backslash.
fn escape(cursor: &mut Cursor<'_>, bytes: &mut Vec<u8>) -> Result<(), Error> {
    let illegal = cursor.error("illegal char escape");
    let byte = match cursor.bump()? {
        Some('a') => 0x07,
        Some('b') => 0x08,
        Some('f') => 0x0c,
        Some('n') => b'\n',
        Some('r') => b'\r',
        Some('t') => b'\t',
        Some('v') => 0x0b,
        Some('\\') => b'\\',
        Some('"') => b'"',
        Some(first @ '0'..='7') => {
            let value =
                digits(cursor, 8, 2, first.to_digit(8).unwrap_or(0)).ok_or_else(|| illegal.clone())?;
            u8::try_from(value).map_err(|_| illegal)?
        }
        Some('x') => {
            let value = digits(cursor, 16, 2, 0).ok_or_else(|| illegal.clone())?;
            u8::try_from(value).map_err(|_| illegal)?
        }
        Some(letter @ ('u' | 'U')) => {
            let count = if letter == 'u' { 4 } else { 8 };
            let value = digits(cursor, 16, count, 0)
                .and_then(char::from_u32)
                .ok_or(illegal)?;
            bytes.extend_from_slice(value.encode_utf8(&mut [0; 4]).as_bytes());
            return Ok(());
        }
        _ => return Err(illegal),
    };
    bytes.push(byte);
    Ok(())
}

/// Exactly `count` more digits, after those that made `value`.
fn digits(cursor: &mut Cursor<'_>, radix: u32, count: u32, mut value: u32) -> Option<u32> {
    for _ in 0..count {
        let digit = cursor.peek()?.to_digit(radix)?;
        cursor.bump().ok()?;
        value = value.checked_mul(radix)?.checked_add(digit)?;
    }
    Some(value)
}

/// Reads a heredoc whose first `<` was taken. The text is the lines before the one that holds only the anchor; each
/// keeps its line end. With `<<-`, the anchor's own indentation is removed from the lines if all of them have it.
pub fn heredoc(cursor: &mut Cursor<'_>, start: Pos) -> Result<String, Error> {
    if !cursor.eat('<')? {
        return Err(cursor.error("heredoc expected second '<', didn't see it"));
    }
    let unindent = cursor.eat('-')?;
    let anchor = cursor.take_while(|c| is_letter(c) || is_digit(c))?;
    match cursor.peek() {
        None => return Err(Error::at(start, "heredoc not terminated")),
        Some('\n') if anchor.is_empty() => return Err(cursor.error("zero-length heredoc anchor")),
        Some('\n') => cursor.bump()?,
        Some(_) => return Err(cursor.error("invalid characters in heredoc anchor")),
    };
    let mut lines = Vec::new();
    let indent = loop {
        let Some(line) = cursor.line()? else {
            return Err(Error::at(start, "heredoc not terminated"));
        };
        let blank = |c: char| matches!(c, ' ' | '\t' | '\r' | '\x0b' | '\x0c');
        let bare = line.trim_end_matches('\r').trim_start_matches(blank);
        if bare == anchor {
            break line.split(|c| !blank(c)).next().unwrap_or_default().to_owned();
        }
        lines.push(line);
    };
    let strip = unindent && lines.iter().all(|line| line.starts_with(&indent));
    let mut text = String::new();
    for line in &lines {
        text.push_str(line.strip_prefix(&indent).filter(|_| strip).unwrap_or(line));
        text.push('\n');
    }
    Ok(text)
}
