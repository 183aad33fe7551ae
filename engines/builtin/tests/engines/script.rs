//! Runs scripts of requests against an engine and renders what it answers. A script is a text file:
//!
//! ```text
//! # a comment, kept
//! @ mount kv version=2       the first directive
//! @ advance 1h               moves the clock
//! @ caller other             who asks from here on; `-` for nobody
//! @ from 10.1.2.3            where requests come from
//! @ renew a,b                renews a token of the last login that has these policies
//! > POST data/a {"data":{}}  a request: method, path with query, body
//! 200 {..}                   the answer, written by the run; of an effect, what is to be done
//! ```
//!
//! The same files can be replayed with curl against another server of the same API.

use std::fmt::Write as _;
use std::sync::Arc;

use conclave_engine_api::outcome::Status;
use conclave_engine_api::testkit::Harness;
use conclave_engine_api::{Action, Effect, Engine, Error, Login, Operation, Outcome, Reply, parse_duration};
use serde_json::{Map, Value, json};

pub fn engine(kind: &str) -> Arc<dyn Engine> {
    let engines = conclave_engines::engines();
    let found = engines.into_iter().find(|engine| engine.kind() == kind);
    found.unwrap_or_else(|| panic!("no engine {kind}"))
}

/// The script with every answer as it is now.
pub fn run(script: &str) -> String {
    let mut lines = script.lines();
    let mut out = String::new();
    let mount = loop {
        let line = lines.next().expect("a script mounts an engine");
        writeln!(out, "{line}").unwrap();
        if let Some(mount) = line.strip_prefix("@ mount ") {
            break mount;
        }
    };
    let mut words = mount.split_whitespace();
    let engine = engine(words.next().unwrap());
    let mut harness = Harness::new(&*engine);
    for option in words {
        let (name, value) = option.split_once('=').unwrap();
        harness.mount.options.insert(name.to_owned(), value.to_owned());
    }
    engine.check_mount(&harness.mount).unwrap();
    let mut caller = "caller".to_owned();
    let mut last = None;
    for line in lines {
        if let Some(request) = line.strip_prefix("> ") {
            writeln!(
                out,
                "{line}\n{}",
                request_line(&mut harness, &caller, &mut last, request)
            )
            .unwrap();
        } else if let Some(directive) = line.strip_prefix("@ ") {
            writeln!(out, "{line}").unwrap();
            match directive.split_once(' ').unwrap() {
                ("advance", by) => harness.advance(parse_duration(by).unwrap()).unwrap(),
                ("caller", "-") => caller.clear(),
                ("caller", name) => name.clone_into(&mut caller),
                ("from", address) => harness.remote = Some(address.parse().unwrap()),
                ("renew", policies) => {
                    let policies: Vec<String> = policies.split(',').map(str::to_owned).collect();
                    match harness.renew(last.as_ref().expect("a login"), &policies) {
                        Ok(renewal) => writeln!(out, "{renewal:?}").unwrap(),
                        Err(error) => writeln!(out, "refused: {error}").unwrap(),
                    }
                }
                other => panic!("unknown directive {other:?}"),
            }
        } else if line.is_empty() || line.starts_with('#') {
            writeln!(out, "{line}").unwrap();
        }
    }
    out
}

fn request_line(harness: &mut Harness<'_>, caller: &str, last: &mut Option<Login>, line: &str) -> String {
    let (method, rest) = line.split_once(' ').unwrap();
    let (target, body) = rest.split_once(' ').unwrap_or((rest, ""));
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut data: Map<String, Value> = match body {
        "" => Map::new(),
        body => serde_json::from_str(body).unwrap(),
    };
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap();
        data.insert(name.to_owned(), value.into());
    }
    let operation = match method {
        "GET" if data.remove("list").is_some() => Operation::List,
        "GET" if data.remove("scan").is_some() => Operation::Scan,
        "GET" => Operation::Read,
        "POST" | "PUT" => Operation::Update,
        "PATCH" => Operation::Patch,
        "DELETE" => Operation::Delete,
        "LIST" => Operation::List,
        "SCAN" => Operation::Scan,
        other => panic!("unknown method {other}"),
    };
    let path = path.trim_start_matches('/');
    match harness.ask(caller, operation, path, Value::Object(data)) {
        Ok(Outcome::Login(login)) => {
            let text = rendered_login(&login);
            *last = Some(*login);
            text
        }
        Ok(Outcome::Reply(reply)) => render(Ok(reply)),
        Ok(Outcome::Effect(effect)) => rendered_effect(&effect),
        Ok(other) => panic!("{other:?}"),
        Err(error) => render(Err(error)),
    }
}

/// What a login says of who it was; settings that are as they are by default are left out.
fn rendered_login(login: &Login) -> String {
    let mut token = Map::new();
    login.token.describe(&mut token);
    token
        .retain(|_, value| !matches!(value, Value::Bool(false)) && *value != json!(0) && *value != json!([]));
    let shown = json!({
        "alias": login.alias,
        "display_name": login.display_name,
        "metadata": login.metadata,
        "token": token,
    });
    format!("login {shown}")
}

/// What is to be done outside, statement by statement.
fn rendered_effect(effect: &Effect) -> String {
    let mut text = format!("effect {}", effect.plan.action.name());
    if let Some(lease) = &effect.lease {
        let renewable = if lease.renewable { ", renewable" } else { "" };
        let (ttl, most) = (lease.ttl / 1000, lease.max_ttl / 1000);
        write!(text, ", lease of {ttl} s, at most {most} s{renewable}").unwrap();
    }
    if let Action::Run { statements } | Action::Make { statements, .. } = &effect.plan.action {
        for statement in statements {
            write!(text, "\n    {}", statement.as_str()).unwrap();
        }
    }
    text
}

/// An answer as a transport would give it: status, then the parts of the envelope that are there.
pub fn render(result: Result<Reply, Error>) -> String {
    let (status, body) = match result {
        Ok(reply) => success(reply),
        Err(Error::NotFound { warnings }) if !warnings.is_empty() => {
            (404, Some(json!({"data": null, "warnings": warnings})))
        }
        Err(error) => failure(&error),
    };
    match body {
        None => status.to_string(),
        Some(body) => format!("{status} {body}"),
    }
}

fn success(reply: Reply) -> (u16, Option<Value>) {
    if let Some(raw) = reply.raw {
        return (raw.status, serde_json::from_slice(&raw.bytes).ok());
    }
    let mut body = Map::new();
    if let Some(seconds) = reply.lease_duration_hint {
        body.insert("lease_duration".to_owned(), seconds.into());
    }
    if reply.data.is_some() || !reply.warnings.is_empty() {
        body.insert("data".to_owned(), reply.data.map_or(Value::Null, Value::Object));
    }
    if !reply.warnings.is_empty() {
        body.insert("warnings".to_owned(), json!(reply.warnings));
    }
    let status = match reply.status {
        Status::NotFoundWithBody => 404,
        Status::Accepted => 202,
        Status::InPart(status) => status,
        Status::Done if body.is_empty() => return (204, None),
        Status::Done => 200,
    };
    (status, Some(Value::Object(body)))
}

fn failure(error: &Error) -> (u16, Option<Value>) {
    let status = match error {
        Error::Invalid(_) | Error::BadCredentials(_) => 400,
        Error::Denied => 403,
        Error::NotFound { .. } => return (404, Some(json!({"errors": []}))),
        Error::UnsupportedPath => 404,
        Error::UnsupportedOperation => 405,
        Error::TooLarge(_) => 413,
        Error::Unsupported(_) => 501,
        _ => 500,
    };
    (status, Some(json!({"errors": [error.to_string()]})))
}
