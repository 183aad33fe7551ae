//! The wire: every request of `requests.txt` is sent by curl to a bao server and to a conclave server, and both must
//! answer with the same status, the same members of the same types, and the same texts of errors and warnings. Another conclave
//! server is asked the same over gRPC.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    missing_docs
)]

mod coverage;
mod crossing;
mod different;
mod logical;
#[path = "../golden/mask.rs"]
mod mask;
mod request;
#[path = "../golden/server.rs"]
#[allow(dead_code)]
mod server;

use std::collections::BTreeMap;

use coverage::Coverage;
use different::Differs::{self, Status, Text, Unbuilt};
use logical::Logical;
use request::{Answer, Request, Side};
use serde_json::Value;
use server::{Product, Server};

/// Members that only our answers have.
const OURS: &[&str] = &[
    "audit_devices",
    "backup",
    "conclave_version",
    "encoded_root_token",
    "encoded_token",
    "group_by",
    "id",
    "nonce",
    "otp",
    "otp_length",
    "performance_standby",
    "performance_standby_last_remote_wal",
    "pgp_fingerprint",
    "pgp_fingerprints",
    "progress",
    "redundancy_zone",
    "server_time",
    "verification_nonce",
    "verification_required",
    "verify_connection",
    "zone",
];

#[test]
fn requests_are_answered_alike() {
    let servers = [Product::Bao, Product::Conclave].map(Server::raft);
    let mut sides = servers.each_ref().map(Side::new);
    let third = Server::raft(Product::Conclave);
    let mut over_grpc = Logical::new(&third);
    let mut wrong = Vec::new();
    let mut needless: BTreeMap<&str, bool> = different::all().map(|(part, ..)| (*part, true)).collect();
    let requests = Request::parse_all(include_str!("requests.txt"));
    let mut coverage = Coverage::default();
    let mut rest = requests.as_slice();
    while let Some(next) = rest.first() {
        if next.surveys || next.waits {
            rest = &rest[1..];
            if next.surveys {
                wrong.extend(coverage.survey(sides.each_ref()));
            } else {
                sides.iter_mut().for_each(|side| side.wait(next));
                over_grpc.wait(next);
            }
            continue;
        }
        let batch = Request::batch(rest);
        rest = &rest[batch.len()..];
        for (request, [expected, got]) in batch.iter().zip(ask_both(&mut sides, &batch)) {
            let target = sides[1].target(request);
            let marked = format!("^{}$", request.line);
            let differs = different::all().find(|(part, ..)| marked.contains(part));
            let differs_each_time = differs.is_some_and(|(_, differs, _)| *differs == Differs::Answer);
            over_grpc.send(request, &got, differs_each_time);
            let found = compare(&expected, &got);
            if let (Some((part, ..)), true) = (differs, found.is_some()) {
                needless.insert(part, false);
            }
            let differed = differs.filter(|_| found.is_some());
            coverage.note(
                target,
                got.status,
                differed.map(|(_, differs, why)| (*differs, *why)),
            );
            let differs = differs.map(|(_, differs, _)| *differs);
            if let Some(what) = found.filter(|_| !is_excused(differs, &expected, &got)) {
                wrong.push(format!(
                    "{}\n  {what}\n  bao:  {expected}\n  ours: {got}",
                    request.line
                ));
            }
        }
    }
    let missing = coverage.missing();
    wrong.append(&mut over_grpc.wrong);
    none_is_wrong(&wrong, requests.len());
    needless.retain(|_, needless| *needless);
    assert!(
        needless.is_empty(),
        "exceptions that no request needs: {needless:?}"
    );
    assert!(
        missing.is_empty(),
        "{} routes lack a request that succeeds or one that fails, beside the original:\n{}",
        missing.len(),
        missing.join("\n")
    );
    assert_eq!(
        over_grpc.never_reached(&coverage),
        Vec::<String>::new(),
        "reached over gRPC"
    );
    coverage.publish();
}

fn none_is_wrong(wrong: &[String], of: usize) {
    let count = wrong.len();
    let told = wrong.join("\n\n");
    assert!(
        wrong.is_empty(),
        "{count} of {of} requests are answered differently:\n\n{told}"
    );
}

/// What both servers answer, at the same time.
fn ask_both(sides: &mut [Side; 2], batch: &[&Request]) -> Vec<[Answer; 2]> {
    let [original, ours] = sides;
    let (expected, got) = std::thread::scope(|scope| {
        let expected = scope.spawn(|| original.send_all(batch));
        let got = ours.send_all(batch);
        (expected.join().unwrap(), got)
    });
    expected.into_iter().zip(got).map(Into::into).collect()
}

/// Whether two answers may differ as they do.
fn is_excused(differs: Option<Differs>, expected: &Answer, got: &Answer) -> bool {
    match differs {
        None => false,
        Some(Text) => expected.status == got.status && is_shaped(expected, got),
        Some(Status) => expected.status >= 400 && got.status >= 400,
        Some(Differs::Answer) => true,
        Some(Unbuilt) => got.status == 501 && got.texts("errors").contains("unsupported: "),
    }
}

/// The first difference between two answers.
fn compare(expected: &Answer, got: &Answer) -> Option<String> {
    if expected.status != got.status {
        return Some(format!("status {} became {}", expected.status, got.status));
    }
    for list in ["errors", "warnings"] {
        if expected.texts(list) != got.texts(list) {
            return Some(format!(
                "{list}: {} became {}",
                expected.texts(list),
                got.texts(list)
            ));
        }
    }
    shapes("", &expected.body, &got.body)
}

fn is_shaped(expected: &Answer, got: &Answer) -> bool {
    let is_error = |answer: &Answer| answer.body.get("errors").is_some();
    is_error(expected) && is_error(got) || shapes("", &expected.body, &got.body).is_none()
}

/// The first member that one has and the other has not, or has with another type.
fn shapes(place: &str, expected: &Value, got: &Value) -> Option<String> {
    match (expected, got) {
        (Value::Object(expected), Value::Object(got)) => {
            let extra = got.iter().find(|(name, value)| {
                let repeated = got.get("data").and_then(|data| data.get(name.as_str()));
                !expected.contains_key(*name) && !OURS.contains(&name.as_str()) && repeated != Some(value)
            });
            if let Some((name, _)) = extra {
                return Some(format!("{place}/{name} is new"));
            }
            expected.iter().find_map(|(name, value)| {
                let place = format!("{place}/{name}");
                match got.get(name) {
                    None => Some(format!("{place} is missing")),
                    Some(_) if matches!(name.as_str(), "errors" | "warnings") => None,
                    Some(other) => shapes(&place, value, other),
                }
            })
        }
        (Value::Array(expected), Value::Array(got)) => match (expected.first(), got.first()) {
            (Some(expected), Some(got)) => shapes(&format!("{place}/0"), expected, got),
            (None, None) => None,
            _ => Some(format!("{place} has items on one side only")),
        },
        _ if std::mem::discriminant(expected) == std::mem::discriminant(got) => None,
        _ => Some(format!("{place} is of another type")),
    }
}
