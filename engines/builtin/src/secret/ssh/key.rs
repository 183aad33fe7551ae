//! Private keys: made, kept, written for others and used to sign. Knows no paths and no certificates.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use conclave_engine_api::{Env, Error, Heavy, Hidden};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::super::transit::ec::Curve;
use super::super::transit::hash::Hash;
use super::super::transit::rsa::{self, Scheme};
use super::super::transit::{der, ed};
use super::public::{Family, PublicKey};
use super::wire::Writer;

/// Bits of an RSA key unless told otherwise, as Vault's.
const RSA_BITS: usize = 4096;
/// What a private key of OpenSSH begins with.
pub(super) const MAGIC: &[u8] = b"openssh-key-v1\0";

/// What key is to be made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    Rsa(usize),
    Ec(Curve),
    Ed25519,
}

impl Wish {
    /// By the names of Vault and those of OpenSSH; 0 bits: as is usual.
    pub(super) fn named(name: &str, bits: u64) -> Result<Self, Error> {
        match (name, bits) {
            ("rsa" | "ssh-rsa", 0) => Ok(Self::Rsa(RSA_BITS)),
            ("rsa" | "ssh-rsa", 2048) => Ok(Self::Rsa(2048)),
            ("rsa" | "ssh-rsa", 3072) => Ok(Self::Rsa(3072)),
            ("rsa" | "ssh-rsa", 4096) => Ok(Self::Rsa(4096)),
            ("rsa" | "ssh-rsa", bits) if bits < 2048 => Err(Error::invalid(format!(
                "refusing to generate weak rsa key: {bits} bits < 2048 bits"
            ))),
            ("rsa" | "ssh-rsa", bits) => Err(Error::Unsupported(format!("an RSA key of {bits} bits"))),
            ("ec", 0 | 256) | ("ecdsa-sha2-nistp256", _) => Ok(Self::Ec(Curve::P256)),
            ("ec", 384) | ("ecdsa-sha2-nistp384", _) => Ok(Self::Ec(Curve::P384)),
            ("ec", 521) | ("ecdsa-sha2-nistp521", _) => Ok(Self::Ec(Curve::P521)),
            ("ec", bits) => Err(Error::invalid(format!(
                "unknown ECDSA key pair algorithm and bits: ec / {bits}"
            ))),
            ("ed25519" | "ssh-ed25519", _) => Ok(Self::Ed25519),
            _ => Err(Error::invalid(format!("unknown ssh key pair algorithm: {name}"))),
        }
    }
}

impl Wish {
    /// What it would be.
    pub(super) fn family(self) -> Family {
        match self {
            Self::Rsa(_) => Family::Rsa,
            Self::Ec(_) => Family::Ec,
            Self::Ed25519 => Family::Ed25519,
        }
    }
}

/// A private key.
#[derive(Clone, Serialize, Deserialize)]
#[serde(tag = "kind", deny_unknown_fields)]
pub(super) enum Key {
    /// PKCS#8.
    #[serde(rename = "rsa")]
    Rsa {
        #[serde(with = "crate::wiped")]
        key: Hidden,
    },
    /// The scalar, and the bits of the curve.
    #[serde(rename = "ec")]
    Ec {
        bits: usize,
        #[serde(with = "crate::wiped")]
        key: Hidden,
    },
    /// The seed.
    #[serde(rename = "ed25519")]
    Ed25519 {
        #[serde(with = "crate::wiped")]
        key: Hidden,
    },
}

/// How a key of RSA signs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    /// As is usual for the key.
    Usual,
    RsaSha256,
    RsaSha512,
}

impl Key {
    /// Makes one, or says what must be computed for it first.
    pub(super) fn make(wish: Wish, env: &mut Env<'_>) -> Result<Result<Self, Heavy>, Error> {
        Ok(Ok(match wish {
            Wish::Rsa(bits) => {
                let slow = Heavy::new(format!("ssh rsa {bits}"), move || {
                    rsa::generate(bits).unwrap_or_default()
                });
                match env.compute(slow) {
                    Ok(key) => Self::of_rsa(key)?,
                    Err(slow) => return Ok(Err(slow)),
                }
            }
            Wish::Ec(curve) => Self::of_ec(curve, &curve.generate(env)?.scalar)?,
            Wish::Ed25519 => {
                let mut seed = Zeroizing::new([0; ed::SEED_LEN]);
                env.fill(&mut *seed);
                Self::of_ed25519(&*seed)?
            }
        }))
    }

    /// The key of an RSA key in PKCS#8.
    pub(super) fn of_rsa(pkcs8: &[u8]) -> Result<Self, Error> {
        rsa::public_of(pkcs8).map_err(|_| unusable())?;
        Ok(Self::Rsa { key: kept(pkcs8) })
    }

    /// The key of a scalar.
    pub(super) fn of_ec(curve: Curve, scalar: &[u8]) -> Result<Self, Error> {
        let scalar = Zeroizing::new(curve.padded(scalar).ok_or_else(unusable)?);
        curve.point_of(&scalar).ok_or_else(unusable)?;
        Ok(Self::Ec {
            bits: bits_of(curve),
            key: kept(&scalar),
        })
    }

    /// The key of a seed.
    pub(super) fn of_ed25519(seed: &[u8]) -> Result<Self, Error> {
        ed::key_of(seed).map_err(|_| unusable())?;
        Ok(Self::Ed25519 { key: kept(seed) })
    }

    /// What it is.
    pub(super) fn family(&self) -> Family {
        match self {
            Self::Rsa { .. } => Family::Rsa,
            Self::Ec { .. } => Family::Ec,
            Self::Ed25519 { .. } => Family::Ed25519,
        }
    }

    /// Its public half.
    pub(super) fn public(&self) -> Result<PublicKey, Error> {
        let mut out = Writer::default();
        match self {
            Self::Rsa { key } => {
                let public = rsa::public_of(&opened(key)?)?;
                let (modulus, exponent) = rsa::components(&public)?;
                out.string(b"ssh-rsa").integer(exponent).integer(modulus);
            }
            Self::Ec { bits, key } => {
                let point = curve_of(*bits)?.point_of(&opened(key)?).ok_or_else(unusable)?;
                out.string(format!("ecdsa-sha2-nistp{bits}").as_bytes())
                    .string(format!("nistp{bits}").as_bytes())
                    .string(&point);
            }
            Self::Ed25519 { key } => {
                let pair = ed::key_of(&opened(key)?)?;
                out.string(b"ssh-ed25519").string(ed::public_of(&pair));
            }
        }
        PublicKey::of_blob(&out.done()).ok_or_else(unusable)
    }

    /// A signature as it stands in certificates (RFC 8709, RFC 5656, RFC 8332).
    pub(super) fn sign(
        &self,
        algorithm: Algorithm,
        message: &[u8],
        env: &Env<'_>,
    ) -> Result<Zeroizing<Vec<u8>>, Error> {
        let mut out = Writer::default();
        match (self, algorithm) {
            (Self::Rsa { key }, _) => {
                let (name, hash) = match algorithm {
                    Algorithm::RsaSha512 => ("rsa-sha2-512", Hash::Sha512),
                    _ => ("rsa-sha2-256", Hash::Sha256),
                };
                let (key, hashed) = (opened(key)?, hash.digest(&[message]));
                let signature = env.heavy(|| rsa::sign(&key, Scheme::Pkcs1, hash, &hashed))??;
                out.string(name.as_bytes()).string(&signature);
            }
            (_, Algorithm::RsaSha256 | Algorithm::RsaSha512) => {
                return Err(Error::invalid(
                    "algorithm_signer of this role is for keys of RSA, and the key that signs is none",
                ));
            }
            (Self::Ec { bits, key }, _) => {
                let (curve, scalar) = (curve_of(*bits)?, opened(key)?);
                let point = curve.point_of(&scalar).ok_or_else(unusable)?;
                let hash = match curve {
                    Curve::P256 => Hash::Sha256,
                    Curve::P384 => Hash::Sha384,
                    Curve::P521 => Hash::Sha512,
                };
                let signature = curve.sign(&scalar, &point, &hash.digest(&[message]))?;
                let (r, s) = signature.split_at_checked(curve.len()).unwrap_or_default();
                let mut pair = Writer::default();
                pair.integer(r).integer(s);
                out.string(format!("ecdsa-sha2-nistp{bits}").as_bytes())
                    .string(&pair.done());
            }
            (Self::Ed25519 { key }, _) => {
                let signature = ed::sign(&opened(key)?, message)?;
                out.string(b"ssh-ed25519").string(&signature);
            }
        }
        Ok(out.done())
    }

    /// The file of the private key, as Vault writes it: PEM, of OpenSSH's own kind for Ed25519.
    pub(super) fn pem(&self, env: &mut Env<'_>) -> Result<Hidden, Error> {
        Ok(match self {
            Self::Rsa { key } => {
                let key = opened(key)?;
                der::pem("RSA PRIVATE KEY", rsa::pkcs1_der(&key).ok_or_else(unusable)?)
            }
            Self::Ec { bits, key } => {
                let (curve, scalar) = (curve_of(*bits)?, opened(key)?);
                let point = curve.point_of(&scalar).ok_or_else(unusable)?;
                der::pem("EC PRIVATE KEY", &curve.sec1_der(&scalar, &point))
            }
            Self::Ed25519 { key } => {
                let pair = ed::key_of(&opened(key)?)?;
                der::pem("OPENSSH PRIVATE KEY", &openssh(&self.public()?, &pair, env))
            }
        })
    }
}

/// OpenSSH's own form of a private key of Ed25519 (its PROTOCOL.key), not encrypted.
fn openssh(public: &PublicKey, pair: &[u8], env: &mut Env<'_>) -> Zeroizing<Vec<u8>> {
    const BLOCK: usize = 8;
    let mut check = [0; 4];
    env.fill(&mut check);
    let mut inner = Writer::default();
    inner.raw(&check).raw(&check);
    inner.string(public.name.as_bytes());
    inner.string(ed::public_of(pair)).string(pair).string(b"");
    let mut inner = inner.done();
    let padding = (1..).take(inner.len().next_multiple_of(BLOCK) - inner.len());
    inner.extend(padding);
    let mut out = Writer::default();
    out.raw(MAGIC).string(b"none").string(b"none").string(b"").u32(1);
    out.string(&public.blob()).string(&inner);
    out.done()
}

/// The curve of so many bits.
pub(super) fn curve_of(bits: usize) -> Result<Curve, Error> {
    match bits {
        256 => Ok(Curve::P256),
        384 => Ok(Curve::P384),
        521 => Ok(Curve::P521),
        _ => Err(unusable()),
    }
}

fn bits_of(curve: Curve) -> usize {
    match curve {
        Curve::P256 => 256,
        Curve::P384 => 384,
        Curve::P521 => 521,
    }
}

fn kept(bytes: &[u8]) -> Hidden {
    Hidden::new(STANDARD.encode(bytes))
}

fn opened(text: &Hidden) -> Result<Zeroizing<Vec<u8>>, Error> {
    let bytes = STANDARD.decode(text.as_bytes()).map_err(|_| unusable())?;
    Ok(Zeroizing::new(bytes))
}

/// Never what it is.
pub(super) fn unusable() -> Error {
    Error::invalid("the private key cannot be used")
}
