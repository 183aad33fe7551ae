//! Public keys as others write them: the `SubjectPublicKeyInfo` (RFC 5280) of certificates and of PEM texts, to and from the form
//! that each type is kept in. Knows no private key.

use conclave_engine_api::Error;
use zeroize::Zeroizing;

use super::der::{self, BIT_STRING, OID, SEQUENCE};
use super::ec::{Curve, EC_PUBLIC_KEY};
use super::kind::Kind;
use super::{ed, rsa, text};

/// A public key as a `SubjectPublicKeyInfo`; `None` for a type that has none.
pub(super) fn info(kind: Kind, public: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    if let Some(curve) = kind.curve() {
        return Some(curve.public_der(public));
    }
    if kind.is_rsa() {
        return Some(rsa::public_der(public));
    }
    (kind == Kind::Ed25519).then(|| ed::public_der(public))
}

/// A public key that somebody shows, of whatever algorithm.
pub(super) struct Shown<'a> {
    algorithm: Algorithm,
    key: &'a [u8],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Algorithm {
    Rsa,
    /// A point on a curve, of those known here or another.
    Ec(Option<Curve>),
    Ed25519,
    Other,
}

impl<'a> Shown<'a> {
    /// Reads a `SubjectPublicKeyInfo`; `None` if it is none.
    pub(super) fn read(info: &'a [u8]) -> Option<Self> {
        let mut outer = der::Reader::new(info);
        let mut inner = der::Reader::new(outer.next(SEQUENCE)?);
        let mut algorithm = der::Reader::new(inner.next(SEQUENCE)?);
        let (oid, curve) = (algorithm.next(OID)?, algorithm.next(OID));
        // Keys are whole bytes: no bit of the last one is unused.
        let key = inner.next(BIT_STRING)?.strip_prefix(&[0])?;
        (outer.is_empty() && inner.is_empty()).then_some(())?;
        let algorithm = match oid {
            rsa::RSA_ENCRYPTION => Algorithm::Rsa,
            EC_PUBLIC_KEY => Algorithm::Ec(curve.and_then(Curve::of_oid)),
            ed::ED25519_OID => Algorithm::Ed25519,
            _ => Algorithm::Other,
        };
        Some(Self { algorithm, key })
    }

    /// The name that Go gives its algorithm.
    pub(super) fn algorithm(&self) -> &'static str {
        match self.algorithm {
            Algorithm::Rsa => "RSA",
            Algorithm::Ec(_) => "ECDSA",
            Algorithm::Ed25519 => "Ed25519",
            Algorithm::Other => "0",
        }
    }

    /// Whether it is of the algorithm of a type, be it of its size or not.
    pub(super) fn is_like(&self, kind: Kind) -> bool {
        match self.algorithm {
            Algorithm::Rsa => kind.is_rsa(),
            Algorithm::Ec(_) => kind.curve().is_some(),
            Algorithm::Ed25519 => kind == Kind::Ed25519,
            Algorithm::Other => false,
        }
    }

    /// Whether it says that it is a point on this curve.
    pub(super) fn is_of(&self, curve: Curve) -> bool {
        self.algorithm == Algorithm::Ec(Some(curve))
    }

    /// The key in the form that a type has; `None` if it is not a sound key of that type.
    pub(super) fn of_kind(&self, kind: Kind) -> Option<Vec<u8>> {
        match self.algorithm {
            Algorithm::Rsa => rsa::sound_public(self.key, kind.rsa_bits()?),
            Algorithm::Ec(curve) => {
                let own = kind.curve()?;
                (curve == Some(own) && own.is_point(self.key)).then(|| self.key.to_vec())
            }
            Algorithm::Ed25519 => {
                (kind == Kind::Ed25519 && self.key.len() == ed::SEED_LEN).then(|| self.key.to_vec())
            }
            Algorithm::Other => None,
        }
    }
}

/// The bytes of a PEM text of at most `limit` bytes. `field` names it in errors.
pub(super) fn of_pem(field: &str, pem: &str, limit: usize) -> Result<Zeroizing<Vec<u8>>, Error> {
    if pem.len() > limit {
        return Err(Error::TooLarge(format!("{field} is longer than {limit} bytes")));
    }
    let (_, bytes) = der::of_pem(pem).ok_or_else(|| Error::invalid(format!("{field} is no PEM text")))?;
    Ok(bytes)
}

/// Public keys of versions in the text that their type has: base64 for Ed25519, PEM for the others.
pub(super) fn written(kind: Kind, public: &[u8]) -> String {
    match info(kind, public).filter(|_| kind != Kind::Ed25519) {
        Some(info) => der::pem("PUBLIC KEY", &info).to_string(),
        None => text::encode(public),
    }
}
