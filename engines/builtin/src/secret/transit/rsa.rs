//! RSA (RFC 8017): keys, signatures by both schemes, encryption by OAEP. A private key is PKCS#8, a public key
//! `RSAPublicKey`, both in DER. What touches a private key is done by aws-lc; what only verifies is done here, because a
//! salt's length must be read out of the signature.

use aws_lc_rs::digest::{Digest, SHA256, SHA384, SHA512};
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::{
    KeySize, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, OaepPublicEncryptingKey, PrivateDecryptingKey,
    PublicEncryptingKey,
};
use aws_lc_rs::signature::{
    KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384,
    RSA_PSS_SHA512, RsaEncoding, RsaKeyPair, RsaPssSaltLength, RsaSignatureEncoding,
};
use conclave_engine_api::Error;
use num_bigint::BigUint;
use zeroize::Zeroizing;

use super::der::{self, BIT_STRING, INTEGER, NULL, OCTET_STRING, OID, SEQUENCE};
use super::hash::Hash;

/// `rsaEncryption` (RFC 8017, appendix A.1).
const RSA_ENCRYPTION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
/// Salt lengths a signature by PSS can be made with: up to those of a key of 4096 bits.
const SALTS: usize = 480;

/// How a signature is made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::secret) enum Scheme {
    /// RSASSA-PSS.
    Pss(Salt),
    /// RSASSA-PKCS1-v1_5.
    Pkcs1,
}

/// The length of a salt.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::secret) enum Salt {
    /// As long as can be when signing, any when verifying.
    Auto,
    /// As long as the hash.
    Hash,
    /// This many bytes.
    Bytes(usize),
}

/// Makes a key of `bits`: PKCS#8. It takes up to seconds, and draws from aws-lc's generator, for no other source can be
/// given to it.
pub(in crate::secret) fn generate(bits: usize) -> Option<Zeroizing<Vec<u8>>> {
    let size = match bits {
        2048 => KeySize::Rsa2048,
        3072 => KeySize::Rsa3072,
        4096 => KeySize::Rsa4096,
        _ => return None,
    };
    let key = PrivateDecryptingKey::generate(size).ok()?;
    Some(Zeroizing::new(key.as_der().ok()?.as_ref().to_vec()))
}

/// The public half of a private key.
pub(in crate::secret) fn public_of(key: &[u8]) -> Result<Vec<u8>, Error> {
    Ok(pair_of(key)?.public_key().as_ref().to_vec())
}

fn pair_of(key: &[u8]) -> Result<RsaKeyPair, Error> {
    RsaKeyPair::from_pkcs8(key).map_err(|_| Error::internal("a stored key is no RSA key"))
}

/// Signs a hash.
pub(in crate::secret) fn sign(
    key: &[u8],
    scheme: Scheme,
    hash: Hash,
    hashed: &[u8],
) -> Result<Vec<u8>, Error> {
    check_length(hash, hashed)?;
    let pair = pair_of(key)?;
    let longest = longest_salt(pair.public_modulus_len(), hash);
    let encoding = match scheme {
        Scheme::Pkcs1 => pkcs1_encoding(hash),
        Scheme::Pss(salt) => pss_encoding(hash, salt_bytes(salt, hash, longest)?),
    };
    let (algorithm, encoding) = match (hash, encoding) {
        (Hash::Sha256, Some(encoding)) => (&SHA256, encoding),
        (Hash::Sha384, Some(encoding)) => (&SHA384, encoding),
        (Hash::Sha512, Some(encoding)) => (&SHA512, encoding),
        _ => {
            return Err(Error::Unsupported(format!(
                "signatures by RSA with {}; use sha2-256, sha2-384 or sha2-512",
                hash.name()
            )));
        }
    };
    let failed = |_| Error::internal("the signature could not be made");
    let digest = Digest::import_less_safe(hashed, algorithm).map_err(failed)?;
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign_digest(encoding, &digest, &mut signature)
        .map_err(failed)?;
    Ok(signature)
}

/// Whether `signature` is one of the hash.
pub(in crate::secret) fn verify(
    public: &[u8],
    scheme: Scheme,
    hash: Hash,
    hashed: &[u8],
    signature: &[u8],
) -> Result<bool, Error> {
    let (modulus, exponent) = components(public)?;
    if let Scheme::Pss(salt) = scheme {
        salt_bytes(salt, hash, longest_salt(modulus.len(), hash))?;
    }
    if hashed.len() != hash.output_len() || signature.len() != modulus.len() {
        return Ok(false);
    }
    let (n, s) = (BigUint::from_bytes_be(modulus), BigUint::from_bytes_be(signature));
    if s >= n {
        return Ok(false);
    }
    let message = s.modpow(&BigUint::from_bytes_be(exponent), &n).to_bytes_be();
    let mut encoded = vec![0; modulus.len().saturating_sub(message.len())];
    encoded.extend_from_slice(&message);
    Ok(match scheme {
        Scheme::Pkcs1 => Some(encoded) == pkcs1_encoded(hash, hashed, modulus.len()),
        Scheme::Pss(salt) => pss_matches(&encoded, salt, hash, hashed),
    })
}

/// Encrypts by OAEP with SHA-256, as OpenBao does.
pub(in crate::secret) fn encrypt(public: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, Error> {
    let key = PublicEncryptingKey::from_der(&public_der(public))
        .map_err(|_| Error::internal("a stored key is no RSA key"))?;
    let key = OaepPublicEncryptingKey::new(key).map_err(|_| Error::internal("a stored key is no RSA key"))?;
    if plaintext.len() > key.max_plaintext_size(&OAEP_SHA256_MGF1SHA256) {
        return Err(Error::invalid(
            "failed to RSA encrypt the plaintext: crypto/rsa: message too long for RSA key size",
        ));
    }
    let mut out = vec![0; key.ciphertext_size()];
    let done = key.encrypt(&OAEP_SHA256_MGF1SHA256, plaintext, &mut out, None);
    let length = done
        .map_err(|_| Error::internal("the plaintext could not be encrypted"))?
        .len();
    out.truncate(length);
    Ok(out)
}

/// Decrypts what `encrypt` made. All that can be wrong with a ciphertext is one error.
pub(in crate::secret) fn decrypt(key: &[u8], ciphertext: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
    let broken = |_| Error::internal("a stored key is no RSA key");
    let key = PrivateDecryptingKey::from_pkcs8(key).map_err(broken)?;
    let key =
        OaepPrivateDecryptingKey::new(key).map_err(|_| Error::internal("a stored key is no RSA key"))?;
    let mut out = Zeroizing::new(vec![0; key.min_output_size()]);
    let done = key.decrypt(&OAEP_SHA256_MGF1SHA256, ciphertext, &mut out, None);
    let length = done
        .map_err(|_| Error::invalid("failed to RSA decrypt the ciphertext: crypto/rsa: decryption error"))?
        .len();
    out.truncate(length);
    Ok(out)
}

/// The public key as a `SubjectPublicKeyInfo` (RFC 3279).
pub(in crate::secret) fn public_der(public: &[u8]) -> Zeroizing<Vec<u8>> {
    let algorithm = der::element(
        SEQUENCE,
        &[&der::element(OID, &[RSA_ENCRYPTION]), &der::element(NULL, &[])],
    );
    der::element(
        SEQUENCE,
        &[&algorithm, &der::element(BIT_STRING, &[&[0], public])],
    )
}

/// The `RSAPrivateKey` (RFC 8017, appendix A.1.2) within a PKCS#8 key.
pub(in crate::secret) fn pkcs1_der(key: &[u8]) -> Option<&[u8]> {
    let mut inner = der::Reader::new(der::Reader::new(key).next(SEQUENCE)?);
    inner.next(INTEGER)?;
    inner.next(SEQUENCE)?;
    inner.next(OCTET_STRING)
}

/// A PKCS#8 key around an `RSAPrivateKey`.
pub(in crate::secret) fn pkcs8_of(pkcs1: &[u8]) -> Zeroizing<Vec<u8>> {
    let algorithm = der::element(
        SEQUENCE,
        &[&der::element(OID, &[RSA_ENCRYPTION]), &der::element(NULL, &[])],
    );
    der::element(
        SEQUENCE,
        &[
            &der::element(INTEGER, &[&[0]]),
            &algorithm,
            &der::element(OCTET_STRING, &[pkcs1]),
        ],
    )
}

/// Modulus and exponent of an `RSAPublicKey`, big-endian.
pub(in crate::secret) fn components(public: &[u8]) -> Result<(&[u8], &[u8]), Error> {
    let read = || {
        let mut inner = der::Reader::new(der::Reader::new(public).next(SEQUENCE)?);
        Some((inner.positive()?, inner.positive()?))
    };
    read().ok_or_else(|| Error::internal("a stored key is no RSA key"))
}

fn check_length(hash: Hash, hashed: &[u8]) -> Result<(), Error> {
    if hashed.len() == hash.output_len() {
        return Ok(());
    }
    Err(Error::invalid("crypto/rsa: input must be hashed with given hash"))
}

/// RFC 8017, section 9.1.1: what is left beside the hash and two bytes. Moduli here have a multiple of eight bits.
fn longest_salt(modulus_bytes: usize, hash: Hash) -> usize {
    modulus_bytes.saturating_sub(2 + hash.output_len())
}

fn salt_bytes(salt: Salt, hash: Hash, longest: usize) -> Result<usize, Error> {
    match salt {
        Salt::Auto => Ok(longest),
        Salt::Hash => Ok(hash.output_len()),
        Salt::Bytes(bytes) if bytes <= longest => Ok(bytes),
        Salt::Bytes(bytes) => Err(Error::invalid(format!(
            "requested salt length {bytes} is invalid"
        ))),
    }
}

fn pkcs1_encoding(hash: Hash) -> Option<&'static dyn RsaEncoding> {
    Some(match hash {
        Hash::Sha256 => &RSA_PKCS1_SHA256,
        Hash::Sha384 => &RSA_PKCS1_SHA384,
        Hash::Sha512 => &RSA_PKCS1_SHA512,
        _ => return None,
    })
}

/// aws-lc-rs takes encodings that live for ever only: one for each length of a salt.
macro_rules! by_salt {
    ($name:ident, $base:expr) => {
        static $name: [RsaSignatureEncoding; SALTS] = {
            let mut all = [const { $base.with_pss_salt_length(RsaPssSaltLength::Custom(0)) }; SALTS];
            let mut salt = 0;
            while salt < SALTS {
                #[allow(clippy::indexing_slicing, clippy::cast_possible_truncation)]
                {
                    all[salt] = $base.with_pss_salt_length(RsaPssSaltLength::Custom(salt as u16));
                }
                salt += 1;
            }
            all
        };
    };
}

by_salt!(PSS_SHA256, RSA_PSS_SHA256);
by_salt!(PSS_SHA384, RSA_PSS_SHA384);
by_salt!(PSS_SHA512, RSA_PSS_SHA512);

fn pss_encoding(hash: Hash, salt: usize) -> Option<&'static dyn RsaEncoding> {
    let all = match hash {
        Hash::Sha256 => &PSS_SHA256,
        Hash::Sha384 => &PSS_SHA384,
        Hash::Sha512 => &PSS_SHA512,
        _ => return None,
    };
    all.get(salt).map(|encoding| encoding as &dyn RsaEncoding)
}

/// EMSA-PKCS1-v1_5 (RFC 8017, section 9.2).
fn pkcs1_encoded(hash: Hash, hashed: &[u8], length: usize) -> Option<Vec<u8>> {
    let algorithm = der::element(
        SEQUENCE,
        &[&der::element(OID, &[oid(hash)]), &der::element(NULL, &[])],
    );
    let info = der::element(SEQUENCE, &[&algorithm, &der::element(OCTET_STRING, &[hashed])]);
    let padding = length.checked_sub(info.len() + 3).filter(|bytes| *bytes >= 8)?;
    let mut out = vec![0, 1];
    out.resize(2 + padding, 0xff);
    out.push(0);
    out.extend_from_slice(&info);
    Some(out)
}

/// Identifiers of hash algorithms (RFC 8017, appendix B.1, and NIST's registry for SHA-3).
fn oid(hash: Hash) -> &'static [u8] {
    match hash {
        Hash::Sha1 => &[0x2b, 0x0e, 0x03, 0x02, 0x1a],
        Hash::Sha224 => &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x04],
        Hash::Sha256 => &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01],
        Hash::Sha384 => &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02],
        Hash::Sha512 => &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03],
        Hash::Sha3_224 => &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x07],
        Hash::Sha3_256 => &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x08],
        Hash::Sha3_384 => &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x09],
        Hash::Sha3_512 => &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x0a],
    }
}

/// EMSA-PSS-VERIFY (RFC 8017, section 9.1.2) with MGF1 over the same hash. The modulus has a multiple of eight bits, so
/// the encoded message is as long as it and its first bit is zero.
fn pss_matches(encoded: &[u8], salt: Salt, hash: Hash, hashed: &[u8]) -> bool {
    let Some((0xbc, rest)) = encoded.split_last() else {
        return false;
    };
    let Some(masked_len) = rest.len().checked_sub(hash.output_len()) else {
        return false;
    };
    let (masked, check) = rest.split_at(masked_len);
    if masked.first().is_none_or(|first| *first >= 0x80) {
        return false;
    }
    let mask = mgf1(hash, check, masked.len());
    let mut block: Vec<u8> = masked.iter().zip(mask).map(|(byte, mask)| byte ^ mask).collect();
    if let Some(first) = block.first_mut() {
        *first &= 0x7f;
    }
    let zeros = block.iter().take_while(|byte| **byte == 0).count();
    let Some((1, found)) = block.get(zeros..).and_then(<[u8]>::split_first) else {
        return false;
    };
    let fits = match salt {
        Salt::Auto => true,
        Salt::Hash => found.len() == hash.output_len(),
        Salt::Bytes(bytes) => found.len() == bytes,
    };
    fits && hash.digest(&[&[0; 8], hashed, found]) == check
}

/// MGF1 (RFC 8017, appendix B.2.1).
fn mgf1(hash: Hash, seed: &[u8], length: usize) -> Vec<u8> {
    let mut mask = Vec::with_capacity(length + hash.output_len());
    let mut counter = 0u32;
    while mask.len() < length {
        mask.extend(hash.digest(&[seed, &counter.to_be_bytes()]));
        counter += 1;
    }
    mask.truncate(length);
    mask
}
