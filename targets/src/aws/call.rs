//! One request of the query protocol: signed, sent, and its answer or refusal read. The time of a signature is the service's own,
//! as it last told it: what clocks of ours say is nothing that a signature may depend on.

use std::collections::HashMap;
use std::time::Duration;

use conclave_engine_api::{Bounds, Done, Failure, Hidden, TargetTls};
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use parking_lot::Mutex;
use reqwest::header::DATE;
use reqwest::{Method, Response, Url};
use serde::Deserialize;
use tokio::sync::OnceCell;
use zeroize::Zeroize;

use super::Service;
use super::answer::Answer;
use super::sign::{Signed, Signer, authorization};
use crate::{Targets, http, left};

const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";
/// Longest answer in bytes, and longest text of a refusal that is passed on.
const MAX_ANSWER: usize = 4 * 1024 * 1024;
const MAX_TEXT: usize = 512;
/// Services whose clocks are remembered.
const MAX_CLOCKS: usize = 256;
/// Codes of credentials that are not known there.
const CREDENTIALS: [&str; 6] = [
    "InvalidClientTokenId",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
    "InvalidAccessKeyId",
    "AuthFailure",
    "ExpiredToken",
];
/// Codes of a signature whose time is wrong.
const TIMES: [&str; 3] = ["RequestTimeTooSkewed", "RequestExpired", "SignatureDoesNotMatch"];

/// How the services are reached, and as whom.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reach {
    access_key: String,
    secret_key: String,
    iam_endpoint: String,
    iam_region: String,
    sts_endpoint: String,
    sts_region: String,
}

impl Drop for Reach {
    fn drop(&mut self) {
        self.secret_key.zeroize();
    }
}

impl Reach {
    /// Reads what an engine wrote: a JSON object with these members.
    pub fn read(text: &Hidden) -> Result<Self, Failure> {
        serde_json::from_str(text).map_err(|_| Failure::new(Done::Nothing, "the way to AWS cannot be read"))
    }

    fn service(&self, service: Service) -> (&str, &str, &'static str) {
        match service {
            Service::Iam => (&self.iam_endpoint, &self.iam_region, "iam"),
            Service::Sts => (&self.sts_endpoint, &self.sts_region, "sts"),
        }
    }
}

/// Why a request was not answered as hoped.
#[derive(Debug)]
pub struct Refusal {
    /// Its code, if the service refused.
    code: String,
    text: String,
    done: Done,
}

impl Refusal {
    /// An answer that makes no sense.
    pub fn unreadable(text: &str) -> Self {
        Self::silent(Done::Unknown, text)
    }

    fn silent(done: Done, text: impl Into<String>) -> Self {
        Self {
            code: String::new(),
            text: text.into(),
            done,
        }
    }

    /// Whether it has this code.
    pub fn is(&self, code: &str) -> bool {
        self.code == code
    }

    /// Whether the service does not know who asks.
    pub fn is_of_credentials(&self) -> bool {
        CREDENTIALS.contains(&self.code.as_str())
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.done, refusal.text)
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self::silent(failure.done, failure.text)
    }
}

/// Sends requests; connections are kept for the next.
#[derive(Default)]
pub struct Client {
    http: OnceCell<reqwest::Client>,
    /// By endpoint: the service's time, less ours.
    clocks: Mutex<HashMap<String, Duration>>,
}

impl Client {
    /// Sends one request. A signature that the service finds too old or too new is made once more, by its clock.
    pub async fn send(
        &self,
        reach: &Reach,
        service: Service,
        form: &str,
        bounds: &Bounds,
    ) -> Result<Answer, Refusal> {
        let (endpoint, ..) = reach.service(service);
        let url = Url::parse(endpoint);
        let url = url.map_err(|_| Refusal::silent(Done::Nothing, "the endpoint is no URL"))?;
        let known = self.clocks.lock().get(endpoint).copied();
        let offset = match known {
            Some(offset) => offset,
            None => self.learn(endpoint, &url, bounds).await?,
        };
        let answer = self.send_at(reach, service, (&url, form), offset, bounds).await;
        match answer {
            Err(refusal) if known.is_some() && TIMES.contains(&refusal.code.as_str()) => {
                let offset = self.learn(endpoint, &url, bounds).await?;
                self.send_at(reach, service, (&url, form), offset, bounds).await
            }
            answer => answer,
        }
    }

    /// Asks a service for nothing, to hear its time.
    async fn learn(&self, endpoint: &str, url: &Url, bounds: &Bounds) -> Result<Duration, Refusal> {
        let asked = self.http().await?.request(Method::HEAD, url.clone());
        let answer = asked.timeout(left(bounds)?).send().await;
        let answer = answer.map_err(|error| Refusal::silent(Done::Nothing, http::told(&error)))?;
        let date = answer
            .headers()
            .get(DATE)
            .and_then(|date| date.to_str().ok())
            .and_then(|date| rfc2822::DateTimeParser::new().parse_timestamp(date).ok())
            .and_then(|date| u64::try_from(date.as_second()).ok())
            .ok_or_else(|| Refusal::silent(Done::Nothing, "the endpoint does not say what time it is"))?;
        let offset = Duration::from_secs(date).saturating_sub(Targets::boot_time());
        let mut clocks = self.clocks.lock();
        if clocks.len() >= MAX_CLOCKS {
            clocks.clear();
        }
        clocks.insert(endpoint.to_owned(), offset);
        Ok(offset)
    }

    async fn send_at(
        &self,
        reach: &Reach,
        service: Service,
        (url, form): (&Url, &str),
        offset: Duration,
        bounds: &Bounds,
    ) -> Result<Answer, Refusal> {
        let broken = || Refusal::silent(Done::Nothing, "a request of AWS cannot be made");
        let (_, region, service) = reach.service(service);
        let now = Targets::boot_time() + offset;
        let now = i64::try_from(now.as_secs()).map_err(|_| broken())?;
        let time = Timestamp::from_second(now).map_err(|_| broken())?;
        let time = time.strftime("%Y%m%dT%H%M%SZ").to_string();
        let host = url.host_str().ok_or_else(broken)?;
        let host = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        let signed = Signed {
            method: "POST",
            path: url.path(),
            query: "",
            headers: &[("content-type", FORM), ("host", &host), ("x-amz-date", &time)],
            body: form,
        };
        let signer = Signer {
            access_key: &reach.access_key,
            secret_key: &reach.secret_key,
            region,
            service,
            time: &time,
        };
        let signature = authorization(&signed, &signer).ok_or_else(broken)?;
        let request = self
            .http()
            .await?
            .post(url.clone())
            .header("content-type", FORM)
            .header("x-amz-date", &time)
            .header("authorization", signature)
            .body(form.to_owned())
            .timeout(left(bounds)?);
        match request.send().await {
            Ok(answer) => read(form, answer).await,
            Err(error) => {
                let reached = !(error.is_connect() || error.is_builder());
                let done = if reached { Done::Unknown } else { Done::Nothing };
                Err(Refusal::silent(done, http::told(&error)))
            }
        }
    }

    async fn http(&self) -> Result<&reqwest::Client, Refusal> {
        let made = self
            .http
            .get_or_try_init(|| async { http::client(&TargetTls::default()) });
        made.await.map_err(|text| Refusal::silent(Done::Nothing, text))
    }
}

async fn read(form: &str, answer: Response) -> Result<Answer, Refusal> {
    let status = answer.status();
    let bytes = http::body(answer, MAX_ANSWER).await;
    let bytes = bytes.map_err(|text| Refusal::unreadable(&text))?;
    let body = Hidden::new(String::from_utf8(bytes).unwrap_or_default());
    let read = Answer::read(&body);
    let action = form.split(['=', '&']).nth(1).unwrap_or_default();
    if status.is_success() {
        return read.ok_or_else(|| Refusal::unreadable(&format!("{action}: the answer cannot be read")));
    }
    let code = read.as_ref().and_then(|answer| answer.first("Code"));
    let code = code.unwrap_or_default().to_owned();
    let message = read.as_ref().and_then(|answer| answer.first("Message"));
    let mut text = match code.as_str() {
        "" => format!("{action}: the endpoint answers {status}"),
        // Amazon repeats what was signed.
        "SignatureDoesNotMatch" => format!("{action}: {code}: the secret key is not that of the access key"),
        code => format!("{action}: {code}: {}", message.unwrap_or_default()),
    };
    if let Some((at, _)) = text.char_indices().nth(MAX_TEXT) {
        text.truncate(at);
    }
    let done = match code.as_str() {
        code if CREDENTIALS.contains(&code) || code == "AccessDenied" => Done::Denied,
        "Throttling" | "ThrottlingException" | "RequestLimitExceeded" => Done::Refused,
        _ if status.is_server_error() => Done::Unknown,
        _ => Done::Refused,
    };
    Err(Refusal { code, text, done })
}
