//! URLs as Go's `net/url` and `path` make them, because servers, logs and scripts know those spellings. Pure text.

use super::Error;

/// A server's address: scheme, host with port, and a path under which the API stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// `http` or `https`.
    pub scheme: String,
    /// Host and, if given, port, as they were written.
    pub host: String,
    /// Path before `/v1/`; empty or beginning with `/`.
    pub base: String,
}

impl Address {
    /// Reads `scheme://host[:port][/path]`.
    ///
    /// # Errors
    /// [`Error::Config`] if the scheme is not http or https, or there is no host.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        let bad = |why: &str| Error::Config(format!("invalid address {text:?}: {why}"));
        let (scheme, rest) = text
            .split_once("://")
            .ok_or_else(|| bad("it must begin with http:// or https://"))?;
        if scheme != "http" && scheme != "https" {
            return Err(bad("the scheme must be http or https"));
        }
        let (host, base) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        if host.is_empty() || host.contains(['@', '?', '#', ' ']) {
            return Err(bad("it names no host"));
        }
        Ok(Self {
            scheme: scheme.into(),
            host: host.into(),
            base: base.trim_end_matches('/').into(),
        })
    }

    /// The URL of an API path, cleaned and escaped.
    #[must_use]
    pub fn url(&self, path: &str, query: &[(String, String)]) -> String {
        let mut url = format!("{}://{}{}", self.scheme, self.host, self.api_path(path));
        if !query.is_empty() {
            url.push('?');
            url.push_str(&encode_query(query));
        }
        url
    }

    /// The escaped path part of [`Address::url`].
    #[must_use]
    pub fn api_path(&self, path: &str) -> String {
        escape_path(&clean(&format!("{}/v1/{path}", self.base)))
    }

    /// The address as text.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}://{}{}", self.scheme, self.host, self.base)
    }

    /// Host without port and brackets.
    #[must_use]
    pub fn host_name(&self) -> &str {
        let host = self
            .host
            .rsplit_once(':')
            .map_or(self.host.as_str(), |(host, port)| {
                if port.bytes().all(|b| b.is_ascii_digit()) {
                    host
                } else {
                    self.host.as_str()
                }
            });
        host.trim_start_matches('[').trim_end_matches(']')
    }

    /// The port, given or by scheme.
    #[must_use]
    pub fn port(&self) -> u16 {
        let given = self.host.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        given.unwrap_or(if self.scheme == "https" { 443 } else { 80 })
    }
}

/// Go's `path.Clean`: one slash between elements, no `.`, `..` resolved, no trailing slash.
#[must_use]
pub fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".into(),
        (false, false) => joined,
    }
}

/// Go's `path.Join`: the elements that are not empty, cleaned.
#[must_use]
pub fn join(parts: &[&str]) -> String {
    let parts: Vec<&str> = parts.iter().copied().filter(|p| !p.is_empty()).collect();
    if parts.is_empty() {
        String::new()
    } else {
        clean(&parts.join("/"))
    }
}

fn escape(text: &str, keep: &[u8], space_as_plus: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte == b' ' && space_as_plus {
            out.push('+');
        } else if byte.is_ascii_alphanumeric() || keep.contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn escape_path(path: &str) -> String {
    escape(path, b"-_.~$&+,/:;=@", false)
}

fn encode_query(query: &[(String, String)]) -> String {
    let mut sorted: Vec<_> = query.iter().collect();
    sorted.sort_by(|a, b| a.0.cmp(&b.0));
    let part = |text: &str| escape(text, b"-_.~", true);
    let pairs: Vec<String> = sorted
        .iter()
        .map(|(k, v)| format!("{}={}", part(k), part(v)))
        .collect();
    pairs.join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_gos() {
        let address = Address::parse("http://127.0.0.1:8200/base/").unwrap();
        assert_eq!(
            address.url("sys/mounts/kv//tune", &[]),
            "http://127.0.0.1:8200/base/v1/sys/mounts/kv/tune"
        );
        assert_eq!(
            address.url("secret/a b!%é", &[]),
            "http://127.0.0.1:8200/base/v1/secret/a%20b%21%25%C3%A9"
        );
        let query = [
            ("b".to_owned(), "x y".to_owned()),
            ("a".to_owned(), "1/2".to_owned()),
        ];
        assert_eq!(
            address.url("x", &query),
            "http://127.0.0.1:8200/base/v1/x?a=1%2F2&b=x+y"
        );
        assert_eq!(
            address.url("a/../../sys/seal", &[]),
            "http://127.0.0.1:8200/base/sys/seal"
        );
    }

    #[test]
    fn hosts_and_ports() {
        let address = Address::parse("https://[::1]:8200").unwrap();
        assert_eq!((address.host_name(), address.port()), ("::1", 8200));
        assert_eq!(Address::parse("https://vault.example").unwrap().port(), 443);
        for bad in ["", "127.0.0.1:8200", "ftp://x", "http://", "http://a@b"] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn joins_as_go() {
        assert_eq!(join(&["secret/", "data", "/a//b/"]), "secret/data/a/b");
        assert_eq!(join(&["", ""]), "");
    }
}
