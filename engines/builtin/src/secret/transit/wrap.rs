//! Keys on their way: `wrapping_key`, and `byok-export/` for those who import ours. A key travels as PKCS#11's CKM_RSA_AES_KEY_WRAP
//! and the original have it: an AES key encrypted by RSA-OAEP, and after it the key itself, wrapped by that AES key (AES-KWP,
//! RFC 5649). Asymmetric keys are PKCS#8 within. Knows not what becomes of a key that was unwrapped.

use aws_lc_rs::key_wrap::{AES_128, AES_256, AesKek, KeyWrapPadded as _};
use aws_lc_rs::rsa::{
    OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OAEP_SHA384_MGF1SHA384, OAEP_SHA512_MGF1SHA512,
    OaepAlgorithm, OaepPrivateDecryptingKey, OaepPublicEncryptingKey, PrivateDecryptingKey,
    PublicEncryptingKey,
};
use conclave_engine_api::{Env, Error, Heavy, Outcome, Reply, Request, Txn};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::kind::Kind;
use super::policy::{Policy, draw};
use super::text::Secret;
use super::{der, ed, export, rsa, text};
use crate::record;

/// Where the mount's own key lies.
const WRAPPING_KEY: &str = "wrapping-key";
const FORMAT: u8 = 1;
/// Bits of the mount's own key.
const BITS: usize = 4096;
/// Bytes of the AES key that we wrap with.
const EPHEMERAL_BYTES: usize = 32;
/// Bytes by which AES-KWP makes a key longer at most.
const WRAPPED_MORE: usize = 15;
/// Longest wrapped key: an RSA key of 4096 bits in PKCS#8 is half as long.
const MAX_WRAPPED: usize = 8192;

/// The RSA key to which keys are encrypted on their way here.
#[derive(Serialize, Deserialize)]
struct WrappingKey {
    key: Secret,
}

/// `GET wrapping_key`; the first who asks has it made.
pub(super) fn wrapping_key(txn: &mut Txn<'_>, env: &Env<'_>) -> Result<Outcome, Error> {
    let key = match own_key(txn)? {
        Some(own) => own,
        None => {
            let slow = Heavy::new("wrapping key", || rsa::generate(BITS).unwrap_or_default());
            let made = match env.compute(slow) {
                Ok(made) if !made.is_empty() => made,
                Ok(_) => return Err(Error::internal("an RSA key could not be made")),
                Err(slow) => return Ok(Outcome::Heavy(slow)),
            };
            let own = WrappingKey {
                key: Secret::new(made.to_vec()),
            };
            txn.put(WRAPPING_KEY, record::encode(FORMAT, &own)?)?;
            own
        }
    };
    let public = der::pem("PUBLIC KEY", &rsa::public_der(&rsa::public_of(key.key.expose())?));
    Ok(Reply::json(json!({"public_key": public.as_str()})).into())
}

fn own_key(txn: &mut Txn<'_>) -> Result<Option<WrappingKey>, Error> {
    let row = txn.get(WRAPPING_KEY)?;
    row.map(|row| record::decode(FORMAT, &row.value)).transpose()
}

fn oaep(name: &str) -> Result<&'static OaepAlgorithm, Error> {
    match name.to_ascii_uppercase().as_str() {
        "SHA1" | "SHA-1" => Ok(&OAEP_SHA1_MGF1SHA1),
        "" | "SHA256" | "SHA-256" | "SHA2-256" => Ok(&OAEP_SHA256_MGF1SHA256),
        "SHA384" | "SHA-384" | "SHA2-384" => Ok(&OAEP_SHA384_MGF1SHA384),
        "SHA512" | "SHA-512" | "SHA2-512" => Ok(&OAEP_SHA512_MGF1SHA512),
        "SHA224" | "SHA-224" | "SHA2-224" => Err(Error::Unsupported("wrapping with SHA-224".to_owned())),
        _ => Err(Error::invalid(format!("unknown hash function: {name}"))),
    }
}

/// What a ciphertext holds; `hash` is the one of its RSA-OAEP, empty for SHA-256.
pub(super) fn unwrapped(
    txn: &mut Txn<'_>,
    wrapped: &str,
    hash: &str,
    env: &Env<'_>,
) -> Result<Zeroizing<Vec<u8>>, Error> {
    let hash = oaep(hash)?;
    let wrapped = text::decode(wrapped)?;
    if wrapped.len() > MAX_WRAPPED {
        return Err(Error::invalid(format!(
            "a wrapped key is longer than {MAX_WRAPPED} bytes"
        )));
    }
    let short = || Error::invalid("provided ciphertext is too short");
    let (ephemeral, wrapped) = wrapped.split_at_checked(BITS / 8).ok_or_else(short)?;
    if wrapped.is_empty() {
        return Err(short());
    }
    // Nobody can have encrypted to a key that was never shown.
    let own = own_key(txn)?.ok_or_else(broken)?;
    env.heavy(|| opened(own.key.expose(), hash, ephemeral, wrapped))?
}

/// All that can be wrong with what was wrapped is one error: it must not tell which part fits.
fn broken() -> Error {
    Error::invalid("the ciphertext is not a key wrapped for this mount")
}

fn opened(
    own: &[u8],
    hash: &'static OaepAlgorithm,
    ephemeral: &[u8],
    wrapped: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Error> {
    let stored = |_| Error::internal("a stored key is no RSA key");
    let own = PrivateDecryptingKey::from_pkcs8(own).map_err(stored)?;
    let own =
        OaepPrivateDecryptingKey::new(own).map_err(|_| Error::internal("a stored key is no RSA key"))?;
    let mut key = Zeroizing::new(vec![0; own.min_output_size()]);
    let key = own
        .decrypt(hash, ephemeral, &mut key, None)
        .map_err(|_| broken())?;
    let cipher = match key.len() {
        16 => &AES_128,
        32 => &AES_256,
        _ => return Err(broken()),
    };
    let kek = AesKek::new(cipher, key).map_err(|_| broken())?;
    let mut out = Zeroizing::new(vec![0; wrapped.len()]);
    let length = kek
        .unwrap_with_padding(wrapped, &mut out)
        .map_err(|_| broken())?
        .len();
    out.truncate(length);
    Ok(out)
}

/// `GET byok-export/<destination>/<source>[/<version>]`: the source's versions, wrapped for whoever holds the private half
/// of the destination.
pub(super) fn export(
    txn: &mut Txn<'_>,
    (destination, source, version): (&str, &str, &str),
    request: &Request<'_>,
    env: &mut Env<'_>,
) -> Result<Outcome, Error> {
    let hash = oaep(&request.fields().string("hash")?.unwrap_or_default())?;
    let to = Policy::load(txn, destination)?;
    let to = to.ok_or_else(|| Error::invalid("no such destination key to export to"))?;
    let policy = Policy::load(txn, source)?;
    let policy = policy.ok_or_else(|| Error::invalid("no such source key for export"))?;
    for key in [&to, &policy] {
        key.check_usable()?;
    }
    if !policy.exportable {
        return Err(Error::invalid("key is not exportable"));
    }
    if !to.kind.is_rsa() {
        return Err(Error::invalid(format!(
            "key wrapping (requring message signing) is not supported for key type {}",
            to.kind.name()
        )));
    }
    let public = rsa::public_der(&to.version(txn, to.latest)?.public);
    let numbers = match version {
        "" => policy.usable(),
        "latest" => policy.latest..=policy.latest,
        text => {
            let number = export::version_in(&policy, text)?;
            number..=number
        }
    };
    let mut keys = Map::new();
    for number in numbers {
        let version = policy.kept_version(txn, number)?;
        version.check_private("the version to export does not have a private part")?;
        let (kind, key) = (policy.kind, version.key.expose());
        let bytes = match (kind.curve(), kind) {
            (Some(curve), _) => curve.pkcs8_der(key, &version.public),
            (_, Kind::Ed25519) => ed::pkcs8_der(key),
            // RSA keys are kept in PKCS#8.
            _ => Zeroizing::new(key.to_vec()),
        };
        let ephemeral = draw(env, EPHEMERAL_BYTES);
        let wrapped = env.heavy(|| sealed(&public, hash, &ephemeral, &bytes))??;
        keys.insert(number.to_string(), Value::from(text::encode(&wrapped)));
    }
    Ok(Reply::json(json!({"name": policy.name, "type": policy.kind.name(), "keys": keys})).into())
}

/// Wraps a key for the holder of a mount's wrapping key, as clients do: `public` is what `wrapping_key` tells (PEM),
/// `ephemeral` a fresh key of 256 bits, `hash` the `hash_function` that goes with it, empty for SHA-256.
///
/// # Errors
/// `public` is no RSA key, or the hash is not known.
pub fn wrap(
    public: &str,
    key: &[u8],
    ephemeral: &[u8; EPHEMERAL_BYTES],
    hash: &str,
) -> Result<Vec<u8>, Error> {
    let (_, public) = der::of_pem(public).ok_or_else(|| Error::invalid("the wrapping key is no PEM"))?;
    sealed(&public, oaep(hash)?, ephemeral, key)
}

/// `public` is a `SubjectPublicKeyInfo`.
fn sealed(
    public: &[u8],
    hash: &'static OaepAlgorithm,
    ephemeral: &[u8],
    bytes: &[u8],
) -> Result<Vec<u8>, Error> {
    let failed = || Error::internal("a key could not be wrapped");
    let to = PublicEncryptingKey::from_der(public).map_err(|_| failed())?;
    let to = OaepPublicEncryptingKey::new(to).map_err(|_| failed())?;
    let mut out = vec![0; to.ciphertext_size()];
    let length = to
        .encrypt(hash, ephemeral, &mut out, None)
        .map_err(|_| failed())?
        .len();
    out.truncate(length);
    let kek = AesKek::new(&AES_256, ephemeral).map_err(|_| failed())?;
    let mut wrapped = vec![0; bytes.len() + WRAPPED_MORE];
    out.extend_from_slice(kek.wrap_with_padding(bytes, &mut wrapped).map_err(|_| failed())?);
    Ok(out)
}
