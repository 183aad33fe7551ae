//! One request to a management API, and what its answer says.

use conclave_engine_api::{Bounds, Done, Failure, Hidden};
use reqwest::header::{CONTENT_TYPE, IF_NONE_MATCH};
use reqwest::{Client, Method, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroize;

use crate::http::Answer;
use crate::left;

/// The member of a refusal that says why.
pub const REASON: &str = "reason";

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
        Answer::to(request).await
    }
}

/// What an answer holds.
///
/// # Errors
/// Whoever answers is no management API.
pub fn read<T: DeserializeOwned>(answer: &Answer) -> Result<T, Failure> {
    answer.read().ok_or_else(|| {
        Failure::new(
            Done::Refused,
            "what answers at connection_uri is no management API of RabbitMQ",
        )
    })
}
