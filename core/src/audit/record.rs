//! One audit record in the shape Vault's readers know. What is shown in the clear is listed here; everything else that a
//! client or an engine said is a keyed hash.

use std::net::IpAddr;

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Map, Value, json};
use sha2::Sha256;

use conclave_engine_api::{Millis, Operation};

use crate::clocktext::rfc3339;
use crate::error::Error;
use crate::routes::Answer;
use crate::tokens::Caller;

/// What both records of a request share.
#[derive(Clone, Copy)]
pub struct Head<'a> {
    /// Joins request and response.
    pub request_id: &'a str,
    /// The cluster's time.
    pub now: Millis,
    /// Who asked, if that is known.
    pub caller: Option<&'a Caller>,
    /// The token as shown; recorded hashed only.
    pub token: Option<&'a str>,
    /// What was asked for.
    pub operation: Operation,
    /// Of what.
    pub path: &'a str,
    /// From where.
    pub remote: Option<IpAddr>,
}

/// A record, not yet hashed: each device has its own salt.
pub struct Record<'a> {
    head: Head<'a>,
    kind: &'static str,
    request: &'a Map<String, Value>,
    outcome: Option<Result<&'a Answer, &'a Error>>,
}

impl<'a> Record<'a> {
    /// Before anything runs.
    pub fn request(head: Head<'a>, data: &'a Map<String, Value>) -> Self {
        Self {
            head,
            kind: "request",
            request: data,
            outcome: None,
        }
    }

    /// Before the answer leaves.
    pub fn response(
        head: Head<'a>,
        data: &'a Map<String, Value>,
        outcome: Result<&'a Answer, &'a Error>,
    ) -> Self {
        Self {
            head,
            kind: "response",
            request: data,
            outcome: Some(outcome),
        }
    }

    /// One line of JSON, without its end, hashed with `salt`.
    pub fn encode(&self, salt: &[u8]) -> Vec<u8> {
        let mut object = Map::new();
        object.insert("time".to_owned(), json!(rfc3339(self.head.now)));
        object.insert("type".to_owned(), json!(self.kind));
        object.insert("auth".to_owned(), self.auth(salt));
        object.insert("request".to_owned(), self.request_part(salt));
        match self.outcome {
            Some(Ok(answer)) => {
                object.insert("response".to_owned(), response_part(answer, salt));
            }
            // Texts name fields and rules, never values.
            Some(Err(error)) => {
                object.insert("error".to_owned(), json!(error.to_string()));
            }
            None => {}
        }
        serde_json::to_vec(&Value::Object(object)).unwrap_or_default()
    }

    fn auth(&self, salt: &[u8]) -> Value {
        let mut auth = Map::new();
        if let Some(token) = self.head.token {
            auth.insert("client_token".to_owned(), json!(hash(salt, token)));
        }
        if let Some(caller) = self.head.caller {
            auth.insert("accessor".to_owned(), json!(hash(salt, &caller.record.accessor)));
            auth.insert("display_name".to_owned(), json!(caller.record.display_name));
            auth.insert("policies".to_owned(), json!(caller.record.policies));
            auth.insert("token_policies".to_owned(), json!(caller.record.policies));
            auth.insert("token_type".to_owned(), json!("service"));
        }
        Value::Object(auth)
    }

    fn request_part(&self, salt: &[u8]) -> Value {
        let mut request = Map::new();
        request.insert("id".to_owned(), json!(self.head.request_id));
        request.insert("operation".to_owned(), json!(self.head.operation.name()));
        request.insert("path".to_owned(), json!(self.head.path));
        request.insert("namespace".to_owned(), json!({"id": "root"}));
        if let Some(token) = self.head.token {
            request.insert("client_token".to_owned(), json!(hash(salt, token)));
        }
        if let Some(remote) = self.head.remote {
            request.insert("remote_address".to_owned(), json!(remote.to_string()));
        }
        if !self.request.is_empty() {
            request.insert("data".to_owned(), hashed_map(salt, self.request));
        }
        Value::Object(request)
    }
}

fn response_part(answer: &Answer, salt: &[u8]) -> Value {
    let mut response = Map::new();
    if let Some(auth) = &answer.auth {
        response.insert("auth".to_owned(), hashed_map(salt, auth));
    }
    if let Some(data) = &answer.reply.data {
        response.insert("data".to_owned(), hashed_map(salt, data));
    }
    Value::Object(response)
}

/// Keeps member names and shape, hashes every text, number and boolean.
fn hashed_map(salt: &[u8], map: &Map<String, Value>) -> Value {
    Value::Object(
        map.iter()
            .map(|(name, value)| (name.clone(), hashed(salt, value)))
            .collect(),
    )
}

fn hashed(salt: &[u8], value: &Value) -> Value {
    match value {
        Value::Null => Value::Null,
        Value::String(text) => json!(hash(salt, text)),
        Value::Bool(flag) => json!(hash(salt, &flag.to_string())),
        Value::Number(number) => json!(hash(salt, &number.to_string())),
        Value::Array(items) => Value::Array(items.iter().map(|item| hashed(salt, item)).collect()),
        Value::Object(map) => hashed_map(salt, map),
    }
}

/// Vault's form of a keyed hash.
fn hash(salt: &[u8], text: &str) -> String {
    // HMAC takes keys of any length: this cannot fail.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(salt) else {
        return "hmac-sha256:".to_owned();
    };
    mac.update(text.as_bytes());
    format!("hmac-sha256:{}", hex::encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use conclave_engine_api::Reply;

    #[test]
    fn no_value_is_in_the_clear() {
        let data = json!({"password": "hunter2", "pin": 90125, "nested": {"list": ["s3cret", true]}});
        let data = data.as_object().unwrap();
        let answer = Answer {
            reply: Reply::data(data.clone()),
            auth: Some(data.clone()),
            ..Answer::default()
        };
        let head = Head {
            request_id: "r",
            now: 0,
            caller: None,
            token: Some("s.token"),
            operation: Operation::Update,
            path: "secret/data/x",
            remote: None,
        };
        for record in [
            Record::request(head, data),
            Record::response(head, data, Ok(&answer)),
        ] {
            let line = String::from_utf8(record.encode(b"salt")).unwrap();
            for secret in ["hunter2", "90125", "s3cret", "true", "s.token"] {
                assert!(!line.contains(secret), "{secret} in {line}");
            }
            assert!(line.contains("secret/data/x") && line.contains("hmac-sha256:"));
        }
        let one = Record::request(head, data).encode(b"one");
        assert_ne!(one, Record::request(head, data).encode(b"two"), "salts matter");
    }
}
