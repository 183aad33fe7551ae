//! Marked values in every field and header of every route, core's and engines', those added later too: none is in an audit
//! record, in the log, in a span of a trace, in a number's labels or in an error.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod support;

use std::collections::BTreeSet;
use std::fmt::{Debug, Write};
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use conclave_core::audit::Declared;
use conclave_core::{Headers, Request, Settings, Verb};
use conclave_engine_api::Operation::{self, Delete, List, Patch, Read, Update};
use support::Node;

/// Begins every text that must not be seen.
const MARK: &str = "m4rk-";
/// Begins every number that must not be seen.
const DIGITS: &str = "987654321";
/// Fields of core's routes whose numbers are on record.
const SHOWN: &[&str] = &[
    "complete",
    "default_lease_ttl",
    "enabled",
    "encryptions",
    "external_entropy_access",
    "force",
    "force_no_cache",
    "lease_duration",
    "local",
    "max_lease_ttl",
    "max_operations",
    "n",
    "no_default_policy",
    "no_parent",
    "non_voter",
    "num_uses",
    "progress",
    "renewable",
    "require_verification",
    "required",
    "retry",
    "seal_wrap",
    "sealed",
    "secret_shares",
    "secret_threshold",
    "started",
    "t",
    "term",
    "uses",
    "verification_required",
];
/// The same of users and roles.
const SHOWN_OF_LOGINS: &[&str] = &[
    "bind_secret_id",
    "local_secret_ids",
    "secret_id_num_uses",
    "secret_id_ttl",
    "token_explicit_max_ttl",
    "token_max_ttl",
    "token_no_default_policy",
    "token_num_uses",
    "token_period",
    "token_strictly_bind_ip",
    "token_ttl",
];
/// The same of secrets with versions.
const SHOWN_OF_VERSIONS: &[&str] = &[
    "cas",
    "cas_required",
    "current_version",
    "destroyed",
    "max_versions",
    "oldest_version",
    "version",
];
/// Beginnings of paths whose errors say to who asked which name, zone or format is none: there are no secrets among these.
const QUOTED: &[&str] = &[
    "sys/anomaly/config",
    "sys/anomaly/mute/",
    "sys/auth/some",
    "sys/leases/reconcile",
    "sys/mounts/some",
    "sys/storage/raft/demote",
    "sys/storage/raft/promote",
    "sys/storage/raft/remove-peer",
    "sys/tools/hash",
];
/// Forms that values are given in.
const SHAPES: usize = 5;

/// A route and what is sent to it.
struct Tried {
    path: String,
    operations: Vec<Operation>,
    fields: Arc<BTreeSet<String>>,
}

#[tokio::test]
async fn no_route_puts_what_it_is_given_into_the_log() {
    let logged = Arc::new(Mutex::new(String::new()));
    let _collecting = tracing::subscriber::set_default(Collector(logged.clone()));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("main.log");
    let node = Node::unsealed_with(declared(&file)).await;
    let tried = every_route(&node).await;
    let mut given = 0u64;
    for Tried {
        path,
        operations,
        fields,
    } in &tried
    {
        for operation in operations {
            for shape in 0..SHAPES {
                given += 1;
                // Refused or done: what counts is what is written of it.
                let answered = node
                    .core
                    .handle(request(&node, path, *operation, fields, (shape, given)))
                    .await;
                let said = answered.err().map(|error| error.to_string()).unwrap_or_default();
                let quotes = said.contains(MARK) || said.contains(DIGITS);
                assert!(
                    !quotes || QUOTED.iter().any(|known| path.starts_with(known)),
                    "{path}: {said}"
                );
            }
        }
    }
    let text = std::fs::read_to_string(&file).unwrap();
    let requests = text.lines().filter(|line| line.contains("\"type\":\"request\""));
    let requests = requests.count() as u64;
    assert!(requests >= given, "{requests} of {given} are on record");
    // What detection makes of it is among the numbers too.
    node.core.watch_once(true).await.unwrap();
    let numbers = prometheus::TextEncoder::new()
        .encode_to_string(&node.registry.gather())
        .unwrap();
    assert!(numbers.contains("conclave_request_duration_seconds_count"));
    for line in text.lines().chain(logged.lock().lines()).chain(numbers.lines()) {
        if let Some(at) = [MARK, DIGITS].iter().find_map(|mark| line.find(mark)) {
            let path = line
                .split("\"path\":")
                .nth(1)
                .map(|rest| &rest[..rest.len().min(80)]);
            panic!(
                "{} of {path:?}",
                &line[at.saturating_sub(200)..(at + 40).min(line.len())]
            );
        }
    }
}

fn declared(file: &Path) -> Settings {
    let path = file.display().to_string();
    Settings {
        audit_directories: vec![file.parent().unwrap().to_owned()],
        audit_devices: vec![Declared {
            path: "main/".to_owned(),
            kind: "file".to_owned(),
            description: String::new(),
            options: [("file_path".to_owned(), path)].into(),
        }],
        ..Settings::default()
    }
}

/// Every path that is answered, with names in the place of parameters, and what may be done with it.
async fn every_route(node: &Node) -> Vec<Tried> {
    let core = Arc::new(fields_read_in("src"));
    let mut tried: Vec<Tried> = conclave_core::own_routes()
        // Sealing ends the test, and restores want a file.
        .filter(|(_, route)| route.pattern != "seal" && !route.pattern.contains("snapshot"))
        .map(|(mount, route)| Tried {
            path: format!("{mount}{}", named(route.pattern)),
            operations: route.operations.to_vec(),
            fields: core.clone(),
        })
        .collect();
    for step in [
        "init",
        "unseal",
        "storage/raft/join",
        "storage/raft/bootstrap/admit",
    ] {
        tried.push(Tried {
            path: format!("sys/{step}"),
            operations: vec![Update],
            fields: core.clone(),
        });
    }
    let of_core = tried.len();
    let engines = Arc::new(fields_read_in("../engines/builtin/src"));
    for (kinds, root, above) in [
        (conclave_engines::secret_engines(), "sys/mounts", ""),
        (conclave_engines::auth_methods(), "sys/auth", "auth/"),
    ] {
        for engine in kinds {
            let kind = engine.kind();
            let place = format!("m-{kind}");
            // What is there once is there already.
            let _ = node
                .call(Verb::Write, &format!("{root}/{place}"), json!({"type": kind}))
                .await;
            tried.extend(engine.routes().iter().map(|route| Tried {
                path: format!("{above}{place}/{}", named(route.pattern)),
                operations: route.operations.to_vec(),
                fields: engines.clone(),
            }));
        }
    }
    for path in ["secret/data/a", "secret/metadata/a", "cubbyhole/a"] {
        tried.push(Tried {
            path: path.to_owned(),
            operations: vec![Read, Update, Patch, List, Delete],
            fields: engines.clone(),
        });
    }
    assert!(
        of_core > 150 && tried.len() > of_core + 60,
        "{of_core} of {}",
        tried.len()
    );
    tried
}

fn named(pattern: &str) -> String {
    let part = |part| match part {
        parameter if str::starts_with(parameter, [':', '*']) => "some",
        part => part,
    };
    pattern.split('/').map(part).collect::<Vec<_>>().join("/")
}

/// Names of all fields that these sources ask requests for, and then some: names that stand alone in a call of a method.
fn fields_read_in(folder: &str) -> BTreeSet<String> {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    let mut fields: BTreeSet<String> = ["password", "value", "unknown"].map(str::to_owned).into();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            for (before, rest) in text.match_indices("(\"").map(|(at, _)| text.split_at(at)) {
                let method = before.trim_end_matches(|c: char| c.is_ascii_lowercase() || c == '_');
                let name = rest[2..].split(['"', '\n']).next().unwrap();
                let after = &rest[(2 + name.len()).min(rest.len())..];
                let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
                if method.ends_with('.')
                    && (after.starts_with("\")") || after.starts_with("\","))
                    && !name.is_empty()
                    && name.chars().all(plain)
                {
                    fields.insert(name.to_owned());
                }
            }
        }
    }
    assert!(fields.len() > 80, "{} fields: {fields:?}", fields.len());
    fields
}

fn request(
    node: &Node,
    path: &str,
    operation: Operation,
    fields: &BTreeSet<String>,
    (shape, number): (usize, u64),
) -> Request {
    let verb = match operation {
        Read => Verb::Read,
        Delete => Verb::Delete,
        List => Verb::List,
        Patch => Verb::Patch,
        _ => Verb::Write,
    };
    let listed = match path.split('/').next() {
        Some("auth") if path.starts_with("auth/m-") => SHOWN_OF_LOGINS,
        Some("secret") => SHOWN_OF_VERSIONS,
        Some("sys" | "auth" | "identity") => SHOWN,
        _ => &[],
    };
    let values = fields.iter().map(|name| {
        // Settings that are shown as they are.
        let shown = shape == 1 && listed.contains(&name.as_str());
        // Paths are on record, and this answer's members are paths.
        let answered = path.starts_with("sys/capabilities") && name.starts_with("path");
        let value = match (shown, answered) {
            (true, _) => json!(7),
            (_, true) => json!("secret/data/a"),
            _ => marked(shape, number),
        };
        (name.clone(), value)
    });
    let mut request = Request::new(verb, path);
    request.token = Some(node.root.clone().into());
    request.data = Map::from_iter(values);
    request.headers = Some(Box::new(Marked));
    request
}

fn marked(shape: usize, number: u64) -> Value {
    let text = format!("{MARK}{number}");
    let digits = 987_654_321_000 + number;
    match shape {
        0 => json!(text),
        1 => json!(digits),
        2 => json!([text, digits, {"k": text}]),
        3 => json!({"k": text, "digits": digits, "nested": {"version": digits, "list": [text]}}),
        // What a route may take, so that it goes further.
        _ => json!(format!("{digits}s")),
    }
}

/// Headers of which each has a value that must not be seen.
struct Marked;

impl Headers for Marked {
    fn values(&self, name: &str) -> Vec<String> {
        vec![format!("{MARK}{name}")]
    }
}

/// Keeps what is logged in one text.
struct Collector(Arc<Mutex<String>>);

impl Visit for Collector {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        writeln!(self.0.lock(), "{field}={value:?}").unwrap();
    }
}

impl Subscriber for Collector {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        span.record(&mut Self(self.0.clone()));
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut Self(self.0.clone()));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut Self(self.0.clone()));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
