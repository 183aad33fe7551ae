//! The same requests once more over gRPC, by the SDK's `Logical`, against a server of their own: what is answered over
//! HTTP is answered there too, with the same members, and what is refused is refused in kind. What only HTTP has (methods,
//! malformed bodies, escapes in paths) goes there.

use std::collections::BTreeSet;
use std::time::Duration;

use conclave_client::{Conclave, Error, Verb};
use serde_json::{Map, Value, json};

use super::coverage::Coverage;
use super::request::{Answer, Parts, Request, Side};
use super::server::Server;

/// The third side.
pub struct Logical {
    side: Side,
    runtime: tokio::runtime::Runtime,
    conclave: Conclave,
    /// Operations that succeeded, each with its path.
    succeeded: BTreeSet<(String, String)>,
    /// What went wrong, in words.
    pub wrong: Vec<String>,
}

impl Logical {
    pub fn new(server: &Server) -> Self {
        let ca = std::fs::read(server.authority.as_ref().unwrap()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let conclave = Conclave::connect([server.address.clone()]).ca_cert(ca);
        Self {
            side: Side::new(server),
            runtime,
            conclave: conclave.build().unwrap(),
            succeeded: BTreeSet::new(),
            wrong: Vec::new(),
        }
    }

    /// Repeats a request until it succeeds.
    pub fn wait(&mut self, request: &Request) {
        self.side.wait(request);
    }

    /// Sends a request, and compares the answer with what HTTP answered; of answers that differ each time, the kind alone.
    pub fn send(&mut self, request: &Request, over_http: &Answer, differs_each_time: bool) {
        let parts = self.side.parts(request);
        let Some((verb, data)) = by_logical(&parts) else {
            self.side.send(request);
            return;
        };
        let answered = self.runtime.block_on(ask(&self.conclave, &parts, verb, &data));
        let what = differs(over_http, &answered);
        if let Some(what) = what.filter(|what| !(differs_each_time && what.starts_with("/data"))) {
            let said = match &answered {
                Ok(body) => body.to_string().chars().take(600).collect(),
                Err(error) => format!("{error:?}"),
            };
            let line = &request.line;
            self.wrong
                .push(format!("{line}\n  {what}\n  HTTP: {over_http}\n  gRPC: {said}"));
        }
        if let Ok(body) = answered {
            self.succeeded.insert(self.side.target(request));
            if over_http.status < 400 {
                self.side.keep(request, &Answer { status: 200, body });
            }
        }
    }

    /// The operations like the original's of which none has succeeded over gRPC.
    pub fn never_reached(&self, coverage: &Coverage) -> Vec<String> {
        let reached = self.succeeded.iter();
        let reached: BTreeSet<_> = reached
            .filter_map(|(verb, path)| coverage.label(verb, path))
            .collect();
        let missed = coverage.same().into_iter().filter(|row| !reached.contains(row));
        missed.map(|(label, verb)| format!("{verb} {label}")).collect()
    }
}

/// What is asked over gRPC, if it can be.
fn by_logical(parts: &Parts) -> Option<(Verb, Value)> {
    let verb = match parts.verb.as_str() {
        "GET" => Verb::Read,
        "LIST" => Verb::List,
        "SCAN" => Verb::Scan,
        "POST" => Verb::Write,
        "PATCH" if parts.content_type.is_some() => Verb::Patch,
        "DELETE" => Verb::Delete,
        _ => return None,
    };
    let plain = !parts.is_head && !parts.path.contains('%') && !parts.query.contains('%');
    let writes = matches!(verb, Verb::Write | Verb::Patch);
    if !plain || writes && !parts.query.is_empty() || !writes && !parts.body.is_empty() {
        return None;
    }
    let patch = parts.content_type.is_none() || verb == Verb::Patch;
    let data = if writes && !parts.body.is_empty() {
        serde_json::from_str(&parts.body).ok().filter(Value::is_object)?
    } else {
        let pairs = parts.query.split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let told = pairs.filter(|(name, _)| !matches!(*name, "list" | "scan"));
        Value::Object(
            told.map(|(name, value)| (name.to_owned(), value.into()))
                .collect(),
        )
    };
    // Of HTTP alone.
    let is_http = ["help", "sealedcode"].iter().any(|name| data.get(name).is_some())
        || parts.query.contains("list=true&scan=true")
        || parts.mfa.is_some()
        || parts.inline.is_some()
        || parts.wrap_ttl.as_ref().is_some_and(|ttl| ttl.starts_with('-'));
    (patch && !is_http).then_some((verb, data))
}

async fn ask(conclave: &Conclave, parts: &Parts, verb: Verb, data: &Value) -> Result<Value, Error> {
    let mut conclave = conclave.clone();
    if !parts.token.is_empty() {
        conclave = conclave.with_token(&parts.token)?;
    }
    if let Some(namespace) = &parts.namespace {
        conclave = conclave.with_namespace(namespace)?;
    }
    let ttl = parts
        .wrap_ttl
        .as_deref()
        .and_then(|ttl| match ttl.strip_suffix('m') {
            Some(minutes) => minutes.parse().ok().map(|minutes: u64| minutes * 60),
            None => ttl.trim_end_matches('s').parse().ok(),
        });
    let wrapped = match ttl.filter(|ttl| *ttl > 0).map(Duration::from_secs) {
        Some(ttl) => Some(conclave.wrapping().answer(verb, &parts.path, data, ttl).await?),
        None => None,
    };
    let mut answer = match &wrapped {
        Some(_) => conclave_client::Answer::default(),
        None => conclave.logical().call(verb, &parts.path, data).await?,
    };
    if let Some(wrapped) = wrapped.or(answer.wrapped.take()) {
        let told = json!({"token": wrapped.token.expose(), "accessor": wrapped.accessor});
        return Ok(json!({"wrap_info": told}));
    }
    if answer.missing {
        return Err(Error::NotFound("nothing, with something to tell".to_owned()));
    }
    let mut body = Map::new();
    let names: Vec<&str> = answer.data.names().collect();
    let data: Map<String, Value> = names
        .iter()
        .map(|name| {
            (
                (*name).to_owned(),
                answer.data.value(name).cloned().unwrap_or_default(),
            )
        })
        .collect();
    // What HTTP answers at the top level is kept from there.
    body.extend(data.clone());
    body.insert("data".to_owned(), Value::Object(data));
    if let Some(raw) = &answer.raw {
        let bytes = raw.bytes.expose();
        // Some answers are texts: keys, for programs that read nothing else.
        let text = |_| Value::from(String::from_utf8_lossy(bytes).trim());
        let told = serde_json::from_slice(bytes).unwrap_or_else(text);
        body.insert("data".to_owned(), told);
    }
    if let Some(token) = &answer.token {
        let mut told = json!({"client_token": token.token.expose(), "accessor": token.accessor});
        if let Some(waits) = &token.second_factor {
            told["mfa_requirement"] = json!({"mfa_request_id": waits.request.expose()});
        }
        body.insert("auth".to_owned(), told);
    }
    Ok(Value::Object(body))
}

/// The first difference between what HTTP and gRPC answered.
fn differs(over_http: &Answer, answered: &Result<Value, Error>) -> Option<String> {
    let body = &over_http.body;
    let refused = body.get("errors").is_some();
    let error = match answered {
        Ok(_) if refused => return Some("an error became an answer".to_owned()),
        // Statuses of health, and of what failed in part, go with data.
        Ok(got) => return unlike(body, got),
        Err(error) => error,
    };
    let says = |part: &str| over_http.texts("errors").contains(part);
    let kind = match error {
        // Statuses that blame the server, for want of better ones in the original.
        Error::Invalid(_) if says("in different namespace") => 500..=500,
        Error::Denied if says("locked by an administrator") => 503..=503,
        // It was done, and there was nothing to wrap.
        Error::Unsupported(text) if text.contains("no answer to wrap") => 200..=204,
        Error::Invalid(_) | Error::CasMismatch => 400..=400,
        Error::Denied | Error::Unauthenticated => 403..=403,
        Error::NotFound(_) => 404..=404,
        Error::Unsupported(_) => 405..=501,
        Error::TooLarge(_) => 413..=413,
        Error::Internal(_) => 500..=500,
        Error::Config(_) => 400..=403,
        Error::Sealed | Error::NotInitialized | Error::Unavailable(_) => 429..=503,
        _ => 504..=504,
    };
    let status = over_http.status;
    (!kind.contains(&status)).then(|| format!("{status} became another kind of failure"))
}

/// The first member of what HTTP answered that gRPC has not, or has as another type.
fn unlike(body: &Value, got: &Value) -> Option<String> {
    let has = |name: &str| body.get(name).is_some_and(|part| !part.is_null());
    if has("wrap_info")
        != got
            .get("wrap_info")
            .is_some_and(|info| info.get("token").is_some())
    {
        return Some("a wrapped answer, on one side only".to_owned());
    }
    if has("wrap_info") {
        return None;
    }
    if has("auth") && got.get("auth").is_none() {
        return Some("the token is missing".to_owned());
    }
    let none = Value::Object(Map::new());
    let data = match body.get("data") {
        Some(data) if !data.is_null() => data,
        // An answer without an envelope, or one that says nothing beside it.
        _ if body.get("request_id").is_none() && !body.is_null() => body,
        _ => &none,
    };
    super::shapes("/data", data, &got["data"])
}
