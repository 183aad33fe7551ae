//! Numbers of the HCL syntax. It must not know the tokens around them.

use crate::cursor::Cursor;
use crate::error::Error;
use crate::tree::{Kind, Pos};

/// Reads the number that begins at the cursor; `pos` is where its sign stood, if it had one.
pub fn number(cursor: &mut Cursor<'_>, negative: bool, pos: Pos) -> Result<Kind, Error> {
    let sign = if negative { "-" } else { "" };
    let kind = if cursor.peek() == Some('0') && matches!(cursor.peek_at(1), Some('x' | 'X')) {
        cursor.bump()?;
        cursor.bump()?;
        let digits = cursor.take_while(|c| c.is_ascii_hexdigit())?;
        integer(sign, &digits, 16, pos).map_err(|_| Error::at(pos, "illegal hexadecimal number"))?
    } else {
        decimal(cursor, sign, pos)?
    };
    // `12abc` would otherwise be the number 12 and a key `abc`: a typing mistake, never meant.
    if cursor
        .peek()
        .is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '.'))
    {
        return Err(Error::at(pos, "illegal number"));
    }
    Ok(kind)
}

fn decimal(cursor: &mut Cursor<'_>, sign: &str, pos: Pos) -> Result<Kind, Error> {
    let digits = |cursor: &mut Cursor<'_>| cursor.take_while(|c| c.is_ascii_digit());
    let whole = digits(cursor)?;
    let mut text = format!("{sign}{whole}");
    let mut float = false;
    if cursor.eat('.')? {
        float = true;
        text.push('.');
        text.push_str(&digits(cursor)?);
    }
    if matches!(cursor.peek(), Some('e' | 'E')) {
        float = true;
        cursor.bump()?;
        text.push('e');
        if let Some(sign @ ('+' | '-')) = cursor.peek() {
            cursor.bump()?;
            text.push(sign);
        }
        text.push_str(&digits(cursor)?);
    }
    if !float {
        let radix = if whole.len() > 1 && whole.starts_with('0') {
            8
        } else {
            10
        };
        return integer(sign, &whole, radix, pos);
    }
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(Kind::Float(value)),
        _ => Err(Error::at(pos, "illegal number")),
    }
}

fn integer(sign: &str, digits: &str, radix: u32, pos: Pos) -> Result<Kind, Error> {
    let message = if radix == 8 {
        "illegal octal number"
    } else {
        "number is out of range"
    };
    i64::from_str_radix(&format!("{sign}{digits}"), radix)
        .map(Kind::Int)
        .map_err(|_| Error::at(pos, message))
}
