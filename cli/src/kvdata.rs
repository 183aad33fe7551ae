//! `key=value`, `key=@file`, `key=-`, `@file` and `-` arguments as fields. Reads files and standard input only.

use std::io::Read;

use conclave_client::http::{Fields, Json, plain};

use crate::goval::quote;

/// Largest file or standard input taken as data, in bytes: twice what a server accepts.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// Reads arguments as fields. A key given twice becomes a list.
///
/// # Errors
/// The complaint of `bao` and `vault`.
pub fn parse(stdin: &mut dyn Read, args: &[String]) -> Result<Fields, String> {
    let mut reader = Reader {
        stdin: Some(stdin),
        fields: Fields::new(),
    };
    for arg in args {
        reader
            .add(arg)
            .map_err(|e| format!("invalid key/value pair {}: {e}", quote(arg)))?;
    }
    Ok(reader.fields)
}

/// As [`parse`], each value as the texts of a query parameter.
///
/// # Errors
/// As [`parse`], or a value that is an object.
pub fn parse_query(stdin: &mut dyn Read, args: &[String]) -> Result<Vec<(String, String)>, String> {
    let fields = parse(stdin, args)?;
    let mut query = Vec::new();
    for (name, value) in fields.iter() {
        let values = value
            .as_array()
            .map_or_else(|| vec![value], |items| items.iter().collect());
        for value in values {
            query.push((name.to_owned(), scalar(name, value)?));
        }
    }
    Ok(query)
}

/// As [`parse`], each value as one text.
///
/// # Errors
/// As [`parse`], or a value that is a list or an object.
pub fn parse_texts(stdin: &mut dyn Read, args: &[String]) -> Result<Vec<(String, String)>, String> {
    let fields = parse(stdin, args)?;
    fields
        .iter()
        .map(|(name, value)| Ok((name.to_owned(), scalar(name, value)?)))
        .collect()
}

fn scalar(name: &str, value: &Json) -> Result<String, String> {
    match value {
        Json::String(s) => Ok(s.clone()),
        Json::Number(n) => Ok(n.clone()),
        Json::Bool(b) => Ok(if *b { "1" } else { "0" }.to_owned()),
        Json::Null => Ok(String::new()),
        Json::Array(_) | Json::Object(_) => Err(format!(
            "failed to convert values to strings: '{name}' is not a text, number or truth value"
        )),
    }
}

struct Reader<'a> {
    stdin: Option<&'a mut dyn Read>,
    fields: Fields,
}

impl Reader<'_> {
    fn add(&mut self, arg: &str) -> Result<(), String> {
        if arg.is_empty() {
            return Ok(());
        }
        let Some((name, value)) = arg.split_once('=') else {
            let text = match arg.strip_prefix('@') {
                Some(path) => read_file(path)?,
                None if arg == "-" => self.read_stdin()?,
                None => return Err("format must be key=value".into()),
            };
            return self.merge(&text);
        };
        let value = if let Some(path) = value.strip_prefix('@') {
            text(read_file(path).map_err(|e| format!("error reading file: {e}"))?)?
        } else if value == "-" {
            text(self.read_stdin()?)?
        } else if value.starts_with("\\@") {
            value.get(1..).unwrap_or_default().to_owned()
        } else {
            value.to_owned()
        };
        let value = match self.fields.remove(name) {
            None => Json::String(value),
            Some(Json::Array(mut items)) => {
                items.push(Json::String(value));
                Json::Array(items)
            }
            Some(first) => Json::Array(vec![first, Json::String(value)]),
        };
        self.fields.insert(name, value);
        Ok(())
    }

    fn merge(&mut self, json: &[u8]) -> Result<(), String> {
        match Json::parse_first(json).map_err(|e| e.to_string())? {
            Json::Object(fields) => {
                for (name, value) in fields.iter() {
                    self.fields.insert(name, value.clone());
                }
                Ok(())
            }
            Json::Null => Ok(()),
            other => Err(format!(
                "json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
                kind(&other)
            )),
        }
    }

    fn read_stdin(&mut self) -> Result<Vec<u8>, String> {
        let stdin = self.stdin.take().ok_or("stdin already consumed")?;
        let mut bytes = Vec::new();
        stdin
            .take(MAX_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(|e| plain(&e))?;
        limited(bytes)
    }
}

fn kind(value: &Json) -> &'static str {
    match value {
        Json::Null => "null",
        Json::Bool(_) => "bool",
        Json::Number(_) => "number",
        Json::String(_) => "string",
        Json::Array(_) => "array",
        Json::Object(_) => "object",
    }
}

/// Reads a file, in the words of Go's `os.Open` if that fails.
///
/// # Errors
/// `open PATH: REASON`.
pub fn read_file(path: &str) -> Result<Vec<u8>, String> {
    let file = std::fs::File::open(path).map_err(|e| format!("open {path}: {}", plain(&e)))?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| format!("read {path}: {}", plain(&e)))?;
    limited(bytes)
}

fn limited(bytes: Vec<u8>) -> Result<Vec<u8>, String> {
    if bytes.len() as u64 > MAX_BYTES {
        Err(format!("input is larger than {MAX_BYTES} bytes"))
    } else {
        Ok(bytes)
    }
}

/// JSON carries text only; other bytes become U+FFFD as in Go's encoder, which would change a secret silently, so
/// they are refused here.
fn text(bytes: Vec<u8>) -> Result<String, String> {
    String::from_utf8(bytes)
        .map_err(|_| "the value is not UTF-8 text; encode it first, for example as base64".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(stdin: &str, args: &[&str]) -> Result<String, String> {
        let args: Vec<String> = args.iter().map(|a| (*a).to_owned()).collect();
        parse(&mut stdin.as_bytes(), &args).map(|f| Json::Object(f).to_compact())
    }

    #[test]
    fn pairs_lists_and_escapes() {
        assert_eq!(
            run("", &["a=1", "b=x=y", "a=2", "c=", "d=\\@e"]).unwrap(),
            r#"{"a":["1","2"],"b":"x=y","c":"","d":"@e"}"#
        );
    }

    #[test]
    fn stdin_once_as_value_or_document() {
        assert_eq!(run("secret\n", &["a=-"]).unwrap(), r#"{"a":"secret\n"}"#);
        assert_eq!(
            run("{\"n\":1.10}", &["-", "b=2"]).unwrap(),
            r#"{"b":"2","n":1.10}"#
        );
        assert_eq!(
            run("x", &["a=-", "b=-"]).unwrap_err(),
            "invalid key/value pair \"b=-\": stdin already consumed"
        );
    }

    #[test]
    fn complaints() {
        assert_eq!(
            run("", &["x"]).unwrap_err(),
            "invalid key/value pair \"x\": format must be key=value"
        );
        assert_eq!(run("", &["-"]).unwrap_err(), "invalid key/value pair \"-\": EOF");
        assert_eq!(
            run("", &["x=@/nosuch"]).unwrap_err(),
            "invalid key/value pair \"x=@/nosuch\": error reading file: open /nosuch: no such file or directory"
        );
    }
}
