//! Templates of account names, in the part of Go's template language that Vault's documentation uses: fields, texts,
//! numbers, calls, pipes and parentheses. Knows nothing of accounts.

use std::ops::Range;

use base64::Engine as _;
use conclave_engine_api::{Env, Error, Millis, format_time};
use sha2::{Digest, Sha256};

/// Longest template and longest result in bytes.
const MAX_TEMPLATE: usize = 4096;
const MAX_RESULT: usize = 1024;
/// Deepest nesting of parentheses.
const MAX_DEPTH: usize = 16;
/// Most random letters of one call.
const MAX_RANDOM: usize = 512;

/// Names that are compared, and the fewest places in which they must differ: 62^4 are 14 million names.
const SAMPLES: usize = 8;
const PLACES: usize = 4;

/// What a template may name.
pub(super) struct Names<'a> {
    pub display_name: &'a str,
    pub role_name: &'a str,
    /// Fields that only some engines have, without their dots.
    pub more: &'a [(&'a str, &'a str)],
}

impl Names<'_> {
    fn field(&self, word: &str) -> Result<String, Error> {
        let name = word.trim_start_matches('.');
        let own = [("DisplayName", self.display_name), ("RoleName", self.role_name)];
        let found = own.iter().chain(self.more).find(|(known, _)| *known == name);
        found
            .map(|(_, value)| (*value).to_owned())
            .ok_or_else(|| wrong("it names an unknown field"))
    }
}

/// The name that a template makes, if it makes another one each time: whoever drops an account by its name must not find
/// somebody else's.
pub(super) fn fresh(template: &str, names: &Names<'_>, env: &mut Env<'_>) -> Result<String, Error> {
    let name = render(template, names, env)?;
    let mut differs = vec![false; name.len()];
    for _ in 1..SAMPLES {
        let other = render(template, names, env)?;
        if other == name {
            return Err(alike());
        }
        let pairs = name.bytes().zip(other.bytes());
        for (differs, (one, other)) in differs.iter_mut().zip(pairs) {
            *differs |= one != other;
        }
    }
    match differs.iter().filter(|differs| **differs).count() {
        few if few < PLACES => Err(alike()),
        _ => Ok(name),
    }
}

fn alike() -> Error {
    Error::invalid(format!(
        "username_template must make another name each time: use random with {PLACES} letters or more, or uuid"
    ))
}

/// The name that a template makes.
pub(super) fn render(template: &str, names: &Names<'_>, env: &mut Env<'_>) -> Result<String, Error> {
    if template.len() > MAX_TEMPLATE {
        return Err(Error::TooLarge(format!(
            "username_template is longer than {MAX_TEMPLATE} bytes"
        )));
    }
    let mut out = String::new();
    let mut rest = template;
    // Of each `if` that is open: whether what stands now is wanted, and whether what stands in its `else` would be.
    let mut open: Vec<(bool, bool)> = Vec::new();
    while let Some((before, from)) = rest.split_once("{{") {
        let wanted = open.iter().all(|(now, _)| *now);
        if wanted {
            out.push_str(before);
        }
        let (inside, after) = from.split_once("}}").ok_or_else(|| wrong("a {{ is not closed"))?;
        rest = after;
        let tokens = tokens(inside.trim_matches('-'))?;
        match tokens.as_slice() {
            [Token::Word(word), condition @ ..] if word == "if" => {
                if open.len() >= MAX_DEPTH {
                    return Err(wrong("it is nested too deeply"));
                }
                let holds = wanted && !value(condition, names, env)?.is_empty();
                open.push((holds, wanted && !holds));
            }
            [Token::Word(word)] if word == "else" => {
                let last = open.last_mut().ok_or_else(|| wrong("an else without its if"))?;
                *last = (last.1, false);
            }
            [Token::Word(word)] if word == "end" => {
                open.pop().ok_or_else(|| wrong("an end without its if"))?;
            }
            tokens if wanted => out.push_str(&value(tokens, names, env)?),
            _ => {}
        }
    }
    if !open.is_empty() {
        return Err(wrong("an if without its end"));
    }
    out.push_str(rest);
    if out.is_empty() || out.len() > MAX_RESULT {
        return Err(wrong("it makes an empty or too long name"));
    }
    Ok(out)
}

/// What stands between braces comes to.
fn value(tokens: &[Token], names: &Names<'_>, env: &mut Env<'_>) -> Result<String, Error> {
    let mut reader = Reader {
        tokens,
        at: 0,
        names,
        env,
    };
    let value = reader.pipeline(0)?;
    match reader.at == tokens.len() {
        true => Ok(value),
        false => Err(wrong("something is left over")),
    }
}

fn wrong(what: &str) -> Error {
    Error::invalid(format!("invalid username_template: {what}"))
}

#[derive(Debug, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Number(usize),
    Open,
    Close,
    Pipe,
}

fn tokens(text: &str) -> Result<Vec<Token>, Error> {
    let mut found = Vec::new();
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            _ if letter.is_whitespace() => {}
            '(' => found.push(Token::Open),
            ')' => found.push(Token::Close),
            '|' => found.push(Token::Pipe),
            '"' | '`' => {
                let mut value = String::new();
                loop {
                    match letters.next() {
                        Some(end) if end == letter => break,
                        Some('\\') if letter == '"' => value.extend(letters.next()),
                        Some(other) => value.push(other),
                        None => return Err(wrong("a text is not closed")),
                    }
                }
                found.push(Token::Text(value));
            }
            _ => {
                let mut word = String::from(letter);
                while let Some(next) = letters
                    .next_if(|next| !next.is_whitespace() && !matches!(next, '(' | ')' | '|' | '"' | '`'))
                {
                    word.push(next);
                }
                found.push(match word.parse() {
                    Ok(number) => Token::Number(number),
                    Err(_) => Token::Word(word),
                });
            }
        }
    }
    Ok(found)
}

struct Reader<'r, 'e> {
    tokens: &'r [Token],
    at: usize,
    names: &'r Names<'r>,
    env: &'r mut Env<'e>,
}

impl Reader<'_, '_> {
    /// `call | call | ...`: each takes what the one before made as its last argument.
    fn pipeline(&mut self, depth: usize) -> Result<String, Error> {
        if depth > MAX_DEPTH {
            return Err(wrong("it is nested too deeply"));
        }
        let mut value = self.call(None, depth)?;
        while self.tokens.get(self.at) == Some(&Token::Pipe) {
            self.at += 1;
            value = self.call(Some(value), depth)?;
        }
        Ok(value)
    }

    fn call(&mut self, piped: Option<String>, depth: usize) -> Result<String, Error> {
        let function = match self.tokens.get(self.at) {
            Some(Token::Word(word)) if !word.starts_with('.') => {
                self.at += 1;
                Some(word.clone())
            }
            _ => None,
        };
        let mut arguments = Vec::new();
        while let Some(argument) = self.argument(depth)? {
            arguments.push(argument);
        }
        arguments.extend(piped);
        match function {
            Some(function) => self.apply(&function, &arguments),
            None => match arguments.as_slice() {
                [value] => Ok(value.clone()),
                _ => Err(wrong("a value or a function is missing")),
            },
        }
    }

    fn argument(&mut self, depth: usize) -> Result<Option<String>, Error> {
        let value = match self.tokens.get(self.at) {
            Some(Token::Text(text)) => text.clone(),
            Some(Token::Number(number)) => number.to_string(),
            Some(Token::Word(word)) if word.starts_with('.') => self.names.field(word)?,
            Some(Token::Word(word)) if matches!(word.as_str(), "unix_time" | "unix_time_millis" | "uuid") => {
                let word = word.clone();
                self.at += 1;
                return self.apply(&word, &[]).map(Some);
            }
            Some(Token::Open) => {
                self.at += 1;
                let value = self.pipeline(depth + 1)?;
                if self.tokens.get(self.at) != Some(&Token::Close) {
                    return Err(wrong("a parenthesis is not closed"));
                }
                value
            }
            _ => return Ok(None),
        };
        self.at += 1;
        Ok(Some(value))
    }

    fn apply(&mut self, function: &str, arguments: &[String]) -> Result<String, Error> {
        let texts: Vec<&str> = arguments.iter().map(String::as_str).collect();
        Ok(match (function, texts.as_slice()) {
            ("random", [length]) => {
                let length = number(length)?;
                if length == 0 || length > MAX_RANDOM {
                    return Err(wrong("random wants a number of letters"));
                }
                self.env.base62(length)
            }
            ("unix_time", []) => (self.env.now() / 1000).to_string(),
            ("unix_time_millis", []) => self.env.now().to_string(),
            ("uuid", []) => self.env.uuid(),
            ("truncate", [length, text]) => text.chars().take(number(length)?).collect(),
            ("truncate_sha256", [length, text]) => shortened(number(length)?, text)?,
            ("uppercase", [text]) => text.to_uppercase(),
            ("lowercase", [text]) => text.to_lowercase(),
            ("replace", [find, new, text]) if !find.is_empty() => text.replace(find, new),
            ("sha256", [text]) => hex::encode(Sha256::digest(text.as_bytes())),
            ("base64", [text]) => base64::engine::general_purpose::STANDARD.encode(text),
            ("timestamp", [layout]) => timestamp(layout, self.env.now())?,
            // What holds is a text, what does not is none.
            ("eq", [one, other]) if one == other => "true".to_owned(),
            ("eq", [_, _]) => String::new(),
            ("printf", [format, values @ ..]) => print(format, values)?,
            _ => return Err(wrong("it calls an unknown function, or one with other arguments")),
        })
    }
}

fn number(text: &str) -> Result<usize, Error> {
    text.parse().map_err(|_| wrong("a number is missing"))
}

/// A time by a layout of Go's, of numbers: what stands for year, month, day, hour, minute and second of UTC in 2006-01-02
/// 15:04:05 is put in their places.
fn timestamp(layout: &str, now: Millis) -> Result<String, Error> {
    const PLACES: [(&str, Range<usize>); 6] = [
        ("2006", 0..4),
        ("01", 5..7),
        ("02", 8..10),
        ("15", 11..13),
        ("04", 14..16),
        ("05", 17..19),
    ];
    let time = format_time(now);
    let mut out = String::new();
    let mut rest = layout;
    while let Some(letter) = rest.chars().next() {
        let place = PLACES.iter().find(|(place, _)| rest.starts_with(place));
        let length = match place {
            Some((place, at)) => {
                out.push_str(time.get(at.clone()).unwrap_or_default());
                place.len()
            }
            // Names and parts of seconds, which are not built, and what only looks like a place.
            None if letter.is_ascii_digit() || (letter.is_alphabetic() && !matches!(letter, 'T' | 'Z')) => {
                return Err(wrong("timestamp knows 2006, 01, 02, 15, 04 and 05"));
            }
            None => {
                out.push(letter);
                letter.len_utf8()
            }
        };
        rest = rest.get(length..).unwrap_or_default();
    }
    Ok(out)
}

/// Cut, with eight characters of its hash in place of what was cut.
fn shortened(length: usize, text: &str) -> Result<String, Error> {
    const KEPT: usize = 8;
    if length <= KEPT {
        return Err(wrong("truncate_sha256 wants a number above 8"));
    }
    if text.chars().count() <= length {
        return Ok(text.to_owned());
    }
    let (head, tail): (String, String) = {
        let at = text
            .char_indices()
            .nth(length - KEPT)
            .map_or(text.len(), |(at, _)| at);
        let (head, tail) = text.split_at(at);
        (head.to_owned(), tail.to_owned())
    };
    let mut hash = hex::encode(Sha256::digest(tail.as_bytes()));
    hash.truncate(KEPT);
    Ok(head + &hash)
}

/// `%s`, `%d` and `%v` in their order.
fn print(format: &str, values: &[&str]) -> Result<String, Error> {
    let mut out = String::new();
    let mut values = values.iter();
    let mut letters = format.chars();
    while let Some(letter) = letters.next() {
        match (letter, letter == '%') {
            (_, false) => out.push(letter),
            (_, true) => match letters.next() {
                Some('%') => out.push('%'),
                Some('s' | 'd' | 'v') => {
                    out.push_str(values.next().ok_or_else(|| wrong("printf wants more values"))?);
                }
                _ => return Err(wrong("printf knows %s, %d and %v")),
            },
        }
    }
    match values.next() {
        None => Ok(out),
        Some(_) => Err(wrong("printf wants fewer values")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use conclave_engine_api::testkit::SeededEntropy;

    fn made(template: &str) -> Result<String, Error> {
        let mut entropy = SeededEntropy::new(1);
        let mut env = Env::new(1_767_225_600_000, &mut entropy);
        let names = Names {
            display_name: "token-very-long",
            role_name: "my-role-of-many",
            more: &[("Type", "IAM")],
        };
        render(template, &names, &mut env)
    }

    #[test]
    fn documented_templates_render() {
        let usual = r#"{{ printf "v-%s-%s-%s-%s" (.DisplayName | truncate 8) (.RoleName | truncate 8) (random 20) (unix_time) | truncate 63 }}"#;
        let name = made(usual).unwrap();
        assert!(
            name.starts_with("v-token-ve-my-role--") && name.ends_with("-1767225600"),
            "{name}"
        );
        assert_eq!(name.len(), 2 + 9 + 9 + 21 + 10);
        assert_eq!(
            made("x_{{.RoleName | uppercase | replace \"-\" \"_\"}}").unwrap(),
            "x_MY_ROLE_OF_MANY"
        );
        assert_eq!(made("{{unix_time}}").unwrap(), "1767225600");
        assert_eq!(made(r#"{{ "abc" | truncate 2 }}"#).unwrap(), "ab");
        assert_eq!(made(r#"{{ "a?b" | base64 }}"#).unwrap(), "YT9i");
        assert_eq!(
            made(r#"{{ timestamp "2006-01-02T15:04:05Z" }}_{{ timestamp "0102" }}"#).unwrap(),
            "2026-01-01T00:00:00Z_0101"
        );
        assert!(made(r#"{{ timestamp "Jan 2" }}"#).is_err());
        assert_eq!(made("{{ truncate_sha256 12 .DisplayName }}").unwrap().len(), 12);
        let chosen = r#"{{ if (eq .Type "STS") }}{{ if eq "a" "a" }}s{{ end }}{{ else }}i{{ end }}x"#;
        assert_eq!(made(chosen).unwrap(), "ix");
        assert_eq!(made(&chosen.replace("STS", "IAM")).unwrap(), "sx");
    }

    #[test]
    fn names_must_differ_enough() {
        let fresh = |template: &str, role_name: &str| {
            let mut entropy = SeededEntropy::new(1);
            let mut env = Env::new(1_767_225_600_000, &mut entropy);
            let names = Names {
                display_name: "token",
                role_name,
                more: &[],
            };
            fresh(template, &names, &mut env)
        };
        for good in [
            "{{random 4}}",
            "{{uuid}}",
            "x{{random 20 | uppercase | truncate 5}}",
            "{{random 30 | sha256 | truncate 8}}",
        ] {
            fresh(good, "role").unwrap_or_else(|error| panic!("{good}: {error}"));
        }
        for bad in [
            "app",
            "{{.RoleName}}-{{unix_time_millis}}",
            "{{random 3}}",
            "{{.RoleName}}{{random 1}}-{{unix_time}}",
            "{{.RoleName | sha256}}",
        ] {
            assert!(fresh(bad, "role").is_err(), "{bad}");
        }
        let cut = r#"{{ printf "v-%s-%s" .RoleName (random 8) | truncate 16 }}"#;
        fresh(cut, "role").unwrap();
        assert!(fresh(cut, "a-role-of-many").is_err(), "nothing random is left");
    }

    #[test]
    fn others_are_refused() {
        for bad in [
            "",
            "{{",
            "{{ nope 1 }}",
            "{{ .Nope }}",
            "{{ random }}",
            "{{ random 0 }}",
            "{{ (random 3 }}",
            "{{ printf \"%s\" }}",
            "{{ printf \"%q\" \"x\" }}",
            "{{ \"x }}",
            "{{ }}",
            "{{ random 9999 }}",
            "x{{ if eq .Type }}y{{ end }}",
            "x{{ if .Type }}y",
            "x{{ else }}",
            "x{{ end }}",
        ] {
            assert!(made(bad).is_err(), "{bad}");
        }
        assert!(made(&format!("{{{{ {}1 }}}}", "(".repeat(100))).is_err());
    }
}
