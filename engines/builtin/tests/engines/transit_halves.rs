//! Public halves of transit keys: keys agreed on with others by them, and keys of which only that half is here.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use conclave_engine_api::testkit::Harness;
use serde_json::json;

use crate::script::engine;
use crate::transit_public::{KINDS, four_keys, get, of_pem, post, public_key, refused};

const INPUT: &str = "dGhlIGlucHV0";

#[test]
fn two_parties_agree_on_a_key() {
    let engine = engine("transit");
    for curve in ["ecdsa-p256", "ecdsa-p384", "ecdsa-p521"] {
        let (mut ada, mut bob) = (Harness::new(&*engine), Harness::new(&*engine));
        let mut keys = Vec::new();
        for (side, name) in [(&mut ada, "ada"), (&mut bob, "bob")] {
            post(side, &format!("keys/{name}"), json!({"type": curve})).unwrap();
            if name == "bob" {
                post(side, "keys/bob/rotate", json!({})).unwrap();
            }
            keys.push(public_key(side, name, "1"));
        }
        for kind in [
            "aes128-gcm96",
            "aes256-gcm96",
            "chacha20-poly1305",
            "xchacha20-poly1305",
        ] {
            let path = format!("derive-key/{kind}");
            let asked = |peer: &str, base: &str| json!({"peer_public_key": peer, "base_key_name": base, "base_key_version": 1, "derived_key_type": kind});
            post(&mut ada, &path, asked(&keys[1], "ada")).unwrap();
            post(&mut bob, &path, asked(&keys[0], "bob")).unwrap();
            let sealed = post(&mut ada, &format!("encrypt/{kind}"), json!({"plaintext": INPUT})).unwrap();
            let opened = post(&mut bob, &format!("decrypt/{kind}"), sealed).unwrap();
            assert_eq!(opened["plaintext"], INPUT, "{curve} {kind}");
        }
        let shown = get(&mut ada, "keys/aes256-gcm96", json!({})).unwrap();
        assert_eq!(
            (&shown["imported_key"], &shown["exportable"]),
            (&json!(true), &json!(false))
        );
        // Once more is another version.
        let more = json!({"peer_public_key": keys[0], "base_key_name": "ada"});
        post(&mut ada, "derive-key/aes256-gcm96", more).unwrap();
        let shown = get(&mut ada, "keys/aes256-gcm96", json!({})).unwrap();
        assert_eq!(shown["latest_version"], 2);
    }
}

#[test]
fn nobody_agrees_by_what_is_no_key() {
    let engine = engine("transit");
    let mut harness = Harness::new(&*engine);
    four_keys(&mut harness);
    let p = public_key(&mut harness, "p", "1");
    for (path, asked, told) in [
        (
            "new",
            json!({"key_derivation_algorithm": "rsa"}),
            "key derivation algorithm rsa not supported",
        ),
        (
            "new",
            json!({"base_key_name": "p", "derived_key_type": "hmac"}),
            "unknown key type hmac",
        ),
        ("new", json!({}), "specified base key not found"),
        (
            "new",
            json!({"base_key_name": "none"}),
            "specified base key not found",
        ),
        (
            "new",
            json!({"base_key_name": "e"}),
            "base key type ed25519 does not support key agreement",
        ),
        (
            "new",
            json!({"base_key_name": "p", "base_key_version": 2}),
            "requested version of the base key is higher than the latest key version",
        ),
        (
            "new",
            json!({"base_key_name": "p", "base_key_version": -1}),
            "requested version of the base key is negative",
        ),
        (
            "q",
            json!({"base_key_name": "p"}),
            "key q exists and is no imported or agreed key of type aes256-gcm96: versions are not added to others",
        ),
    ] {
        let mut asked = asked;
        asked["peer_public_key"] = json!(p);
        assert_eq!(refused(&mut harness, &format!("derive-key/{path}"), asked), told);
    }
    assert!(get(&mut harness, "keys/new", json!({})).is_err());
}

#[test]
fn nobody_agrees_with_what_is_no_key() {
    let engine = engine("transit");
    let mut harness = Harness::new(&*engine);
    four_keys(&mut harness);
    let [p, q, e] = ["p", "q", "e"].map(|name| public_key(&mut harness, name, "1"));
    for (peer, told) in [
        (String::new(), "peer public key not provided"),
        ("x".to_owned(), "peer_public_key is no PEM text"),
        (e, "supplied peer public key is not an ECDSA key"),
        (
            q,
            "base private key type ecdsa-p256 does not match peer public key curve",
        ),
        (
            beside(&p),
            "failed to parse supplied peer public key PEM: it is no point on its curve",
        ),
    ] {
        let asked = json!({"base_key_name": "p", "peer_public_key": peer});
        assert_eq!(refused(&mut harness, "derive-key/new", asked), told);
    }
    assert!(get(&mut harness, "keys/new", json!({})).is_err());
}

/// What looks like a public key and is a point beside its curve.
fn beside(public: &str) -> String {
    let mut point = of_pem(public);
    *point.last_mut().unwrap() ^= 1;
    format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----",
        STANDARD.encode(point)
    )
}

/// A key whose public half came first does what that half can, and all once the other half is there.
#[test]
fn a_public_half_serves_until_the_private_one_comes() {
    let engine = engine("transit");
    let (mut theirs, mut ours) = (Harness::new(&*engine), Harness::new(&*engine));
    let wrapping = get(&mut ours, "wrapping_key", json!({})).unwrap()["public_key"].clone();
    for (kind, _) in KINDS {
        post(
            &mut theirs,
            &format!("keys/{kind}"),
            json!({"type": kind, "exportable": true}),
        )
        .unwrap();
        let public = public_key(&mut theirs, kind, "1");
        let asked =
            json!({"type": kind, "public_key": public, "exportable": true, "allow_plaintext_backup": true});
        post(&mut ours, &format!("keys/{kind}/import"), asked).unwrap();
        serves_in_part(&mut theirs, &mut ours, kind);
        let backup = get(&mut ours, &format!("backup/{kind}"), json!({})).unwrap()["backup"].clone();
        post(
            &mut ours,
            &format!("restore/{kind}-moved"),
            json!({"backup": backup}),
        )
        .unwrap();
        serves_in_part(&mut theirs, &mut ours, &format!("{kind}-moved"));

        let path = format!("export/signing-key/{kind}");
        let private = get(&mut theirs, &path, json!({"format": "der"})).unwrap();
        let private = STANDARD.decode(private["keys"]["1"].as_str().unwrap()).unwrap();
        let wrapped = conclave_engines::wrap_key(wrapping.as_str().unwrap(), &private, &[7; 32], "").unwrap();
        let wrapped = json!({"ciphertext": STANDARD.encode(wrapped)});
        let other = json!({"public_key": public, "version": 1});
        assert_eq!(
            refused(&mut ours, &format!("keys/{kind}/import_version"), other),
            "cannot add a public key to a key version that already has a public key set"
        );
        post(&mut ours, &format!("keys/{kind}/import_version"), wrapped.clone()).unwrap();
        let shown = get(&mut ours, &format!("keys/{kind}"), json!({})).unwrap();
        assert_eq!(shown["latest_version"], 1, "{kind}");
        let signed = post(&mut ours, &format!("sign/{kind}"), json!({"input": INPUT})).unwrap();
        let asked = json!({"input": INPUT, "signature": signed["signature"]});
        assert_eq!(
            post(&mut theirs, &format!("verify/{kind}"), asked).unwrap()["valid"],
            true
        );
        // The private half is not replaced; the same key once more is a version of its own.
        let mut again = wrapped.clone();
        again["version"] = json!(1);
        assert_eq!(
            refused(&mut ours, &format!("keys/{kind}/import_version"), again),
            "private key imported, key version cannot be updated"
        );
        post(&mut ours, &format!("keys/{kind}/import_version"), wrapped).unwrap();
        let shown = get(&mut ours, &format!("keys/{kind}"), json!({})).unwrap();
        assert_eq!(shown["latest_version"], 2, "{kind}");
    }
}

/// What the public half of a key of `theirs` does at `ours` under `name`, and what it does not.
fn serves_in_part(theirs: &mut Harness<'_>, ours: &mut Harness<'_>, name: &str) {
    let original = name.trim_end_matches("-moved");
    let signed = post(theirs, &format!("sign/{original}"), json!({"input": INPUT})).unwrap();
    let asked = json!({"input": INPUT, "signature": signed["signature"]});
    assert_eq!(
        post(ours, &format!("verify/{name}"), asked).unwrap()["valid"],
        true,
        "{name}"
    );
    assert_eq!(
        refused(ours, &format!("sign/{name}"), json!({"input": INPUT})),
        "requested version for signing does not contain a private part"
    );
    assert_eq!(
        refused(ours, &format!("keys/{name}/csr"), json!({})),
        "could not create the csr: private key not imported for key version selected"
    );
    let part = get(ours, &format!("export/signing-key/{name}"), json!({})).unwrap();
    assert_eq!(part["keys"]["1"], "");
    if name.starts_with("rsa") {
        let sealed = post(ours, &format!("encrypt/{name}"), json!({"plaintext": INPUT})).unwrap();
        let opened = post(theirs, &format!("decrypt/{original}"), sealed.clone()).unwrap();
        assert_eq!(opened["plaintext"], INPUT);
        assert_eq!(
            refused(ours, &format!("decrypt/{name}"), sealed),
            "cannot decrypt ciphertext, key version does not have a private counterpart"
        );
    }
    if name.starts_with("ecdsa") {
        let asked = json!({"base_key_name": name, "peer_public_key": public_key(ours, name, "1")});
        assert_eq!(
            refused(ours, "derive-key/new", asked),
            "the version of the base key does not have a private part"
        );
    }
}

#[test]
fn what_is_no_public_key_is_not_taken_in() {
    let engine = engine("transit");
    let mut harness = Harness::new(&*engine);
    post(&mut harness, "keys/p", json!({"type": "ecdsa-p256"})).unwrap();
    let p = public_key(&mut harness, "p", "1");
    let beside = beside(&p);
    for (asked, told) in [
        (
            json!({"type": "ecdsa-p256"}),
            "'ciphertext' or 'public_key' must be supplied",
        ),
        (json!({"type": "aes256-gcm96"}), "'ciphertext' must be supplied"),
        (
            json!({"type": "aes256-gcm96", "public_key": p}),
            "provided type does not support public_key import",
        ),
        (
            json!({"type": "ecdsa-p256", "public_key": "x"}),
            "public_key is no PEM text",
        ),
        (
            json!({"type": "ecdsa-p384", "public_key": p}),
            "public_key is no key of type ecdsa-p384",
        ),
        (
            json!({"type": "rsa-2048", "public_key": p}),
            "public_key is no key of type rsa-2048",
        ),
        (
            json!({"type": "ecdsa-p256", "public_key": beside}),
            "public_key is no key of type ecdsa-p256",
        ),
    ] {
        assert_eq!(refused(&mut harness, "keys/new/import", asked), told);
    }
    post(&mut harness, "keys/e", json!({"type": "ed25519"})).unwrap();
    let e = public_key(&mut harness, "e", "1");
    let derived = json!({"type": "ed25519", "derived": true, "public_key": e});
    let told = refused(&mut harness, "keys/new/import", derived);
    assert!(
        told.starts_with("unable to import only public key for derived Ed25519 key"),
        "{told}"
    );
    post(
        &mut harness,
        "keys/new/import",
        json!({"type": "ecdsa-p256", "public_key": p}),
    )
    .unwrap();
    assert_eq!(
        refused(
            &mut harness,
            "keys/new/import_version",
            json!({"public_key": p, "version": 2})
        ),
        "no such key version"
    );
    assert_eq!(
        refused(&mut harness, "keys/p/import_version", json!({"public_key": p})),
        "the import_version endpoint can only be used with an imported key"
    );
}
