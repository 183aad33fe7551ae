//! Certificates of transit keys: requests for them, and those that are kept.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use conclave_engine_api::testkit::Harness;
use conclave_engine_api::{Error, Operation};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SubjectPublicKeyInfo};
use serde_json::{Value, json};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer as _;

use crate::script::engine;

/// Types that sign, and the hash that certificates are signed with.
pub(crate) const KINDS: [(&str, &str); 5] = [
    ("ecdsa-p256", "sha2-256"),
    ("ecdsa-p384", "sha2-384"),
    ("ecdsa-p521", "sha2-512"),
    ("ed25519", "sha2-256"),
    ("rsa-2048", "sha2-256"),
];

pub(crate) fn post(harness: &mut Harness<'_>, path: &str, data: Value) -> Result<Value, Error> {
    let reply = harness.call(Operation::Update, path, data)?;
    Ok(Value::Object(reply.data.unwrap_or_default()))
}

pub(crate) fn get(harness: &mut Harness<'_>, path: &str, data: Value) -> Result<Value, Error> {
    let reply = harness.call(Operation::Read, path, data)?;
    Ok(Value::Object(reply.data.unwrap_or_default()))
}

/// What is said of a request that must be refused.
pub(crate) fn refused(harness: &mut Harness<'_>, path: &str, data: Value) -> String {
    let error = post(harness, path, data).unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{path}: {error}");
    error.to_string()
}

pub(crate) fn of_pem(text: &str) -> Vec<u8> {
    let body: String = text.lines().filter(|line| !line.starts_with("-----")).collect();
    STANDARD.decode(body).unwrap()
}

/// The public key of a version, as it is shown.
pub(crate) fn public_key(harness: &mut Harness<'_>, name: &str, version: &str) -> String {
    let path = format!("export/public-key/{name}/{version}");
    let shown = get(harness, &path, json!({"format": "pem"})).unwrap();
    shown["keys"][version].as_str().unwrap().to_owned()
}

#[test]
fn a_request_for_a_certificate_is_signed_by_its_key() {
    let engine = engine("transit");
    let mut harness = Harness::new(&*engine);
    let mut params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "somebody");
    let foreign = KeyPair::generate().unwrap();
    let template = params.serialize_request(&foreign).unwrap();
    for (kind, hash) in KINDS {
        post(&mut harness, &format!("keys/{kind}"), json!({"type": kind})).unwrap();
        for asked in [
            json!({}),
            json!({"csr": template.pem().unwrap()}),
            json!({"version": 1}),
        ] {
            let made = post(&mut harness, &format!("keys/{kind}/csr"), asked.clone()).unwrap();
            assert_eq!((&made["name"], &made["type"]), (&json!(kind), &json!(kind)));
            let der = of_pem(made["csr"].as_str().unwrap());
            let (rest, csr) = X509CertificationRequest::from_der(&der).unwrap();
            assert!(rest.is_empty());
            let info = &csr.certification_request_info;
            assert_eq!(
                info.subject_pki.raw,
                of_pem(&public_key(&mut harness, kind, "1")),
                "{kind}"
            );
            let wants = asked.get("csr").is_some();
            assert_eq!(info.subject.to_string(), if wants { "CN=somebody" } else { "" });
            let (_, original) = X509CertificationRequest::from_der(template.der()).unwrap();
            let extensions = |csr: &X509CertificationRequest<'_>| {
                let found = csr
                    .requested_extensions()
                    .map(|found| format!("{:?}", found.collect::<Vec<_>>()));
                found.unwrap_or_default()
            };
            assert_eq!(
                extensions(&csr),
                if wants {
                    extensions(&original)
                } else {
                    String::new()
                }
            );
            let verified = post(
                &mut harness,
                &format!("verify/{kind}"),
                json!({
                    "input": STANDARD.encode(info.raw), "hash_algorithm": hash, "signature_algorithm": "pkcs1v15",
                    "signature": format!("vault:v1:{}", STANDARD.encode(&csr.signature_value.data)),
                }),
            );
            assert_eq!(verified.unwrap()["valid"], true, "{kind}");
            if kind != "ecdsa-p521" {
                csr.verify_signature().unwrap();
            }
        }
    }
}

#[test]
fn a_request_that_makes_no_sense_is_not_signed() {
    let engine = engine("transit");
    let mut harness = Harness::new(&*engine);
    post(&mut harness, "keys/k", json!({"type": "ed25519"})).unwrap();
    post(
        &mut harness,
        "keys/d",
        json!({"type": "ed25519", "derived": true}),
    )
    .unwrap();
    post(&mut harness, "keys/a", json!({})).unwrap();
    let certificate = CertificateParams::default().self_signed(&KeyPair::generate().unwrap());
    for (path, asked, told) in [
        (
            "keys/none/csr",
            json!({}),
            "key with provided name 'none' not found",
        ),
        (
            "keys/a/csr",
            json!({}),
            "key type 'aes256-gcm96' does not support signing",
        ),
        (
            "keys/d/csr",
            json!({}),
            "operation not supported for keys with derivation enabled",
        ),
        (
            "keys/k/csr",
            json!({"version": 2}),
            "could not create the csr: no such key version",
        ),
        (
            "keys/k/csr",
            json!({"version": -1}),
            "could not create the csr: no such key version",
        ),
        ("keys/k/csr", json!({"csr": "x"}), "could not decode PEM CSR"),
        (
            "keys/k/csr",
            json!({"csr": certificate.unwrap().pem()}),
            "csr is no certificate request (PKCS#10) in DER",
        ),
    ] {
        assert_eq!(refused(&mut harness, path, asked), told);
    }
    let long = json!({"csr": "x".repeat(40_000)});
    let error = post(&mut harness, "keys/k/csr", long).unwrap_err();
    assert!(matches!(error, Error::TooLarge(_)), "{error}");
    post(&mut harness, "keys/k/config", json!({})).unwrap();
    harness
        .call(Operation::Delete, "keys/k/soft-delete", json!({}))
        .unwrap();
    assert_eq!(
        refused(&mut harness, "keys/k/csr", json!({})),
        "refusing to use soft-deleted key"
    );
}

/// Lines that are not empty.
fn lines(text: &str) -> Vec<&str> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect()
}

/// An authority, its certificate, and one that it makes for a public key.
fn certified(public: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::from_params(&params, &key);
    let public = SubjectPublicKeyInfo::from_pem(public).unwrap();
    let leaf = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
    (authority, leaf.signed_by(&public, &issuer).unwrap().pem())
}

#[test]
fn certificates_stay_with_the_version_they_are_of() {
    let engine = engine("transit");
    for kind in ["ecdsa-p256", "ed25519"] {
        let mut harness = Harness::new(&*engine);
        let made = json!({"type": kind, "exportable": true, "allow_plaintext_backup": true});
        post(&mut harness, "keys/k", made).unwrap();
        let (authority, leaf) = certified(&public_key(&mut harness, "k", "1"));
        let chain = format!("{leaf}\n{authority}");
        let said = post(
            &mut harness,
            "keys/k/set-certificate",
            json!({"certificate_chain": chain}),
        )
        .unwrap();
        assert_eq!(
            said,
            json!({"name": "k", "type": kind, "certificate_chain": chain})
        );
        let shown = get(&mut harness, "keys/k", json!({})).unwrap();
        let kept = shown["keys"]["1"]["certificate_chain"]
            .as_str()
            .unwrap()
            .to_owned();
        assert_eq!(lines(&kept), lines(&chain));
        let exported = get(&mut harness, "export/certificate-chain/k/1", json!({})).unwrap();
        assert_eq!(exported["keys"]["1"], kept);
        // Another version is another key.
        post(&mut harness, "keys/k/rotate", json!({})).unwrap();
        assert_eq!(
            refused(
                &mut harness,
                "keys/k/set-certificate",
                json!({"certificate_chain": chain})
            ),
            "failed to persist certificate chain: leaf certificate public key does not match the selected key version"
        );
        let again = json!({"certificate_chain": leaf, "version": 1});
        post(&mut harness, "keys/k/set-certificate", again).unwrap();
        let shown = get(&mut harness, "keys/k", json!({})).unwrap();
        assert_eq!(shown["keys"]["1"]["certificate_chain"], leaf.trim_end());
        assert_eq!(shown["keys"]["2"]["certificate_chain"], "");
        let error = get(&mut harness, "export/certificate-chain/k", json!({})).unwrap_err();
        assert_eq!(
            error.to_string(),
            "selected key version does not have a certificate chain imported"
        );
        // They move with the key.
        let backup = get(&mut harness, "backup/k", json!({})).unwrap()["backup"].clone();
        post(&mut harness, "restore/moved", json!({"backup": backup})).unwrap();
        let moved = get(&mut harness, "keys/moved", json!({})).unwrap();
        assert_eq!(moved["keys"], shown["keys"]);
    }
}

/// Four keys that certificates may be of or not, and an authority and a certificate of the first.
pub(crate) fn four_keys(harness: &mut Harness<'_>) -> (String, String) {
    for (name, kind) in [
        ("p", "ecdsa-p256"),
        ("q", "ecdsa-p384"),
        ("e", "ed25519"),
        ("a", "hmac"),
    ] {
        post(harness, &format!("keys/{name}"), json!({"type": kind})).unwrap();
    }
    certified(&public_key(harness, "p", "1"))
}

#[test]
fn texts_that_are_no_chain_are_refused() {
    let engine = engine("transit");
    let mut harness = Harness::new(&*engine);
    let (authority, leaf) = four_keys(&mut harness);
    let none = "provided certificate chain did not contain any valid PEM encoded certificate";
    let broken = "could not decode a PEM block in the certificate chain";
    let persist = "failed to persist certificate chain: ";
    for (chain, told) in [
        (String::new(), none.to_owned()),
        (public_key(&mut harness, "p", "1"), none.to_owned()),
        ("x".to_owned(), broken.to_owned()),
        (format!("{leaf}x"), broken.to_owned()),
        (
            "-----BEGIN CERTIFICATE-----\naGk=\n-----END CERTIFICATE-----".to_owned(),
            "could not parse a certificate in the certificate chain".to_owned(),
        ),
        (
            leaf.repeat(21),
            "a certificate chain has more than 20 certificates".to_owned(),
        ),
        (
            format!("{authority}{leaf}"),
            format!("{persist}certificate in the first element is not a valid leaf certificate"),
        ),
        (
            format!("{leaf}{leaf}"),
            format!("{persist}certificate in the last element is not a valid CA certificate"),
        ),
        (
            format!("{leaf}{leaf}{authority}"),
            format!(
                "{persist}could not validate if there is only one leaf certificate in the provided chain"
            ),
        ),
    ] {
        let asked = json!({"certificate_chain": chain});
        assert_eq!(refused(&mut harness, "keys/p/set-certificate", asked), told);
    }
}

#[test]
fn certificates_of_others_are_refused() {
    let engine = engine("transit");
    let mut harness = Harness::new(&*engine);
    let (_, leaf) = four_keys(&mut harness);
    for (name, version, told) in [
        ("none", 1, "key with provided name 'none' not found"),
        ("a", 1, "key type 'hmac' does not support signing"),
        ("p", 3, "failed to persist certificate chain: no such key version"),
        (
            "q",
            1,
            "failed to persist certificate chain: leaf certificate public key does not match the selected key version",
        ),
        (
            "e",
            1,
            "failed to persist certificate chain: could not validate key match between leaf certificate key and key entry \
             in transit: provided leaf certificate public key algorithm 'ECDSA' does not match the transit key type \
             'ed25519'",
        ),
    ] {
        let asked = json!({"certificate_chain": leaf, "version": version});
        assert_eq!(
            refused(&mut harness, &format!("keys/{name}/set-certificate"), asked),
            told
        );
    }
    let shown = get(&mut harness, "keys/p", json!({})).unwrap();
    assert_eq!(shown["keys"]["1"]["certificate_chain"], "");
}
