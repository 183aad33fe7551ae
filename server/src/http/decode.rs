//! From an HTTP request to `core::Request`: method, path, token, headers, query and body. The path stays encoded: core
//! alone decides what it means.

use std::net::IpAddr;

use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, Method};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use conclave_core::{Request, Verb};

use super::status::Refusal;
use super::{JsonLimits, form, inline, json};
use crate::config::duration;

/// Longest token, as Vault's `max_token_header_size`.
const MAX_TOKEN_BYTES: usize = 8 * 1024;
/// Longest namespace, idempotency key and wrap TTL.
const MAX_HEADER_BYTES: usize = 1024;
/// Parameters that choose the verb and are no data.
const VERB_PARAMETERS: [&str; 3] = ["list", "scan", "help"];

/// A request without its body.
pub struct Head {
    /// The request as far as the head tells.
    pub request: Request,
    /// The decoded query.
    pub query: Map<String, Value>,
    form: bool,
}

/// Reads everything but the body. `path` is what follows `/v1/`.
pub fn head(parts: &Parts, path: &str, source: IpAddr) -> Result<Head, Refusal> {
    let headers = &parts.headers;
    let query = match parts.uri.query() {
        None | Some("") => Map::new(),
        Some(query) => form::parse(query.as_bytes()).map_err(Refusal::Malformed)?,
    };
    let verb = verb(&parts.method, &query, path)?;
    if verb == Verb::Patch {
        patch_type(headers)?;
    }
    if headers
        .get(CONTENT_ENCODING)
        .is_some_and(|coding| coding != "identity")
    {
        return Err(Refusal::Encoded);
    }
    let mut request = Request::new(verb, path);
    request.token = token(headers)?;
    request.namespace = text(headers, "x-vault-namespace")?.map(str::to_owned);
    request.inline = inline::login(headers, request.namespace.as_deref())?;
    request.idempotency_key = text(headers, "idempotency-key")?.map(str::to_owned);
    request.mfa = second_factors(headers)?;
    request.wrap_ttl = text(headers, "x-vault-wrap-ttl")?.map(wrap_ttl).transpose()?;
    if text(headers, "x-vault-wrap-format")?.is_some_and(|format| format.eq_ignore_ascii_case("jwt")) {
        return Err(Refusal::Malformed(
            "X-Vault-Wrap-Format: only tokens are made, no JWTs".to_owned(),
        ));
    }
    request.remote = Some(source);
    Ok(Head {
        request,
        query,
        form: is_form(headers),
    })
}

impl Head {
    /// Adds the body, and beneath it the query for verbs that read.
    pub fn with_body(mut self, body: &[u8], limits: JsonLimits) -> Result<Request, Refusal> {
        self.request.data = match first_visible(body) {
            None => Map::new(),
            // As Vault: curl says "form" of whatever `-d` sends.
            Some(first) if self.form && first != b'{' && first != b'[' => {
                form::parse(body).map_err(Refusal::Malformed)?
            }
            Some(_) => json::parse(body, limits).map_err(Refusal::Malformed)?,
        };
        if !matches!(self.request.verb, Verb::Write | Verb::Patch) {
            for (name, value) in self.query {
                if !VERB_PARAMETERS.contains(&name.as_str()) && !self.request.data.contains_key(&name) {
                    self.request.data.insert(name, value);
                }
            }
        }
        Ok(self.request)
    }
}

fn verb(method: &Method, query: &Map<String, Value>, path: &str) -> Result<Verb, Refusal> {
    let flag = |name: &str| match query.get(name) {
        None => Ok(false),
        Some(value) => value
            .as_str()
            .and_then(truth)
            .ok_or_else(|| Refusal::Malformed(format!("{name} must be true or false"))),
    };
    match method.as_str() {
        "GET" => match (flag("list")?, flag("scan")?, flag("help")?) {
            (true, true, _) => Err(Refusal::Malformed("list and scan exclude each other".to_owned())),
            (true, false, _) => Ok(Verb::List),
            (false, true, _) => Ok(Verb::Scan),
            (false, false, true) => Ok(Verb::Help),
            (false, false, false) => Ok(Verb::Read),
        },
        // Only balancers send HEAD, and only to this path.
        "HEAD" if path == "sys/health" => Ok(Verb::Read),
        "POST" | "PUT" => Ok(Verb::Write),
        "PATCH" => Ok(Verb::Patch),
        "DELETE" => Ok(Verb::Delete),
        "LIST" => Ok(Verb::List),
        "SCAN" => Ok(Verb::Scan),
        _ => Err(Refusal::Method),
    }
}

/// Go's `strconv.ParseBool`.
fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// The token, from `X-Vault-Token` or `Authorization: Bearer`. Two that differ are refused: an intermediary might
/// have checked the other one.
fn token(headers: &HeaderMap) -> Result<Option<Zeroizing<String>>, Refusal> {
    let own = single(headers, "x-vault-token")?;
    let bearer = match single(headers, AUTHORIZATION.as_str())? {
        Some(value) => value
            .split_once(' ')
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")),
        None => None,
    };
    let bearer = bearer
        .map(|(_, token)| token.trim())
        .filter(|token| !token.is_empty());
    let token = match (own, bearer) {
        (Some(own), Some(bearer)) if own != bearer => {
            return Err(Refusal::Ambiguous(
                "X-Vault-Token and Authorization hold different tokens",
            ));
        }
        (Some(token), _) | (None, Some(token)) => token,
        (None, None) => return Ok(None),
    };
    if token.len() > MAX_TOKEN_BYTES {
        return Err(Refusal::Ambiguous("the token is too long"));
    }
    Ok(Some(Zeroizing::new(token.to_owned())))
}

/// The value of a header that may be there once, if it is not empty.
fn single<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<&'h str>, Refusal> {
    let mut values = headers.get_all(name).iter();
    let value = values.next();
    if values.next().is_some() {
        return Err(Refusal::Ambiguous(
            "a header that must be there once is there twice",
        ));
    }
    let Some(value) = value else { return Ok(None) };
    let text = value
        .to_str()
        .map_err(|_| Refusal::Ambiguous("a header holds other than visible ASCII"))?;
    Ok(Some(text.trim()).filter(|text| !text.is_empty()))
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<&'h str>, Refusal> {
    match single(headers, name)? {
        Some(text) if text.len() > MAX_HEADER_BYTES => Err(Refusal::Malformed(format!("{name} is too long"))),
        text => Ok(text),
    }
}

/// Every `X-Vault-MFA`; what is in them core reads.
fn second_factors(headers: &HeaderMap) -> Result<Vec<Zeroizing<String>>, Refusal> {
    let shown = headers.get_all("x-vault-mfa").iter().map(|value| {
        let text = value.to_str().ok().filter(|text| text.len() <= MAX_HEADER_BYTES);
        let text = text.ok_or_else(|| Refusal::Malformed("x-vault-mfa is too long or no text".to_owned()))?;
        Ok(Zeroizing::new(text.to_owned()))
    });
    shown.collect()
}

fn wrap_ttl(text: &str) -> Result<u64, Refusal> {
    if text.starts_with('-') {
        return Err(Refusal::Malformed(
            "error parsing X-Vault-Wrap-TTL header: requested wrap ttl cannot be negative".to_owned(),
        ));
    }
    let wrong = || {
        Refusal::Malformed(format!(
            "error parsing X-Vault-Wrap-TTL header: invalid duration {text:?}"
        ))
    };
    let ttl = duration::parse(text).ok_or_else(wrong)?;
    u64::try_from(ttl.as_millis()).map_err(|_| wrong())
}

fn patch_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let given = single(headers, CONTENT_TYPE.as_str())?.unwrap_or("");
    let kind = given.split(';').next().unwrap_or("").trim();
    if kind.eq_ignore_ascii_case("application/merge-patch+json") {
        Ok(())
    } else {
        Err(Refusal::PatchType(kind.chars().take(100).collect()))
    }
}

fn is_form(headers: &HeaderMap) -> bool {
    let given = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("");
    let kind = given.split(';').next().unwrap_or("").trim();
    kind.eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

fn first_visible(body: &[u8]) -> Option<u8> {
    body.iter().copied().find(|byte| !byte.is_ascii_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn decode(method: &str, uri: &str, headers: &[(&str, &str)], body: &str) -> Result<Request, Refusal> {
        let mut request = http::Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let path = parts.uri.path().strip_prefix("/v1/").unwrap().to_owned();
        let head = head(&parts, &path, "192.0.2.1".parse().unwrap())?;
        head.with_body(body.as_bytes(), JsonLimits::default())
    }

    #[test]
    fn methods_and_parameters_choose_the_verb() {
        let rows = [
            ("GET", "/v1/a", Some(Verb::Read)),
            ("GET", "/v1/a?list=true", Some(Verb::List)),
            ("GET", "/v1/a?list=1&after=x", Some(Verb::List)),
            ("GET", "/v1/a?list=false", Some(Verb::Read)),
            ("GET", "/v1/a?scan=true", Some(Verb::Scan)),
            ("GET", "/v1/a?help=1", Some(Verb::Help)),
            ("GET", "/v1/a?list=true&scan=true", None),
            ("GET", "/v1/a?list=maybe", None),
            ("HEAD", "/v1/sys/health", Some(Verb::Read)),
            ("HEAD", "/v1/a", None),
            ("POST", "/v1/a?list=true", Some(Verb::Write)),
            ("PUT", "/v1/a", Some(Verb::Write)),
            ("DELETE", "/v1/a", Some(Verb::Delete)),
            ("LIST", "/v1/a", Some(Verb::List)),
            ("SCAN", "/v1/a/", Some(Verb::Scan)),
            ("PATCH", "/v1/a", None),
            ("OPTIONS", "/v1/a", None),
            ("TRACE", "/v1/a", None),
            ("list", "/v1/a", None),
            ("FOO", "/v1/a", None),
        ];
        for (method, uri, want) in rows {
            assert_eq!(
                decode(method, uri, &[], "").ok().map(|request| request.verb),
                want,
                "{method} {uri}"
            );
        }
    }

    #[test]
    fn the_query_lies_beneath_the_body_of_reads_only() {
        let request = decode("GET", "/v1/a?version=2&x=q&list=false", &[], r#"{"x":"b"}"#).unwrap();
        assert_eq!(Value::Object(request.data), json!({"version": "2", "x": "b"}));
        let request = decode("POST", "/v1/a?version=2", &[], r#"{"x":"b"}"#).unwrap();
        assert_eq!(Value::Object(request.data), json!({"x": "b"}));
    }

    #[test]
    fn forms_are_told_from_json_by_type_and_first_character() {
        let form = [("content-type", "application/x-www-form-urlencoded; charset=utf-8")];
        let data = |headers: &[(&str, &str)], body| {
            decode("POST", "/v1/a", headers, body).map(|r| Value::Object(r.data))
        };
        assert_eq!(data(&form, "a=b&a=c").unwrap(), json!({"a": ["b", "c"]}));
        assert_eq!(data(&form, " {\"a\":1}").unwrap(), json!({"a": 1}));
        assert_eq!(data(&form, " \n").unwrap(), json!({}));
        assert!(data(&form, "[]").is_err());
        assert!(data(&[], "a=b").is_err());
    }

    #[test]
    fn tokens_are_unambiguous_and_short() {
        let long = "x".repeat(MAX_TOKEN_BYTES + 1);
        let token = |headers: &[(&str, &str)]| {
            decode("GET", "/v1/a", headers, "").map(|request| request.token.map(|token| token.to_string()))
        };
        assert_eq!(token(&[]).unwrap(), None);
        assert_eq!(token(&[("x-vault-token", "")]).unwrap(), None);
        assert_eq!(token(&[("x-vault-token", "t")]).unwrap().as_deref(), Some("t"));
        assert_eq!(
            token(&[("authorization", "bearer t")]).unwrap().as_deref(),
            Some("t")
        );
        assert_eq!(token(&[("authorization", "Basic dTpw")]).unwrap(), None);
        assert_eq!(
            token(&[("x-vault-token", "t"), ("authorization", "Bearer t")])
                .unwrap()
                .as_deref(),
            Some("t")
        );
        assert!(token(&[("x-vault-token", "t"), ("authorization", "Bearer u")]).is_err());
        assert!(token(&[("x-vault-token", "t"), ("x-vault-token", "t")]).is_err());
        assert!(token(&[("authorization", "Bearer t"), ("authorization", "Bearer u")]).is_err());
        assert!(token(&[("x-vault-token", &long)]).is_err());
    }

    #[test]
    fn headers_are_read() {
        let request = decode(
            "GET",
            "/v1/a%2Fb",
            &[
                ("x-vault-namespace", "team/"),
                ("x-vault-wrap-ttl", "2m"),
                ("idempotency-key", "k"),
            ],
            "",
        )
        .unwrap();
        assert_eq!(request.path, "a%2Fb", "still encoded");
        assert_eq!(request.namespace.as_deref(), Some("team/"));
        assert_eq!(request.wrap_ttl, Some(120_000));
        assert_eq!(request.idempotency_key.as_deref(), Some("k"));
        for (name, value) in [
            ("x-vault-wrap-ttl", "abc"),
            ("x-vault-wrap-ttl", "-5"),
            ("x-vault-wrap-format", "jwt"),
            ("x-vault-wrap-ttl", "99999999999h"),
            ("content-encoding", "gzip"),
            ("x-vault-namespace", &"n".repeat(2000)),
        ] {
            assert!(decode("GET", "/v1/a", &[(name, value)], "").is_err(), "{name}");
        }
    }
}
