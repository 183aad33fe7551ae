//! Shares and root tokens encrypted to people's PGP keys: the real `gpg` makes the keys and opens what comes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod support;

use std::io::Write as _;
use std::process::{Command, Stdio};

use base64::Engine as _;
use serde_json::{Value, json};

use conclave_core::{Error, Settings, Verb};
use support::sealed::{done, make, seal, unseal};
use support::{Node, ask};

/// Keys of people, in a directory of their own.
struct Gpg(tempfile::TempDir);

impl Gpg {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn run(&self, args: &[&str], input: &[u8]) -> Vec<u8> {
        let mut child = Command::new("gpg")
            .args([
                "--batch",
                "--quiet",
                "--pinentry-mode",
                "loopback",
                "--passphrase",
                "",
            ])
            .args(args)
            .env("GNUPGHOME", self.0.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("cannot run gpg ({e}); the Debian package gnupg has it"));
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "gpg {args:?}: {complaint}");
        output.stdout
    }

    /// A key of this kind for somebody, with a subkey to encrypt to if `sub` names its kind.
    fn person(&self, name: &str, kind: &str, sub: Option<&str>) -> String {
        self.run(&["--quick-gen-key", name, kind, "cert", "never"], b"");
        let list = self.run(&["--with-colons", "--list-keys", name], b"");
        let list = String::from_utf8(list).unwrap();
        let line = list.lines().find(|line| line.starts_with("fpr:")).unwrap();
        let fingerprint = line.split(':').nth(9).unwrap().to_owned();
        if let Some(sub) = sub {
            self.run(&["--quick-add-key", &fingerprint, sub, "encr", "never"], b"");
        }
        fingerprint.to_lowercase()
    }

    fn public(&self, name: &str) -> String {
        base64(&self.run(&["--export", name], b""))
    }

    /// What a message in base64 says.
    fn open(&self, message: &str) -> String {
        let bytes = base64::engine::general_purpose::STANDARD.decode(message).unwrap();
        String::from_utf8(self.run(&["--decrypt"], &bytes)).unwrap()
    }
}

impl Drop for Gpg {
    fn drop(&mut self) {
        // Its agent would outlive the directory.
        let kill = Command::new("gpgconf")
            .args(["--kill", "all"])
            .env("GNUPGHOME", self.0.path())
            .status();
        drop(kill);
    }
}

fn base64(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn texts(list: &Value) -> Vec<String> {
    let texts = list.as_array().unwrap().iter();
    texts.map(|text| text.as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn shares_and_tokens_are_for_the_eyes_of_their_holders() {
    let gpg = Gpg::new();
    let ada = gpg.person("ada@example.com", "ed25519", Some("cv25519"));
    let bob = gpg.person("bob@example.com", "rsa2048", Some("rsa2048"));
    let (key_of_ada, key_of_bob) = (gpg.public("ada@example.com"), gpg.public("bob@example.com"));
    let armored = base64(&gpg.run(&["--armor", "--export", "bob@example.com"], b""));
    let keys = json!([key_of_ada, armored]);

    // A cluster is born, and opened by what gpg makes of the answer.
    let mut node = Node::blank(Settings::default());
    let wish = json!({"secret_shares": 2, "secret_threshold": 2, "pgp_keys": keys, "root_token_pgp_key": key_of_ada});
    let born = node.plain(Verb::Write, "sys/init", wish).await.unwrap();
    node.shares = texts(&born["keys_base64"])
        .iter()
        .map(|share| gpg.open(share))
        .collect();
    node.root = gpg.open(born["root_token"].as_str().unwrap());
    let hex = texts(&born["keys"]);
    let same: Vec<String> = hex
        .iter()
        .map(|share| base64(&hex::decode(share).unwrap()))
        .collect();
    assert_eq!(same, texts(&born["keys_base64"]));
    node.unseal().await;
    let me = node
        .call(Verb::Read, "auth/token/lookup-self", json!({}))
        .await
        .unwrap();
    assert_eq!(me["data"]["policies"], json!(["root"]));

    new_shares(&gpg, &mut node, [(&ada, &key_of_ada), (&bob, &key_of_bob)]).await;
    new_shares_of_a_namespace(&gpg, &node, (&bob, &key_of_bob)).await;
    new_root_token(&gpg, &node, (&bob, &key_of_bob)).await;
}

/// Somebody's fingerprint and public key.
type Person<'a> = (&'a str, &'a str);

/// New shares, with a copy of them; they open the cluster.
async fn new_shares(gpg: &Gpg, node: &mut Node, [(ada, key_of_ada), (bob, key_of_bob)]: [Person<'_>; 2]) {
    let at = "sys/rotate/root";
    let wish = json!({"secret_shares": 2, "secret_threshold": 2, "pgp_keys": [key_of_bob, key_of_ada], "backup": true});
    let begun = node.call(Verb::Write, &format!("{at}/init"), wish).await.unwrap();
    assert_eq!(begun["data"]["pgp_fingerprints"], json!([bob, ada]));
    assert_eq!(begun["data"]["backup"], true);
    let none = node.call(Verb::Read, &format!("{at}/backup"), json!({})).await;
    assert!(none.is_err(), "nothing is kept before it is in effect");
    let mut made = Value::Null;
    for share in &node.shares {
        let data = json!({"nonce": begun["data"]["nonce"], "key": share});
        made = node
            .call(Verb::Write, &format!("{at}/update"), data)
            .await
            .unwrap();
    }
    assert_eq!(made["data"]["complete"], true);
    let kept = node
        .call(Verb::Read, &format!("{at}/backup"), json!({}))
        .await
        .unwrap();
    let handed = texts(&made["data"]["keys_base64"]);
    assert_eq!(
        kept["data"]["keys_base64"],
        json!({(bob): [handed[0]], (ada): [handed[1]]})
    );
    assert_eq!(kept["data"]["nonce"], begun["data"]["nonce"]);
    node.call(Verb::Delete, &format!("{at}/backup"), json!({}))
        .await
        .unwrap();
    assert!(
        node.call(Verb::Read, &format!("{at}/backup"), json!({}))
            .await
            .is_err()
    );
    node.shares = handed.iter().map(|share| gpg.open(share)).collect();
    node.call(Verb::Write, "sys/seal", json!({})).await.unwrap();
    node.unseal().await;
}

/// The shares of a namespace with a seal of its own: the copy of them is kept there.
async fn new_shares_of_a_namespace(gpg: &Gpg, node: &Node, (bob, key_of_bob): Person<'_>) {
    let shares = make(node, "", "t").await;
    unseal(node, "", "t", &shares).await;
    let at = "sys/rotate/root";
    let wish = json!({"secret_shares": 1, "secret_threshold": 1, "pgp_keys": [key_of_bob], "backup": true});
    let begun = done(node, "t", Verb::Write, &format!("{at}/init"), wish).await;
    let mut made = Value::Null;
    for share in &shares[..2] {
        let data = json!({"nonce": begun["data"]["nonce"], "key": share});
        made = done(node, "t", Verb::Write, &format!("{at}/update"), data).await;
    }
    let backup = format!("{at}/backup");
    let kept = done(node, "t", Verb::Read, &backup, json!({})).await;
    let handed = texts(&made["data"]["keys_base64"]);
    assert_eq!(kept["data"]["keys_base64"], json!({(bob): [handed[0]]}));
    let above = node.call(Verb::Read, &backup, json!({})).await;
    assert!(above.is_err(), "the cluster's is another");
    seal(node, "", "t").await;
    unseal(node, "", "t", &[gpg.open(&handed[0])]).await;
    done(node, "t", Verb::Delete, &backup, json!({})).await;
    let gone = ask(node, "t", &node.root, (Verb::Read, &backup), json!({})).await;
    assert!(gone.is_err());
}

/// A root token made by share holders for one of them.
async fn new_root_token(gpg: &Gpg, node: &Node, (bob, key_of_bob): Person<'_>) {
    let at = "sys/generate-root-token";
    let begun = node
        .call(
            Verb::Write,
            &format!("{at}/attempt"),
            json!({"pgp_key": key_of_bob}),
        )
        .await
        .unwrap();
    assert_eq!(
        (&begun["data"]["pgp_fingerprint"], &begun["data"]["otp"]),
        (&json!(bob), &json!(""))
    );
    let mut made = Value::Null;
    for share in &node.shares {
        let data = json!({"nonce": begun["data"]["nonce"], "key": share});
        made = node
            .call(Verb::Write, &format!("{at}/update"), data)
            .await
            .unwrap();
    }
    let token = gpg.open(made["data"]["encoded_token"].as_str().unwrap());
    let me = node
        .call_as(&token, Verb::Read, "auth/token/lookup-self", json!({}))
        .await;
    assert_eq!(me.unwrap()["data"]["policies"], json!(["root"]));
}

#[tokio::test]
async fn keys_that_cannot_be_encrypted_to_are_refused_before_anything_is_made() {
    let gpg = Gpg::new();
    gpg.person("signs@example.com", "ed25519", None);
    gpg.person("old@example.com", "ed25519", None);
    let old = gpg.run(&["--with-colons", "--list-keys", "old@example.com"], b"");
    let old = String::from_utf8(old).unwrap();
    let old = old.lines().find(|line| line.starts_with("fpr:")).unwrap();
    let old = old.split(':').nth(9).unwrap();
    gpg.run(
        &[
            "--faked-system-time",
            "20200101T000000!",
            "--quick-gen-key",
            "past@example.com",
            "ed25519",
            "cert",
            "1d",
        ],
        b"",
    );
    let packets = |name: &str| {
        base64::engine::general_purpose::STANDARD
            .decode(gpg.public(name))
            .unwrap()
    };
    let (before, alone) = (packets("old@example.com"), packets("signs@example.com"));
    gpg.run(&["--quick-add-key", old, "cv25519", "encr", "never"], b"");
    let good = gpg.public("old@example.com");
    // The subkey of one with the primary key of another: its owner never signed it.
    let whole = packets("old@example.com");
    let sub = whole.strip_prefix(before.as_slice()).unwrap();
    let stolen = base64(&[alone.as_slice(), sub].concat());
    let node = Node::blank(Settings::default());
    for (key, told) in [
        ("%%".to_owned(), "not base64"),
        ("AAAA".to_owned(), "no public key"),
        (base64(b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n"), "no public key"),
        (gpg.public("signs@example.com"), "may be encrypted to"),
        (stolen, "may be encrypted to"),
    ] {
        let wish = json!({"secret_shares": 1, "secret_threshold": 1, "pgp_keys": [key]});
        let refused = node.plain(Verb::Write, "sys/init", wish).await;
        let Err(Error::Invalid(why)) = refused else {
            panic!("{told}: {refused:?}");
        };
        assert!(why.contains(told), "{told}: {why}");
    }
    // There is no clock before there is a cluster: what is over is found out afterwards.
    let born = Node::unsealed().await;
    let wish =
        json!({"secret_shares": 1, "secret_threshold": 1, "pgp_keys": [gpg.public("past@example.com")]});
    let refused = born.call(Verb::Write, "sys/rotate/root/init", wish).await;
    assert!(
        matches!(&refused, Err(Error::Invalid(why)) if why.contains("expired")),
        "{refused:?}"
    );
    let two = json!({"secret_shares": 2, "secret_threshold": 2, "pgp_keys": [good]});
    assert!(node.plain(Verb::Write, "sys/init", two).await.is_err());
    let state = node.plain(Verb::Read, "sys/init", json!({})).await.unwrap();
    assert_eq!(state["initialized"], false);
}
