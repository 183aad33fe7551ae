//! One configuration file while it is read: typed access that names the place of every mistake, and the check of keys
//! against a table. It must not know what a key does.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use conclave_hcl::{Body, Pos};

use super::duration;
use super::keys::{Fate, fate, nearest};
use crate::error::Error;

/// A mistake the parser found, with its file.
pub(super) fn located(file: &str, error: &conclave_hcl::Error) -> Error {
    Error::Config {
        file: file.to_owned(),
        line: error.line,
        column: error.column,
        message: error.message.clone(),
    }
}

/// The file being read, for messages.
pub(super) struct Source<'w> {
    /// Its name.
    pub(super) file: String,
    /// What has no effect.
    pub(super) warnings: &'w mut Vec<String>,
}

impl Source<'_> {
    /// An error at a place of this file.
    pub(super) fn at(&self, pos: Pos, message: impl Into<String>) -> Error {
        Error::Config {
            file: self.file.clone(),
            line: pos.line,
            column: pos.column,
            message: message.into(),
        }
    }

    /// An error about what a key is set to: at its value, or at the body if it is not set.
    pub(super) fn at_key(&self, body: &Body, key: &str, message: impl Into<String>) -> Error {
        let set = body.value(key).ok().flatten();
        self.at(set.map_or(body.pos, |value| value.pos), message)
    }

    /// For errors of the parser's accessors.
    pub(super) fn wrong(&self, error: conclave_hcl::Error) -> Error {
        located(&self.file, &error)
    }

    /// Refuses what is refused or unknown in a body, warns of what has no effect.
    pub(super) fn check_keys(&mut self, body: &Body, table: &[(&str, Fate)]) -> Result<(), Error> {
        for item in &body.items {
            let key = item.key();
            match fate(table, &key.name) {
                Some(Fate::Honoured) => {}
                Some(Fate::Ignored(why)) => {
                    self.warnings.push(format!(
                        "{}:{}: {} has no effect: {why}",
                        self.file, key.pos.line, key.name
                    ));
                }
                Some(Fate::Refused(why)) => {
                    return Err(self.at(key.pos, format!("{} is not supported: {why}", key.name)));
                }
                None => {
                    let hint = nearest(table, &key.name).map(|known| format!("; did you mean {known}?"));
                    let hint = hint.unwrap_or_default();
                    return Err(self.at(key.pos, format!("unknown key {:?}{hint}", key.name)));
                }
            }
        }
        Ok(())
    }

    /// A string, or a number as its text; `None` if it is not set.
    pub(super) fn text(&self, body: &Body, key: &str) -> Result<Option<String>, Error> {
        let value = body.value(key).map_err(|error| self.wrong(error))?;
        value
            .map(|value| value.text().map_err(|error| self.wrong(error)))
            .transpose()
    }

    /// `true`, `1`, `"true"` and the like; `None` if it is not set.
    pub(super) fn flag(&self, body: &Body, key: &str) -> Result<Option<bool>, Error> {
        let Some(value) = body.value(key).map_err(|error| self.wrong(error))? else {
            return Ok(None);
        };
        let flag = value.bool().ok().or_else(|| match value.int() {
            Ok(0) => Some(false),
            Ok(1) => Some(true),
            _ => None,
        });
        flag.map(Some)
            .ok_or_else(|| self.at(value.pos, format!("{key} must be true or false")))
    }

    /// [`Source::flag`]; false if it is not set.
    pub(super) fn bool(&self, body: &Body, key: &str) -> Result<bool, Error> {
        Ok(self.flag(body, key)?.unwrap_or(false))
    }

    /// A duration, as [`duration::parse`] reads it.
    pub(super) fn duration(&self, body: &Body, key: &str) -> Result<Option<Duration>, Error> {
        let Some(text) = self.text(body, key)? else {
            return Ok(None);
        };
        let parsed = duration::parse(&text);
        parsed.map(Some).ok_or_else(|| {
            self.at_key(
                body,
                key,
                format!("{key} must be a duration such as 90s or 1h30m"),
            )
        })
    }

    /// A number of bytes, alone or with `KiB`, `MiB`, `GiB` or `TiB`.
    pub(super) fn bytes(&self, body: &Body, key: &str) -> Result<Option<u64>, Error> {
        let Some(text) = self.text(body, key)? else {
            return Ok(None);
        };
        bytes(&text)
            .map(Some)
            .ok_or_else(|| self.at_key(body, key, format!("{key} must be a size such as 512MiB or 2GiB")))
    }

    /// A list of strings, or one string with commas.
    pub(super) fn texts(&self, body: &Body, key: &str) -> Result<Vec<String>, Error> {
        let value = body.value(key).map_err(|error| self.wrong(error))?;
        let Some(value) = value else { return Ok(Vec::new()) };
        match value.texts() {
            Ok(texts) => Ok(texts),
            Err(_) => {
                let text = value.text().map_err(|error| self.wrong(error))?;
                Ok(text
                    .split(',')
                    .map(|part| part.trim().to_owned())
                    .filter(|part| !part.is_empty())
                    .collect())
            }
        }
    }

    /// A whole number, negative ones included, as HCL and JSON write it.
    pub(super) fn number(&self, body: &Body, key: &str) -> Result<Option<i64>, Error> {
        let value = body.value(key).map_err(|error| self.wrong(error))?;
        value
            .map(|value| value.int().map_err(|error| self.wrong(error)))
            .transpose()
    }

    /// A bound: `None` when it is not set or 0. Negative ones would switch the bound off and are refused.
    pub(super) fn bound(&self, body: &Body, key: &str) -> Result<Option<u64>, Error> {
        match self.number(body, key)? {
            None | Some(0) => Ok(None),
            Some(number) => u64::try_from(number).map(Some).map_err(|_| {
                self.at_key(
                    body,
                    key,
                    format!("{key} must not be negative: requests are always bounded"),
                )
            }),
        }
    }

    /// `address:port`, `:port` for all addresses, or a host name, which is looked up now.
    pub(super) fn socket(&self, body: &Body, key: &str) -> Result<Option<SocketAddr>, Error> {
        let Some(text) = self.text(body, key)? else {
            return Ok(None);
        };
        socket(&text)
            .map(Some)
            .map_err(|message| self.at_key(body, key, format!("{key}: {message}")))
    }
}

fn bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits)?;
    let shift = match unit.trim() {
        "" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// `address:port`, `:port` for all addresses, or a host name, which is looked up now.
pub(crate) fn socket(text: &str) -> Result<SocketAddr, String> {
    if text.contains("{{") {
        return Err("templates are not expanded: write the address".to_owned());
    }
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let wrong = || format!("{text:?} must be an address and a port, such as 127.0.0.1:8200");
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let port: u16 = port.parse().map_err(|_| wrong())?;
    if host.is_empty() {
        return Ok(SocketAddr::from(([0, 0, 0, 0], port)));
    }
    let mut found = (host, port)
        .to_socket_addrs()
        .map_err(|error| format!("{host:?} is not found: {error}"))?;
    found.next().ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_bytes_or_binary_units() {
        assert_eq!(bytes("0"), Some(0));
        assert_eq!(bytes("1048576"), Some(1 << 20));
        assert_eq!(bytes("512MiB"), Some(512 << 20));
        assert_eq!(bytes(" 2 GiB "), Some(2 << 30));
        for bad in ["", "MiB", "-1", "1.5GiB", "1GB", "1gib", "99999999999TiB"] {
            assert_eq!(bytes(bad), None, "{bad}");
        }
    }

    #[test]
    fn addresses_are_numbers_names_or_a_port() {
        let rows = [
            ("127.0.0.1:8200", Some("127.0.0.1:8200")),
            ("[::1]:8200", Some("[::1]:8200")),
            (":8200", Some("0.0.0.0:8200")),
            ("127.0.0.1", None),
            ("127.0.0.1:99999", None),
            ("{{ GetPrivateIP }}:8200", None),
            ("", None),
        ];
        for (text, want) in rows {
            let got = socket(text).ok().map(|address| address.to_string());
            assert_eq!(got.as_deref(), want, "{text}");
        }
        assert!(socket("localhost:8200").unwrap().ip().is_loopback());
    }
}
