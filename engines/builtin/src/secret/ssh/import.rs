//! Private keys that are brought along: OpenSSH's own form, PKCS#1, PKCS#8 and SEC 1, in PEM, not encrypted. Errors never repeat them.

use conclave_engine_api::Error;
use num_bigint::BigUint;
use zeroize::Zeroizing;

use super::super::transit::der::{self, INTEGER, OCTET_STRING, OID, SEQUENCE};
use super::super::transit::ec::Curve;
use super::super::transit::{ed, rsa};
use super::key::{Key, MAGIC, curve_of};
use super::wire::Reader;

/// Longest PEM text in bytes: a key of RSA with 16,384 bits has some 13,000.
const MAX_PEM: usize = 32 * 1024;

/// Reads the text of a private key.
pub(super) fn read(pem: &str) -> Result<Key, Error> {
    if pem.len() > MAX_PEM {
        return Err(Error::TooLarge(format!(
            "private_key is longer than {MAX_PEM} bytes"
        )));
    }
    let (label, bytes) = der::of_pem(pem).ok_or_else(|| unreadable("it is no PEM text"))?;
    let read = match label {
        "OPENSSH PRIVATE KEY" => return openssh(&bytes),
        "RSA PRIVATE KEY" if !pem.contains("ENCRYPTED") => {
            return Key::of_rsa(&rsa::pkcs8_of(&bytes));
        }
        "EC PRIVATE KEY" if !pem.contains("ENCRYPTED") => sec1(&bytes, None),
        "PRIVATE KEY" => return pkcs8(&bytes),
        _ => return Err(unreadable("it is encrypted, or of another kind")),
    };
    let (curve, scalar) = read.ok_or_else(|| unreadable("it is no key of a known curve"))?;
    Key::of_ec(curve, scalar)
}

fn unreadable(why: &str) -> Error {
    Error::invalid(format!("failed to parse private_key: {why}"))
}

/// `PrivateKeyInfo` (RFC 5208) of RSA, of a curve of NIST or of Ed25519 (RFC 8410).
fn pkcs8(bytes: &[u8]) -> Result<Key, Error> {
    const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
    let read = || {
        let mut inner = der::Reader::new(der::Reader::new(bytes).next(SEQUENCE)?);
        inner.next(INTEGER)?;
        let mut algorithm = der::Reader::new(inner.next(SEQUENCE)?);
        let (kind, curve) = (algorithm.next(OID)?, algorithm.next(OID));
        Some((kind, curve, inner.next(OCTET_STRING)?))
    };
    let (kind, curve, key) = read().ok_or_else(|| unreadable("it is no PKCS#8"))?;
    if kind == ED25519 {
        let seed = der::Reader::new(key).next(OCTET_STRING);
        return Key::of_ed25519(seed.ok_or_else(|| unreadable("it is no key of Ed25519"))?);
    }
    match curve.and_then(Curve::of_oid) {
        Some(curve) => {
            let read = sec1(key, Some(curve));
            let (curve, scalar) = read.ok_or_else(|| unreadable("it is no key of its curve"))?;
            Key::of_ec(curve, scalar)
        }
        None => Key::of_rsa(bytes),
    }
}

/// `ECPrivateKey` (RFC 5915): curve and scalar.
fn sec1(bytes: &[u8], curve: Option<Curve>) -> Option<(Curve, &[u8])> {
    const CURVE: u8 = 0xa0;
    let mut inner = der::Reader::new(der::Reader::new(bytes).next(SEQUENCE)?);
    inner.next(INTEGER)?;
    let scalar = inner.next(OCTET_STRING)?;
    let curve = match curve {
        Some(curve) => curve,
        None => Curve::of_oid(der::Reader::new(inner.next(CURVE)?).next(OID)?)?,
    };
    Some((curve, scalar))
}

/// OpenSSH's own form (its PROTOCOL.key).
fn openssh(bytes: &[u8]) -> Result<Key, Error> {
    let outer = || {
        let mut reader = Reader::new(bytes.strip_prefix(MAGIC)?);
        let cipher = reader.string()?;
        reader.string()?;
        reader.string()?;
        (reader.u32()? == 1).then_some(())?;
        reader.string()?;
        Some((cipher, reader.string()?))
    };
    let (cipher, inner) = outer().ok_or_else(|| unreadable("it is no private key of OpenSSH"))?;
    if cipher != b"none" {
        return Err(unreadable("it is encrypted"));
    }
    let broken = || unreadable("it is no private key of OpenSSH");
    let mut reader = Reader::new(inner);
    if reader.u32().ok_or_else(broken)? != reader.u32().ok_or_else(broken)? {
        return Err(broken());
    }
    let kind = reader.string().ok_or_else(broken)?;
    match kind {
        b"ssh-ed25519" => {
            reader.string().ok_or_else(broken)?;
            let pair = reader.string().ok_or_else(broken)?;
            Key::of_ed25519(pair.get(..ed::SEED_LEN).ok_or_else(broken)?)
        }
        b"ssh-rsa" => Key::of_rsa(&rsa::pkcs8_of(&pkcs1(&mut reader).ok_or_else(broken)?)),
        _ => {
            let bits = kind.strip_prefix(b"ecdsa-sha2-nistp").ok_or_else(broken)?;
            let bits = std::str::from_utf8(bits).ok().and_then(|bits| bits.parse().ok());
            let curve = curve_of(bits.ok_or_else(broken)?)?;
            reader.string().and_then(|_| reader.string()).ok_or_else(broken)?;
            Key::of_ec(curve, reader.integer().ok_or_else(broken)?)
        }
    }
}

/// `RSAPrivateKey` (RFC 8017) of what OpenSSH keeps: n, e, d, the coefficient, p and q.
fn pkcs1(reader: &mut Reader<'_>) -> Option<Zeroizing<Vec<u8>>> {
    let (n, e, d) = (reader.integer()?, reader.integer()?, reader.integer()?);
    let (coefficient, p, q) = (reader.integer()?, reader.integer()?, reader.integer()?);
    let one = BigUint::from(1u8);
    let exponent = |prime: &[u8]| {
        let prime = BigUint::from_bytes_be(prime);
        (prime > one).then(|| {
            let reduced = BigUint::from_bytes_be(d) % (prime - &one);
            Zeroizing::new(reduced.to_bytes_be())
        })
    };
    let (of_p, of_q) = (exponent(p)?, exponent(q)?);
    let integers = [&[][..], n, e, d, p, q, &of_p, &of_q, coefficient].map(der::integer);
    let integers: Vec<&[u8]> = integers.iter().map(|integer| integer.as_slice()).collect();
    Some(der::element(SEQUENCE, &integers))
}
