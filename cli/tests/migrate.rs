//! `conclave migrate` from a real OpenBao: killed midway, resumed, and every version read on both sides.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

#[path = "golden/server.rs"]
#[allow(dead_code)]
mod server;

use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use conclave_client::http::{Client, Request};
use serde_json::{Value, json};
use server::{Product, Server};

/// Keys of the mount in whose middle the first run is killed.
const MANY: usize = 300;
/// What no state file and no report may hold.
const CANARY: &str = "canary-91f2";

/// A server and a client of it with the root token.
struct Side {
    server: Server,
    client: Client,
    runtime: tokio::runtime::Runtime,
}

impl Side {
    fn new(product: Product) -> Self {
        let server = Server::dev(product);
        let client = Client::builder().address(&server.address).token("root");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Self {
            client: client.build().unwrap(),
            runtime: runtime.unwrap(),
            server,
        }
    }

    /// Status and body.
    fn ask(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let mut request = Request::new(method, path);
        for pair in query.split('&').filter_map(|pair| pair.split_once('=')) {
            request = request.query(pair.0, pair.1);
        }
        if let Some(body) = body {
            let text = body.to_string();
            request = request.json(conclave_client::http::Json::parse(text.as_bytes()).unwrap());
        }
        let (_, response) = self.runtime.block_on(self.client.send_raw(&request)).unwrap();
        let body = serde_json::from_slice(&response.body).unwrap_or(Value::Null);
        (response.code, body)
    }

    fn put(&self, path: &str, body: Value) -> Value {
        let (code, answer) = self.ask("PUT", path, Some(body));
        assert!(code < 300, "{path}: {code} {answer}");
        answer
    }

    fn data(&self, path: &str) -> Value {
        let (code, answer) = self.ask("GET", path, None);
        assert_eq!(code, 200, "{path}: {answer}");
        answer["data"].clone()
    }
}

/// What the source holds.
fn fill(bao: &Side) {
    bao.put(
        "sys/policies/acl/app",
        json!({"policy": "path \"many/*\" { capabilities = [\"read\"] }"}),
    );
    bao.put(
        "sys/mounts/many",
        json!({"type": "kv", "options": {"version": "2"}, "description": "of many"}),
    );
    bao.put(
        "sys/mounts/old",
        json!({"type": "kv", "options": {"version": "1"}, "config": {"max_lease_ttl": "48h"}}),
    );
    bao.put("sys/mounts/keys", json!({"type": "transit"}));
    bao.put("sys/mounts/codes", json!({"type": "totp"}));
    bao.put(
        "keys/keys/free",
        json!({"exportable": true, "allow_plaintext_backup": true}),
    );
    bao.put("keys/keys/bound", json!({}));
    for key in ["plain", "deep/er", "deep"] {
        bao.put(
            &format!("old/{key}"),
            json!({"k": format!("{CANARY}-{key}"), "n": 1.5}),
        );
    }
    bao.put(
        "secret/config",
        json!({"max_versions": 7, "delete_version_after": "100h"}),
    );
    for version in 1..=5 {
        for key in ["lives", "trimmed", "folder/of keys/ü"] {
            if version == 1 && key == "trimmed" {
                bao.put(
                    "secret/metadata/trimmed",
                    json!({"max_versions": 0, "custom_metadata": {"owner": "me"}}),
                );
            }
            bao.put(
                &format!("secret/data/{key}"),
                json!({"data": {"v": format!("{CANARY}-{version}"), "o": {"a": [1, null]}}}),
            );
        }
    }
    for version in 6..=12 {
        bao.put("secret/data/trimmed", json!({"data": {"v": version}}));
    }
    bao.put("secret/delete/lives", json!({"versions": [2]}));
    bao.put("secret/destroy/lives", json!({"versions": [3]}));
    bao.put("secret/metadata/lives", json!({"cas_required": true, "max_versions": 9, "delete_version_after": "1h30m", "custom_metadata": {"a": "b"}}));
    bao.put(
        "secret/metadata/bare",
        json!({"custom_metadata": {"no": "versions"}}),
    );
    for at in 0..MANY {
        bao.put(
            &format!("many/data/{at:04}"),
            json!({"data": {"at": at, "is": CANARY}}),
        );
    }
    for at in (0..MANY).step_by(10) {
        bao.put(&format!("many/data/{at:04}"), json!({"data": {"again": at}}));
    }
    bao.put("sys/auth/machines", json!({"type": "approle"}));
    bao.put("auth/machines/role/ci", json!({"token_policies": ["app"], "token_ttl": "20m", "secret_id_num_uses": 4, "secret_id_bound_cidrs": ["127.0.0.0/8"]}));
    bao.put("auth/machines/role/ci/role-id", json!({"role_id": "the-role-id"}));
    bao.put("auth/machines/role/ci/secret-id", json!({}));
    bao.put("sys/auth/people", json!({"type": "userpass"}));
    bao.put(
        "auth/people/users/ann",
        json!({"password": CANARY, "token_policies": ["app"], "token_max_ttl": 7200}),
    );
    bao.put(
        "auth/token/roles/short",
        json!({"allowed_policies": ["app"], "token_explicit_max_ttl": 60, "renewable": false}),
    );
}

struct Migration {
    home: tempfile::TempDir,
    source: String,
    target: String,
}

impl Migration {
    fn command(&self, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_conclave"));
        command
            .env_clear()
            .env("HOME", self.home.path())
            .env("VAULT_ADDR", &self.target)
            .env("VAULT_TOKEN", "root")
            .env("CONCLAVE_SOURCE_TOKEN", "root")
            .current_dir(self.home.path())
            .args([
                "migrate",
                &format!("-source-address={}", self.source),
                "-report=report.json",
            ])
            .args(more)
            .stdin(Stdio::null());
        command
    }

    fn run(&self, more: &[&str]) -> Output {
        self.command(more).output().unwrap()
    }

    fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.home.path().join(name)).unwrap_or_default()
    }

    fn report(&self) -> Value {
        serde_json::from_str(&self.file("report.json")).unwrap()
    }

    /// Counts of a kind: copied, versions, already there, failed.
    fn counts(&self, kind: &str) -> [u64; 4] {
        let report = self.report();
        let mut counts = report["counts"].as_array().unwrap().iter();
        let count = counts.find(|count| count["kind"] == kind).unwrap_or(&Value::Null);
        ["copied", "versions", "already_there", "failed"].map(|name| count[name].as_u64().unwrap_or(0))
    }

    /// Runs until it is in the middle of `many/`, then kills it.
    fn kill_midway(&self) {
        let mut child = self
            .command(&[])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let state: Value =
                serde_json::from_str(&self.file("conclave-migrate.state")).unwrap_or(Value::Null);
            if state["step"] == "many/" && state["after"].as_str().is_some_and(|after| after > "0015") {
                break;
            }
            assert!(
                child.try_wait().unwrap().is_none() && Instant::now() < end,
                "never in the middle: {state}"
            );
            std::thread::park_timeout(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

fn complaint(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Times to the millisecond: the target keeps no more.
fn to_millis(value: &Value) -> Value {
    match value {
        Value::String(text) if text.len() >= 20 && text.ends_with('Z') && text.as_bytes()[10] == b'T' => {
            let text = text.trim_end_matches('Z');
            let (seconds, part) = text.split_once('.').unwrap_or((text, ""));
            json!(format!("{seconds}.{:0<3}", part.get(..3).unwrap_or(part)))
        }
        Value::Object(fields) => fields.iter().map(|(k, v)| (k.clone(), to_millis(v))).collect(),
        other => other.clone(),
    }
}

fn same_key(bao: &Side, ours: &Side, mount: &str, key: &str) -> usize {
    let path = format!("{mount}/metadata/{key}");
    let (theirs, here) = (bao.data(&path), ours.data(&path));
    assert_eq!(to_millis(&theirs), to_millis(&here), "{path}");
    let last = theirs["current_version"].as_u64().unwrap();
    let mut read = 0;
    for version in 1..=last + 1 {
        let path = format!("{mount}/data/{key}?version={version}");
        let ((code, theirs), (our_code, here)) = (bao.ask("GET", &path, None), ours.ask("GET", &path, None));
        assert_eq!(code, our_code, "{path}");
        assert_eq!(to_millis(&theirs["data"]), to_millis(&here["data"]), "{path}");
        read += 1;
    }
    read
}

#[test]
fn a_migration_that_is_killed_goes_on_and_loses_nothing() {
    let (bao, ours) = (Side::new(Product::Bao), Side::new(Product::Conclave));
    fill(&bao);
    let migration = Migration {
        home: tempfile::tempdir().unwrap(),
        source: bao.server.address.clone(),
        target: ours.server.address.clone(),
    };

    let dry = migration.run(&["-dry-run"]);
    assert_eq!(
        dry.status.code(),
        Some(2),
        "the bound key cannot leave: {}",
        complaint(&dry)
    );
    assert_eq!(migration.counts("many/")[0], MANY as u64);
    assert_eq!(
        ours.ask("GET", "sys/policies/acl/app", None).0,
        404,
        "a dry run writes nothing"
    );
    assert_eq!(migration.file("conclave-migrate.state"), "");

    migration.kill_midway();
    let state = migration.home.path().join("conclave-migrate.state");
    assert_eq!(state.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!migration.file("conclave-migrate.state").contains(CANARY));
    let other = ["-source-namespace=other"];
    assert!(complaint(&migration.run(&other)).contains("migration between other servers"));

    let resumed = migration.run(&[]);
    assert!(
        complaint(&resumed).contains("Going on where"),
        "{}",
        complaint(&resumed)
    );
    assert_eq!(resumed.status.code(), Some(2));
    assert!(!state.exists());
    assert!(!migration.file("report.json").contains(CANARY));
    let [copied, versions, kept, failed] = migration.counts("many/");
    assert_eq!((copied + kept, failed), (MANY as u64, 0));
    assert!(
        kept <= 8,
        "only what was under way when it was killed is looked at twice: {kept}"
    );
    assert!(versions as usize >= MANY, "{versions}");

    let mut read = 0;
    for key in ["lives", "trimmed", "folder/of keys/ü", "bare"] {
        read += same_key(&bao, &ours, "secret", key);
    }
    for at in 0..MANY {
        read += same_key(&bao, &ours, "many", &format!("{at:04}"));
    }
    assert!(read > 2 * MANY, "{read}");
    for key in ["plain", "deep/er", "deep"] {
        assert_eq!(bao.data(&format!("old/{key}")), ours.data(&format!("old/{key}")));
    }
    assert_eq!(bao.data("secret/config"), ours.data("secret/config"));
    the_rest_is_there(&bao, &ours, &migration);

    let again = migration.run(&[]);
    assert_eq!(again.status.code(), Some(2));
    assert_eq!(migration.counts("many/"), [0, 0, MANY as u64, 0]);
    assert_eq!(migration.counts("keys/ keys"), [0, 0, 1, 1]);
    what_came_later_is_added(&bao, &ours, &migration);
}

fn the_rest_is_there(bao: &Side, ours: &Side, migration: &Migration) {
    let table = |side: &Side, path: &str| {
        let mount = side.data("sys/mounts")[path].clone();
        let config = &mount["config"];
        json!([
            mount["type"],
            mount["options"]["version"],
            mount["description"],
            config["max_lease_ttl"]
        ])
    };
    for mount in ["many/", "old/", "keys/"] {
        assert_eq!(table(bao, mount), table(ours, mount));
    }
    let policy = "sys/policies/acl/app";
    assert_eq!(bao.data(policy)["policy"], ours.data(policy)["policy"]);
    // An approle machine logs in with its old role id and a new secret id.
    let role = "auth/machines/role/ci";
    assert_eq!(bao.data(role), ours.data(role));
    let secret = ours.put(&format!("{role}/secret-id"), json!({}))["data"]["secret_id"].clone();
    let login = ours.put(
        "auth/machines/login",
        json!({"role_id": "the-role-id", "secret_id": secret}),
    );
    assert_eq!(login["auth"]["policies"], json!(["app", "default"]));
    let user = ours.data("auth/people/users/ann");
    assert_eq!(
        (&user["token_policies"], &user["token_max_ttl"]),
        (&json!(["app"]), &json!(7200))
    );
    let (code, _) = ours.ask("PUT", "auth/people/login/ann", Some(json!({"password": CANARY})));
    assert_eq!(code, 400, "nobody knows the password of a copied user");
    let token_role = "auth/token/roles/short";
    for field in ["allowed_policies", "token_explicit_max_ttl", "renewable"] {
        assert_eq!(
            bao.data(token_role)[field],
            ours.data(token_role)[field],
            "{field}"
        );
    }
    let sealed = bao.put("keys/encrypt/free", json!({"plaintext": "c2VjcmV0"}))["data"]["ciphertext"].clone();
    let opened = ours.put("keys/decrypt/free", json!({"ciphertext": sealed}));
    assert_eq!(opened["data"]["plaintext"], "c2VjcmV0");
    let report = migration.report();
    let named = |what: &str, why: &str| {
        let all = report["attention"].as_array().unwrap().iter();
        let found = all
            .filter(|one| one["what"] == what && one["why"].as_str().unwrap().contains(why))
            .count();
        assert!(found > 0, "{what}: {why} is not in {report}");
    };
    named("auth/people/users/ann", "password cannot be read out");
    named("auth/machines/role/ci", "1 secret ids cannot be read out");
    named(
        "secret/lives",
        "deleted versions whose data only the source can bring back: 2",
    );
    named("keys/keys/bound", "allow_plaintext_backup");
    named("codes/", "type totp");
}

/// New versions and keys follow; what was changed on the target is not touched.
fn what_came_later_is_added(bao: &Side, ours: &Side, migration: &Migration) {
    bao.put("many/data/0003", json!({"data": {"later": true}}));
    bao.put("many/data/new", json!({"data": {"later": true}}));
    bao.put("many/data/0005", json!({"data": {"source": true}}));
    ours.put("many/data/0005", json!({"data": {"target": true}}));
    ours.put("old/plain", json!({"target": true}));
    migration.run(&[]);
    assert_eq!(migration.counts("many/"), [2, 2, MANY as u64 - 2, 1]);
    assert_eq!(migration.counts("old/"), [0, 0, 2, 1]);
    same_key(bao, ours, "many", "0003");
    same_key(bao, ours, "many", "new");
    assert_eq!(ours.data("many/data/0005")["data"], json!({"target": true}));
    migration.run(&["-overwrite"]);
    assert_eq!(bao.data("old/plain"), ours.data("old/plain"));
}

#[test]
fn people_at_a_terminal_see_a_bar_and_wrong_use_is_refused() {
    let bao = Side::new(Product::Bao);
    bao.put("secret/data/a", json!({"data": {"k": "v"}}));
    let ours = Side::new(Product::Conclave);
    let migration = |source: &str| Migration {
        home: tempfile::tempdir().unwrap(),
        source: source.to_owned(),
        target: ours.server.address.clone(),
    };
    let right = migration(&bao.server.address);
    let line = format!(
        "{} migrate -source-address={}",
        env!("CARGO_BIN_EXE_conclave"),
        right.source
    );
    let mut terminal = Command::new("script");
    terminal.args(["-qec", &line, "/dev/null"]).stdin(Stdio::null());
    terminal
        .env("VAULT_ADDR", &right.target)
        .env("VAULT_TOKEN", "root")
        .env("CONCLAVE_SOURCE_TOKEN", "root");
    let shown = terminal.current_dir(right.home.path()).output().unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(
        shown.contains("[##############################] 1/1 secret/"),
        "{shown}"
    );
    assert!(!complaint(&right.run(&[])).contains("[###"), "no bar in a pipe");

    let same = migration(&ours.server.address).run(&[]);
    assert_eq!(
        complaint(&same),
        "The source and the target are the same server\n"
    );
    let away = migration("http://127.0.0.1:1");
    let missing = away
        .command(&[])
        .env_remove("CONCLAVE_SOURCE_TOKEN")
        .output()
        .unwrap();
    assert!(complaint(&missing).contains("No token of the source"));
    let wrong = right
        .command(&[])
        .env("CONCLAVE_SOURCE_TOKEN", "wrong")
        .output()
        .unwrap();
    assert_eq!(wrong.status.code(), Some(2));
    assert!(
        complaint(&wrong).contains("permission denied"),
        "{}",
        complaint(&wrong)
    );
}
