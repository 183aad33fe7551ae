//! Transit: what goes in comes out, by the version that may, and hostile requests are refused.

use conclave_engine_api::testkit::Harness;
use conclave_engine_api::{Error, Operation};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::script::engine;

const SYMMETRIC: [&str; 4] = [
    "aes128-gcm96",
    "aes256-gcm96",
    "chacha20-poly1305",
    "xchacha20-poly1305",
];
const SIGNING: [&str; 4] = ["ed25519", "ecdsa-p256", "ecdsa-p384", "ecdsa-p521"];
const HASHES: [&str; 9] = [
    "sha1", "sha2-224", "sha2-256", "sha2-384", "sha2-512", "sha3-224", "sha3-256", "sha3-384", "sha3-512",
];

fn post(harness: &mut Harness<'_>, path: &str, data: Value) -> Result<Value, Error> {
    let reply = harness.call(Operation::Update, path, data)?;
    Ok(Value::Object(reply.data.unwrap_or_default()))
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap().to_owned()
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let bits =
            chunk.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for index in 0..4 {
            let letter = char::from(alphabet[(bits >> (18 - 6 * index)) as usize & 63]);
            out.push(if index <= chunk.len() { letter } else { '=' });
        }
    }
    out
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..200)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_version_decrypts_what_it_encrypted(
        kind in 0..SYMMETRIC.len(),
        plaintext in bytes(),
        aad in bytes(),
        context in proptest::option::of(proptest::collection::vec(any::<u8>(), 1..40)),
        convergent in any::<bool>(),
        rotations in 0u64..4,
        floor in 1u64..5,
    ) {
        let engine = engine("transit");
        let mut harness = Harness::new(&*engine);
        let derived = context.is_some();
        let convergent = convergent && derived;
        let made = json!({"type": SYMMETRIC[kind], "derived": derived, "convergent_encryption": convergent});
        post(&mut harness, "keys/k", made).unwrap();
        let context = base64(&context.unwrap_or_default());
        let plaintext = base64(&plaintext);
        let sealed = json!({"plaintext": plaintext, "context": context, "associated_data": base64(&aad)});
        let mut ciphertexts = Vec::new();
        for round in 0..=rotations {
            if round > 0 {
                post(&mut harness, "keys/k/rotate", json!({})).unwrap();
            }
            let first = text(&post(&mut harness, "encrypt/k", sealed.clone()).unwrap(), "ciphertext");
            let second = text(&post(&mut harness, "encrypt/k", sealed.clone()).unwrap(), "ciphertext");
            prop_assert_eq!(first == second, convergent);
            let prefix = format!("vault:v{}:", round + 1);
            prop_assert!(first.starts_with(&prefix));
            ciphertexts.push(first);
        }
        let floor = floor.min(rotations + 1);
        post(&mut harness, "keys/k/config", json!({"min_decryption_version": floor})).unwrap();
        for (version, ciphertext) in (1..).zip(&ciphertexts) {
            let asked = json!({"ciphertext": ciphertext, "context": context, "associated_data": base64(&aad)});
            let opened = post(&mut harness, "decrypt/k", asked);
            if version < floor {
                let error = opened.unwrap_err().to_string();
                prop_assert!(error.contains("too old"), "{}", error);
                continue;
            }
            prop_assert_eq!(text(&opened.unwrap(), "plaintext"), plaintext.clone());
            let bare = json!({"ciphertext": ciphertext, "context": context});
            prop_assert_eq!(post(&mut harness, "decrypt/k", bare.clone()).is_ok(), aad.is_empty());
            if aad.is_empty() {
                let rewrapped = text(&post(&mut harness, "rewrap/k", bare).unwrap(), "ciphertext");
                let prefix = format!("vault:v{}:", rotations + 1);
                prop_assert!(rewrapped.starts_with(&prefix), "{}", rewrapped);
                let asked = json!({"ciphertext": rewrapped, "context": context});
                let opened = post(&mut harness, "decrypt/k", asked).unwrap();
                prop_assert_eq!(text(&opened, "plaintext"), plaintext.clone());
            }
        }
    }

    #[test]
    fn signatures_verify_and_nothing_else_does(
        kind in 0..SIGNING.len(),
        hash in 0..HASHES.len(),
        jws in any::<bool>(),
        input in bytes(),
        flipped in any::<u16>(),
    ) {
        let engine = engine("transit");
        let mut harness = Harness::new(&*engine);
        post(&mut harness, "keys/k", json!({"type": SIGNING[kind]})).unwrap();
        let marshaling = if jws { "jws" } else { "asn1" };
        let asked = json!({"input": base64(&input), "marshaling_algorithm": marshaling});
        let signed = post(&mut harness, &format!("sign/k/{}", HASHES[hash]), asked.clone()).unwrap();
        let path = format!("verify/k/{}", HASHES[hash]);
        let mut verify = |input: &[u8], signature: &str| {
            let mut asked = asked.clone();
            asked["input"] = base64(input).into();
            asked["signature"] = signature.into();
            post(&mut harness, &path, asked).map(|data| data["valid"] == json!(true))
        };
        let signature = text(&signed, "signature");
        prop_assert!(verify(&input, &signature).unwrap());
        let mut other = input.clone();
        other.push(0);
        prop_assert!(!verify(&other, &signature).unwrap());
        let mut letters = signature.clone().into_bytes();
        let place = 9 + usize::from(flipped) % (letters.len() - 12);
        letters[place] = if letters[place] == b'A' { b'B' } else { b'A' };
        let forged = verify(&input, &String::from_utf8(letters).unwrap());
        prop_assert!(!forged.unwrap_or(false));
    }

    #[test]
    fn any_ciphertext_and_signature_is_answered(
        which in 0..8usize,
        given in "(vault:v[0-9]{0,3}:)?[ -~]{0,60}",
    ) {
        let engine = engine("transit");
        let mut harness = Harness::new(&*engine);
        let kind = SYMMETRIC.into_iter().chain(SIGNING).nth(which).unwrap();
        post(&mut harness, "keys/k", json!({"type": kind})).unwrap();
        for (path, field) in [("decrypt/k", "ciphertext"), ("rewrap/k", "ciphertext"), ("verify/k", "signature"), ("verify/k", "hmac")] {
            let answered = post(&mut harness, path, json!({field: given, "input": ""}));
            match answered {
                Ok(data) => prop_assert_eq!(&data["valid"], &json!(false)),
                Err(error) => prop_assert!(matches!(error, Error::Invalid(_)), "{}", error),
            }
        }
    }
}

/// One key of the smallest size, for making one takes a second.
#[test]
fn rsa_signs_by_both_schemes() {
    let engine = engine("transit");
    let mut harness = Harness::new(&*engine);
    post(&mut harness, "keys/k", json!({"type": "rsa-2048"})).unwrap();
    let input = base64(b"the input");
    for hash in HASHES {
        for (scheme, salt) in [
            ("pss", "auto"),
            ("pss", "hash"),
            ("pss", "0"),
            ("pss", "7"),
            ("pkcs1v15", "auto"),
        ] {
            let options = json!({"input": input, "hash_algorithm": hash, "signature_algorithm": scheme, "salt_length": salt});
            let signature = text(
                &post(&mut harness, "sign/k", options.clone()).unwrap(),
                "signature",
            );
            for (with, fits) in [
                ("auto", true),
                ("hash", salt == "hash"),
                ("7", salt == "7"),
                ("8", false),
            ] {
                let mut asked = options.clone();
                asked["signature"] = signature.clone().into();
                asked["salt_length"] = with.into();
                let valid = post(&mut harness, "verify/k", asked).unwrap()["valid"] == json!(true);
                assert_eq!(
                    valid,
                    fits || scheme == "pkcs1v15",
                    "{hash} {scheme} {salt} {with}"
                );
            }
        }
    }
    for (options, told) in [
        (
            json!({"hash_algorithm": "sha3-256", "salt_length": "250"}),
            "requested salt length 250 is invalid",
        ),
        (
            json!({"hash_algorithm": "sha1", "prehashed": true}),
            "crypto/rsa: input must be hashed with given hash",
        ),
        (
            json!({"salt_length": "500"}),
            "requested salt length 500 is invalid",
        ),
        (
            json!({"prehashed": true}),
            "crypto/rsa: input must be hashed with given hash",
        ),
        (
            json!({"signature_algorithm": "zz"}),
            "unsupported rsa signature algorithm zz",
        ),
        (
            json!({"hash_algorithm": "none"}),
            "hash_algorithm=none requires both",
        ),
    ] {
        let mut asked = options;
        asked["input"] = input.clone().into();
        let error = post(&mut harness, "sign/k", asked).unwrap_err().to_string();
        assert!(error.starts_with(told), "{error}");
    }
}

/// What is signed is a hash already, and the signature does not say by which algorithm.
#[test]
fn rsa_signs_hashes_that_nobody_names() {
    let engine = engine("transit");
    let mut harness = Harness::new(&*engine);
    post(&mut harness, "keys/k", json!({"type": "rsa-2048"})).unwrap();
    let asked = |input: &[u8]| {
        json!({
            "input": base64(input), "hash_algorithm": "none", "prehashed": true, "signature_algorithm": "pkcs1v15",
        })
    };
    for input in [&b"x"[..], &[7; 36], &[0; 245]] {
        let signed = post(&mut harness, "sign/k", asked(input)).unwrap();
        for (shown, fits) in [(input, true), (&b"y"[..], false)] {
            let mut asked = asked(shown);
            asked["signature"] = signed["signature"].clone();
            assert_eq!(post(&mut harness, "verify/k", asked).unwrap()["valid"], fits);
        }
    }
    let error = post(&mut harness, "sign/k", asked(&[0; 246])).unwrap_err();
    assert_eq!(error.to_string(), "crypto/rsa: message too long for RSA key size");
}

#[test]
fn rsa_encrypts_what_fits() {
    let engine = engine("transit");
    let mut harness = Harness::new(&*engine);
    post(&mut harness, "keys/k", json!({"type": "rsa-2048"})).unwrap();
    let input = base64(b"the input");
    let sealed = text(
        &post(&mut harness, "encrypt/k", json!({"plaintext": input})).unwrap(),
        "ciphertext",
    );
    let opened = post(&mut harness, "decrypt/k", json!({"ciphertext": sealed})).unwrap();
    assert_eq!(text(&opened, "plaintext"), input);
    let long = post(&mut harness, "encrypt/k", json!({"plaintext": base64(&[0; 191])})).unwrap_err();
    assert!(long.to_string().contains("message too long"), "{long}");
    let forged = format!("vault:v1:{}", base64(&[1; 256]));
    let error = post(&mut harness, "decrypt/k", json!({"ciphertext": forged})).unwrap_err();
    assert!(error.to_string().contains("decryption error"), "{error}");
}

#[test]
fn a_batch_is_bounded_and_names_are_names() {
    let engine = engine("transit");
    let mut harness = Harness::new(&*engine);
    post(&mut harness, "keys/k", json!({})).unwrap();
    let items = |count| Value::from(vec![json!({"plaintext": "aGk="}); count]);
    let error = post(&mut harness, "encrypt/k", json!({"batch_input": items(100_000)})).unwrap_err();
    assert!(error.to_string().contains("more than 10000 items"), "{error}");
    let done = post(&mut harness, "encrypt/k", json!({"batch_input": items(10_000)})).unwrap();
    assert_eq!(done["batch_results"].as_array().unwrap().len(), 10_000);
    let before = harness.rows.paths().len();
    for name in [
        "\0",
        "a\0b",
        "a b",
        "ä",
        ".a",
        "a-",
        "",
        "a/b/c/d",
        &"k".repeat(257),
    ] {
        for path in ["keys", "encrypt", "backup", "restore", "sign"] {
            let data = json!({"plaintext": "aGk=", "input": "", "backup": "e30="});
            let refused = harness.call(Operation::Update, &format!("{path}/{name}"), data);
            assert!(refused.is_err(), "{path}/{name:?}");
        }
    }
    assert_eq!(harness.rows.paths().len(), before);
}

#[test]
fn errors_do_not_repeat_what_was_sent() {
    let engine = engine("transit");
    let mut harness = Harness::new(&*engine);
    post(&mut harness, "keys/k", json!({})).unwrap();
    for (path, data) in [
        ("encrypt/k", json!({"plaintext": "hunter2!"})),
        ("encrypt/k", json!({"plaintext": "", "context": "hunter2!"})),
        (
            "encrypt/k",
            json!({"plaintext": "", "associated_data": "hunter2!"}),
        ),
        ("decrypt/k", json!({"ciphertext": "hunter2!"})),
        ("decrypt/k", json!({"ciphertext": "vault:v1:hunter2!"})),
        ("hmac/k", json!({"input": "hunter2!"})),
        ("restore", json!({"backup": "hunter2!"})),
    ] {
        let error = post(&mut harness, path, data).unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{path}: {error}");
    }
}
