//! The golden square: every line of the scripts beside this file is run by `bao` and by `conclave`, each against a
//! fresh development server of its own, and both must print the same and exit alike.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod mask;
mod script;
mod server;

use script::{Side, Step};
use server::Server;

/// What may differ on purpose.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Differs {
    /// Where lines break and which product is named.
    Wording,
    /// Everything but the exit code.
    Text,
}

use Differs::{Text, Wording};

/// Deliberate differences: a part of the line between `^` and `$`, what differs, and why.
const DIFFERENT: &[(&str, Differs, &str)] = &[
    (
        "VAULT_ADDR=ftp",
        Text,
        "an address that is none is named as such instead of by Go's URL parser",
    ),
    (
        "-output-curl-string",
        Text,
        "the order of headers is Go's map order; a failure is said in our words",
    ),
    (
        "VAULT_TOKEN=bad kv get -output-policy",
        Text,
        "a failure to show the request is said in our words",
    ),
    (
        "-output-policy sys/seal",
        Text,
        "the server demands sudo there, so our policy grants it",
    ),
    (
        "scan -output-policy",
        Text,
        "scanning needs the scan capability, not read",
    ),
    ("status -h", Text, "help texts are our own"),
    ("^kv nosuch$", Text, "help texts are our own"),
    ("^kv metadata$", Text, "help texts are our own"),
    ("^kv$", Text, "help texts are our own"),
    ("^nosuch$", Text, "help texts are our own"),
    ("^-nosuch$", Text, "help texts are our own"),
    ("^secrets nosuch$", Text, "help texts are our own"),
    ("^operator nosuch$", Text, "help texts are our own"),
    ("^-foo status", Text, "help texts are our own"),
    (
        "^namespace list -format=json",
        Text,
        "the server lists by random ids",
    ),
    (
        "^namespace scan -format=json",
        Text,
        "the server lists by random ids",
    ),
    ("login", Wording, "names our tool and variable"),
    ("operator init -key-shares=3", Wording, "names our tool"),
    ("operator generate-root$", Wording, "names our tool"),
    ("operator rotate-keys$", Wording, "names our tool"),
    (
        "lease revoke -force -prefix",
        Wording,
        "names no product that the server may not be",
    ),
    (
        "operator rotate-keys -nonce",
        Text,
        "what to do with new keys is said in our words",
    ),
    (
        "operator generate-root -decode=QUJD",
        Text,
        "a one-time password of another length is refused or warned of",
    ),
];

fn run(script: &str, start: fn() -> Server) {
    let conclave = std::path::PathBuf::from(env!("CARGO_BIN_EXE_conclave"));
    // GOLDEN_SERVER=conclave puts our own server behind our commands: then the square has all its corners.
    let is_ours = std::env::var_os("GOLDEN_SERVER").is_some_and(|server| server == "conclave");
    let servers = (start(), if is_ours { Server::conclave_dev() } else { start() });
    let mut original = Side::new(servers.0.program.clone(), &servers.0);
    let mut ours = Side::new(conclave, &servers.1);
    let mut failures = Vec::new();
    let steps = Step::parse_all(script);
    assert!(!steps.is_empty());
    for step in &steps {
        if step.waits {
            original.wait(step);
            ours.wait(step);
            continue;
        }
        let (expected, got) = (original.run(step), ours.run(step));
        let line = format!("^{}$", step.line);
        let differs = DIFFERENT.iter().find(|(part, ..)| line.contains(part));
        let same = match differs {
            None => expected == got,
            Some((_, Wording, _)) => expected.same_wording(&got),
            Some((_, Text, _)) => expected.code == got.code,
        };
        if !same {
            failures.push(format!("$ {}\n{}", step.line, expected.difference(&got)));
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {} commands differ:\n\n{}",
        failures.len(),
        steps.len(),
        failures.join("\n")
    );
}

#[test]
fn kv() {
    run(include_str!("kv.txt"), Server::bao_dev);
}

#[test]
fn logical() {
    run(include_str!("logical.txt"), Server::bao_dev);
}

#[test]
fn admin() {
    run(include_str!("admin.txt"), Server::bao_dev);
}

#[test]
fn login() {
    run(include_str!("login.txt"), Server::bao_dev);
}

#[test]
fn operator() {
    run(include_str!("operator.txt"), Server::bao_raft);
}
