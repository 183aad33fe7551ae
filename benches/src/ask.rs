//! What each kind of work asks for over HTTP. Knows no connection.

use http::Method;
use serde_json::json;

use crate::{Options, Work};

/// One request.
pub struct Ask {
    /// Its method.
    pub method: Method,
    /// Its path, with the query.
    pub path: String,
    /// Its body; empty for none.
    pub body: String,
    /// Whether it shows the token.
    pub shows_token: bool,
    /// Whether its answer is to be wrapped.
    pub wraps: bool,
}

impl Ask {
    fn new(method: Method, path: impl Into<String>, body: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            body: body.into(),
            shows_token: true,
            wraps: false,
        }
    }

    /// What a connection asks for in its turn. [`Work::Mixed`] is nine reads to a write.
    pub fn of(options: &Options, turn: usize) -> Self {
        let key = turn % options.keys.max(1);
        let data = format!("/v1/{}/data/load/key-{key}", options.mount);
        match options.work {
            Work::Mixed if !turn.is_multiple_of(10) => Self::new(Method::GET, data, ""),
            Work::Put | Work::Mixed => Self::put(options, key, turn),
            Work::Get => Self::new(Method::GET, data, ""),
            Work::Wrapped => Self {
                wraps: true,
                ..Self::new(Method::GET, data, "")
            },
            Work::Creds => Self::new(Method::GET, format!("/v1/{}", options.path), ""),
            Work::Token | Work::Revoke | Work::Ending => {
                let body = r#"{"ttl":"1h","policies":["default"]}"#;
                Self::new(Method::POST, "/v1/auth/token/create", body)
            }
            Work::Lookup => Self::new(Method::GET, "/v1/auth/token/lookup-self", ""),
            Work::Approle => {
                let body = json!({"role_id": options.role_id, "secret_id": options.secret_id});
                Self::login("/v1/auth/approle/login", &body)
            }
            Work::Userpass => {
                let who = turn % options.people.max(1);
                let body = json!({"password": options.password});
                Self::login(&format!("/v1/auth/userpass/login/load-{who}"), &body)
            }
            Work::Encrypt => Self::transit(options, "encrypt/load", "plaintext"),
            Work::Sign => Self::transit(options, "sign/sign", "input"),
            Work::List => {
                let path = format!("/v1/{}/metadata/load?list=true", options.mount);
                Self::new(Method::GET, path, "")
            }
        }
    }

    /// Writing a version of a secret.
    pub fn put(options: &Options, key: usize, seed: usize) -> Self {
        let value = value(options, seed);
        let body = json!({"data": {"value": value}}).to_string();
        let path = format!("/v1/{}/data/load/key-{key}", options.mount);
        Self::new(Method::POST, path, body)
    }

    /// Making a token that lives so many seconds.
    pub fn ending(life: u64) -> Self {
        let body = json!({"ttl": life, "policies": ["default"]}).to_string();
        Self::new(Method::POST, "/v1/auth/token/create", body)
    }

    /// Ending a token.
    pub fn revoke(token: &str) -> Self {
        let body = json!({"token": token}).to_string();
        Self::new(Method::POST, "/v1/auth/token/revoke", body)
    }

    fn login(path: &str, body: &serde_json::Value) -> Self {
        Self {
            shows_token: false,
            ..Self::new(Method::POST, path, body.to_string())
        }
    }

    /// Letters and digits are base64 of something, whatever they are, in groups of four.
    fn transit(options: &Options, action: &str, member: &str) -> Self {
        let text = "a".repeat(options.value_bytes.div_ceil(3) * 4);
        let body = json!({ member: text }).to_string();
        Self::new(Method::POST, format!("/v1/{}/{action}", options.transit), body)
    }
}

/// What is written: digits that tell turns apart.
pub fn value(options: &Options, seed: usize) -> String {
    format!("{seed:0>width$}", width = options.value_bytes)
}
