//! Reads expressions of filters: words first, then what they say. go-bexpr's grammar for texts: `or` binds loosest, then
//! `and`, then `not`.

use std::iter::Peekable;
use std::vec::IntoIter;

use super::pattern::Pattern;
use super::{How, Member, Test};

/// Longest expression in bytes.
const MAX_LENGTH: usize = 4096;
/// Deepest nesting of parentheses and negations.
const MAX_DEPTH: usize = 32;
/// What can be asked for.
const MEMBERS: &str = "mount_type, mount_point, namespace, operation, path";

/// A word of an expression and where it begins, in characters from 1.
struct Word {
    at: usize,
    token: Token,
}

#[derive(Debug, PartialEq, Eq)]
enum Token {
    Bare(String),
    Quoted(String),
    Open,
    Close,
    Equal,
    Differ,
}

/// Reads an expression; otherwise what is wrong with it.
pub(super) fn read(text: &str) -> Result<Test, String> {
    if text.len() > MAX_LENGTH {
        return Err(format!("longer than {MAX_LENGTH} bytes"));
    }
    let words = words(text)?;
    if words.is_empty() {
        return Err("the expression is empty".to_owned());
    }
    let mut reader = Reader {
        end: text.chars().count() + 1,
        words: words.into_iter().peekable(),
    };
    let test = reader.any(0)?;
    match reader.words.next() {
        None => Ok(test),
        Some(word) => Err(format!(
            "character {}: {} stands after the end",
            word.at,
            word.token.shown()
        )),
    }
}

fn words(text: &str) -> Result<Vec<Word>, String> {
    let mut letters = text.chars().zip(1..).peekable();
    let mut words = Vec::new();
    while let Some((letter, at)) = letters.next() {
        let mut followed = |by: char| letters.next_if(|(next, _)| *next == by).is_some();
        let token = match letter {
            letter if letter.is_whitespace() => continue,
            '(' => Token::Open,
            ')' => Token::Close,
            '=' if followed('=') => Token::Equal,
            '!' if followed('=') => Token::Differ,
            '"' | '`' => {
                let mut rest = letters.by_ref().map(|(letter, _)| letter);
                Token::Quoted(quoted(letter, &mut rest).map_err(|wrong| format!("character {at}: {wrong}"))?)
            }
            letter if is_plain(letter) => {
                let mut word = String::from(letter);
                while let Some((letter, _)) = letters.next_if(|(letter, _)| is_plain(*letter)) {
                    word.push(letter);
                }
                Token::Bare(word)
            }
            other => {
                return Err(format!(
                    "character {at}: {other:?} is nothing that can stand here"
                ));
            }
        };
        words.push(Word { at, token });
    }
    Ok(words)
}

/// Whether a letter may stand in a word without quotes.
fn is_plain(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "_-./".contains(letter)
}

/// The text up to the closing quote.
fn quoted(quote: char, letters: &mut dyn Iterator<Item = char>) -> Result<String, String> {
    let mut text = String::new();
    while let Some(letter) = letters.next() {
        match letter {
            _ if letter == quote => return Ok(text),
            '\\' if quote == '"' => match letters.next() {
                Some(escaped @ ('"' | '\\')) => text.push(escaped),
                other => {
                    let other = other.map(String::from).unwrap_or_default();
                    return Err(format!("the escape \"\\{other}\" is not supported"));
                }
            },
            _ => text.push(letter),
        }
    }
    Err("a quoted text has no end".to_owned())
}

impl Token {
    fn shown(&self) -> String {
        match self {
            Self::Bare(text) | Self::Quoted(text) => format!("{text:?}"),
            Self::Open => "\"(\"".to_owned(),
            Self::Close => "\")\"".to_owned(),
            Self::Equal => "\"==\"".to_owned(),
            Self::Differ => "\"!=\"".to_owned(),
        }
    }
}

struct Reader {
    words: Peekable<IntoIter<Word>>,
    /// Where the expression ends.
    end: usize,
}

impl Reader {
    fn any(&mut self, depth: usize) -> Result<Test, String> {
        let mut tests = vec![self.all(depth)?];
        while self.follows("or") {
            tests.push(self.all(depth)?);
        }
        Ok(one_or(tests, Test::Any))
    }

    fn all(&mut self, depth: usize) -> Result<Test, String> {
        let mut tests = vec![self.unit(depth)?];
        while self.follows("and") {
            tests.push(self.unit(depth)?);
        }
        Ok(one_or(tests, Test::All))
    }

    fn unit(&mut self, depth: usize) -> Result<Test, String> {
        if depth > MAX_DEPTH {
            return Err(format!("nested more than {MAX_DEPTH} deep"));
        }
        if self.follows("not") {
            return Ok(Test::Not(Box::new(self.unit(depth + 1)?)));
        }
        if self.words.next_if(|word| word.token == Token::Open).is_none() {
            return self.condition();
        }
        let test = self.any(depth + 1)?;
        match self.words.next() {
            Some(Word {
                token: Token::Close, ..
            }) => Ok(test),
            Some(word) => Err(format!(
                "character {}: {} stands where \")\" is missing",
                word.at,
                word.token.shown()
            )),
            None => Err(format!("character {}: \")\" is missing", self.end)),
        }
    }

    /// One comparison.
    fn condition(&mut self) -> Result<Test, String> {
        let first = self.words.next().ok_or("it ends where a comparison is missing")?;
        let (at, text) = text_of(first)?;
        let negated = self.follows("not");
        let test = if self.follows("in") {
            let (at, name) = self.text("a name")?;
            Test::Holds(member(at, &name)?, How::Contains(text))
        } else {
            let member = member(at, &text)?;
            let (how, differs) = self.how(&text, negated)?;
            let test = Test::Holds(member, how);
            if differs { Test::Not(Box::new(test)) } else { test }
        };
        Ok(if negated { Test::Not(Box::new(test)) } else { test })
    }

    /// What is said of the member `name`, and whether it is denied.
    fn how(&mut self, name: &str, negated: bool) -> Result<(How, bool), String> {
        let Some(word) = self.words.next() else {
            return Err(format!(
                "character {}: after {name:?} a comparison is missing",
                self.end
            ));
        };
        let at = word.at;
        let verb = match &word.token {
            Token::Bare(verb) => verb.as_str(),
            Token::Equal if !negated => "==",
            Token::Differ if !negated => "!=",
            _ => "",
        };
        Ok(match verb {
            "==" => (How::Equals(self.text("a value")?.1), false),
            "!=" => (How::Equals(self.text("a value")?.1), true),
            "contains" => (How::Contains(self.text("a value")?.1), false),
            "matches" => {
                let (at, pattern) = self.text("a value")?;
                let pattern = Pattern::read(&pattern).map_err(|wrong| format!("character {at}: {wrong}"))?;
                (How::Matches(pattern), false)
            }
            "is" if !negated => {
                let denied = self.follows("not");
                if !self.follows("empty") {
                    return Err(format!("character {at}: after \"is\" only \"empty\" can follow"));
                }
                (How::IsEmpty, denied)
            }
            _ => {
                return Err(format!(
                    "character {at}: {} is no comparison: ==, !=, contains, matches, in, is empty",
                    word.token.shown()
                ));
            }
        })
    }

    /// Takes the next word if it is this one.
    fn follows(&mut self, wanted: &str) -> bool {
        let is = |word: &Word| matches!(&word.token, Token::Bare(text) if text == wanted);
        self.words.next_if(is).is_some()
    }

    fn text(&mut self, what: &str) -> Result<(usize, String), String> {
        match self.words.next() {
            Some(word) => text_of(word),
            None => Err(format!("character {}: {what} is missing", self.end)),
        }
    }
}

fn text_of(word: Word) -> Result<(usize, String), String> {
    match word.token {
        Token::Bare(text) | Token::Quoted(text) => Ok((word.at, text)),
        other => Err(format!(
            "character {}: {} stands where a name or a value is missing",
            word.at,
            other.shown()
        )),
    }
}

/// What a name or a JSON pointer asks for.
fn member(at: usize, name: &str) -> Result<Member, String> {
    Member::named(name.strip_prefix('/').unwrap_or(name))
        .ok_or_else(|| format!("character {at}: {name:?} is nothing that can be asked for: {MEMBERS}"))
}

/// A single test needs nothing around it.
fn one_or(mut tests: Vec<Test>, join: fn(Vec<Test>) -> Test) -> Test {
    match tests.pop() {
        Some(only) if tests.is_empty() => only,
        Some(last) => {
            tests.push(last);
            join(tests)
        }
        None => join(tests),
    }
}
