//! Backups of transit keys: what they restore is the same key, and no other text restores anything.

use conclave_engine_api::testkit::Harness;
use conclave_engine_api::{Error, Operation};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::script::engine;

const KINDS: [&str; 9] = [
    "aes128-gcm96",
    "aes256-gcm96",
    "chacha20-poly1305",
    "xchacha20-poly1305",
    "ed25519",
    "ecdsa-p256",
    "ecdsa-p384",
    "ecdsa-p521",
    "hmac",
];

fn post(harness: &mut Harness<'_>, path: &str, data: Value) -> Result<Value, Error> {
    let reply = harness.call(Operation::Update, path, data)?;
    Ok(Value::Object(reply.data.unwrap_or_default()))
}

fn get(harness: &mut Harness<'_>, path: &str) -> Value {
    let reply = harness.call(Operation::Read, path, json!({})).unwrap();
    Value::Object(reply.data.unwrap_or_default())
}

#[test]
fn a_restored_key_is_the_same_key() {
    let engine = engine("transit");
    for kind in KINDS.into_iter().chain(["rsa-2048"]) {
        let mut harness = Harness::new(&*engine);
        let made = json!({"type": kind, "exportable": true, "allow_plaintext_backup": true});
        post(&mut harness, "keys/k", made).unwrap();
        if kind != "rsa-2048" {
            post(&mut harness, "keys/k/rotate", json!({})).unwrap();
            post(&mut harness, "keys/k/rotate", json!({})).unwrap();
            post(
                &mut harness,
                "keys/k/config",
                json!({"min_decryption_version": 2, "min_encryption_version": 2}),
            )
            .unwrap();
        }
        let exported = get(&mut harness, "export/hmac-key/k");
        let hmac = post(&mut harness, "hmac/k", json!({"input": "aGk="})).unwrap();
        let backup = get(&mut harness, "backup/k")["backup"].clone();
        let refused = post(&mut harness, "restore", json!({"backup": backup})).unwrap_err();
        assert_eq!(refused.to_string(), "key \"k\" already exists");
        let mut other = Harness::new(&*engine);
        post(&mut other, "restore", json!({"backup": backup})).unwrap();
        assert_eq!(get(&mut other, "export/hmac-key/k"), exported, "{kind}");
        assert_eq!(
            post(&mut other, "hmac/k", json!({"input": "aGk="})).unwrap(),
            hmac
        );
        // Versions that may not be used now are there all the same.
        post(&mut other, "keys/k/config", json!({"min_decryption_version": 1})).unwrap();
        post(
            &mut harness,
            "keys/k/config",
            json!({"min_decryption_version": 1}),
        )
        .unwrap();
        assert_eq!(
            get(&mut other, "export/hmac-key/k"),
            get(&mut harness, "export/hmac-key/k")
        );
        post(&mut other, "restore/k", json!({"backup": backup, "force": true})).unwrap();
        post(&mut other, "restore/renamed", json!({"backup": backup})).unwrap();
        assert_eq!(
            get(&mut other, "export/hmac-key/renamed")["keys"],
            exported["keys"]
        );
    }
}

#[test]
fn trimmed_versions_do_not_come_back() {
    let engine = engine("transit");
    let mut harness = Harness::new(&*engine);
    post(
        &mut harness,
        "keys/k",
        json!({"exportable": true, "allow_plaintext_backup": true}),
    )
    .unwrap();
    post(&mut harness, "keys/k/rotate", json!({})).unwrap();
    post(
        &mut harness,
        "keys/k/config",
        json!({"min_decryption_version": 2, "min_encryption_version": 2}),
    )
    .unwrap();
    post(&mut harness, "keys/k/trim", json!({"min_available_version": 2})).unwrap();
    let backup = get(&mut harness, "backup/k")["backup"].clone();
    post(&mut harness, "restore/r", json!({"backup": backup})).unwrap();
    assert!(
        post(
            &mut harness,
            "keys/r/config",
            json!({"min_decryption_version": 1})
        )
        .is_err()
    );
    let versions = harness
        .rows
        .paths()
        .into_iter()
        .filter(|path| path.starts_with("version/r/"));
    assert_eq!(versions.collect::<Vec<_>>(), ["version/r/2"]);
}

#[test]
fn keys_that_must_stay_stay() {
    let engine = engine("transit");
    let mut harness = Harness::new(&*engine);
    post(&mut harness, "keys/k", json!({})).unwrap();
    for (config, told) in [
        (json!({}), "exporting is disallowed on the policy"),
        (
            json!({"exportable": true}),
            "plaintext backup is disallowed on the policy",
        ),
    ] {
        post(&mut harness, "keys/k/config", config).unwrap();
        let error = harness.call(Operation::Read, "backup/k", json!({})).unwrap_err();
        assert_eq!(error.to_string(), told);
    }
    post(
        &mut harness,
        "keys/k/config",
        json!({"exportable": false, "allow_plaintext_backup": true}),
    )
    .unwrap();
    assert!(
        get(&mut harness, "backup/k")["backup"].is_string(),
        "exportable cannot be taken back"
    );
}

/// Decodes base64 as a test needs it, without the engine's help.
fn decode(text: &str) -> Vec<u8> {
    let value = |letter: u8| match letter {
        b'A'..=b'Z' => letter - b'A',
        b'a'..=b'z' => letter - b'a' + 26,
        b'0'..=b'9' => letter - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let letters: Vec<u8> = text.bytes().filter(|letter| *letter != b'=').collect();
    let mut out = Vec::new();
    for chunk in letters.chunks(4) {
        let bits = chunk
            .iter()
            .fold(0u32, |bits, letter| bits << 6 | u32::from(value(*letter)));
        let bits = bits << (6 * (4 - chunk.len()));
        out.extend_from_slice(&bits.to_be_bytes()[1..chunk.len()]);
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_backup_that_was_changed_is_refused_or_makes_sense(
        kind in 0..KINDS.len(),
        place in any::<prop::sample::Index>(),
        put in "[0-9a-z\"{}\\[\\]:,null-]{1,4}",
    ) {
        let engine = engine("transit");
        let mut harness = Harness::new(&*engine);
        let made = json!({"type": KINDS[kind], "exportable": true, "allow_plaintext_backup": true});
        post(&mut harness, "keys/k", made).unwrap();
        let backup = get(&mut harness, "backup/k")["backup"].as_str().unwrap().to_owned();
        let mut document = String::from_utf8(decode(&backup)).unwrap();
        let place = place.index(document.len());
        document.replace_range(place..=place, &put);
        let encoded = crate::transit::base64(document.as_bytes());
        if post(&mut harness, "restore/r", json!({"backup": encoded})).is_ok() {
            // Whatever it is now, it can be shown and used.
            get(&mut harness, "keys/r");
            post(&mut harness, "keys/r/soft-delete-restore", json!({})).unwrap();
            post(&mut harness, "hmac/r", json!({"input": "aGk="})).unwrap();
        } else {
            let shown = harness.call(Operation::Read, "keys/r", json!({}));
            prop_assert!(shown.is_err());
        }
    }
}
