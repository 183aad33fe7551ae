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
mod logical;
#[path = "../golden/mask.rs"]
mod mask;
mod request;
#[path = "../golden/server.rs"]
#[allow(dead_code)]
mod server;

use std::collections::BTreeMap;

use coverage::Coverage;
use logical::Logical;
use request::{Answer, Request, Side};
use serde_json::Value;
use server::{Product, Server};

/// How our answer may differ on purpose.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Differs {
    /// In the texts of errors and warnings.
    Text,
    /// In the status of a failure too.
    Status,
    /// In everything: we do what the original does not, or the other way round.
    Answer,
    /// Not built: 501, and the text says so.
    Unbuilt,
}

use Differs::{Status, Text, Unbuilt};

/// Deliberate differences: a part of the line between `^` and `$`, what differs, and why.
const DIFFERENT: &[(&str, Differs, &str)] = &[
    (
        "^POST sys/generate-root-token/update {\"key\":\"zz\"",
        Status,
        "a wrong request is 400, never 500",
    ),
    ("\"zz\"", Text, "errors name the field, not the value"),
    (
        "{\"secret_shares\":$",
        Text,
        "where JSON is wrong is said in our words",
    ),
    ("{\"data\":$", Text, "where JSON is wrong is said in our words"),
    ("[1]$", Text, "where JSON is wrong is said in our words"),
    (
        "^PUT sys/unseal {\"key\":\"00\"}",
        Status,
        "a node that belongs to no cluster says so",
    ),
    (
        "^GET nosuch/path",
        Text,
        "a node that belongs to no cluster says so",
    ),
    (
        "^PUT sys/unseal {\"key\":\"00ff\"}",
        Text,
        "a share of no cluster is named as such",
    ),
    ("sealedcode=zz", Text, "a wrong parameter is named"),
    ("list=true&scan=true", Text, "a wrong parameter is named"),
    ("^POST sys/leader", Text, "why a method is not answered is said"),
    (
        "^GET sys/leader",
        Differs::Answer,
        "a sealed node says who leads, for it replicates; since when a leader leads is not kept",
    ),
    (
        "^GET sys/mounts$",
        Differs::Answer,
        "a node that belongs to no cluster says so",
    ),
    (
        "^GET sys/host-info",
        Differs::Answer,
        "a host says less of itself",
    ),
    (
        "^PATCH",
        Status,
        "a PATCH without content type is 415 like one with a wrong one",
    ),
    ("\"version\":\"3\"", Text, "an unknown version is named"),
    (
        "^POST sys/remount {\"from\":\"kv1\"",
        Text,
        "a move is done when its request is answered",
    ),
    (
        "{\"policy\":\"zz{\"}",
        Text,
        "where a policy ends too early is counted in our way",
    ),
    (
        "{\"policy\":\"length=\\\"zz\\\"",
        Text,
        "where a policy for passwords is wrong has its line",
    ),
    (
        "^GET sys/policies/detailed/acl?list=true&limit=1",
        Differs::Answer,
        "a list of policies comes in pages too",
    ),
    (
        "PATCH sys/policies/acl/e2 {\"ttl\"",
        Differs::Answer,
        "an answer that says nothing is 204",
    ),
    (
        "^POST sys/decode-token",
        Text,
        "errors name the field, not the value",
    ),
    (
        "sys/internal/specs/openapi",
        Differs::Answer,
        "the document tells of our routes, and less of their fields",
    ),
    (
        "^POST auth/token/renew/",
        Differs::Answer,
        "as in Vault, whose clients call it",
    ),
    (
        "^POST transit/cache-config {\"size\":0}",
        Text,
        "a cache that is not there is not resized",
    ),
    (
        "^POST rabbitmq/config/connection {\"connection_uri\":\"http://127.0.0.1:1\",\"username\":\"a\",\"password\":\"b\"}",
        Text,
        "why a broker is not reached is said in our words",
    ),
    (
        "{\"connection_uri\":\"nowhere\"",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "\"username_template\":\"{{wrong}}\"",
        Text,
        "what is wrong with a template is said in our words",
    ),
    (
        "{\\\"raed\\\":",
        Differs::Answer,
        "a misspelt permission is refused, not left out",
    ),
    (
        "^POST rabbitmq/roles/b {\"vhosts\":\"",
        Text,
        "where JSON is wrong is said in our words",
    ),
    (
        "^GET rabbitmq/creds/a",
        Text,
        "why a broker is not reached is said, not that a user was not made",
    ),
    (
        "/bind-secret-id",
        Differs::Answer,
        "as in Vault, whose clients call it",
    ),
    (
        "{\"bound_cidr_list\":\"\"}",
        Differs::Answer,
        "an empty list is one",
    ),
    (
        "^ns=ns2 POST sys/capabilities",
        Differs::Answer,
        "a token of another namespace is not known by its id",
    ),
    (
        "^GET sys/in-flight-req",
        Differs::Answer,
        "requests have other numbers",
    ),
    (
        "{\"policy\":\"path {\"}",
        Text,
        "where a policy ends too early is counted in our way",
    ),
    (
        "{\"policy\":\"nosuch",
        Text,
        "an unknown key of a policy has its line",
    ),
    (
        "^POST sys/capabilities {\"paths\":[\"a\"]}",
        Status,
        "a wrong request is 400, never 500",
    ),
    ("_period\":\"-1\"", Text, "errors name the field, not the value"),
    ("_period\":-1", Text, "errors name the field, not the value"),
    ("_ttl\":-1", Text, "errors name the field, not the value"),
    (
        "\"token_bound_cidrs\":\"999.1.1.1/8\"",
        Differs::Answer,
        "what is no network is refused, not stored",
    ),
    (
        "^POST auth/people/users/none/password",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "^token= POST auth/people/login/ada {}",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "^token= GET auth/people/login/ada",
        Text,
        "an error is laid out as a list of one, also without a token",
    ),
    (
        "^token= POST auth/people/login/a/b",
        Text,
        "an error is laid out as a list of one, also without a token",
    ),
    (
        "{\"increment\":\"2m\"}",
        Status,
        "a renewal that is refused is 400, never 500",
    ),
    (
        "^POST auth/approle/role/app2",
        Status,
        "a wrong request is 400, never 500",
    ),
    ("999.0.0.1/32", Status, "a wrong request is 400, never 500"),
    (
        "^POST auth/approle/role/none/secret-id/lookup",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "^token= POST auth/approle/login {\"secret_id\":\"x\"}",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "^token= POST auth/approle/login {}",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "custom-secret-id {\"secret_id\":\"abc\"}",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "secret-id-accessor/destroy {\"secret_id_accessor\":\"nope\"}",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "secret-id {\"cidr_list\":\"127.0.0.1/32\"}",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "{\"local_secret_ids\":true,\"bind_secret_id\":false}",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "\"bound_cidr_list\":\"1.2.3.4\"",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "^POST auth/token/lookup {\"token\":\"$T1\"}",
        Differs::Answer,
        "a token tells its period, also if a role set it",
    ),
    (
        "{\"level\":\"loud\"}",
        Text,
        "errors name the field, not the value",
    ),
    (
        "^GET sys/loggers",
        Differs::Answer,
        "the voices of a log are each program's own",
    ),
    (
        "^GET sys/internal/counters/requests",
        Text,
        "an error is laid out as a list of one",
    ),
    (
        "^GET sys/config/state/sanitized",
        Differs::Answer,
        "settings are each program's own",
    ),
    (
        "^GET sys/internal/inspect/router/",
        Differs::Answer,
        "asked for without a switch in the configuration",
    ),
    ("sys/leases/count", Differs::Answer, "leases of tokens count too"),
    ("sys/leases/tidy", Text, "there is nothing to tidy"),
    ("\"max_versions\":-1", Differs::Answer, "max_versions is bounded"),
    ("^POST sys/audit/nosuch", Status, "devices can be enabled by API"),
    (
        "^POST sys/rotate/root/init {\"secret_shares\":1,\"secret_threshold\":2}",
        Text,
        "the original prints a Go format error",
    ),
    (
        "^POST sys/rotate/root/update {\"key\":\"$K1\",\"nonce\":\"bad\"}",
        Text,
        "a wrong nonce does not earn the right one",
    ),
    (
        "^POST sys/rotate/root/update {\"key\":\"$K1\",\"nonce\":\"$N\"}",
        Text,
        "a rotation is carried on by the node on which it began",
    ),
    (
        "^GET sys/rotate/root/verify",
        Text,
        "a rotation is carried on by the node on which it began",
    ),
    (
        "^POST sys/rotate/root/init {\"secret_shares\":2,\"secret_threshold\":2,\"pgp_keys\"",
        Text,
        "the original prints a Go format error",
    ),
    (
        "\"server_stabilization_time\":-5}",
        Text,
        "errors name the field, not the value",
    ),
    (
        "^POST sys/rotate/root {}",
        Unbuilt,
        "a root key split among people is rotated by them",
    ),
    (
        "sys/rekey/init",
        Differs::Answer,
        "with a token, the old paths answer",
    ),
    (
        "^POST sys/generate-root-token/update {\"key\":\"$K1\",\"nonce\":\"bad\"}",
        Status,
        "a wrong nonce does not earn the right one",
    ),
    (
        "^POST sys/storage/raft/remove-peer {\"server_id\":\"nosuch\"}",
        Differs::Answer,
        "removing an unknown member is an error that names it",
    ),
    (
        "{\"server_id\":\"nosuch\"}",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "^POST sys/storage/raft/join",
        Differs::Answer,
        "a node that belongs to a cluster cannot join another",
    ),
    (
        "^token= POST sys/wrapping/lookup {}",
        Text,
        "who shows no token hears that it is not permitted",
    ),
    (
        "^token=$W2 GET cubbyhole/response",
        Text,
        "reading a wrapped answer where it lies is not warned of",
    ),
    (
        "\"type\":\"ed25519\",\"derived\":true,\"convergent_encryption\":true",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "\"type\":\"rsa-2048\",\"derived\":true",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "^POST transit/keys/h/rotate",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "^GET transit/backup/e",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "^GET transit/backup/nosuch",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "^POST transit/restore {\"backup\"",
        Status,
        "a wrong request is 400, never 500",
    ),
    ("[{\"x\":1}]", Status, "a wrong request is 400, never 500"),
    (
        "^POST transit/sign/de {\"input\":\"aGk=\"}",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "^POST transit/sign/e {\"input\":\"aGk=\",\"key_version\":9}",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "\"salt_length\":\"500\"",
        Status,
        "a wrong request is 400, never 500",
    ),
    ("\"prehashed\":true", Status, "a wrong request is 400, never 500"),
    (
        "\"hash_algorithm\":\"sha3-256\"",
        Unbuilt,
        "signatures by RSA over other hashes than SHA-2",
    ),
    ("^POST transit/hmac/a/zz", Text, "an unknown algorithm is named"),
    (
        "{\"metadata\":{\"a b\":\"x\"}}",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "{\"metadata\":{\"vault-a\":\"x\"}}",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "{\"custom_metadata\":{\"\":\"x\"}}",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "{\"name\":\"new\",\"member_",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "^POST identity/group/id/$IDG {\"member_group_ids\":[\"$IDG\"]}",
        Status,
        "a wrong request is 400, never 500",
    ),
    ("^LIST identity/entity/id", Differs::Answer, "ids are random"),
    (
        "^LIST identity/entity-alias/id",
        Differs::Answer,
        "ids are random",
    ),
    ("^LIST identity/persona/id", Differs::Answer, "ids are random"),
    ("^LIST identity/group/id$", Differs::Answer, "ids are random"),
    ("^LIST identity/group-alias/id", Differs::Answer, "ids are random"),
    (
        "\"from_entity_ids\":[\"$IDA\"]}$",
        Text,
        "aliases that clash are told in the error's text alone",
    ),
    (
        "^GET identity/entity/id/$UNA$",
        Differs::Answer,
        "an alias that is not kept is gone",
    ),
    ("^GET ssh/config/ca", Differs::Answer, ONE_KEY),
    (
        "^GET ssh/public_key",
        Text,
        "that no key is there is said in Vault's words",
    ),
    (
        "^POST ssh/config/ca {\"key_type\":\"none\"}",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "^POST ssh/config/ca {\"key_type\":\"rsa\"",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "^POST ssh/config/ca {\"key_type\":\"ed25519\"}",
        Differs::Answer,
        ONE_KEY,
    ),
    ("^POST ssh/roles/otp", Unbuilt, "passwords for one login"),
    (
        "\"algorithm_signer\":\"none\"",
        Status,
        "a wrong request is 400, never 500",
    ),
    ("_template\":true}", Unbuilt, "names of entities in roles"),
    ("^POST ssh/sign/b", Differs::Answer, ONE_KEY),
    ("^POST ssh/issue/b", Differs::Answer, ONE_KEY),
    ("^DELETE ssh/config/ca", Differs::Answer, ONE_KEY),
    ("identity/oidc/", Unbuilt, "tokens for others than the cluster"),
    ("identity/mfa/", Unbuilt, "second factors"),
    (
        "^POST sys/storage/raft/snapshot {}",
        Status,
        "a wrong request is 400, never 500",
    ),
];

const ONE_KEY: &str = "one key signs, and has no other names";

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
    "zone",
];

#[test]
fn requests_are_answered_alike() {
    let servers = [Product::Bao, Product::Conclave].map(Server::raft);
    let mut sides = servers.each_ref().map(Side::new);
    let third = Server::raft(Product::Conclave);
    let mut over_grpc = Logical::new(&third);
    let mut wrong = Vec::new();
    let mut needless: BTreeMap<&str, bool> = DIFFERENT.iter().map(|(part, ..)| (*part, true)).collect();
    let requests = Request::parse_all(include_str!("requests.txt"));
    let mut coverage = Coverage::default();
    for request in &requests {
        if request.surveys {
            wrong.extend(coverage.survey(sides.each_ref()));
            continue;
        }
        if request.waits {
            sides.iter_mut().for_each(|side| side.wait(request));
            over_grpc.wait(request);
            continue;
        }
        let target = sides[1].target(request);
        let [expected, got] = sides.each_mut().map(|side| side.send(request));
        let marked = format!("^{}$", request.line);
        let differs = DIFFERENT.iter().find(|(part, ..)| marked.contains(part));
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
    let missing = coverage.missing();
    wrong.append(&mut over_grpc.wrong);
    assert!(
        wrong.is_empty(),
        "{} of {} requests are answered differently:\n\n{}",
        wrong.len(),
        requests.len(),
        wrong.join("\n\n")
    );
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
