//! Nothing but ciphertext leaves the barrier: markers go in through every door, and none of them, nor a twelve-byte piece
//! of one in any common encoding, may be in a row, in the change log, or in a command on its way to the others.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod support;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use base64::Engine as _;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use serde_json::{Value, json};

use conclave_core::{Request, Settings, Verb};
use conclave_raft::local::LocalReplica;
use conclave_raft::{
    Change, Command, Error, Millis, Origin, Outcome, PeerCall, Replica, Status, View, codec,
};
use support::Node;
use support::shared::node_on;

/// Length of the pieces looked for, in bytes of whatever encoding.
const PIECE: usize = 12;

#[tokio::test]
async fn what_goes_in_is_nowhere_in_the_clear() {
    let audit = tempfile::tempdir().unwrap();
    let settings = Settings {
        audit_directories: vec![audit.path().to_owned()],
        ..Settings::default()
    };
    let (node, commands) = watched(settings).await;
    let mut markers = Markers::default();
    markers.add("root token", &node.root);
    for share in &node.shares {
        markers.add("share", share);
        markers.add_bytes("share", &hex::decode(share).unwrap());
    }
    configure(&node, &mut markers, audit.path()).await;
    write_secrets(&node, &mut markers).await;
    make_tokens(&node, &mut markers).await;
    know_people(&node, &mut markers).await;
    hold_ceremonies(&node, &mut markers).await;
    node.clock.advance(1_000);
    node.expire().await;

    let pieces = markers.pieces();
    let mut rows = 0;
    let snapshot = node.store.snapshot().unwrap();
    let mut scan = |key: &[u8], row: conclave_raft::Row| {
        rows += 1;
        pieces.must_be_absent_from(&format!("key of a row of table {:#x}", key[1]), key);
        pieces.must_be_absent_from(&format!("value of a row of table {:#x}", key[1]), &row.value);
        Ok(true)
    };
    snapshot.scan(&[], None, &mut scan).unwrap();
    assert!(rows > 40, "{rows} rows: the test wrote less than it thinks");
    // A checkpoint is everything a store holds: rows, due index, change log.
    let directory = tempfile::tempdir().unwrap();
    node.store.checkpoint(&directory.path().join("all")).unwrap();
    for file in std::fs::read_dir(directory.path().join("all")).unwrap() {
        pieces.must_be_absent_from("checkpoint", &std::fs::read(file.unwrap().path()).unwrap());
    }
    let commands = commands.lock();
    assert!(commands.len() > 30, "{} commands", commands.len());
    for command in commands.iter() {
        pieces.must_be_absent_from("command", command);
    }
    // The audit log names paths and policies, as it should; what people keep secret it hashes.
    let log = std::fs::read(audit.path().join("canary-audit.log")).unwrap();
    assert!(log.len() > 10_000);
    markers.secret().pieces().must_be_absent_from("audit log", &log);
}

#[test]
fn the_search_finds_what_it_looks_for() {
    let marker = "canary-control-5b1f0c";
    let mut markers = Markers::default();
    markers.add("control", marker);
    let pieces = markers.pieces();
    let base64 = |text: &str| {
        base64::engine::general_purpose::STANDARD
            .encode(text)
            .into_bytes()
    };
    let url = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let wide = |to: fn(u16) -> [u8; 2]| marker.encode_utf16().flat_map(to).collect::<Vec<u8>>();
    for hidden in [
        marker.as_bytes().to_vec(),
        marker.as_bytes()[3..15].to_vec(),
        marker.to_uppercase().into_bytes(),
        hex::encode(marker).into_bytes(),
        hex::encode_upper(marker).into_bytes(),
        base64(marker),
        base64(&format!("x{marker}y")),
        base64(&format!("{{\"k\":\"{marker}\"}}")),
        url.encode(format!("12{marker}")).into_bytes(),
        wide(u16::to_le_bytes),
        wide(u16::to_be_bytes),
        marker.bytes().rev().collect(),
    ] {
        let hay = [&[0u8; 7][..], &hidden, b"tail"].concat();
        assert!(
            pieces.find(&hay).is_some(),
            "{}",
            String::from_utf8_lossy(&hidden)
        );
    }
    assert!(pieces.find(b"canary-cont rol-5b1f0c and other text").is_none());
}

/// Mounts, policies, an audit device.
async fn configure(node: &Node, markers: &mut Markers, audit: &std::path::Path) {
    let policy = "canary-policy-name-81d2";
    let text = "# canary-policy-text-9c44\npath \"canary-granted-path-2ab0/*\" { capabilities = [\"read\"] }";
    let file = audit.join("canary-audit.log");
    for (path, data) in [
        (
            "sys/audit/canary-audit-device-77aa".to_owned(),
            json!({"type": "file", "description": "canary-audit-description-10fe", "options": {"file_path": file}}),
        ),
        (format!("sys/policies/acl/{policy}"), json!({"policy": text})),
        (
            "sys/mounts/canary-mount-two-5e5e/canary-mount-deep-6f6f".to_owned(),
            json!({"type": "kv", "options": {"version": "2"}, "description": "canary-mount-description-3c3c"}),
        ),
        (
            "sys/mounts/canary-mount-one-4d4d".to_owned(),
            json!({"type": "kv", "options": {"version": "1"}}),
        ),
        (
            "sys/mounts/canary-mount-gone-1a1a".to_owned(),
            json!({"type": "kv"}),
        ),
        (
            "sys/remount".to_owned(),
            json!({"from": "canary-mount-gone-1a1a", "to": "canary-mount-moved-2b2b"}),
        ),
    ] {
        node.call(Verb::Write, &path, data).await.unwrap();
    }
    for (what, text) in [
        ("policy", policy),
        ("policy text", "canary-policy-text-9c44"),
        ("policy text", "canary-granted-path-2ab0"),
        ("mount", "canary-mount-two-5e5e"),
        ("mount", "canary-mount-deep-6f6f"),
        ("mount", "canary-mount-description-3c3c"),
        ("mount", "canary-mount-one-4d4d"),
        ("mount", "canary-mount-gone-1a1a"),
        ("mount", "canary-mount-moved-2b2b"),
        ("audit device", "canary-audit-device-77aa"),
        ("audit device", "canary-audit-description-10fe"),
        ("audit device", "canary-audit.log"),
    ] {
        markers.add(what, text);
    }
    let mounts = node.call(Verb::Read, "sys/mounts", Value::Null).await.unwrap();
    for mount in mounts["data"].as_object().unwrap().values() {
        markers.add("mount uuid", mount["uuid"].as_str().unwrap());
    }
}

/// Every engine that is built, with all that its API takes.
async fn write_secrets(node: &Node, markers: &mut Markers) {
    let two = "canary-mount-two-5e5e/canary-mount-deep-6f6f";
    let one = "canary-mount-one-4d4d";
    let data = json!({"canary-field-name-aa01": "canary-secret-kv2-bb02", "n": {"deep": ["canary-secret-list-cc03"]}});
    let name = "canary-folder-dd04/canary-leaf-ee05";
    let metadata =
        json!({"custom_metadata": {"canary-meta-key-ff06": "canary-secret-meta-0a07"}, "max_versions": 3});
    let patch = json!({"data": {"canary-field-new-1b08": "canary-secret-patch-2c09"}});
    for (verb, path, data) in [
        (Verb::Write, format!("{two}/data/{name}"), json!({"data": data})),
        (Verb::Write, format!("{two}/metadata/{name}"), metadata),
        (Verb::Patch, format!("{two}/data/{name}"), patch),
        (Verb::Delete, format!("{two}/data/{name}"), Value::Null),
        (Verb::Write, format!("{two}/data/{name}"), json!({"data": data})),
        (
            Verb::Write,
            format!("{two}/destroy/{name}"),
            json!({"versions": [1]}),
        ),
        (Verb::Write, format!("{two}/config"), json!({"max_versions": 7})),
        (
            Verb::Write,
            format!("{one}/canary-folder-3d0a/canary-leaf-4e0b"),
            json!({"canary-field-one-5f0c": "canary-secret-kv1-600d", "ttl": "1h"}),
        ),
        (
            Verb::Write,
            "cubbyhole/canary-folder-710e/canary-leaf-820f".to_owned(),
            json!({"k": "canary-secret-cubby-9310"}),
        ),
    ] {
        node.call(verb, &path, data)
            .await
            .unwrap_or_else(|error| panic!("{verb:?} {path}: {error}"));
    }
    write_by_key(node, two).await;
    for text in [
        "canary-secret-kv2-bb02",
        "canary-secret-list-cc03",
        "canary-secret-meta-0a07",
        "canary-secret-patch-2c09",
        "canary-secret-kv1-600d",
        "canary-secret-cubby-9310",
        "canary-secret-repeated-b512",
    ] {
        markers.add_secret("secret", text);
    }
    for text in [
        "canary-field-name-aa01",
        "canary-folder-dd04",
        "canary-leaf-ee05",
        "canary-meta-key-ff06",
        "canary-field-new-1b08",
        "canary-folder-3d0a",
        "canary-leaf-4e0b",
        "canary-field-one-5f0c",
        "canary-folder-710e",
        "canary-leaf-820f",
        "canary-repeated-a411",
        "canary-idempotency-key-c613",
    ] {
        markers.add("name", text);
    }
}

/// A write whose answer is kept.
async fn write_by_key(node: &Node, mount: &str) {
    let mut request = Request::new(Verb::Write, format!("{mount}/data/canary-repeated-a411"));
    request.token = Some(node.root.clone().into());
    request.data = json!({"data": {"k": "canary-secret-repeated-b512"}})
        .as_object()
        .unwrap()
        .clone();
    request.idempotency_key = Some("canary-idempotency-key-c613".to_owned());
    assert!(node.core.handle(request).await.is_ok());
}

/// Tokens of every kind, renewed, used, revoked and expired.
async fn make_tokens(node: &Node, markers: &mut Markers) {
    let meta = json!({"canary-token-meta-d714": "canary-secret-token-e815"});
    let mut tokens = Vec::new();
    for data in [
        json!({"policies": ["canary-policy-name-81d2"], "ttl": "1h", "meta": meta, "display_name": "canary-display-f916"}),
        json!({"policies": ["root"], "num_uses": 9, "ttl": "1h"}),
        json!({"policies": ["root"], "period": "1h"}),
        json!({"id": "canary-chosen-token-0a17", "policies": ["root"]}),
        json!({"policies": ["default"], "ttl": "1s"}),
    ] {
        let made = node.call(Verb::Write, "auth/token/create", data).await.unwrap();
        for field in ["client_token", "accessor"] {
            markers.add_secret(field, made["auth"][field].as_str().unwrap());
        }
        tokens.push(made["auth"]["client_token"].as_str().unwrap().to_owned());
    }
    for text in ["canary-token-meta-d714", "canary-display-f916"] {
        markers.add("token", text);
    }
    markers.add_secret("token", "canary-secret-token-e815");
    let child = json!({"policies": ["default"], "ttl": "1h"});
    let child = node
        .call_as(&tokens[2], Verb::Write, "auth/token/create", child)
        .await
        .unwrap();
    markers.add_secret("child", child["auth"]["client_token"].as_str().unwrap());
    let secret = json!({"k": "canary-secret-child-1b18"});
    node.call_as(&tokens[1], Verb::Write, "cubbyhole/x", secret)
        .await
        .unwrap();
    markers.add_secret("secret", "canary-secret-child-1b18");
    node.call(Verb::Write, "auth/token/renew", json!({"token": tokens[0]}))
        .await
        .unwrap();
    let leases = node
        .call(Verb::List, "sys/leases/lookup/auth/token/create", Value::Null)
        .await
        .unwrap();
    for lease in leases["data"]["keys"].as_array().unwrap() {
        markers.add("lease", lease.as_str().unwrap());
    }
    node.call(Verb::Write, "auth/token/revoke", json!({"token": tokens[2]}))
        .await
        .unwrap();
}

/// Entities, aliases and groups: by hand, by a login, changed and removed.
async fn know_people(node: &Node, markers: &mut Markers) {
    let step = async |path: &str, data: Value| {
        let answer = node.call(Verb::Write, path, data).await;
        answer.unwrap_or_else(|error| panic!("{path}: {error}"))["data"].clone()
    };
    step("sys/auth/canary-people-2c19", json!({"type": "userpass"})).await;
    let user = json!({"password": "canary-secret-password-3d1a"});
    step("auth/canary-people-2c19/users/canary-user-4e1b", user.clone()).await;
    let login = "auth/canary-people-2c19/login/canary-user-4e1b";
    let auth = node.plain(Verb::Write, login, user).await.unwrap()["auth"].clone();
    markers.add_secret("token of a login", auth["client_token"].as_str().unwrap());
    let id = auth["entity_id"].as_str().unwrap();
    let entity = json!({
        "name": "canary-entity-5f1c", "policies": ["canary-policy-name-81d2"],
        "metadata": {"canary-entity-key-601d": "canary-secret-entity-711e"},
    });
    step(&format!("identity/entity/id/{id}"), entity).await;
    step(
        &format!("identity/entity/id/{id}"),
        json!({"name": "canary-renamed-821f"}),
    )
    .await;
    let mounts = node.call(Verb::Read, "sys/auth", Value::Null).await.unwrap();
    let accessor = mounts["data"]["canary-people-2c19/"]["accessor"].clone();
    let alias = json!({
        "name": "canary-alias-9320", "mount_accessor": accessor,
        "custom_metadata": {"canary-alias-key-a421": "canary-secret-alias-b522"},
    });
    let alias = step("identity/entity-alias", alias).await;
    let group = json!({
        "name": "canary-group-c623", "member_entity_ids": [id],
        "metadata": {"canary-group-key-d724": "canary-secret-group-e825"},
    });
    step("identity/group", group).await;
    let outside = json!({"name": "canary-outside-f926", "mount_accessor": accessor});
    step("identity/group-alias", outside).await;
    let path = format!("identity/entity/id/{}", alias["canonical_id"].as_str().unwrap());
    node.call(Verb::Delete, &path, Value::Null).await.unwrap();
    for text in [
        "canary-people-2c19",
        "canary-user-4e1b",
        "canary-entity-5f1c",
        "canary-entity-key-601d",
        "canary-renamed-821f",
        "canary-alias-9320",
        "canary-alias-key-a421",
        "canary-group-c623",
        "canary-group-key-d724",
        "canary-outside-f926",
        id,
    ] {
        markers.add("name", text);
    }
    for text in [
        "canary-secret-password-3d1a",
        "canary-secret-entity-711e",
        "canary-secret-alias-b522",
        "canary-secret-group-e825",
    ] {
        markers.add_secret("secret", text);
    }
}

/// New keys of every kind. What they were before must not turn up either.
async fn hold_ceremonies(node: &Node, markers: &mut Markers) {
    node.call(Verb::Write, "sys/rotate", Value::Null).await.unwrap();
    let step = async |path: &str, data: Value| {
        let answer = node.call(Verb::Write, path, data).await.unwrap();
        answer["data"].clone()
    };
    let begun = step("sys/generate-root-token/attempt", json!({})).await;
    markers.add_secret("one-time password", begun["otp"].as_str().unwrap());
    let mut done = Value::Null;
    for share in &node.shares[..2] {
        let data = json!({"nonce": begun["nonce"], "key": share});
        done = step("sys/generate-root-token/update", data).await;
    }
    markers.add_secret("encoded token", done["encoded_token"].as_str().unwrap());
    let data = json!({"encoded_token": done["encoded_token"], "otp": begun["otp"]});
    let token = step("sys/decode-token", data).await;
    markers.add_secret("generated root token", token["token"].as_str().unwrap());

    let begun = step(
        "sys/rotate/root/init",
        json!({"secret_shares": 3, "secret_threshold": 2}),
    )
    .await;
    for share in &node.shares[..2] {
        done = step(
            "sys/rotate/root/update",
            json!({"nonce": begun["nonce"], "key": share}),
        )
        .await;
    }
    for share in done["keys"].as_array().unwrap() {
        let share = share.as_str().unwrap();
        markers.add_secret("new share", share);
        markers.add_bytes("new share", &hex::decode(share).unwrap());
    }
    let written = json!({"data": {"k": "canary-secret-later-2c19"}});
    let path = "canary-mount-two-5e5e/canary-mount-deep-6f6f/data/canary-later-3d1a";
    node.call(Verb::Write, path, written).await.unwrap();
    markers.add_secret("secret", "canary-secret-later-2c19");
    markers.add("name", "canary-later-3d1a");
}

/// A node, unsealed, and every command it proposes from its birth on, as the log and the wire have them.
async fn watched(settings: Settings) -> (Node, Arc<Mutex<Vec<Vec<u8>>>>) {
    let blank = Node::blank(settings);
    let commands = Arc::new(Mutex::new(Vec::new()));
    let replica: Arc<dyn Replica> = Arc::new(Watched {
        inner: LocalReplica::open(blank.store.clone(), blank.clock.clone()).unwrap(),
        commands: commands.clone(),
    });
    let mut node = node_on(&blank, &replica);
    let split = json!({"secret_shares": 3, "secret_threshold": 2});
    let born = node.plain(Verb::Write, "sys/init", split).await.unwrap();
    node.root = born["root_token"].as_str().unwrap().to_owned();
    node.shares = serde_json::from_value(born["keys"].clone()).unwrap();
    node.unseal().await;
    (node, commands)
}

struct Watched {
    inner: LocalReplica,
    commands: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Replica for Watched {
    fn node_id(&self) -> u64 {
        self.inner.node_id()
    }

    fn next_origin(&self) -> Origin {
        self.inner.next_origin()
    }

    fn view(&self) -> Result<Arc<View>, Error> {
        self.inner.view()
    }

    fn read(&self) -> BoxFuture<'_, Result<Arc<View>, Error>> {
        self.inner.read()
    }

    fn propose(&self, command: Command) -> BoxFuture<'_, Result<Outcome, Error>> {
        let encoded = codec::encode_command(&command).unwrap();
        self.commands.lock().push(encoded.to_vec());
        self.inner.propose(command)
    }

    fn now(&self) -> Millis {
        self.inner.now()
    }

    fn status(&self) -> tokio::sync::watch::Receiver<Status> {
        self.inner.status()
    }

    fn call_peer(&self, node: u64, call: PeerCall) -> BoxFuture<'_, Result<bytes::Bytes, Error>> {
        self.inner.call_peer(node, call)
    }

    fn change(&self, change: Change) -> BoxFuture<'_, Result<(), Error>> {
        self.inner.change(change)
    }
}

/// What must not be found, by its bytes; `true` for what an audit log must not have either.
#[derive(Default)]
struct Markers(BTreeMap<Vec<u8>, (String, bool)>);

impl Markers {
    /// Something that only authorised people may see.
    fn add(&mut self, what: &str, text: &str) {
        assert!(text.len() >= PIECE, "{text} is too short to be told from chance");
        self.0
            .insert(text.as_bytes().to_vec(), (format!("{what} {text}"), false));
    }

    /// Something that only its holder may see.
    fn add_secret(&mut self, what: &str, text: &str) {
        assert!(text.len() >= PIECE, "{text} is too short to be told from chance");
        self.0
            .insert(text.as_bytes().to_vec(), (format!("{what} {text}"), true));
    }

    fn add_bytes(&mut self, what: &str, bytes: &[u8]) {
        self.0
            .insert(bytes.to_vec(), (format!("{what} {}", hex::encode(bytes)), true));
    }

    fn secret(&self) -> Self {
        let secret = self.0.iter().filter(|(_, (_, secret))| *secret);
        Self(
            secret
                .map(|(marker, what)| (marker.clone(), what.clone()))
                .collect(),
        )
    }

    fn pieces(&self) -> Pieces {
        let mut pieces = HashMap::new();
        for (marker, (what, _)) in &self.0 {
            for form in forms(marker) {
                for piece in form.windows(PIECE) {
                    pieces.insert(<[u8; PIECE]>::try_from(piece).unwrap(), what.clone());
                }
            }
        }
        Pieces(pieces)
    }
}

struct Pieces(HashMap<[u8; PIECE], String>);

impl Pieces {
    fn find(&self, hay: &[u8]) -> Option<&str> {
        hay.windows(PIECE)
            .find_map(|piece| self.0.get(piece).map(String::as_str))
    }

    fn must_be_absent_from(&self, place: &str, hay: &[u8]) {
        if let Some(what) = self.find(hay) {
            panic!("{place} holds a piece of: {what}");
        }
    }
}

/// A marker as it could have slipped through: as it is, in capitals, backwards, in hexadecimal, in base64 wherever it
/// begins, in UTF-16.
fn forms(marker: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = vec![
        marker.to_vec(),
        marker.to_ascii_uppercase(),
        marker.iter().rev().copied().collect(),
        hex::encode(marker).into_bytes(),
        hex::encode_upper(marker).into_bytes(),
        marker.iter().flat_map(|&byte| [byte, 0]).collect(),
        marker.iter().flat_map(|&byte| [0, byte]).collect(),
    ];
    for shift in 0..3 {
        let shifted = [&[0, 0][..shift], marker].concat();
        for alphabet in [
            base64::engine::general_purpose::STANDARD_NO_PAD,
            base64::engine::general_purpose::URL_SAFE_NO_PAD,
        ] {
            let text = alphabet.encode(&shifted).into_bytes();
            // The first characters hold bits of what stands before, the last one of what follows.
            let from = (shift * 8).div_ceil(6);
            let to = shifted.len() * 8 / 6;
            forms.push(text[from..to].to_vec());
        }
    }
    forms
}
