//! From `core::Response` and failures to HTTP: Vault's envelope byte for byte in its order of members, and the headers
//! every answer has.

use futures::StreamExt;
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER, STRICT_TRANSPORT_SECURITY};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use serde_json::{Map, Value, json};

use conclave_core as core;
use conclave_core::watch::Batch;

use super::body::Body;
use super::health::Codes;
use super::status::{Failure, Refusal};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const HSTS: HeaderValue = HeaderValue::from_static("max-age=31536000; includeSubDomains");
const VERSION_NAME: HeaderName = HeaderName::from_static("x-conclave-version");
const VERSION: HeaderValue = HeaderValue::from_static(env!("CARGO_PKG_VERSION"));
/// Tells a failed login in the headers of a request from a failure of the request.
const LOGIN_FAILED: HeaderName = HeaderName::from_static("x-vault-inline-auth-failed");
const SECOND: HeaderValue = HeaderValue::from_static("1");

/// Headers of every answer.
pub fn common(headers: &mut HeaderMap, tls: bool) {
    headers.insert(CACHE_CONTROL, NO_STORE);
    headers.insert(VERSION_NAME, VERSION);
    if tls {
        headers.insert(STRICT_TRANSPORT_SECURITY, HSTS);
    }
}

/// What core answered. `health` are the codes asked for, should this be a health answer.
pub async fn response(response: core::Response, health: &Map<String, Value>) -> Response<Body> {
    let core::Response { request_id, body, .. } = response;
    match body {
        core::Body::Empty => json(StatusCode::NO_CONTENT, Vec::new()),
        core::Body::Envelope(envelope) => envelope_as(StatusCode::OK, &request_id, &envelope),
        core::Body::NotFound(envelope) => envelope_as(StatusCode::NOT_FOUND, &request_id, &envelope),
        core::Body::Accepted(envelope) => envelope_as(StatusCode::ACCEPTED, &request_id, &envelope),
        core::Body::InPart { status, envelope } => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
            envelope_as(status, &request_id, &envelope)
        }
        core::Body::Plain(object) => object_as(StatusCode::OK, &object),
        core::Body::Health(state) => match Codes::read(health) {
            Ok(codes) => object_as(codes.of(&state), &state.object),
            Err(refusal) => failure(refusal.into()),
        },
        core::Body::Raw {
            status,
            content_type,
            bytes,
        } => match StatusCode::from_u16(status) {
            Ok(status) => typed(status, content_type, Body::bytes(bytes)),
            Err(_) => failure(Refusal::Broken.into()),
        },
        // No content type, as upstream: what it is depends on what was asked for.
        core::Body::Lines(lines) => Response::new(Body::lines(lines)),
        core::Body::Watch(watching) => {
            let lines = watching.map(watched_line);
            typed(
                StatusCode::OK,
                "application/x-ndjson",
                Body::lines(Box::pin(lines)),
            )
        }
        core::Body::File { content_type, file } => match Body::file(file.into_path()).await {
            Ok(body) => typed(StatusCode::OK, content_type, body),
            Err(error) => {
                tracing::error!(%error, "cannot open a file to send");
                failure(Refusal::Broken.into())
            }
        },
    }
}

/// What a watch tells, as an object a line; the last line is why it ended.
fn watched_line(batch: Result<Batch, core::Error>) -> Vec<u8> {
    let object = match batch {
        Ok(batch) => {
            let events = batch.events.into_iter().map(|event| {
                json!({
                    "revision": event.revision,
                    "event": event.what.name(),
                    "mount": event.mount,
                    "path": event.path,
                    "versions": event.versions,
                })
            });
            let events: Vec<Value> = events.collect();
            json!({"revision": batch.revision, "events": events})
        }
        Err(error) => json!({"errors": [error.to_string()]}),
    };
    format!("{object}\n").into_bytes()
}

/// A failure: `{"errors":[..]}`, or the envelope for a 404 that has something to say.
pub fn failure(failure: Failure) -> Response<Body> {
    if !failure.warnings.is_empty() {
        let envelope = core::Envelope {
            warnings: failure.warnings,
            ..core::Envelope::default()
        };
        return envelope_as(failure.status, "", &envelope);
    }
    let mut out = b"{\"errors\":[".to_vec();
    if let Some(text) = failure.text {
        out.extend_from_slice(Value::String(text).to_string().as_bytes());
    }
    out.extend_from_slice(b"]}\n");
    let mut response = json(failure.status, out);
    if failure.of_login {
        response
            .headers_mut()
            .insert(LOGIN_FAILED, HeaderValue::from_static("true"));
    }
    if failure.retry {
        response.headers_mut().insert(RETRY_AFTER, SECOND);
    }
    if failure.close {
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// The 404 of a PATCH has no body, as in Vault.
pub fn nothing_to_patch() -> Response<Body> {
    json(StatusCode::NOT_FOUND, Vec::new())
}

/// Text of a type that is no JSON.
pub fn typed(status: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn json(status: StatusCode, bytes: Vec<u8>) -> Response<Body> {
    // A client may ask health to answer 204, which has no body.
    let body = if status == StatusCode::NO_CONTENT {
        Body::empty()
    } else {
        Body::bytes(bytes)
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

fn object_as(status: StatusCode, object: &Map<String, Value>) -> Response<Body> {
    let mut out = Vec::with_capacity(512);
    match serde_json::to_writer(&mut out, object) {
        Ok(()) => {
            out.push(b'\n');
            json(status, out)
        }
        Err(_) => failure(Refusal::Broken.into()),
    }
}

fn envelope_as(status: StatusCode, request_id: &str, envelope: &core::Envelope) -> Response<Body> {
    let mut out = Vec::with_capacity(512);
    match write_envelope(&mut out, request_id, envelope) {
        Ok(()) => json(status, out),
        Err(_) => failure(Refusal::Broken.into()),
    }
}

/// Members in the order of Vault's structure, written straight into the buffer.
fn write_envelope(out: &mut Vec<u8>, request_id: &str, envelope: &core::Envelope) -> serde_json::Result<()> {
    out.push(b'{');
    if let Some(data) = envelope.data.as_ref().filter(|_| envelope.at_top_level) {
        for (name, value) in data {
            serde_json::to_writer(&mut *out, name)?;
            out.push(b':');
            serde_json::to_writer(&mut *out, value)?;
            out.push(b',');
        }
    }
    out.extend_from_slice(b"\"request_id\":");
    // The id of a wrapped answer lies with it.
    let request_id = if envelope.wrap_info.is_some() {
        ""
    } else {
        request_id
    };
    serde_json::to_writer(&mut *out, request_id)?;
    out.extend_from_slice(b",\"lease_id\":");
    serde_json::to_writer(&mut *out, &envelope.lease_id)?;
    out.extend_from_slice(b",\"renewable\":");
    serde_json::to_writer(&mut *out, &envelope.renewable)?;
    out.extend_from_slice(b",\"lease_duration\":");
    serde_json::to_writer(&mut *out, &envelope.lease_duration)?;
    out.extend_from_slice(b",\"data\":");
    serde_json::to_writer(&mut *out, &envelope.data)?;
    out.extend_from_slice(b",\"wrap_info\":");
    serde_json::to_writer(&mut *out, &envelope.wrap_info)?;
    out.extend_from_slice(b",\"warnings\":");
    let warnings = Some(&envelope.warnings).filter(|warnings| !warnings.is_empty());
    serde_json::to_writer(&mut *out, &warnings)?;
    out.extend_from_slice(b",\"auth\":");
    serde_json::to_writer(&mut *out, &envelope.auth)?;
    out.extend_from_slice(b"}\n");
    Ok(())
}
