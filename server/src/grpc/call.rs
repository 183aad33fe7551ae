//! From a call's metadata to `core::Request`, and from core's answer to what a service replies. What the messages mean
//! is the services' business.

use std::sync::Arc;

use serde_json::{Map, Value};
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Extensions, Request, Response, Status};
use zeroize::Zeroizing;

use conclave_core as core;
use conclave_core::Verb;

use super::fields::Fields;
use super::status;
use crate::config::duration;
use crate::handler::Handler;
use crate::http::{self, JsonLimits, Source};

/// Longest token, as HTTP's.
const MAX_TOKEN_BYTES: usize = 8 * 1024;
/// Longest namespace and idempotency key.
const MAX_METADATA_BYTES: usize = 1024;

/// The way to core, shared by all services.
#[derive(Clone)]
pub struct Calls {
    handler: Arc<dyn Handler>,
}

/// What a call says beside its message.
pub struct Head {
    metadata: MetadataMap,
    extensions: Extensions,
}

/// What core answered.
pub struct Answer {
    request_id: String,
    revision: Option<u64>,
    /// The token that holds the answer, if it was to be wrapped: the message has nothing of it.
    wrap_info: Option<Map<String, Value>>,
    /// What was said.
    pub body: core::Body,
}

/// Takes a call apart.
pub fn open<M>(call: Request<M>) -> (Head, M) {
    let (metadata, extensions, message) = call.into_parts();
    (Head { metadata, extensions }, message)
}

impl Calls {
    /// Calls that `handler` answers.
    pub fn new(handler: Arc<dyn Handler>) -> Self {
        Self { handler }
    }

    /// Asks core. What may change something runs in a task of its own: a client that goes away must not stop it halfway,
    /// with a command proposed and its response not audited. `path` is plain text.
    pub async fn ask(
        &self,
        head: Head,
        verb: Verb,
        path: &str,
        data: Map<String, Value>,
    ) -> Result<Answer, Status> {
        let request = head.request(verb, path, data)?;
        let answered = match verb {
            Verb::Read | Verb::List | Verb::Scan | Verb::Help => self.handler.handle(request).await,
            Verb::Write | Verb::Patch | Verb::Delete => {
                let handler = Arc::clone(&self.handler);
                let task = tokio::spawn(async move { handler.handle(request).await });
                // The task panicked: the process goes on, this request is lost.
                task.await.map_err(|_| status::broken())?
            }
        };
        let core::Response {
            request_id,
            revision,
            mut body,
        } = answered.map_err(status::of)?;
        let wrap_info = match &mut body {
            core::Body::Envelope(envelope) => envelope.wrap_info.take(),
            _ => None,
        };
        Ok(Answer {
            request_id,
            revision,
            wrap_info,
            body,
        })
    }
}

impl Head {
    fn request(self, verb: Verb, path: &str, data: Map<String, Value>) -> Result<core::Request, Status> {
        // Core decodes paths, once. Here they are plain, so a percent sign is just that.
        let mut request = core::Request::new(verb, path.replace('%', "%25"));
        request.data = data;
        request.token = token(&self.metadata)?;
        request.namespace = text(&self.metadata, "x-conclave-namespace")?;
        request.idempotency_key = text(&self.metadata, "idempotency-key")?;
        request.wrap_ttl = text(&self.metadata, "x-conclave-wrap-ttl")?
            .map(|text| wrap_ttl(&text))
            .transpose()?;
        request.mfa = second_factors(&self.metadata)?;
        request.remote = self.extensions.get::<Source>().map(|source| source.0);
        request.headers = Some(Box::new(http::Headers(self.metadata.into_headers())));
        Ok(request)
    }
}

impl Answer {
    /// The object that was answered; an empty one if nothing was said.
    ///
    /// # Errors
    /// NOT_FOUND for what is not there, INTERNAL for what is no object.
    pub fn fields(&mut self) -> Result<Fields, Status> {
        match std::mem::replace(&mut self.body, core::Body::Empty) {
            core::Body::Empty => Ok(Fields::default()),
            // What failed in part says so in its data.
            core::Body::Envelope(envelope)
            | core::Body::Accepted(envelope)
            | core::Body::InPart { envelope, .. } => Ok(Fields::new(envelope.data.unwrap_or_default())),
            core::Body::Plain(object) => Ok(Fields::new(object)),
            core::Body::Health(health) => Ok(Fields::new(health.object)),
            core::Body::NotFound(_) => Err(status::not_found("not found")),
            core::Body::Raw { .. }
            | core::Body::File { .. }
            | core::Body::Lines(_)
            | core::Body::Watch(_) => Err(status::broken()),
        }
    }

    /// The envelope that was answered; an empty one if nothing was said.
    pub fn envelope(&mut self) -> Result<core::Envelope, Status> {
        match std::mem::replace(&mut self.body, core::Body::Empty) {
            core::Body::Empty => Ok(core::Envelope::default()),
            core::Body::Envelope(envelope)
            | core::Body::Accepted(envelope)
            | core::Body::InPart { envelope, .. } => Ok(*envelope),
            core::Body::NotFound(_) => Err(status::not_found("not found")),
            _ => Err(status::broken()),
        }
    }

    /// The reply, with what goes beside it.
    pub fn reply<M>(self, message: M) -> Response<M> {
        let mut response = Response::new(message);
        let metadata = response.metadata_mut();
        if let Ok(id) = MetadataValue::try_from(self.request_id) {
            metadata.insert("x-conclave-request-id", id);
        }
        // JSON in ASCII: paths may be anything else.
        let wrap_info = self.wrap_info.map(|info| ascii(&Value::Object(info).to_string()));
        if let Some(Ok(info)) = wrap_info.map(MetadataValue::try_from) {
            metadata.insert("x-conclave-wrap-info", info);
        }
        if let Some(revision) = self.revision {
            metadata.insert("x-conclave-revision", revision.into());
        }
        response
    }
}

/// JSON with everything but ASCII escaped (RFC 8259, section 7).
fn ascii(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for letter in json.chars() {
        if letter.is_ascii() {
            out.push(letter);
        } else {
            for unit in letter.encode_utf16(&mut [0; 2]) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    out
}

/// A JSON object out of a message; empty text is the empty object.
pub fn json(name: &str, text: &[u8]) -> Result<Map<String, Value>, Status> {
    if text.is_empty() {
        return Ok(Map::new());
    }
    http::parse_json(text, JsonLimits::default()).map_err(|error| status::invalid(format!("{name}: {error}")))
}

/// A name that must be there: an empty one would make a path that means something else.
pub fn named<'t>(name: &str, text: &'t str) -> Result<&'t str, Status> {
    match text.trim_end_matches('/') {
        "" => Err(status::invalid(format!("{name} is missing"))),
        text => Ok(text),
    }
}

/// The token, from `x-conclave-token` or `authorization: Bearer`. Two that differ are refused: an intermediary might have
/// checked the other one.
fn token(metadata: &MetadataMap) -> Result<Option<Zeroizing<String>>, Status> {
    let own = single(metadata, "x-conclave-token")?;
    let bearer = single(metadata, "authorization")?
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim())
        .filter(|token| !token.is_empty());
    let token = match (own, bearer) {
        (Some(own), Some(bearer)) if own != bearer => {
            return Err(status::invalid(
                "x-conclave-token and authorization hold different tokens",
            ));
        }
        (own, bearer) => own.or(bearer),
    };
    match token {
        Some(token) if token.len() > MAX_TOKEN_BYTES => Err(status::invalid("the token is too long")),
        token => Ok(token.map(|token| Zeroizing::new(token.to_owned()))),
    }
}

/// How long the answer is to be wrapped.
fn wrap_ttl(text: &str) -> Result<u64, Status> {
    let ttl = duration::parse(text).and_then(|ttl| u64::try_from(ttl.as_millis()).ok());
    ttl.ok_or_else(|| status::invalid("x-conclave-wrap-ttl is no duration"))
}

fn text(metadata: &MetadataMap, name: &str) -> Result<Option<String>, Status> {
    match single(metadata, name)? {
        Some(text) if text.len() > MAX_METADATA_BYTES => Err(status::invalid(format!(
            "{name} is longer than {MAX_METADATA_BYTES} bytes"
        ))),
        text => Ok(text.map(str::to_owned)),
    }
}

/// Every `x-conclave-mfa`; what is in them core reads.
fn second_factors(metadata: &MetadataMap) -> Result<Vec<Zeroizing<String>>, Status> {
    let shown = metadata.get_all("x-conclave-mfa").iter().map(|value| {
        let text = value
            .to_str()
            .ok()
            .filter(|text| text.len() <= MAX_METADATA_BYTES);
        let text = text.ok_or_else(|| status::invalid("x-conclave-mfa is too long or no text"))?;
        Ok(Zeroizing::new(text.to_owned()))
    });
    shown.collect()
}

/// The value of metadata that may be there once, if it is not empty.
fn single<'m>(metadata: &'m MetadataMap, name: &str) -> Result<Option<&'m str>, Status> {
    let mut values = metadata.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(status::invalid(format!("{name} is there twice")));
    }
    let text = value
        .to_str()
        .map_err(|_| status::invalid(format!("{name} holds other than visible ASCII")))?;
    Ok(Some(text.trim()).filter(|text| !text.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::Code;

    fn request(metadata: &[(&'static str, &str)]) -> Result<core::Request, Status> {
        let mut call = Request::new(());
        for (name, value) in metadata {
            call.metadata_mut().append(*name, value.parse().unwrap());
        }
        call.extensions_mut().insert(Source("192.0.2.1".parse().unwrap()));
        open(call).0.request(Verb::Read, "a/50%/b", Map::new())
    }

    fn shown(metadata: &[(&'static str, &str)]) -> Result<Option<String>, Code> {
        let request = request(metadata).map_err(|status| status.code())?;
        Ok(request.token.map(|token| token.to_string()))
    }

    #[test]
    fn tokens_come_by_either_name_and_unambiguously() {
        let long = "x".repeat(MAX_TOKEN_BYTES + 1);
        let taken = |token: &str| Ok(Some(token.to_owned()));
        assert_eq!(shown(&[]), Ok(None));
        assert_eq!(shown(&[("x-conclave-token", "")]), Ok(None));
        assert_eq!(shown(&[("x-conclave-token", "t")]), taken("t"));
        assert_eq!(shown(&[("authorization", "bearer t")]), taken("t"));
        assert_eq!(shown(&[("authorization", "Basic dTpw")]), Ok(None));
        assert_eq!(
            shown(&[("x-conclave-token", "t"), ("authorization", "Bearer t")]),
            taken("t")
        );
        for refused in [
            &[("x-conclave-token", "t"), ("authorization", "Bearer u")][..],
            &[("x-conclave-token", "t"), ("x-conclave-token", "t")],
            &[("x-conclave-token", long.as_str())],
        ] {
            assert_eq!(shown(refused), Err(Code::InvalidArgument));
        }
    }

    #[test]
    fn metadata_and_plain_paths_reach_core() {
        let request = request(&[("x-conclave-namespace", "team"), ("idempotency-key", "k")])
            .unwrap_or_else(|_| panic!());
        assert_eq!(request.path, "a/50%25/b");
        assert_eq!(request.namespace.as_deref(), Some("team"));
        assert_eq!(request.idempotency_key.as_deref(), Some("k"));
        assert_eq!(request.remote, "192.0.2.1".parse().ok());
    }

    #[test]
    fn answers_are_wrapped_on_request() {
        let ttl = |text: &str| {
            request(&[("x-conclave-wrap-ttl", text)])
                .map(|request| request.wrap_ttl)
                .map_err(|status| status.code())
        };
        assert_eq!(ttl("5m"), Ok(Some(300_000)));
        assert_eq!(ttl("-5m"), Err(Code::InvalidArgument));
        let info = json(
            "",
            r#"{"token":"s.x","creation_path":"cubbyhole/ä😀"}"#.as_bytes(),
        )
        .unwrap();
        let answer = Answer {
            request_id: "r".to_owned(),
            revision: None,
            wrap_info: Some(info.clone()),
            body: core::Body::Empty,
        };
        let reply = answer.reply(());
        let told = reply
            .metadata()
            .get("x-conclave-wrap-info")
            .unwrap()
            .to_str()
            .unwrap();
        assert_eq!(serde_json::from_str::<Map<String, Value>>(told).unwrap(), info);
    }

    #[test]
    fn names_that_are_missing_are_refused() {
        assert!(named("mount", "").is_err());
        assert!(named("mount", "/").is_err());
        assert_eq!(named("mount", "secret/").unwrap(), "secret");
    }
}
