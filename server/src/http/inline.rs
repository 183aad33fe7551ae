//! A login in the headers of a request (OpenBao's `X-Vault-Inline-Auth-*`): where, as what, in which namespace, with which
//! parameters. What the login means, core alone decides.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use conclave_core::{InlineLogin, Verb};

use super::status::Refusal;
use super::{JsonLimits, json};

const PATH: &str = "x-vault-inline-auth-path";
const OPERATION: &str = "x-vault-inline-auth-operation";
const NAMESPACE: &str = "x-vault-inline-auth-namespace";
/// What the names of parameters' headers begin with; what follows tells them apart and means nothing.
const PARAMETER: &str = "x-vault-inline-auth-parameter-";
/// Most parameters.
const MAX_PARAMETERS: usize = 32;

/// The login of a request, if it has one. `namespace` is that of the request, which is logged in to unless a header says
/// otherwise.
///
/// # Errors
/// [`Refusal::Malformed`], in OpenBao's words.
pub fn login(headers: &HeaderMap, namespace: Option<&str>) -> Result<Option<Box<InlineLogin>>, Refusal> {
    if !headers.contains_key(PATH) {
        return Ok(None);
    }
    let path = one(
        headers,
        PATH,
        "expected exactly one value for X-Vault-Inline-Auth-Path",
    )?
    .unwrap_or_default();
    let operation = "expected exactly one value for X-Vault-Inline-Auth-Operation";
    let verb = match one(headers, OPERATION, operation)? {
        None => Verb::Write,
        Some(name) => verb(name)?,
    };
    let own = "expected at most one value for X-Vault-Inline-Auth-Namespace";
    let namespace = one(headers, NAMESPACE, own)?.or(namespace);
    Ok(Some(Box::new(InlineLogin {
        verb,
        // Here it stands as it is, in a URL it would be encoded.
        path: path.replace('%', "%25"),
        namespace: namespace.map(str::to_owned),
        data: parameters(headers)?,
    })))
}

/// The value of a header that may be there once, empty or not.
fn one<'h>(headers: &'h HeaderMap, name: &str, twice: &str) -> Result<Option<&'h str>, Refusal> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(malformed(twice));
    }
    let text = value.to_str();
    let text = text.map_err(|_| Refusal::Ambiguous("a header holds other than visible ASCII"))?;
    Ok(Some(text.trim()))
}

fn verb(operation: &str) -> Result<Verb, Refusal> {
    match operation {
        "create" | "update" => Ok(Verb::Write),
        "read" => Ok(Verb::Read),
        _ => Err(malformed(
            "expected a valid login operation in X-Vault-Inline-Auth-Operation",
        )),
    }
}

fn parameters(headers: &HeaderMap) -> Result<Map<String, Value>, Refusal> {
    let mut data = Map::new();
    let names = headers.keys().filter(|name| name.as_str().starts_with(PARAMETER));
    for name in names {
        let once = "expected exactly one value for each auth header parameter";
        let text = one(headers, name.as_str(), once)?.unwrap_or_default();
        let (key, value) = parameter(text)?;
        if data.insert(key, value).is_some() {
            return Err(malformed("a parameter is given by two headers"));
        }
        if data.len() > MAX_PARAMETERS {
            return Err(malformed("too many parameters"));
        }
    }
    Ok(data)
}

/// `{"key": .., "value": ..}` in base64.
fn parameter(text: &str) -> Result<(String, Value), Refusal> {
    let decoded = URL_SAFE_NO_PAD.decode(text).map(Zeroizing::new);
    let decoded = decoded.map_err(|_| malformed("failed raw url-safe base64 decoding header value"))?;
    let told = json::parse(&decoded, JsonLimits::default());
    let mut told = told.map_err(|_| malformed("failed json decoding header value"))?;
    let key = match told.remove("key") {
        None => return Err(malformed("decoded header lacked `key` field")),
        Some(Value::String(key)) => key,
        Some(_) => {
            return Err(malformed("decoded header had incorrect type for `key` field"));
        }
    };
    let value = told
        .remove("value")
        .ok_or_else(|| malformed("decoded header lacked `value` field"))?;
    if !told.is_empty() {
        return Err(malformed("unexpected field in decoded request parameter"));
    }
    Ok((key, value))
}

fn malformed(text: &str) -> Refusal {
    Refusal::Malformed(format!("failed to perform inline authentication: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};
    use serde_json::json;

    fn headers(rows: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in rows {
            let name = HeaderName::from_bytes(format!("x-vault-inline-auth-{name}").as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn encoded(text: &str) -> String {
        URL_SAFE_NO_PAD.encode(text)
    }

    const HERE: (&str, &str) = ("path", "auth/userpass/login/a b%");

    #[test]
    fn a_login_is_read_from_headers() {
        assert!(login(&headers(&[("parameter-a", "x")]), None).unwrap().is_none());
        let password = encoded(r#"{"key": "password", "value": "pw"}"#);
        let number = encoded(r#"{"value": [1, null], "key": "N"}"#);
        let rows = [HERE, ("parameter-one", &password), ("parameter-two", &number)];
        let read = login(&headers(&rows), Some("team")).unwrap().unwrap();
        assert_eq!(read.verb, Verb::Write);
        assert_eq!(read.path, "auth/userpass/login/a b%25");
        assert_eq!(read.namespace.as_deref(), Some("team"));
        assert_eq!(
            Value::Object(read.data),
            json!({"password": "pw", "N": [1, null]})
        );
        let rows = [HERE, ("operation", "read"), ("namespace", "")];
        let read = login(&headers(&rows), Some("team")).unwrap().unwrap();
        assert_eq!(
            (read.verb, read.namespace.as_deref()),
            (Verb::Read, Some("")),
            "the root was asked for"
        );
    }

    #[test]
    fn what_is_wrong_with_it_is_said() {
        let (good, other) = (
            encoded(r#"{"key": "a", "value": 1}"#),
            encoded(r#"{"key": "a", "value": 2}"#),
        );
        let texts = [
            "nothing",
            r#"{"key": "a"}"#,
            r#"{"value": 1}"#,
            r#"{"key": 1, "value": 1}"#,
        ];
        let [nothing, no_value, no_key, no_text] = texts.map(encoded);
        let more = encoded(r#"{"key": "a", "value": 1, "more": 1}"#);
        let array = encoded("[1]");
        for (rows, text) in [
            (vec![HERE], "value for X-Vault-Inline-Auth-Path"),
            (
                vec![("operation", "read"), ("operation", "read")],
                "value for X-Vault-Inline-Auth-Operation",
            ),
            (vec![("operation", "reed")], "a valid login operation"),
            (vec![("namespace", "a"), ("namespace", "b")], "at most one value"),
            (vec![("parameter-a", "!!")], "base64"),
            (vec![("parameter-a", "YQ==")], "base64"),
            (vec![("parameter-a", &nothing)], "json"),
            (vec![("parameter-a", &array)], "json"),
            (vec![("parameter-a", &no_value)], "`value`"),
            (vec![("parameter-a", &no_key)], "lacked `key`"),
            (vec![("parameter-a", &no_text)], "incorrect type"),
            (vec![("parameter-a", &more)], "unexpected field"),
            (
                vec![("parameter-a", &good), ("parameter-a", &good)],
                "exactly one value for each",
            ),
            (
                vec![("parameter-a", &good), ("parameter-b", &other)],
                "two headers",
            ),
        ] {
            let rows: Vec<_> = std::iter::once(HERE).chain(rows).collect();
            match login(&headers(&rows), None) {
                Err(Refusal::Malformed(said)) => {
                    assert!(
                        said.starts_with("failed to perform inline authentication: "),
                        "{said}"
                    );
                    assert!(said.contains(text), "{said}, not {text}");
                }
                other => panic!("{text}: {:?}", other.err()),
            }
        }
        let many: Vec<_> = (0..=MAX_PARAMETERS)
            .map(|number| {
                (
                    format!("parameter-{number}"),
                    encoded(&format!(r#"{{"key": "{number}", "value": 1}}"#)),
                )
            })
            .collect();
        let rows: Vec<_> = many
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let rows: Vec<_> = std::iter::once(HERE).chain(rows).collect();
        assert!(login(&headers(&rows), None).is_err());
    }
}
