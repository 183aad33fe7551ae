//! Keys of others: `keys/<name>/import` and `keys/<name>/import_version`. They come wrapped; of a key that only verifies or
//! encrypts here, the public half is enough, and the private half may follow.

use conclave_engine_api::{Env, Error, Fields, Outcome, Reply, Request, Txn};
use zeroize::Zeroizing;

use super::ec::Curve;
use super::keys::rotate_period;
use super::kind::{Kind, MAX_HMAC_BYTES, MIN_HMAC_BYTES};
use super::policy::{HMAC_KEY_LEN, Material, Policy, draw};
use super::public::{self, Shown};
use super::text::Secret;
use super::{der, ed, rsa, wrap};

/// Longest public key as text in bytes: one of RSA with 4096 bits has 800.
const MAX_PUBLIC: usize = 8 * 1024;

/// `POST keys/<name>/import`.
pub(super) fn import(
    txn: &mut Txn<'_>,
    name: &str,
    request: &Request<'_>,
    env: &mut Env<'_>,
) -> Result<Outcome, Error> {
    let fields = request.fields();
    let mut policy = wanted(name, fields)?;
    if Policy::load(txn, name)?.is_some() {
        return Err(Error::invalid(
            "the import path cannot be used with an existing key; use import-version to rotate an existing imported key",
        ));
    }
    let brought = Brought::read(txn, policy.kind, fields, env)?;
    if policy.derived && policy.kind == Kind::Ed25519 && !brought.is_private() {
        return Err(Error::invalid(
            "unable to import only public key for derived Ed25519 key: imported key should not be an Ed25519 key pair but \
             is instead an HKDF key",
        ));
    }
    add(txn, &mut policy, brought, env)
}

/// `POST keys/<name>/import_version`: another version, or the private half of one whose public half is there.
pub(super) fn import_version(
    txn: &mut Txn<'_>,
    name: &str,
    request: &Request<'_>,
    env: &mut Env<'_>,
) -> Result<Outcome, Error> {
    let fields = request.fields();
    let mut policy = Policy::load(txn, name)?.ok_or_else(|| {
        Error::invalid(format!(
            "no key found with name {name}; to import a new key, use the import/ endpoint"
        ))
    })?;
    policy.check_usable()?;
    if !policy.imported {
        return Err(Error::invalid(
            "the import_version endpoint can only be used with an imported key",
        ));
    }
    let brought = Brought::read(txn, policy.kind, fields, env)?;
    if let Some(asked) = fields.int("version")? {
        return complete(txn, &policy, u64::try_from(asked).unwrap_or(0), brought);
    }
    let latest = policy.kept_version(txn, policy.latest)?;
    if brought.is_private() && !latest.has_private() && brought.public == latest.public {
        return complete(txn, &policy, policy.latest, brought);
    }
    add(txn, &mut policy, brought, env)
}

/// Adds the private half to a version that lacks it.
fn complete(txn: &mut Txn<'_>, policy: &Policy, number: u64, brought: Brought) -> Result<Outcome, Error> {
    let mut version = policy.version(txn, number)?;
    let refused = if !policy.kind.signs() {
        "provided type does not support importing key versions"
    } else if version.has_private() {
        "private key imported, key version cannot be updated"
    } else if !brought.is_private() {
        "cannot add a public key to a key version that already has a public key set"
    } else if brought.public != version.public {
        "cannot import key, key pair does not match"
    } else {
        version.key = Secret::new(brought.key);
        policy.store_version(txn, number, &version)?;
        return Ok(Reply::empty().into());
    };
    Err(Error::invalid(refused))
}

/// The key that a request describes, without versions.
fn wanted(name: &str, fields: Fields<'_>) -> Result<Policy, Error> {
    let kind = fields
        .string("type")?
        .unwrap_or_else(|| Kind::Aes256.name().to_owned());
    let kind = Kind::named(&kind).ok_or_else(|| Error::invalid(format!("unknown key type: {kind}")))?;
    let mut policy = Policy::new(name, kind);
    policy.imported = true;
    policy.imported_may_rotate = fields.bool("allow_rotation")?.unwrap_or(false);
    policy.derived = fields.bool("derived")?.unwrap_or(false);
    policy.exportable = fields.bool("exportable")?.unwrap_or(false);
    policy.allow_plaintext_backup = fields.bool("allow_plaintext_backup")?.unwrap_or(false);
    policy.auto_rotate_period = rotate_period(fields)?.unwrap_or(0);
    if policy.auto_rotate_period != 0 && !policy.imported_may_rotate {
        return Err(Error::invalid(
            "allow_rotation must be set to true if auto-rotation is enabled",
        ));
    }
    if fields.bool("convergent_encryption")?.unwrap_or(false) {
        return Err(Error::invalid(
            "import cannot be used on keys with convergent encryption enabled",
        ));
    }
    if policy.derived && !kind.derives() {
        return Err(Error::invalid(format!(
            "key derivation and convergent encryption not supported for keys of type {}",
            kind.name()
        )));
    }
    Ok(policy)
}

/// The halves of a key that a request brings, in the forms of its type; without the private one, `key` is empty.
struct Brought {
    key: Zeroizing<Vec<u8>>,
    public: Vec<u8>,
}

impl Brought {
    /// Reads `ciphertext`, and if there is none `public_key`.
    fn read(txn: &mut Txn<'_>, kind: Kind, fields: Fields<'_>, env: &Env<'_>) -> Result<Self, Error> {
        let given = |name: &str| Ok::<_, Error>(fields.string(name)?.filter(|text| !text.is_empty()));
        if let Some(wrapped) = given("ciphertext")? {
            let hash = fields.string("hash_function")?.unwrap_or_default();
            let (key, public) = material(kind, &wrap::unwrapped(txn, &wrapped, &hash, env)?)?;
            return Ok(Self { key, public });
        }
        let text = match given("public_key")? {
            Some(_) if !kind.signs() => {
                return Err(Error::invalid("provided type does not support public_key import"));
            }
            Some(text) => text,
            None if kind.signs() => {
                return Err(Error::invalid("'ciphertext' or 'public_key' must be supplied"));
            }
            None => return Err(Error::invalid("'ciphertext' must be supplied")),
        };
        let info = public::of_pem("public_key", &text, MAX_PUBLIC)?;
        let public = Shown::read(&info).and_then(|shown| shown.of_kind(kind));
        Ok(Self {
            key: Zeroizing::default(),
            public: public
                .ok_or_else(|| Error::invalid(format!("public_key is no key of type {}", kind.name())))?,
        })
    }

    fn is_private(&self) -> bool {
        !self.key.is_empty()
    }
}

/// Writes a version.
fn add(
    txn: &mut Txn<'_>,
    policy: &mut Policy,
    brought: Brought,
    env: &mut Env<'_>,
) -> Result<Outcome, Error> {
    let hmac_key = match policy.kind {
        Kind::Hmac => {
            policy.key_size = brought.key.len();
            brought.key.clone()
        }
        _ => draw(env, HMAC_KEY_LEN),
    };
    let material = Material {
        key: brought.key,
        hmac_key,
        public: brought.public,
    };
    policy.append(txn, material, env)?;
    Ok(Reply::empty().into())
}

/// Key and public key in the forms that a type has, out of the bytes that travel.
fn material(kind: Kind, bytes: &[u8]) -> Result<(Zeroizing<Vec<u8>>, Vec<u8>), Error> {
    let wrong = || {
        let form = match kind.is_symmetric() || kind == Kind::Hmac {
            true => "",
            false => " in PKCS#8 (DER)",
        };
        Error::invalid(format!(
            "what was wrapped is no key of type {}{form}",
            kind.name()
        ))
    };
    if let Some(curve) = kind.curve() {
        return ec_key(curve, bytes).ok_or_else(wrong);
    }
    if let Some(bits) = kind.rsa_bits() {
        let public = rsa::public_of(bytes).map_err(|_| wrong())?;
        let (modulus, _) = rsa::components(&public)?;
        return match modulus.len() * 8 == bits {
            true => Ok((Zeroizing::new(bytes.to_vec()), public)),
            false => Err(wrong()),
        };
    }
    match kind {
        Kind::Ed25519 => {
            let seed = ed25519_seed(bytes).ok_or_else(wrong)?;
            let key = ed::key_of(seed).map_err(|_| wrong())?;
            let public = ed::public_of(&key).to_vec();
            Ok((key, public))
        }
        Kind::Hmac if !(MIN_HMAC_BYTES..=MAX_HMAC_BYTES).contains(&bytes.len()) => Err(wrong()),
        Kind::Hmac => Ok((Zeroizing::new(bytes.to_vec()), Vec::new())),
        _ if bytes.len() != kind.symmetric_bytes() => Err(Error::invalid(format!(
            "invalid key size {} bytes for key type {}",
            bytes.len(),
            kind.name()
        ))),
        _ => Ok((Zeroizing::new(bytes.to_vec()), Vec::new())),
    }
}

/// Algorithm identifier and key of a `PrivateKeyInfo` (RFC 5208).
fn pkcs8(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut info = der::Reader::new(der::Reader::new(bytes).next(der::SEQUENCE)?);
    info.next(der::INTEGER)?;
    let algorithm = info.next(der::SEQUENCE)?;
    Some((algorithm, info.next(der::OCTET_STRING)?))
}

/// Scalar and point of a key on `curve` (RFC 5915 within PKCS#8).
fn ec_key(curve: Curve, bytes: &[u8]) -> Option<(Zeroizing<Vec<u8>>, Vec<u8>)> {
    let (algorithm, key) = pkcs8(bytes)?;
    let mut algorithm = der::Reader::new(algorithm);
    algorithm.next(der::OID)?;
    if Curve::of_oid(algorithm.next(der::OID)?)? != curve {
        return None;
    }
    let mut inner = der::Reader::new(der::Reader::new(key).next(der::SEQUENCE)?);
    inner.next(der::INTEGER)?;
    let scalar = Zeroizing::new(curve.padded(inner.next(der::OCTET_STRING)?)?);
    let point = curve.point_of(&scalar)?;
    Some((scalar, point))
}

fn ed25519_seed(bytes: &[u8]) -> Option<&[u8]> {
    let (algorithm, key) = pkcs8(bytes)?;
    let oid = der::Reader::new(algorithm).next(der::OID)?;
    let seed = der::Reader::new(key).next(der::OCTET_STRING)?;
    (oid == ed::ED25519_OID && seed.len() == ed::SEED_LEN).then_some(seed)
}
