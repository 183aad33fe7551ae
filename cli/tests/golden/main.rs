//! The golden square: every line of the scripts beside this file is run by `bao` and by `conclave`, each against a
//! fresh bao server and a fresh conclave server of its own, and all four must print the same and exit alike.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod mask;
mod script;
#[allow(dead_code)]
mod server;
mod square;

use script::Step;
use server::Server;

/// Commands that must be the same in all four corners without any exception.
const WHOLE_LINES: usize = 150;

const KV: &str = include_str!("kv.txt");
const LOGICAL: &str = include_str!("logical.txt");
const ADMIN: &str = include_str!("admin.txt");
const LOGIN: &str = include_str!("login.txt");
const IDENTITY: &str = include_str!("identity.txt");
const OPERATOR: &str = include_str!("operator.txt");

#[test]
fn kv() {
    square::run("kv", KV, Server::dev);
}

#[test]
fn logical() {
    square::run("logical", LOGICAL, Server::dev);
}

#[test]
fn admin() {
    square::run("admin", ADMIN, Server::dev);
}

#[test]
fn login() {
    square::run("login", LOGIN, Server::dev);
}

#[test]
fn identity() {
    square::run("identity", IDENTITY, Server::dev);
}

#[test]
fn operator() {
    square::run("operator", OPERATOR, Server::raft);
}

#[test]
fn a_time_is_masked_whatever_its_fraction_is() {
    for fraction in [".620415763", ".6", ""] {
        let text = format!("at 2026-11-22 05:14:03{fraction} +0000 UTC");
        assert_eq!(mask::mask(&text), "at <clock> <clock> +0000 UTC");
    }
}

#[test]
fn the_square_is_wide_and_its_exceptions_are_needed() {
    let scripts = [
        ("kv", KV),
        ("logical", LOGICAL),
        ("admin", ADMIN),
        ("login", LOGIN),
        ("identity", IDENTITY),
        ("operator", OPERATOR),
    ];
    let lines = scripts.iter().flat_map(|(name, script)| {
        let steps = Step::parse_all(script).into_iter();
        steps.map(|step| square::mark(name, &step.line))
    });
    let lines: Vec<String> = lines.collect();
    let whole = lines.iter().filter(|line| square::is_whole(line)).count();
    assert!(whole >= WHOLE_LINES, "{whole} of {} lines", lines.len());
    assert_eq!(square::idle_exceptions(&lines), Vec::<&str>::new());
}
