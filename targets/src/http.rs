//! What drivers of services behind HTTP share: clients, whole answers, and what is said of errors. Knows no service.

use std::time::Duration;

use conclave_engine_api::{Done, Failure, TargetTls};
use reqwest::{Client, RequestBuilder, Response, StatusCode, redirect};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::tls::Tls;

/// How long a connection is kept that nobody uses: less than services keep it.
const IDLE: Duration = Duration::from_secs(30);
/// Longest answer in bytes, and longest text of a refusal that is passed on. A hundred thousand users of RabbitMQ are 8 MiB.
const MAX_ANSWER: usize = 16 * 1024 * 1024;
const MAX_TEXT: usize = 512;

/// Makes connections, verified as the settings of a target say.
///
/// # Errors
/// Which of the settings cannot be used.
pub fn client(tls: &TargetTls) -> Result<Client, String> {
    let builder = Client::builder()
        .tls_backend_preconfigured(Tls::new(tls)?.config())
        .redirect(redirect::Policy::none())
        // What the environment of a node says is nothing that decides where secrets go.
        .no_proxy()
        .http1_only()
        .pool_idle_timeout(IDLE);
    builder.build().map_err(|error| told(&error))
}

/// The body of an answer, of at most so many bytes.
///
/// # Errors
/// Why it did not come, or that it is longer.
pub async fn body(mut answer: Response, most: usize) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    loop {
        let part = answer.chunk().await;
        match part.map_err(|error| told(&error.without_url()))? {
            Some(part) if bytes.len() + part.len() <= most => bytes.extend_from_slice(&part),
            Some(_) => return Err("the answer is too long".to_owned()),
            None => return Ok(bytes),
        }
    }
}

/// What is said of an error, with what led to it.
pub fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(deeper) = source {
        text = format!("{text}: {deeper}");
        source = deeper.source();
    }
    text
}

/// What an API of JSON answered.
pub struct Answer {
    /// How it went.
    pub status: StatusCode,
    body: Vec<u8>,
}

impl Answer {
    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// Why none came, and whether the request may have arrived.
    pub async fn to(request: RequestBuilder) -> Result<Self, Failure> {
        match request.send().await {
            Ok(answer) => {
                let status = answer.status();
                let body = body(answer, MAX_ANSWER).await;
                let body = body.map_err(|text| Failure::new(Done::Unknown, text))?;
                Ok(Self { status, body })
            }
            Err(error) => {
                let reached = !(error.is_connect() || error.is_builder());
                let done = if reached { Done::Unknown } else { Done::Nothing };
                Err(Failure::new(done, told(&error.without_url())))
            }
        }
    }

    /// The answer, if what was asked at `path` was done. `reason` is the member of a refusal that says why.
    ///
    /// # Errors
    /// Why not, as the service says it, and what was done all the same.
    pub fn done(self, path: &str, reason: &str) -> Result<Self, Failure> {
        if self.status.is_success() {
            return Ok(self);
        }
        let done = match self.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Done::Denied,
            status if status.is_server_error() => Done::Unknown,
            _ => Done::Refused,
        };
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let reason = match body.get(reason) {
            Some(Value::String(reason)) => format!(": {reason}"),
            Some(reason) => format!(": {reason}"),
            None => String::new(),
        };
        let mut text = format!("{path}: {}{reason}", self.status);
        if let Some((at, _)) = text.char_indices().nth(MAX_TEXT) {
            text.truncate(at);
        }
        Err(Failure::new(done, text))
    }

    /// What it holds; nothing if it is nothing of that kind.
    pub fn read<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_slice(&self.body).ok()
    }
}

/// The failure of a request that came after others which were done: what they did is still there.
pub fn after_others(mut failure: Failure) -> Failure {
    failure.done = match failure.done {
        Done::Nothing | Done::Unknown => Done::Unknown,
        Done::Denied | Done::There | Done::Refused => Done::Refused,
    };
    failure
}
