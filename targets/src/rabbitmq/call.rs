//! One request to a management API, and what its answer says.

use conclave_engine_api::{Bounds, Done, Failure, Hidden};
use reqwest::header::{CONTENT_TYPE, IF_NONE_MATCH};
use reqwest::{Client, Method, StatusCode, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use zeroize::Zeroize;

use crate::{http, left};

/// Longest answer in bytes, and longest text of a refusal that is passed on. A hundred thousand users are 8 MiB.
const MAX_ANSWER: usize = 16 * 1024 * 1024;
const MAX_TEXT: usize = 512;

/// Where the API is, and as whom it is asked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reach {
    uri: String,
    username: String,
    password: String,
}

impl Drop for Reach {
    fn drop(&mut self) {
        self.password.zeroize();
    }
}

/// One target within the bounds of one plan.
pub struct Calls<'a> {
    http: Client,
    bounds: &'a Bounds,
    reach: Reach,
}

impl<'a> Calls<'a> {
    /// Reads what an engine wrote: a JSON object with the members of `Reach`.
    pub fn new(http: Client, reach: &Hidden, bounds: &'a Bounds) -> Result<Self, Failure> {
        let reach = serde_json::from_str(reach);
        let wrong = |_| Failure::new(Done::Nothing, "the way to RabbitMQ cannot be read");
        Ok(Self {
            http,
            bounds,
            reach: reach.map_err(wrong)?,
        })
    }

    /// One request. `new`: what is put must not be there yet, which the broker finds out in the same step.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&str>,
        new: bool,
    ) -> Result<Answer, Failure> {
        let url = format!("{}/api/{path}", self.reach.uri.trim_end_matches('/'));
        let url = Url::parse(&url);
        let url = url.map_err(|_| Failure::new(Done::Nothing, "connection_uri is no URL"))?;
        let mut request = self
            .http
            .request(method, url)
            .basic_auth(&self.reach.username, Some(&self.reach.password))
            .timeout(left(self.bounds)?);
        if let Some(body) = body {
            request = request
                .header(CONTENT_TYPE, "application/json")
                .body(body.to_owned());
        }
        if new {
            request = request.header(IF_NONE_MATCH, "*");
        }
        match request.send().await {
            Ok(answer) => Answer::of(answer).await,
            Err(error) => {
                let reached = !(error.is_connect() || error.is_builder());
                let done = if reached { Done::Unknown } else { Done::Nothing };
                Err(Failure::new(done, http::told(&error.without_url())))
            }
        }
    }
}

/// What was answered.
pub struct Answer {
    /// How it went.
    pub status: StatusCode,
    body: Vec<u8>,
}

impl Answer {
    async fn of(answer: reqwest::Response) -> Result<Self, Failure> {
        let status = answer.status();
        let body = http::body(answer, MAX_ANSWER).await;
        let body = body.map_err(|text| Failure::new(Done::Unknown, text))?;
        Ok(Self { status, body })
    }

    /// The answer, if what was asked at `path` was done.
    ///
    /// # Errors
    /// Why not, as the broker says it, and what was done all the same.
    pub fn done(self, path: &str) -> Result<Self, Failure> {
        if self.status.is_success() {
            return Ok(self);
        }
        let done = match self.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Done::Denied,
            status if status.is_server_error() => Done::Unknown,
            _ => Done::Refused,
        };
        let mut text = format!("{path}: {}{}", self.status, self.reason());
        if let Some((at, _)) = text.char_indices().nth(MAX_TEXT) {
            text.truncate(at);
        }
        Err(Failure::new(done, text))
    }

    /// The reason it gives, if it is one of the broker's.
    fn reason(&self) -> String {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        match body.get("reason") {
            Some(Value::String(reason)) => format!(": {reason}"),
            Some(reason) => format!(": {reason}"),
            None => String::new(),
        }
    }

    /// What it holds.
    ///
    /// # Errors
    /// Whoever answers is no management API.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        let wrong = |_| {
            Failure::new(
                Done::Refused,
                "what answers at connection_uri is no management API of RabbitMQ",
            )
        };
        serde_json::from_slice(&self.body).map_err(wrong)
    }
}
