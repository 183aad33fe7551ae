//! One version of a key within a backup: key material as OpenBao writes it, numbers in decimal. Whatever is read is checked
//! to be a key of its type, for nobody else will.

use conclave_engine_api::Error;
use num_bigint::BigUint;
use serde_json::{Map, Number, Value, json};
use zeroize::Zeroizing;

use super::certificates::{self, Chain};
use super::kind::{Kind, MAX_HMAC_BYTES, MIN_HMAC_BYTES};
use super::policy::Version;
use super::text::Secret;
use super::{der, ed, public, rsa, text};

/// Longest decimal number in a backup: of a modulus of 4096 bits, with room.
const MAX_DIGITS: usize = 1300;

/// The place of a version that never was.
pub(super) fn blank() -> Value {
    json!({
        "key": null, "hmac_key": null, "time": "0001-01-01T00:00:00Z", "ec_x": null, "ec_y": null, "ec_d": null,
        "rsa_key": null, "rsa_public_key": null, "public_key": "", "convergent_version": 0, "creation_time": 0,
        "certificate_chain": null, "external_key_ref": "",
    })
}

/// A version as a backup has it.
pub(super) fn write(kind: Kind, version: &Version) -> Result<Value, Error> {
    let key = version.key.expose();
    let mut entry = blank();
    let mut put = |name: &str, value: Value| {
        if let Some(map) = entry.as_object_mut() {
            map.insert(name.to_owned(), value);
        }
    };
    put("hmac_key", json!(text::encode(version.hmac_key.expose())));
    put("time", json!(version.time));
    put("creation_time", json!(version.created));
    put("convergent_version", json!(version.convergent_version));
    let chain: Vec<_> = certificates::kept(&version.certificates)
        .iter()
        .map(|der| text::encode(der))
        .collect();
    if !chain.is_empty() {
        put("certificate_chain", json!(chain));
    }
    let is_private = version.has_private();
    match kind.curve() {
        Some(curve) => {
            let (x, y) = version
                .public
                .get(1..)
                .and_then(|point| point.split_at_checked(curve.len()))
                .ok_or_else(|| Error::internal("a stored point is none"))?;
            put("ec_x", decimal(x)?);
            put("ec_y", decimal(y)?);
            if is_private {
                put("ec_d", decimal(key)?);
            }
            put("public_key", json!(public::written(kind, &version.public)));
        }
        None if kind.is_rsa() && is_private => put("rsa_key", write_rsa(key)?),
        None if kind.is_rsa() => {
            let (n, e) = rsa::components(&version.public)?;
            put("rsa_public_key", json!({"N": decimal(n)?, "E": decimal(e)?}));
        }
        None => {
            if is_private {
                put("key", json!(text::encode(key)));
            }
            if kind == Kind::Ed25519 {
                put("public_key", json!(public::written(kind, &version.public)));
            }
        }
    }
    Ok(entry)
}

fn write_rsa(key: &[u8]) -> Result<Value, Error> {
    let parts = rsa::pkcs1_der(key).and_then(|key| {
        let mut inner = der::Reader::new(der::Reader::new(key).next(der::SEQUENCE)?);
        inner.next(der::INTEGER)?;
        let mut numbers = Vec::new();
        while !inner.is_empty() {
            numbers.push(inner.positive()?);
        }
        <[&[u8]; 8]>::try_from(numbers).ok()
    });
    let [n, e, d, p, q, dp, dq, qinv] = parts.ok_or_else(|| Error::internal("a stored key is no RSA key"))?;
    Ok(json!({
        "N": decimal(n)?,
        "E": decimal(e)?,
        "D": decimal(d)?,
        "Primes": [decimal(p)?, decimal(q)?],
        "Precomputed": {"Dp": decimal(dp)?, "Dq": decimal(dq)?, "Qinv": decimal(qinv)?, "CRTValues": []},
    }))
}

fn decimal(bytes: &[u8]) -> Result<Value, Error> {
    let text = BigUint::from_bytes_be(bytes).to_str_radix(10);
    let number: Result<Number, _> = text.parse();
    number
        .map(Value::Number)
        .map_err(|_| Error::internal("a number does not encode"))
}

/// A version out of a backup.
pub(super) fn read(kind: Kind, from: &Map<String, Value>) -> Result<Version, Error> {
    let (key, public) = match kind.curve() {
        Some(_) => read_ec(kind, from)?,
        None if kind.is_rsa() && is_missing(from.get("rsa_key")) => {
            read_rsa_public(kind, from.get("rsa_public_key"))?
        }
        None if kind.is_rsa() => read_rsa(kind, from.get("rsa_key"))?,
        None => read_plain(kind, from)?,
    };
    let hmac_key = match kind {
        Kind::Hmac => key.clone(),
        _ => bytes(from, "hmac_key")?,
    };
    let external = from.get("external_key_ref");
    if !is_missing(external) {
        return Err(Error::Unsupported("keys in another system".to_owned()));
    }
    let certificates = read_chain(kind, from, &public)?;
    Ok(Version {
        key: Secret::new(key),
        hmac_key: Secret::new(hmac_key),
        public,
        time: from
            .get("time")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned(),
        created: from.get("creation_time").and_then(Value::as_i64).unwrap_or(0),
        convergent_version: from
            .get("convergent_version")
            .and_then(Value::as_i64)
            .unwrap_or(0),
        certificates,
    })
}

/// The certificates of a version, which must be of its public key.
fn read_chain(kind: Kind, from: &Map<String, Value>, public: &[u8]) -> Result<String, Error> {
    let found = match from.get("certificate_chain") {
        None | Some(Value::Null) => return Ok(String::new()),
        Some(Value::Array(found)) if found.is_empty() => return Ok(String::new()),
        Some(Value::Array(found)) => found,
        Some(_) => {
            return Err(Error::invalid(
                "certificate_chain of a version in the backup is no list",
            ));
        }
    };
    let decoded = found
        .iter()
        .map(|text| text::decode(text.as_str().unwrap_or_default()));
    let chain = Chain::new(decoded.collect::<Result<_, _>>()?)?;
    chain.check_key(kind, public)?;
    Ok(chain.pem())
}

type Material = (Zeroizing<Vec<u8>>, Vec<u8>);

fn read_plain(kind: Kind, from: &Map<String, Value>) -> Result<Material, Error> {
    if kind == Kind::Ed25519 && is_missing(from.get("key")) {
        let public = bytes(from, "public_key")?.to_vec();
        let fits = public.len() == ed::SEED_LEN;
        return fits
            .then(|| (Zeroizing::default(), public))
            .ok_or_else(|| wrong(kind));
    }
    let key = bytes(from, "key")?;
    let fits = match kind {
        Kind::Ed25519 => ed::key_of(key.get(..ed::SEED_LEN).unwrap_or_default())
            .is_ok_and(|known| known.as_slice() == key.as_slice()),
        Kind::Hmac => (MIN_HMAC_BYTES..=MAX_HMAC_BYTES).contains(&key.len()),
        _ => key.len() == kind.symmetric_bytes(),
    };
    if !fits {
        return Err(wrong(kind));
    }
    let public = match kind {
        Kind::Ed25519 => ed::public_of(&key).to_vec(),
        _ => Vec::new(),
    };
    Ok((key, public))
}

fn read_ec(kind: Kind, from: &Map<String, Value>) -> Result<Material, Error> {
    let number = |name: &str| from.get(name).and_then(number);
    let read = || {
        let curve = kind.curve()?;
        let given = [
            vec![4],
            curve.padded(&number("ec_x")?.to_bytes_be())?,
            curve.padded(&number("ec_y")?.to_bytes_be())?,
        ]
        .concat();
        if is_missing(from.get("ec_d")) {
            return curve.is_point(&given).then(|| (Zeroizing::default(), given));
        }
        let scalar = Zeroizing::new(curve.padded(&number("ec_d")?.to_bytes_be())?);
        let point = curve.point_of(&scalar)?;
        (given == point).then_some((scalar, point))
    };
    read().ok_or_else(|| wrong(kind))
}

/// The other five numbers of a key follow from these; they are computed anew, so that none is taken on trust.
fn read_rsa(kind: Kind, from: Option<&Value>) -> Result<Material, Error> {
    let read = || {
        let from = from?.as_object()?;
        let of = |name: &str| from.get(name).and_then(number);
        let (n, e, d) = (of("N")?, of("E")?, of("D")?);
        let [p, q] = from.get("Primes")?.as_array()?.as_slice() else {
            return None;
        };
        let (p, q) = (number(p)?, number(q)?);
        let one = BigUint::from(1u8);
        if p <= one || q <= one || n.bits() != u64::try_from(kind.rsa_bits()?).ok()? {
            return None;
        }
        let (dp, dq) = (&d % (&p - &one), &d % (&q - &one));
        let qinv = q.modinv(&p)?;
        let numbers =
            [&n, &e, &d, &p, &q, &dp, &dq, &qinv].map(|number| Zeroizing::new(number.to_bytes_be()));
        let mut inner = der::element(der::INTEGER, &[&[0]]);
        for number in &numbers {
            inner.extend_from_slice(&der::integer(number));
        }
        let key = rsa::pkcs8_of(&der::element(der::SEQUENCE, &[&inner]));
        let public = rsa::public_of(&key).ok()?;
        Some((key, public))
    };
    read().ok_or_else(|| wrong(kind))
}

/// A key whose private half stayed elsewhere.
fn read_rsa_public(kind: Kind, from: Option<&Value>) -> Result<Material, Error> {
    let read = || {
        let from = from?.as_object()?;
        let of = |name: &str| from.get(name).and_then(number);
        let public = rsa::public_from(&of("N")?.to_bytes_be(), &of("E")?.to_bytes_be());
        rsa::sound_public(&public, kind.rsa_bits()?)
    };
    let public = read().ok_or_else(|| wrong(kind))?;
    Ok((Zeroizing::default(), public))
}

/// Whether a member is not there, or as good as that.
fn is_missing(value: Option<&Value>) -> bool {
    value.is_none_or(|value| value.is_null() || value == "")
}

fn number(value: &Value) -> Option<BigUint> {
    let text = value.as_number()?.to_string();
    if text.len() > MAX_DIGITS {
        return None;
    }
    BigUint::parse_bytes(text.as_bytes(), 10)
}

fn bytes(from: &Map<String, Value>, name: &str) -> Result<Zeroizing<Vec<u8>>, Error> {
    let text = from.get(name).and_then(Value::as_str);
    let text = text.filter(|text| !text.is_empty());
    let text = text.ok_or_else(|| Error::invalid(format!("a version in the backup has no {name}")))?;
    text::decode(text).map_err(|_| Error::invalid(format!("{name} of a version in the backup is no base64")))
}

fn wrong(kind: Kind) -> Error {
    Error::invalid(format!(
        "a version in the backup is no key of type {}",
        kind.name()
    ))
}
