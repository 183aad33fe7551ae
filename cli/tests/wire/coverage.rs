//! Which of our routes the requests have tried, beside the original: each must have succeeded once and failed once. The
//! routes are those of our own OpenAPI document, which is made from the tables that route.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

use super::Differs;
use super::request::Side;

/// How mounts of the script are called in the table.
const MOUNTS: &[(&str, &str)] = &[
    ("one/", "{kv}/"),
    ("kv2/", "{kv}/"),
    ("transit/", "{transit}/"),
    ("ssh/", "{ssh}/"),
    ("database/", "{database}/"),
    ("rabbitmq/", "{rabbitmq}/"),
    ("kubernetes/", "{kubernetes}/"),
    ("auth/people/", "auth/{userpass}/"),
    ("auth/a/b/", "auth/{userpass}/"),
    ("auth/approle/", "auth/{approle}/"),
];
/// What no request tries beside the original, and why: a part of a row.
const UNTRIED: &[(&str, &str)] = &[
    (" sys/generate-root/", OLD),
    (" sys/rekey/", OLD),
    (" sys/rekey-recovery-key/", RECOVERY),
    (" sys/rotate/recovery/", RECOVERY),
    (
        "POST sys/rotate/root:",
        "different: refused, for shares are of the root key itself: a new one comes with new shares",
    ),
    (
        "GET sys/rotate/root/backup:",
        "same; a copy of shares that PGP keys seal is tried in tests of PGP",
    ),
    (
        " sys/rotate/root/verify",
        "the same ceremony, tried to its end in tests of ceremonies",
    ),
    (
        "POST sys/audit/",
        "better: devices are enabled by the API too; tried in tests of audit",
    ),
    (
        "POST sys/audit-hash/",
        "better: devices are enabled by the API too; tried in tests of audit",
    ),
    (
        "GET sys/audit-heads",
        "ours: ends of audit chains; tried in tests of audit",
    ),
    (
        "GET sys/audit-status",
        "ours: how audit devices are; tried in tests of audit",
    ),
    (
        "POST sys/step-down",
        "different: refused to a sole member, whom nobody can follow; tried with three nodes",
    ),
    ("POST sys/storage/raft/join:", NODES),
    ("POST sys/storage/raft/promote", NODES),
    ("POST sys/storage/raft/demote", NODES),
    ("POST sys/storage/raft/remove-peer", NODES),
    (" identity/alias", OLD_NAME),
    (" identity/persona", OLD_NAME),
    ("LIST sys/leases/lookup:", "tried in tests of leases"),
    (
        "POST sys/leases/renew",
        "tried in tests of leases, with a database",
    ),
    (
        "POST sys/leases/reconcile",
        "ours: drops accounts in targets that nobody has a lease of",
    ),
    (
        "POST sys/storage/raft/join-token",
        "ours: tokens by which nodes join",
    ),
    (
        "POST sys/storage/raft/approve",
        "ours: nodes are let in by their keys",
    ),
    (
        "GET sys/storage/raft/pending",
        "ours: nodes that wait to be let in",
    ),
    (
        "LIST sys/storage/raft/pending",
        "ours: nodes that wait to be let in",
    ),
    (
        "POST sys/storage/raft/compare",
        "ours: compares the members' states",
    ),
    (
        "POST sys/storage/raft/bootstrap",
        "ours: how a node proves its key to those it joins",
    ),
    (
        "GET sys/watch/",
        "ours: what happens to keys, as it happens; tried in tests of watches",
    ),
    (
        " sys/anomaly/",
        "ours: unusual access; tried in tests of anomalies",
    ),
    (
        "POST {kv}/import/",
        "ours: versions with the numbers they had elsewhere",
    ),
    (" identity/mfa/method/duo", SERVICES),
    (" identity/mfa/method/okta", SERVICES),
    (" identity/mfa/method/pingid", SERVICES),
    ("GET identity/mfa/method:", NAMELESS),
    ("GET identity/mfa/method/totp:", NAMELESS),
    ("DELETE identity/mfa/method/totp:", NAMELESS),
    (
        "POST sys/policies/explain",
        "ours: by which rule something is allowed, or what is missing",
    ),
    (
        " sys/quotas/lease-count",
        "as in Vault: OpenBao bounds no leases; tried in tests of quotas",
    ),
    ("GET {database}/creds/", SERVED),
    ("GET {database}/static-creds/", SERVED),
    ("GET {database}/static-roles/", SERVED),
    ("POST {database}/static-roles/", SERVED),
    ("POST {database}/rotate-role/", SERVED),
    ("POST {database}/rotate-root/", SERVED),
    ("POST {database}/reset/", SERVED),
    ("LIST {database}/static-roles:", SERVED),
    (
        "GET {rabbitmq}/creds/",
        "same; what comes of it is tried in tests of leases, with a broker",
    ),
    (
        "POST {kubernetes}/creds/",
        "same; what comes of it is tried in tests of leases, with an API server",
    ),
    (
        "GET {kubernetes}/check",
        "better: the API server is asked, not the environment; tried in tests of leases",
    ),
    ("GET sys/metrics", "different: Prometheus' text form alone"),
    (
        "GET sys/monitor",
        "same; lines without end are tried in tests of looking at a node",
    ),
    (
        "GET sys/internal/counters/requests",
        "same: refused, for it was removed",
    ),
    (
        "POST sys/config/reload/",
        "same: refused, for there is no license",
    ),
    ("POST sys/plugins/catalog/", PLUGINS),
    ("DELETE sys/plugins/catalog/", PLUGINS),
    (
        " sys/effects",
        "ours: a copy of a cluster must not touch the targets of the original; tried in tests of leases",
    ),
    ("GET sys/storage/raft/snapshot", FILE),
    ("POST sys/storage/raft/snapshot", FILE),
];
/// What answers without a token too, with less.
const OPEN_IN_PART: &[&str] = &["sys/internal/ui/mounts"];
const OLD: &str =
    "better: answers callers with a token; the original only if its configuration opens it to everybody";
const RECOVERY: &str = "same: refused, for there are no recovery keys";
const NODES: &str = "tried with three nodes";
const OLD_NAME: &str = "an old name of `identity/entity-alias`, answered by the same lines";
const NAMELESS: &str = "same: refused, for a method must be named";
const SERVICES: &str = "unsupported: second factors that another service checks";
const PLUGINS: &str = "unsupported: engines and auth methods are built in";
const SERVED: &str = "same; what comes of it is tried in tests of leases, with a database";
const FILE: &str = "a file; what is in it and what becomes of it is tried in tests of snapshots";
/// Where the table stands.
const BEGIN: &str = "<!-- routes: made by `make compat WRITE=1` -->\n";
const END: &str = "<!-- end of routes -->\n";

/// One operation of one route.
pub struct Route {
    verb: &'static str,
    /// `None` for a parameter.
    shape: Vec<Option<String>>,
    /// Whether the last parameter may hold slashes.
    rest: bool,
    label: String,
    open: bool,
    sample: String,
}

/// What became of a route.
#[derive(Default)]
struct Tried {
    succeeded: usize,
    failed: usize,
    differs: BTreeMap<&'static str, Differs>,
}

/// All routes, and what was tried.
#[derive(Default)]
pub struct Coverage {
    routes: Vec<Route>,
    tried: BTreeMap<(String, &'static str), Tried>,
    unsupported: Vec<String>,
    /// Requests that came before the routes were known.
    early: Vec<Early>,
}

/// Verb, path, status and the exception of a request that came early.
type Early = (String, String, u16, Option<(Differs, &'static str)>);

impl Coverage {
    /// Notes one request that both servers have answered.
    pub fn note(
        &mut self,
        (verb, path): (String, String),
        status: u16,
        differs: Option<(Differs, &'static str)>,
    ) {
        if self.routes.is_empty() {
            self.early.push((verb, path, status, differs));
            return;
        }
        let Some(route) = self.find(&verb, &path) else {
            return;
        };
        let tried = self.tried.entry((route.label.clone(), route.verb)).or_default();
        match status {
            0..400 => tried.succeeded += 1,
            _ => tried.failed += 1,
        }
        if let Some((differs, reason)) = differs {
            tried.differs.insert(reason, differs);
        }
    }

    /// Reads the routes of our document, and asks both servers for each with a token that is none and with no token: no
    /// route may answer either, unless it is meant for everybody. Returns what went wrong.
    pub fn survey(&mut self, [original, ours]: [&Side; 2]) -> Vec<String> {
        let document = ours.document();
        self.routes = routes(&document);
        let unsupported = document["x-conclave-unsupported"].as_array().unwrap();
        self.unsupported = unsupported
            .iter()
            .map(|path| path.as_str().unwrap().to_owned())
            .collect();
        for (verb, path, status, differs) in std::mem::take(&mut self.early) {
            self.note((verb, path), status, differs);
        }
        let closed: Vec<&Route> = self.routes.iter().filter(|route| !route.open).collect();
        let requests: Vec<_> = closed
            .iter()
            .map(|route| (route.verb, route.sample.clone()))
            .collect();
        let mut wrong = Vec::new();
        let mut refused = Vec::new();
        for token in [Some("s.000000000000000000000000"), None] {
            let answers = [original, ours].map(|side| side.sweep(token, &requests));
            let [expected, got] = &answers;
            for ((route, expected), got) in closed.iter().zip(expected).zip(got) {
                let texts = |body: &Value| body.get("errors").is_some_and(Value::is_array);
                // What the original does not have, or leaves open, is ours to close.
                let refused = got.0 == 403 || got.0 >= 400 && got.0 == expected.0;
                let told = OPEN_IN_PART.contains(&route.sample.as_str()) && got.0 == expected.0;
                if !told && (!refused || !texts(&got.1)) {
                    let token = token.map_or("no token", |_| "a wrong token");
                    wrong.push(format!(
                        "{} {} with {token}\n  bao:  {} {}\n  ours: {} {}",
                        route.verb, route.sample, expected.0, expected.1, got.0, got.1
                    ));
                }
            }
            refused.extend(closed.iter().map(|route| (route.label.clone(), route.verb)));
        }
        for key in refused {
            self.tried.entry(key).or_default().failed += 1;
        }
        wrong
    }

    /// The operations that were found to be the original's, as label and verb.
    pub fn same(&self) -> Vec<(String, &'static str)> {
        let told = |row: &(String, &'static str)| {
            let text = format!("{} {}:", row.1, row.0);
            let untried = UNTRIED.iter().any(|(part, _)| text.contains(part));
            !untried && verdict(self.tried.get(row)).starts_with("same")
        };
        self.rows().into_iter().filter(told).collect()
    }

    /// The label and verb of what a request asks for.
    pub fn label(&self, verb: &str, path: &str) -> Option<(String, &'static str)> {
        let route = self.find(verb, path)?;
        Some((route.label.clone(), route.verb))
    }

    /// The closest route for a request.
    fn find(&self, verb: &str, path: &str) -> Option<&Route> {
        let matching = self
            .routes
            .iter()
            .filter(|route| route.verb == verb && route.matches(path));
        matching.max_by_key(|route| route.shape.iter().filter(|part| part.is_some()).count())
    }

    /// What is not tried enough, in words.
    pub fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        let mut rows = 0;
        for (label, verb) in self.rows() {
            rows += 1;
            let row = format!("{verb} {label}:");
            if UNTRIED.iter().any(|(part, _)| row.contains(part)) {
                continue;
            }
            let tried = self.tried.get(&(label, verb));
            match tried.map_or((0, 0), |tried| (tried.succeeded, tried.failed)) {
                (0, 0) => missing.push(format!("{row} never tried")),
                (0, _) => missing.push(format!("{row} never succeeded")),
                // What everybody may read on every node has no way to fail.
                (_, 0) if verb == "GET" && self.is_open(&row) => {}
                (_, 0) => missing.push(format!("{row} never failed")),
                _ => {}
            }
        }
        for row in &missing {
            println!("{row}");
        }
        let done = rows - missing.len();
        println!(
            "{done} of {rows} routes are tried ({}%)",
            done * 100 / rows.max(1)
        );
        missing
    }

    fn is_open(&self, row: &str) -> bool {
        let open = self.routes.iter().filter(|route| route.open);
        open.into_iter()
            .any(|route| row == format!("{} {}:", route.verb, route.label))
    }

    /// Each label with each verb, once.
    fn rows(&self) -> Vec<(String, &'static str)> {
        let mut rows: Vec<_> = self
            .routes
            .iter()
            .map(|route| (route.label.clone(), route.verb))
            .collect();
        rows.sort();
        rows.dedup();
        rows
    }

    /// The table of `docs/compatibility.md`.
    fn table(&self) -> String {
        let mut out = String::from("| route | | compared with the original |\n|---|---|---|\n");
        for (label, verb) in self.rows() {
            let row = format!("{verb} {label}:");
            let said = match UNTRIED.iter().find(|(part, _)| row.contains(part)) {
                Some((_, reason)) => (*reason).to_owned(),
                None => verdict(self.tried.get(&(label.clone(), verb))),
            };
            writeln!(out, "| `{label}` | {verb} | {said} |").unwrap();
        }
        for path in &self.unsupported {
            let beneath = if path.ends_with('/') { "…" } else { "" };
            writeln!(out, "| `{path}{beneath}` | | unsupported |").unwrap();
        }
        out
    }

    /// Writes the table into the document, or checks that the one that stands there is this run's.
    pub fn publish(&self) {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/compatibility.md");
        let text = std::fs::read_to_string(path).unwrap();
        let (head, rest) = text.split_once(BEGIN).unwrap();
        let (old, tail) = rest.split_once(END).unwrap();
        let new = self.table();
        if std::env::var_os("CONCLAVE_COMPAT_WRITE").is_some() {
            std::fs::write(path, format!("{head}{BEGIN}{new}{END}{tail}")).unwrap();
        } else if !old.is_empty() {
            let gone = old
                .lines()
                .filter(|line| !new.lines().any(|other| other == *line));
            let fresh = new
                .lines()
                .filter(|line| !old.lines().any(|other| other == *line));
            let told: Vec<String> = gone
                .map(|line| format!("- {line}"))
                .chain(fresh.map(|line| format!("+ {line}")))
                .collect();
            assert!(
                old == new,
                "docs/compatibility.md is not of these routes; `make compat WRITE=1` writes it:\n{}",
                told.join("\n")
            );
        }
    }
}

/// The gravest difference that was found, and the reasons.
fn verdict(tried: Option<&Tried>) -> String {
    let Some(tried) = tried else {
        return "not compared".to_owned();
    };
    let grave = |differs: Differs| match differs {
        Differs::Text => 0,
        Differs::Status => 1,
        Differs::Answer => 2,
        Differs::Unbuilt => 3,
    };
    let Some(worst) = tried
        .differs
        .values()
        .copied()
        .max_by_key(|differs| grave(*differs))
    else {
        return "same".to_owned();
    };
    let reasons: Vec<&str> = tried.differs.keys().copied().collect();
    let word = match worst {
        Differs::Text => "same, in other words",
        Differs::Status => "better",
        Differs::Answer => "different",
        Differs::Unbuilt => "unsupported in part",
    };
    format!("{word}: {}", reasons.join("; "))
}

impl Route {
    fn matches(&self, path: &str) -> bool {
        let parts: Vec<&str> = path.split('/').collect();
        let lists = matches!(self.verb, "LIST" | "SCAN");
        let fixed = self.shape.len() - usize::from(self.rest);
        let enough = match self.rest {
            true => parts.len() > fixed || lists && parts.len() == fixed,
            false => parts.len() == fixed,
        };
        let same = |(part, told): (&&str, &Option<String>)| told.as_ref().is_none_or(|told| told == part);
        enough && parts.iter().zip(self.shape.iter().take(fixed)).all(same)
    }
}

fn routes(document: &Value) -> Vec<Route> {
    let mut routes = Vec::new();
    for (path, told) in document["paths"].as_object().unwrap() {
        let path = path.trim_start_matches('/');
        let parameters = told["parameters"].as_array().cloned().unwrap_or_default();
        let rest = parameters
            .iter()
            .any(|parameter| parameter["x-conclave-rest"] == true);
        for method in ["get", "post", "patch", "delete"] {
            let names = told[method]["x-conclave-operations"].as_array().cloned();
            let mut verbs: Vec<&str> = names
                .iter()
                .flatten()
                .map(|name| verb(name.as_str().unwrap()))
                .collect();
            verbs.dedup();
            for verb in verbs {
                routes.push(route(path, verb, rest, told[method].get("security").is_none()));
            }
        }
    }
    assert!(routes.len() > 200, "{}", routes.len());
    routes
}

fn route(path: &str, verb: &'static str, rest: bool, open: bool) -> Route {
    let is_parameter = |part: &str| part.starts_with('{');
    let shape = path
        .split('/')
        .map(|part| (!is_parameter(part)).then(|| part.to_owned()))
        .collect();
    let sample: Vec<&str> = path
        .split('/')
        .map(|part| if is_parameter(part) { "some" } else { part })
        .collect();
    let found = MOUNTS.iter().find(|(mount, _)| path.starts_with(mount));
    let label = match found {
        Some((mount, name)) => format!("{name}{}", &path[mount.len()..]),
        None => path.to_owned(),
    };
    Route {
        verb,
        shape,
        rest,
        label,
        open,
        sample: sample.join("/"),
    }
}

fn verb(operation: &str) -> &'static str {
    match operation {
        "read" => "GET",
        "list" => "LIST",
        "scan" => "SCAN",
        "create" | "update" => "POST",
        "patch" => "PATCH",
        "delete" => "DELETE",
        other => panic!("{other}"),
    }
}
