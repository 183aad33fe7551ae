//! The same requests, given to the real OpenBao and to ours: their audit records must have the same members of the same
//! kinds, and where the original shows a hash ours shows nothing else.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

#[allow(dead_code, reason = "the goldens use the rest of it")]
#[path = "golden/server.rs"]
mod server;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use server::{Product, Server};

/// What is run, with the token it is run as. `W` is the limited token.
const COMMANDS: &[(&str, &str)] = &[
    ("root", "kv put secret/a k=hunter2 n=1"),
    ("root", "kv get secret/a"),
    ("root", "kv get secret/none"),
    ("root", "kv metadata get secret/a"),
    ("root", "kv list secret/"),
    ("root", "kv delete secret/a"),
    ("root", "policy list"),
    ("root", "token lookup"),
    ("root", "write -f sys/rotate"),
    ("root", "read sys/nothing"),
    ("W", "read secret/data/a"),
    ("W", "token lookup"),
    ("bad", "read secret/data/a"),
    ("root", "auth enable userpass"),
    (
        "root",
        "write auth/userpass/users/ada password=hunter2 policies=default",
    ),
    ("root", "read auth/userpass/users/ada"),
    ("", "write auth/userpass/login/ada password=hunter2"),
    ("", "write auth/userpass/login/ada password=wrong"),
    ("root", "auth enable approle"),
    ("root", "write auth/approle/role/app role_id=r policies=default"),
    (
        "root",
        "write auth/approle/role/app/custom-secret-id secret_id=hunter2",
    ),
    ("", "write auth/approle/login role_id=r secret_id=hunter2"),
    ("W", "token revoke -self"),
];

/// Members of the original that ours has not, anywhere.
const NOT_OURS: &[&str] = &[
    // The port of the client's connection.
    "/request/remote_port",
    // Made for billing.
    "/request/client_id",
    // Said of the token's maker instead.
    "/response/auth/display_name",
    // Records name the token; whose it is tells a lookup by its accessor.
    "/auth/entity_id",
    "/auth/entity_created",
    "/response/auth/entity_id",
];

/// Members that ours has always, and the original only sometimes.
const NOT_ALWAYS_THEIRS: &[&str] = &[
    // The link to the record before.
    "/chain",
    "/request/mount_accessor",
    "/response/mount_accessor",
    "/auth/client_token",
];

#[test]
fn records_have_the_originals_shape() {
    let theirs = log_of(Product::Bao);
    let ours = log_of(Product::Conclave);
    let mut wrong = Vec::new();
    for (name, original) in &theirs {
        let Some(record) = ours.get(name) else {
            wrong.push(format!("{name}: not on record"));
            continue;
        };
        compare(name, "", original, record, &mut wrong);
    }
    for name in ours.keys().filter(|name| !theirs.contains_key(*name)) {
        wrong.push(format!("{name}: on record here only"));
    }
    assert!(theirs.len() > 20, "{:?}", theirs.keys());
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Runs all commands; the last record of each kind.
fn log_of(product: Product) -> BTreeMap<String, Value> {
    let logs = tempfile::tempdir().unwrap();
    let file = logs.path().join("audit.log");
    let directories = match product {
        Product::Bao => String::new(),
        Product::Conclave => format!("audit_directories = [\"{}\"]\n", logs.path().display()),
    };
    let more = format!(
        "{directories}audit \"file\" \"main\" {{\n options {{ file_path = \"{}\" }}\n}}\n",
        file.display()
    );
    let server = Server::raft_with(product, &more);
    let run = |token: &str, line: &str| run(&server, token, line);
    let born = run("", "operator init -key-shares=1 -key-threshold=1 -format=json").unwrap();
    let born: Value = serde_json::from_str(&born).unwrap();
    let share = born["unseal_keys_b64"][0].as_str().unwrap();
    let root = born["root_token"].as_str().unwrap();
    run("", &format!("operator unseal {share}")).unwrap();
    until(|| run(root, "secrets enable -path=secret kv-v2"));
    // The original upgrades the mount for a moment.
    until(|| run(root, "kv put secret/first k=v"));
    let made = run(root, "token create -policy=default -ttl=1h -format=json").unwrap();
    let made: Value = serde_json::from_str(&made).unwrap();
    let limited = made["auth"]["client_token"].as_str().unwrap();
    for (token, line) in COMMANDS {
        let token = match *token {
            "root" => root,
            "W" => limited,
            other => other,
        };
        let _ = run(token, line);
    }
    read(&file)
}

fn until<T>(mut attempt: impl FnMut() -> Result<T, String>) -> T {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        match attempt() {
            Ok(done) => return done,
            Err(error) => assert!(Instant::now() < end, "{error}"),
        }
        // Yields the processor to the server; the loop ends by the condition above.
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

fn run(server: &Server, token: &str, line: &str) -> Result<String, String> {
    let output = Command::new(env!("CARGO_BIN_EXE_conclave"))
        .args(line.split(' '))
        .env_clear()
        .env("HOME", server.authority.as_ref().unwrap().parent().unwrap())
        .env("VAULT_ADDR", &server.address)
        .env("VAULT_CACERT", server.authority.as_ref().unwrap())
        .env("VAULT_TOKEN", token)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stderr))
    }
}

/// The last record of each type, operation, path and outcome.
fn read(file: &Path) -> BTreeMap<String, Value> {
    let text = std::fs::read_to_string(file).unwrap();
    assert!(!text.contains("hunter2"));
    let mut records = BTreeMap::new();
    for line in text.lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        // What a file says of itself and of what the node did unasked: the original has no such records.
        if !["request", "response"].contains(&record["type"].as_str().unwrap()) {
            continue;
        }
        let request = &record["request"];
        let path = request["path"].as_str().unwrap();
        // Without a key, ours records more of these: the original none.
        let step = ["sys/init", "sys/unseal"].contains(&path);
        // The original tries a device it enables, and upgrades a mount while the first secret is written; what mounts take
        // has grown apart.
        let apart = path.starts_with("sys/mounts") || path == "secret/data/first" || path == "sys/audit/test";
        if step || apart {
            continue;
        }
        let caller = record["auth"]["display_name"].as_str().unwrap_or("nobody");
        let failed = record.get("error").map_or("", |_| " failed");
        let name = format!(
            "{} {} {path} by {caller}{failed}",
            record["type"], request["operation"]
        );
        records.insert(name, record);
    }
    records
}

fn compare(name: &str, at: &str, original: &Value, ours: &Value, wrong: &mut Vec<String>) {
    if NOT_OURS.contains(&at) {
        return;
    }
    match (original, ours) {
        (_, Value::String(hash)) if hash.starts_with("hmac-sha256:") => {}
        (Value::String(hash), _) if hash.starts_with("hmac-sha256:") => {
            wrong.push(format!("{name} {at}: {ours} where the original has a hash"));
        }
        (Value::Object(original), Value::Object(ours)) => {
            let names: BTreeSet<_> = original.keys().chain(ours.keys()).collect();
            for member in names {
                let at = format!("{at}/{member}");
                match (original.get(member), ours.get(member)) {
                    (Some(original), Some(ours)) => compare(name, &at, original, ours, wrong),
                    (Some(_), None) if NOT_OURS.contains(&at.as_str()) => {}
                    (Some(_), None) => wrong.push(format!("{name} {at}: missing")),
                    (None, Some(_)) if NOT_ALWAYS_THEIRS.contains(&at.as_str()) => {}
                    (None, _) => wrong.push(format!("{name} {at}: the original has none")),
                }
            }
        }
        (Value::Array(original), Value::Array(ours)) => {
            for (original, ours) in original.iter().zip(ours) {
                compare(name, at, original, ours, wrong);
            }
        }
        (original, ours) => {
            if std::mem::discriminant(original) != std::mem::discriminant(ours) {
                wrong.push(format!("{name} {at}: {ours} where the original has {original}"));
            }
        }
    }
}

/// Files of several devices have the same records.
#[test]
fn what_two_files_have_is_found_once() {
    let home = tempfile::tempdir().unwrap();
    let record = |kind: &str, id: &str| {
        let request = serde_json::json!({"id": id, "operation": "read", "path": "secret/data/a"});
        let record =
            serde_json::json!({"time": "2026-01-01T00:00:00Z", "type": kind, "auth": {}, "request": request});
        format!("{record}\n")
    };
    let one = record("request", "1") + &record("response", "1");
    std::fs::write(home.path().join("a.log"), &one).unwrap();
    std::fs::write(home.path().join("b.log"), one + &record("request", "2")).unwrap();
    let found = |args: &[&str]| {
        let mut search = Command::new(env!("CARGO_BIN_EXE_conclave"));
        search.args(["audit", "search", "-format=json"]).args(args);
        let output = search.env_clear().current_dir(home.path()).output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap().lines().count()
    };
    assert_eq!(found(&["a.log"]), 2);
    assert_eq!(found(&["a.log", "b.log"]), 3);
    assert_eq!(found(&["-type=request", "b.log", "a.log"]), 2);
}
