//! Keys of transit move between OpenBao and us, both ways: what either has encrypted, signed or hashed is good at the other.

use std::process::Command;

use serde_json::{Value, json};

use super::server::{Product, Server};

const KINDS: [&str; 11] = [
    "aes128-gcm96",
    "aes256-gcm96",
    "chacha20-poly1305",
    "xchacha20-poly1305",
    "ed25519",
    "ecdsa-p256",
    "ecdsa-p384",
    "ecdsa-p521",
    "rsa-2048",
    "rsa-3072",
    "hmac",
];
const INPUT: &str = "dGhlIHNlY3JldA==";
const CONTEXT: &str = "Y29udGV4dA==";

#[test]
fn keys_and_what_they_made_move_both_ways() {
    let servers = [Product::Bao, Product::Conclave].map(Server::dev);
    for server in &servers {
        post(server, "sys/mounts/transit", &json!({"type": "transit"}));
    }
    let [bao, ours] = &servers;
    for (from, to) in [(bao, ours), (ours, bao)] {
        for kind in KINDS {
            let name = format!("{kind}-{}", u8::from(std::ptr::eq(from, ours)));
            cross(from, to, &name, kind, false);
            if kind.ends_with("1305") || kind.starts_with("aes") || kind == "ed25519" {
                cross(from, to, &format!("{name}-derived"), kind, true);
            }
        }
    }
}

/// Makes a key at `from`, uses it, moves it to `to` and compares what both do.
fn cross(from: &Server, to: &Server, name: &str, kind: &str, derived: bool) {
    let convergent = derived && kind != "ed25519";
    let made = json!({
        "type": kind, "derived": derived, "convergent_encryption": convergent,
        "exportable": true, "allow_plaintext_backup": true, "key_size": if kind == "hmac" { 48 } else { 0 },
    });
    post(from, &format!("transit/keys/{name}"), &made);
    let before = uses(from, name, kind, derived);
    post(from, &format!("transit/keys/{name}/rotate"), &json!({}));
    let after = uses(from, name, kind, derived);
    let backup = get(from, &format!("transit/backup/{name}"))["data"]["backup"].clone();
    post(to, "transit/restore", &json!({"backup": backup}));
    let (shown, moved) = (
        get(from, &format!("transit/keys/{name}")),
        get(to, &format!("transit/keys/{name}")),
    );
    assert_eq!(shown["data"]["keys"], moved["data"]["keys"], "{name}");
    let there = uses(to, name, kind, derived);
    for (server, made) in [(to, &before), (to, &after), (from, &there)] {
        for (path, asked) in made {
            let answer = post(server, &format!("transit/{path}"), asked);
            let good = answer["data"]["valid"] == json!(true) || answer["data"]["plaintext"] == INPUT;
            assert!(good, "{name}: {path} {asked}: {answer}");
        }
    }
    if convergent {
        assert_eq!(after[1], there[1], "{name}: equal texts, equal ciphertexts");
    }
    if kind == "hmac" || derived {
        assert_eq!(after[0], there[0], "{name}");
    }
    let kinds = [
        "hmac-key",
        if kind.starts_with("ecdsa") || kind.starts_with("ed") {
            "signing-key"
        } else {
            "hmac-key"
        },
    ];
    for part in kinds {
        let path = format!("transit/export/{part}/{name}");
        assert_eq!(get(from, &path)["data"], get(to, &path)["data"], "{path}");
    }
}

/// Uses a key in every way it has: requests that must succeed wherever the key is.
fn uses(server: &Server, name: &str, kind: &str, derived: bool) -> Vec<(String, Value)> {
    let mut made = Vec::new();
    let answer = post(server, &format!("transit/hmac/{name}"), &json!({"input": INPUT}));
    made.push((
        format!("verify/{name}"),
        json!({"input": INPUT, "hmac": answer["data"]["hmac"]}),
    ));
    let mut asked = json!({"plaintext": INPUT, "input": INPUT});
    if derived {
        asked["context"] = CONTEXT.into();
    }
    if kind.starts_with("aes") || kind.contains("1305") || kind.starts_with("rsa") {
        let answer = post(server, &format!("transit/encrypt/{name}"), &asked);
        let mut back = json!({"ciphertext": answer["data"]["ciphertext"]});
        if derived {
            back["context"] = CONTEXT.into();
        }
        made.push((format!("decrypt/{name}"), back));
    }
    let ways: &[Value] = match kind {
        _ if kind.starts_with("rsa") => &[
            json!({"signature_algorithm": "pss"}),
            json!({"signature_algorithm": "pss", "salt_length": "hash", "hash_algorithm": "sha2-512"}),
            json!({"signature_algorithm": "pkcs1v15", "hash_algorithm": "sha2-384"}),
        ],
        _ if kind.starts_with("ecdsa") => &[
            json!({"hash_algorithm": "sha2-256"}),
            json!({"hash_algorithm": "sha2-512", "marshaling_algorithm": "jws"}),
            json!({"hash_algorithm": "sha3-224"}),
        ],
        "ed25519" => &[json!({})],
        _ => &[],
    };
    for way in ways {
        let mut asked = asked.clone();
        asked
            .as_object_mut()
            .unwrap()
            .extend(way.as_object().unwrap().clone());
        let answer = post(server, &format!("transit/sign/{name}"), &asked);
        asked["signature"] = answer["data"]["signature"].clone();
        made.push((format!("verify/{name}"), asked));
    }
    made
}

fn post(server: &Server, path: &str, data: &Value) -> Value {
    curl(server, path, &["--data-binary", &data.to_string()])
}

fn get(server: &Server, path: &str) -> Value {
    curl(server, path, &[])
}

fn curl(server: &Server, path: &str, more: &[&str]) -> Value {
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--header", "X-Vault-Token: root"])
        .args(more)
        .arg(format!("{}/v1/{path}", server.address))
        .output()
        .unwrap();
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    assert!(answer.get("errors").is_none(), "{path}: {answer}");
    answer
}
