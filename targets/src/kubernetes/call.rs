//! One request to an API server, and what its answer says.

use std::collections::BTreeMap;

use conclave_engine_api::{Bounds, Done, Failure, Hidden};
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Client, Method, StatusCode, Url};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use zeroize::Zeroize;

use crate::http::Answer;
use crate::left;

/// The member of a refusal that says why.
const REASON: &str = "message";
const JSON: &str = "application/json";
/// Of lists, what names objects and nothing else; all of it from servers that cannot.
const NAMES: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";

/// Where the API server is, and as whom it is asked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reach {
    host: String,
    token: String,
}

impl Drop for Reach {
    fn drop(&mut self) {
        self.token.zeroize();
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
        let wrong = |_| Failure::new(Done::Nothing, "the way to Kubernetes cannot be read");
        Ok(Self {
            http,
            bounds,
            reach: reach.map_err(wrong)?,
        })
    }

    /// One request.
    pub async fn send(&self, method: Method, path: &str, body: Option<&str>) -> Result<Answer, Failure> {
        let mut request = self.request(method, self.url(path)?, JSON)?;
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, JSON).body(body.to_owned());
        }
        Answer::to(request).await
    }

    /// One part of a list of what bears a label, from where the part before said that it goes on.
    pub async fn page(&self, path: &str, label: &str, most: usize, from: &str) -> Result<Listed, Failure> {
        let mut url = self.url(path)?;
        url.query_pairs_mut()
            .append_pair("labelSelector", label)
            .append_pair("limit", &most.to_string())
            .append_pair("continue", from);
        let answer = Answer::to(self.request(Method::GET, url, NAMES)?).await?;
        read(&done(answer, path)?)
    }

    fn url(&self, path: &str) -> Result<Url, Failure> {
        let url = Url::parse(&format!("{}/{path}", self.reach.host.trim_end_matches('/')));
        url.map_err(|_| Failure::new(Done::Nothing, "kubernetes_host is no URL"))
    }

    fn request(&self, method: Method, url: Url, accept: &str) -> Result<reqwest::RequestBuilder, Failure> {
        let request = self.http.request(method, url);
        Ok(request
            .bearer_auth(&self.reach.token)
            .header(ACCEPT, accept)
            .timeout(left(self.bounds)?))
    }
}

/// What all objects have.
#[derive(Deserialize)]
pub struct Object {
    pub metadata: Metadata,
}

/// What an object says of itself.
#[derive(Deserialize, Default)]
#[serde(default)]
pub struct Metadata {
    pub name: String,
    pub namespace: String,
    pub uid: String,
    #[serde(deserialize_with = "or_none")]
    pub labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_none")]
    pub finalizers: Vec<String>,
}

/// A part of a list.
#[derive(Deserialize)]
pub struct Listed {
    #[serde(deserialize_with = "or_none")]
    pub items: Vec<Object>,
    #[serde(default)]
    pub metadata: Place,
}

/// Where a list goes on; empty: nowhere.
#[derive(Deserialize, Default)]
pub struct Place {
    #[serde(default, rename = "continue")]
    pub next: String,
}

/// What an API server says of something that it did not do.
#[derive(Deserialize)]
struct Status {
    kind: String,
    reason: String,
    #[serde(default, deserialize_with = "or_none")]
    details: Details,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Details {
    name: String,
}

/// `null` is what is not there.
fn or_none<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Option::deserialize(from).map(Option::unwrap_or_default)
}

/// The answer, if what was asked at `path` was done.
///
/// # Errors
/// Why not, as the server says it, and what was done all the same.
pub fn done(answer: Answer, path: &str) -> Result<Answer, Failure> {
    answer.done(path, REASON)
}

/// What an answer holds.
///
/// # Errors
/// Whoever answers is no API server.
pub fn read<T: DeserializeOwned>(answer: &Answer) -> Result<T, Failure> {
    answer.read().ok_or_else(no_server)
}

/// The object at `path`.
///
/// # Errors
/// Whoever answers is no API server: it knows another.
pub fn named(answer: &Answer, path: &str) -> Result<Object, Failure> {
    let object: Object = read(answer)?;
    match object.metadata.name == last(path) {
        true => Ok(object),
        false => Err(no_server()),
    }
}

fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

/// Whether an API server says that it was done, and no more than that.
pub fn is_success(answer: &Answer) -> bool {
    #[derive(Deserialize)]
    struct Done {
        kind: String,
        status: String,
    }
    let done: Option<Done> = answer.read();
    done.is_some_and(|done| done.kind == "Status" && done.status == "Success")
}

/// Said of whoever answers otherwise than an API server does.
pub fn no_server() -> Failure {
    Failure::new(
        Done::Refused,
        "what answers at kubernetes_host is no API server of Kubernetes",
    )
}

/// Whether an API server says that this is why.
pub fn is(answer: &Answer, reason: &str) -> bool {
    let status: Option<Status> = answer.read();
    status.is_some_and(|status| status.kind == "Status" && status.reason == reason)
}

/// Whether an API server says that there is no such thing at `path`. Anything else at its address may say "not found", and so
/// does the server of what it never heard of: an account must not be forgotten for that.
pub fn is_missing(answer: &Answer, path: &str) -> bool {
    let status: Option<Status> = answer.read();
    answer.status == StatusCode::NOT_FOUND
        && status.is_some_and(|status| {
            status.kind == "Status" && status.reason == "NotFound" && status.details.name == last(path)
        })
}
