//! `export/`: key material of keys that may leave, in the encodings that other programs read.

use conclave_engine_api::{Error, Outcome, Reply, Request, Txn};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::kind::Kind;
use super::policy::{Policy, Version};
use super::{der, ed, public, rsa, text};

/// What is exported of each version.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Encryption,
    Signing,
    Hmac,
    Public,
    Certificates,
}

/// How it is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    /// What is usual for the type.
    Usual,
    Raw,
    Der,
    Pem,
}

/// `GET export/<type>/<name>[/<version>]`.
pub(super) fn export(
    txn: &mut Txn<'_>,
    part: &str,
    name: &str,
    version: &str,
    request: &Request<'_>,
) -> Result<Outcome, Error> {
    let part = part_named(part)?;
    let format = format_named(&request.fields().string("format")?.unwrap_or_default())?;
    let policy = Policy::load(txn, name)?.ok_or_else(Error::not_found)?;
    if !policy.exportable && !matches!(part, Part::Public | Part::Certificates) {
        return Err(Error::invalid("private key material is not exportable"));
    }
    policy.check_usable()?;
    match part {
        Part::Encryption if !policy.kind.encrypts() => {
            return Err(Error::invalid("encryption not supported for the key"));
        }
        Part::Signing if !policy.kind.signs() => {
            return Err(Error::invalid("signing not supported for the key"));
        }
        Part::Certificates if !policy.kind.signs() => {
            return Err(Error::invalid(
                "certificate chain not supported for keys that do not support signing",
            ));
        }
        _ => {}
    }
    let numbers = match version {
        "" => policy.usable(),
        "latest" => policy.latest..=policy.latest,
        text => {
            let number = version_in(&policy, text)?;
            number..=number
        }
    };
    let mut keys = Map::new();
    for number in numbers {
        let version = policy.kept_version(txn, number)?;
        let text = written(&policy, &version, part, format)?;
        keys.insert(number.to_string(), Value::from(text.as_str()));
    }
    Ok(Reply::json(json!({"name": policy.name, "type": policy.kind.name(), "keys": keys})).into())
}

fn part_named(name: &str) -> Result<Part, Error> {
    match name {
        "encryption-key" => Ok(Part::Encryption),
        "signing-key" => Ok(Part::Signing),
        "hmac-key" => Ok(Part::Hmac),
        "public-key" => Ok(Part::Public),
        "certificate-chain" => Ok(Part::Certificates),
        other => Err(Error::invalid(format!("invalid export type: {other}"))),
    }
}

fn format_named(name: &str) -> Result<Format, Error> {
    match name {
        "" => Ok(Format::Usual),
        "raw" => Ok(Format::Raw),
        "der" => Ok(Format::Der),
        "pem" => Ok(Format::Pem),
        other => Err(Error::invalid(format!("invalid format: {other}"))),
    }
}

/// The version that a text names, if it may leave.
pub(super) fn version_in(policy: &Policy, text: &str) -> Result<u64, Error> {
    let number = text.strip_prefix('v').unwrap_or(text);
    let number: i64 = number
        .parse()
        .map_err(|_| Error::invalid("invalid key version"))?;
    let number = u64::try_from(number).unwrap_or(0);
    if number < policy.min_decryption {
        return Err(Error::invalid(
            "version for export is below minimum decryption version",
        ));
    }
    if !policy.usable().contains(&number) {
        return Err(Error::invalid("version does not exist or cannot be found"));
    }
    Ok(number)
}

fn written(
    policy: &Policy,
    version: &Version,
    part: Part,
    format: Format,
) -> Result<Zeroizing<String>, Error> {
    let kind = policy.kind;
    let key = version.key.expose();
    let raw = |bytes: &[u8]| match format {
        Format::Usual | Format::Raw => Ok(Zeroizing::new(text::encode(bytes))),
        Format::Der | Format::Pem => Err(Error::invalid(
            "unknown format for HMAC key; supported values are `` or `raw`",
        )),
    };
    match part {
        Part::Hmac => raw(version.hmac_key.expose()),
        Part::Encryption if kind.is_symmetric() => raw(key),
        Part::Public => public_key(kind, &version.public, format),
        Part::Certificates if version.certificates.is_empty() => Err(Error::invalid(
            "selected key version does not have a certificate chain imported",
        )),
        Part::Certificates => Ok(Zeroizing::new(version.certificates.clone())),
        Part::Encryption | Part::Signing if !version.has_private() => Ok(Zeroizing::new(String::new())),
        Part::Encryption | Part::Signing => private(kind, version, format),
    }
}

fn private(kind: Kind, version: &Version, format: Format) -> Result<Zeroizing<String>, Error> {
    let (key, point) = (version.key.expose(), &version.public);
    if let Some(curve) = kind.curve() {
        return match format {
            Format::Raw => Err(unknown_format("ec")),
            Format::Usual => Ok(trimmed(&der::pem("EC PRIVATE KEY", &curve.sec1_der(key, point)))),
            _ => Ok(encoded("PRIVATE KEY", &curve.pkcs8_der(key, point), format)),
        };
    }
    if kind.is_rsa() {
        return match format {
            Format::Raw => Err(unknown_format("rsa")),
            Format::Usual => {
                let inner =
                    rsa::pkcs1_der(key).ok_or_else(|| Error::internal("a stored key is no RSA key"))?;
                Ok(der::pem("RSA PRIVATE KEY", inner))
            }
            Format::Pem => Ok(der::pem("PRIVATE KEY", key)),
            Format::Der => Ok(Zeroizing::new(text::encode(key))),
        };
    }
    match format {
        Format::Usual | Format::Raw => Ok(Zeroizing::new(text::encode(key))),
        _ => Ok(encoded("PRIVATE KEY", &ed::pkcs8_der(key), format)),
    }
}

fn public_key(kind: Kind, public: &[u8], format: Format) -> Result<Zeroizing<String>, Error> {
    let Some(info) = public::info(kind, public) else {
        return Err(Error::invalid(format!(
            "unknown key type {} for export type public-key",
            kind.name()
        )));
    };
    match format {
        Format::Usual | Format::Raw if kind == Kind::Ed25519 => Ok(Zeroizing::new(text::encode(public))),
        Format::Raw => Err(unknown_format(if kind.is_rsa() { "rsa" } else { "ec" })),
        Format::Usual | Format::Pem if kind.is_rsa() => Ok(der::pem("PUBLIC KEY", &info)),
        _ => Ok(encoded("PUBLIC KEY", &info, format)),
    }
}

/// DER in base64, or PEM without a line break at its end.
fn encoded(label: &str, der: &[u8], format: Format) -> Zeroizing<String> {
    match format {
        Format::Der => Zeroizing::new(text::encode(der)),
        _ => trimmed(&der::pem(label, der)),
    }
}

fn trimmed(text: &str) -> Zeroizing<String> {
    Zeroizing::new(text.trim_end().to_owned())
}

fn unknown_format(what: &str) -> Error {
    Error::invalid(format!(
        "unknown key format for {what} key; supported values are ``, `der`, or `pem`"
    ))
}
