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
    agree(bao, ours);
    // The original breaks off where it is given a certificate for the public half of an RSA key.
    public_halves(ours, bao, "rsa-2048");
    for (from, to) in [(bao, ours), (ours, bao)] {
        public_halves(from, to, "ecdsa-p256");
        public_halves(from, to, "ed25519");
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

/// Both derive one key from their own private half and the other's public one.
fn agree(bao: &Server, ours: &Server) {
    for curve in ["ecdsa-p256", "ecdsa-p384", "ecdsa-p521"] {
        let name = format!("half-{curve}");
        let publics = [bao, ours].map(|server| {
            post(server, &format!("transit/keys/{name}"), &json!({"type": curve}));
            get(server, &format!("transit/keys/{name}"))["data"]["keys"]["1"]["public_key"].clone()
        });
        for kind in ["aes128-gcm96", "chacha20-poly1305"] {
            let shared = format!("{curve}-{kind}");
            for (server, peer) in [(bao, &publics[1]), (ours, &publics[0])] {
                let asked = json!({"base_key_name": name, "peer_public_key": peer, "derived_key_type": kind});
                post(server, &format!("transit/derive-key/{shared}"), &asked);
            }
            let sealed = post(
                bao,
                &format!("transit/encrypt/{shared}"),
                &json!({"plaintext": INPUT}),
            );
            let asked = json!({"ciphertext": sealed["data"]["ciphertext"]});
            let opened = post(ours, &format!("transit/decrypt/{shared}"), &asked);
            assert_eq!(opened["data"]["plaintext"], INPUT, "{shared}");
        }
    }
}

/// A key of which `from` has the public half alone, with a certificate, moves to `to` and is the same there.
fn public_halves(from: &Server, to: &Server, kind: &str) {
    let whole = format!("whole-{kind}");
    post(from, &format!("transit/keys/{whole}"), &json!({"type": kind}));
    let csr = post(from, &format!("transit/keys/{whole}/csr"), &json!({}));
    let exported = get(from, &format!("transit/export/public-key/{whole}?format=pem"));
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("csr", &csr["data"]["csr"]),
        ("public", &exported["data"]["keys"]["1"]),
    ] {
        std::fs::write(folder.path().join(name), format!("{}\n", text.as_str().unwrap())).unwrap();
    }
    let script = "set -e; openssl req -in csr -verify -noout; \
        openssl req -x509 -newkey ed25519 -keyout key -nodes -subj /CN=authority -out authority; \
        openssl x509 -new -force_pubkey public -subj /CN=leaf -CA authority -CAkey key -days 1 -out leaf";
    let made = Command::new("bash")
        .args(["-c", script])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    let half = format!("half-{kind}-{}", from.address.rsplit(':').next().unwrap());
    let taken = json!({"type": kind, "public_key": read("public"), "exportable": true, "allow_plaintext_backup": true});
    post(from, &format!("transit/keys/{half}/import"), &taken);
    let chain = json!({"certificate_chain": read("leaf") + &read("authority")});
    post(from, &format!("transit/keys/{half}/set-certificate"), &chain);
    let backup = get(from, &format!("transit/backup/{half}"))["data"]["backup"].clone();
    post(to, "transit/restore", &json!({"backup": backup}));
    let [shown, moved] =
        [from, to].map(|server| get(server, &format!("transit/keys/{half}"))["data"]["keys"].clone());
    assert_eq!(shown, moved, "{kind}");
    assert!(
        shown["1"]["certificate_chain"]
            .as_str()
            .unwrap()
            .contains("BEGIN CERTIFICATE")
    );
    let signed = post(from, &format!("transit/sign/{whole}"), &json!({"input": INPUT}));
    let asked = json!({"input": INPUT, "signature": signed["data"]["signature"]});
    let verified = post(to, &format!("transit/verify/{half}"), &asked);
    assert_eq!(verified["data"]["valid"], true, "{kind}");
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
            json!({"signature_algorithm": "pkcs1v15", "hash_algorithm": "sha1"}),
            json!({"signature_algorithm": "pkcs1v15", "hash_algorithm": "none", "prehashed": true}),
            json!({"signature_algorithm": "pss", "hash_algorithm": "sha3-256"}),
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

/// Keys that leave OpenBao wrapped for us are the same keys here, version by version; those that its tool wraps are too.
#[test]
fn wrapped_keys_are_taken_in() {
    let servers = [Product::Bao, Product::Conclave].map(Server::dev);
    for server in &servers {
        post(server, "sys/mounts/transit", &json!({"type": "transit"}));
    }
    let [bao, ours] = &servers;
    let own = get(ours, "transit/wrapping_key")["data"]["public_key"].clone();
    let known = get(ours, "transit/wrapping_key")["data"]["public_key"].clone();
    assert_eq!(own, known, "it is made once");
    post(
        bao,
        "transit/keys/ours/import",
        &json!({"type": "rsa-4096", "public_key": own}),
    );
    for kind in KINDS.into_iter().filter(|kind| *kind != "rsa-3072") {
        let path = format!("transit/keys/{kind}");
        let made = json!({"type": kind, "exportable": true, "key_size": if kind == "hmac" { 48 } else { 0 }});
        post(bao, &path, &made);
        post(bao, &format!("{path}/rotate"), &json!({}));
        let wrapped = get(bao, &format!("transit/byok-export/ours/{kind}"))["data"]["keys"].clone();
        let first = json!({"type": kind, "exportable": true, "ciphertext": wrapped["1"]});
        post(ours, &format!("{path}/import"), &first);
        post(
            ours,
            &format!("{path}/import_version"),
            &json!({"ciphertext": wrapped["2"]}),
        );
        let shown = get(ours, &path)["data"].clone();
        assert_eq!(
            (&shown["imported_key"], &shown["latest_version"]),
            (&json!(true), &json!(2)),
            "{shown}"
        );
        assert_eq!(shown["imported_key_allow_rotation"], false, "{shown}");
        let part = match kind {
            "hmac" => "hmac-key",
            kind if kind.starts_with("ecdsa") || kind.starts_with("ed") => "signing-key",
            _ => "encryption-key",
        };
        let path = format!("transit/export/{part}/{kind}");
        assert_eq!(
            get(bao, &path)["data"]["keys"],
            get(ours, &path)["data"]["keys"],
            "{kind}"
        );
    }
    let key = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    tools_wrap(bao, ours, key);
    leaves_wrapped(ours, key);
}

/// Both tools wrap keys, for either server.
fn tools_wrap(bao: &Server, ours: &Server, key: &str) {
    for (tool, server, name) in [
        ("bao", ours, "by-theirs"),
        (env!("CARGO_BIN_EXE_conclave"), ours, "by-hand"),
        (env!("CARGO_BIN_EXE_conclave"), bao, "by-ours"),
    ] {
        for what in ["import", "import-version"] {
            let path = format!("transit/keys/{name}");
            let exportable: &[&str] = if what == "import" {
                &["exportable=true"]
            } else {
                &[]
            };
            let output = Command::new(tool)
                .args(["transit", what, &path, key])
                .args(exportable)
                .envs([("VAULT_ADDR", server.address.as_str()), ("VAULT_TOKEN", "root")])
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{tool} {what}: {said}");
        }
        let keys = &get(server, &format!("transit/export/encryption-key/{name}"))["data"]["keys"];
        assert_eq!(*keys, json!({"1": key, "2": key}), "{name}");
    }
}

/// What we wrap is what others open: here OpenSSL, with the private half of the destination.
fn leaves_wrapped(ours: &Server, key: &str) {
    post(
        ours,
        "transit/keys/to",
        &json!({"type": "rsa-2048", "exportable": true}),
    );
    let wrapped = get(ours, "transit/byok-export/to/by-hand/1?hash=SHA512")["data"]["keys"]["1"].clone();
    let private = get(ours, "transit/export/encryption-key/to?format=pem")["data"]["keys"]["1"].clone();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("private"), private.as_str().unwrap()).unwrap();
    std::fs::write(folder.path().join("wrapped"), wrapped.as_str().unwrap()).unwrap();
    let script = "set -e; base64 -d wrapped > blob; head -c 256 blob > first; tail -c +257 blob > rest\n\
        K=$(openssl pkeyutl -decrypt -inkey private -in first -pkeyopt rsa_padding_mode:oaep \
        -pkeyopt rsa_oaep_md:sha512 -pkeyopt rsa_mgf1_md:sha512 | od -An -v -tx1 | tr -d ' \\n')\n\
        openssl enc -d -id-aes256-wrap-pad -K \"$K\" -iv A65959A6 -in rest | base64 -w0";
    let opened = Command::new("bash")
        .args(["-c", script])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&opened.stdout),
        key,
        "{}",
        String::from_utf8_lossy(&opened.stderr)
    );
}
