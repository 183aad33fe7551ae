//! Audit records as a reader of files sees them: lines of JSON, with what people look for.

use std::fs::File;
use std::io::{BufReader, Read};

use crate::commands::with_slash;
use crate::exit::{Context as _, Exit, Fail};
use crate::flags::Args;
use crate::session::Cx;
use conclave_client::http::Json;

/// Longest line that is read, in bytes.
const MAX_LINE: u64 = 64 << 20;

/// A record.
pub struct Record {
    /// As it stands in the file.
    pub text: String,
    value: Json,
}

impl Record {
    /// Reads a line; `None` if it is no record.
    pub fn read(line: &str) -> Option<Self> {
        let start = line.find('{')?;
        let text = line.get(start..)?.trim_end();
        let value = Json::parse(text.as_bytes()).ok()?;
        value.get("type")?;
        Some(Self {
            text: text.to_owned(),
            value,
        })
    }

    /// The text at a place in it; empty without one.
    pub fn get(&self, at: &str) -> &str {
        let mut names = at.split('/').skip(1);
        let found = names.try_fold(&self.value, |value, name| value.get(name));
        found.and_then(Json::as_str).unwrap_or_default()
    }

    /// What was asked for, with its namespace.
    pub fn path(&self) -> String {
        format!(
            "{}{}",
            self.get("/request/namespace/path"),
            self.get("/request/path")
        )
    }

    /// The same as people name secrets of KV version 2: without `data/` after the mount.
    pub fn plain_path(&self) -> Option<String> {
        let mount = with_slash(self.get("/request/mount_point"));
        let path = self.path();
        let rest = path.strip_prefix(&mount)?.strip_prefix("data/")?;
        Some(format!("{mount}{rest}"))
    }

    /// Whether it was refused or failed.
    pub fn failed(&self) -> bool {
        self.value.get("error").is_some()
    }

    /// Whether it says who asked by this: the hash of an accessor or token, or a name.
    pub fn is_by(&self, who: &str) -> bool {
        let places = [
            "/auth/display_name",
            "/auth/accessor",
            "/auth/client_token",
            "/request/client_token",
        ];
        places.iter().any(|at| self.get(at) == who)
    }

    /// One line for people. What clients chose is shown without control characters.
    pub fn line(&self) -> String {
        let or = |text: &str, other: &str| {
            if text.is_empty() {
                other.to_owned()
            } else {
                shown(text)
            }
        };
        let mut line = format!(
            "{}  {:<9} {:<7} {}  by {} from {}",
            shown(self.get("/time")),
            shown(self.get("/type")),
            or(self.get("/request/operation"), "-"),
            or(&self.path(), "-"),
            or(self.get("/auth/display_name"), "nobody"),
            or(self.get("/request/remote_address"), "-"),
        );
        if self.failed() {
            line.push_str(&format!("  error: {}", shown(self.get("/error"))));
        }
        line
    }
}

/// Text that a terminal takes as text.
pub fn shown(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

/// Whether `path` is as `pattern` says, in which `*` stands for anything.
pub fn matches(pattern: &str, path: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = path.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = rest.get(at + part.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    rest.len() >= last.len() && rest.ends_with(last)
}

/// Opens a file; `-` is standard input.
pub fn open(file: &str) -> Result<BufReader<Box<dyn Read>>, Fail> {
    let input: Box<dyn Read> = match file {
        "-" => Box::new(std::io::stdin()),
        file => {
            let opened = File::open(file);
            Box::new(opened.map_err(|error| Fail::usage(format!("Error reading {file}: {error}")))?)
        }
    };
    Ok(BufReader::new(input))
}

/// The same reader, for one line that must not be endless.
pub fn longest<R: Read>(reader: &mut R) -> std::io::Take<&mut R> {
    reader.take(MAX_LINE)
}

/// The files that arguments from the `from`th on name; without any, those of the server's file devices, which must be on
/// this machine.
pub fn files(cx: &mut Cx, args: &Args, from: usize) -> Result<Vec<String>, Fail> {
    let named = args.rest().get(from..).unwrap_or_default();
    if !named.is_empty() {
        return Ok(named.to_vec());
    }
    let devices = cx
        .api(args)?
        .get("sys/audit")
        .context("Error asking for audit devices (name files to do without)")?;
    let mut files = Vec::new();
    for (_, device) in devices.sorted() {
        let options = device.get("options");
        let path = options.and_then(|options| options.get("file_path").or_else(|| options.get("path")));
        files.extend(path.and_then(Json::as_str).map(str::to_owned));
    }
    files.sort();
    files.dedup();
    match files.is_empty() {
        true => Err(Fail {
            exit: Exit::REMOTE,
            message: "The server has no audit device that writes to a file.".to_owned(),
        }),
        false => Ok(files),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_paths() {
        for (pattern, path, good) in [
            ("secret/data/a", "secret/data/a", true),
            ("secret/data/a", "secret/data/ab", false),
            ("secret/*", "secret/data/a", true),
            ("*/a", "secret/data/a", true),
            ("s*t/*a*b", "secret/data/ab", true),
            ("s*t/*ab*b", "secret/data/ab", false),
            ("*", "", true),
            ("a*a", "a", false),
        ] {
            assert_eq!(matches(pattern, path), good, "{pattern} {path}");
        }
    }

    #[test]
    fn records_are_shown_without_what_steers_terminals() {
        let line = r#"<38>1 x {"time":"t","type":"response","auth":{"display_name":"a\u001b[2J"},"request":{"operation":"read",
            "path":"secret/data/x","mount_point":"team/secret/","namespace":{"path":"team/"}},"error":"no\nway"}"#;
        let record = Record::read(&line.replace('\n', "")).unwrap();
        assert_eq!(record.plain_path().as_deref(), Some("team/secret/x"));
        let said = record.line();
        assert!(
            said.contains("team/secret/data/x") && !said.chars().any(char::is_control),
            "{said}"
        );
        assert!(Record::read("nothing").is_none() && Record::read("{}").is_none());
    }
}
