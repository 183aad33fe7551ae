//! ECDSA over the NIST curves: keys, signatures in both forms, and the encodings of both. A private key is the scalar, a
//! public key the uncompressed point (SEC 1), both of fixed length.

use aws_lc_rs::agreement::{self, ECDH_P256, ECDH_P384, ECDH_P521, PrivateKey};
use aws_lc_rs::digest::{Algorithm, Digest, SHA256, SHA384, SHA512};
use aws_lc_rs::signature::{
    self, EcdsaKeyPair, EcdsaSigningAlgorithm, EcdsaVerificationAlgorithm, KeyPair as _, ParsedPublicKey,
    UnparsedPublicKey,
};
use conclave_engine_api::{Env, Error};
use zeroize::Zeroizing;

use super::der::{self, BIT_STRING, CONTEXT_0, INTEGER, OCTET_STRING, OID, SEQUENCE};
use super::hash::Hash;

/// `id-ecPublicKey` (RFC 5480).
pub(in crate::secret) const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
/// How often a scalar is drawn before the source of randomness is called broken. One draw fails for P-256 with a chance
/// of 2^-32, for the other curves with a smaller one.
const DRAWS: usize = 8;

/// A curve.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::secret) enum Curve {
    P256,
    P384,
    P521,
}

/// A fresh key.
pub(in crate::secret) struct Fresh {
    pub(in crate::secret) scalar: Zeroizing<Vec<u8>>,
    pub(in crate::secret) point: Vec<u8>,
}

impl Curve {
    /// The name that Go gives it.
    pub(in crate::secret) fn name(self) -> &'static str {
        match self {
            Self::P256 => "P-256",
            Self::P384 => "P-384",
            Self::P521 => "P-521",
        }
    }

    /// Bytes of a scalar and of a coordinate.
    pub(in crate::secret) fn len(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }

    fn oid(self) -> &'static [u8] {
        match self {
            Self::P256 => &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07],
            Self::P384 => &[0x2b, 0x81, 0x04, 0x00, 0x22],
            Self::P521 => &[0x2b, 0x81, 0x04, 0x00, 0x23],
        }
    }

    /// The curve of an identifier.
    pub(in crate::secret) fn of_oid(oid: &[u8]) -> Option<Self> {
        [Self::P256, Self::P384, Self::P521]
            .into_iter()
            .find(|curve| curve.oid() == oid)
    }

    fn signing(self) -> &'static EcdsaSigningAlgorithm {
        match self {
            Self::P256 => &signature::ECDSA_P256_SHA256_FIXED_SIGNING,
            Self::P384 => &signature::ECDSA_P384_SHA384_FIXED_SIGNING,
            Self::P521 => &signature::ECDSA_P521_SHA512_FIXED_SIGNING,
        }
    }

    fn verifying(self) -> &'static EcdsaVerificationAlgorithm {
        match self {
            Self::P256 => &signature::ECDSA_P256_SHA256_FIXED,
            Self::P384 => &signature::ECDSA_P384_SHA384_FIXED,
            Self::P521 => &signature::ECDSA_P521_SHA512_FIXED,
        }
    }

    fn hash(self) -> &'static Algorithm {
        match self {
            Self::P256 => &SHA256,
            Self::P384 => &SHA384,
            Self::P521 => &SHA512,
        }
    }

    /// Draws a key.
    pub(in crate::secret) fn generate(self, env: &mut Env<'_>) -> Result<Fresh, Error> {
        for _ in 0..DRAWS {
            let mut scalar = Zeroizing::new(vec![0; self.len()]);
            env.fill(&mut scalar);
            if let (Self::P521, Some(first)) = (self, scalar.first_mut()) {
                *first &= 1;
            }
            if let Some(point) = self.point_of(&scalar) {
                return Ok(Fresh { scalar, point });
            }
        }
        Err(Error::internal("no scalar of the curve could be drawn"))
    }

    /// The public point of a scalar; `None` if it is zero or not below the order.
    pub(in crate::secret) fn point_of(self, scalar: &[u8]) -> Option<Vec<u8>> {
        let der = der::element(
            SEQUENCE,
            &[
                &der::element(INTEGER, &[&[1]]),
                &der::element(OCTET_STRING, &[scalar]),
                &der::element(CONTEXT_0, &[&der::element(OID, &[self.oid()])]),
            ],
        );
        let pair = EcdsaKeyPair::from_private_key_der(self.signing(), &der).ok()?;
        Some(pair.public_key().as_ref().to_vec())
    }

    /// Whether bytes are an uncompressed point on the curve (SEC 1, section 2.3.4), other than the one at infinity.
    pub(in crate::secret) fn is_point(self, bytes: &[u8]) -> bool {
        let uncompressed = bytes.len() == 1 + 2 * self.len() && bytes.first() == Some(&4);
        uncompressed && ParsedPublicKey::new(self.verifying(), bytes).is_ok()
    }

    /// What both of two keys can compute (SEC 1, section 3.3.1): the first coordinate of the common point. `None` if `point` is
    /// none of the curve.
    pub(in crate::secret) fn agree(self, scalar: &[u8], point: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let algorithm = match self {
            Self::P256 => &ECDH_P256,
            Self::P384 => &ECDH_P384,
            Self::P521 => &ECDH_P521,
        };
        let own = PrivateKey::from_private_key(algorithm, scalar).ok()?;
        let theirs = agreement::UnparsedPublicKey::new(algorithm, point);
        agreement::agree(&own, theirs, (), |secret| Ok(Zeroizing::new(secret.to_vec()))).ok()
    }

    /// The hash that certificates and requests for them are signed with, and the identifier of both (RFC 5758, section 3.2).
    pub(in crate::secret) fn certificate_hash(self) -> (Hash, &'static [u8]) {
        match self {
            Self::P256 => (Hash::Sha256, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02]),
            Self::P384 => (Hash::Sha384, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03]),
            Self::P521 => (Hash::Sha512, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x04]),
        }
    }

    /// Signs a hash of any length: `r` and `s`, each of the curve's length.
    pub(in crate::secret) fn sign(self, scalar: &[u8], point: &[u8], hash: &[u8]) -> Result<Vec<u8>, Error> {
        let pair = EcdsaKeyPair::from_private_key_and_public_key(self.signing(), scalar, point)
            .map_err(|_| Error::internal("a stored key is no key of its curve"))?;
        let signature = pair.sign_digest(&self.number_of(hash)?);
        let signature = signature.map_err(|_| Error::internal("the signature could not be made"))?;
        Ok(signature.as_ref().to_vec())
    }

    /// Whether `signature` (`r` and `s` of the curve's length) is one of `hash`.
    pub(in crate::secret) fn verify(
        self,
        point: &[u8],
        hash: &[u8],
        signature: &[u8],
    ) -> Result<bool, Error> {
        let key = UnparsedPublicKey::new(self.verifying(), point);
        Ok(key.verify_digest(&self.number_of(hash)?, signature).is_ok())
    }

    /// A hash as the number that is signed (FIPS 186-5, section 6.4.1): its leftmost bits if it is longer than the order,
    /// itself if it is shorter, which zeros in front do not change.
    fn number_of(self, hash: &[u8]) -> Result<Digest, Error> {
        let wanted = self.hash().output_len();
        let mut number = vec![0; wanted.saturating_sub(hash.len())];
        if self == Self::P521 && hash.len() > wanted {
            return Err(Error::Unsupported(format!(
                "input for a key on P-521 that is longer than {wanted} bytes after hashing"
            )));
        }
        number.extend(hash.iter().take(wanted));
        Digest::import_less_safe(&number, self.hash()).map_err(|_| Error::internal("a hash has no length"))
    }

    /// `r` and `s` as ASN.1 has them (RFC 3279).
    pub(in crate::secret) fn to_asn1(self, signature: &[u8]) -> Vec<u8> {
        let (r, s) = signature.split_at_checked(self.len()).unwrap_or_default();
        der::element(SEQUENCE, &[&der::integer(r), &der::integer(s)]).to_vec()
    }

    /// From ASN.1 to `r` and `s` of the curve's length. `Ok(None)`: well formed, yet no signature of this curve.
    pub(in crate::secret) fn of_asn1(self, bytes: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let invalid = || Error::invalid("supplied signature is invalid");
        let mut outer = der::Reader::new(bytes);
        let mut inner = der::Reader::new(outer.next(SEQUENCE).ok_or_else(invalid)?);
        let (r, s) = (inner.positive(), inner.positive());
        let (r, s) = r.zip(s).ok_or_else(invalid)?;
        if !inner.is_empty() {
            return Err(invalid());
        }
        if !outer.is_empty() {
            return Err(Error::invalid("supplied signature contains extra data"));
        }
        Ok(self.padded(r).zip(self.padded(s)).map(|(r, s)| [r, s].concat()))
    }

    /// Big-endian bytes with zeros in front up to the curve's length.
    pub(in crate::secret) fn padded(self, bytes: &[u8]) -> Option<Vec<u8>> {
        let zeros = self.len().checked_sub(bytes.len())?;
        let mut out = vec![0; zeros];
        out.extend_from_slice(bytes);
        Some(out)
    }

    /// The public key as a `SubjectPublicKeyInfo` (RFC 5480).
    pub(in crate::secret) fn public_der(self, point: &[u8]) -> Zeroizing<Vec<u8>> {
        der::element(
            SEQUENCE,
            &[&self.algorithm(), &der::element(BIT_STRING, &[&[0], point])],
        )
    }

    /// The private key as an `ECPrivateKey` (RFC 5915).
    pub(in crate::secret) fn sec1_der(self, scalar: &[u8], point: &[u8]) -> Zeroizing<Vec<u8>> {
        let curve = der::element(CONTEXT_0, &[&der::element(OID, &[self.oid()])]);
        private(scalar, point, &curve)
    }

    /// The private key as a `PrivateKeyInfo` (RFC 5208).
    pub(in crate::secret) fn pkcs8_der(self, scalar: &[u8], point: &[u8]) -> Zeroizing<Vec<u8>> {
        let key = private(scalar, point, &[]);
        der::element(
            SEQUENCE,
            &[
                &der::element(INTEGER, &[&[0]]),
                &self.algorithm(),
                &der::element(OCTET_STRING, &[&key]),
            ],
        )
    }

    fn algorithm(self) -> Zeroizing<Vec<u8>> {
        der::element(
            SEQUENCE,
            &[
                &der::element(OID, &[EC_PUBLIC_KEY]),
                &der::element(OID, &[self.oid()]),
            ],
        )
    }
}

fn private(scalar: &[u8], point: &[u8], curve: &[u8]) -> Zeroizing<Vec<u8>> {
    let public = der::element(BIT_STRING, &[&[0], point]);
    der::element(
        SEQUENCE,
        &[
            &der::element(INTEGER, &[&[1]]),
            &der::element(OCTET_STRING, &[scalar]),
            curve,
            &der::element(0xa1, &[&public]),
        ],
    )
}
