//! RSA (RFC 8017): keys, signatures by both schemes, encryption by OAEP. A private key is PKCS#8, a public key
//! `RSAPublicKey`, both in DER. What touches a private key is done by aws-lc, but for signatures over hashes that it does not sign;
//! what only verifies is done here, because a salt's length must be read out of the signature.

mod encoding;

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
use crypto_bigint::modular::{BoxedMontyForm, BoxedMontyParams};
use crypto_bigint::{BoxedUint, Odd};
use num_bigint::BigUint;
use zeroize::Zeroizing;

use super::der::{self, BIT_STRING, INTEGER, NULL, OCTET_STRING, OID, SEQUENCE};
use super::hash::Hash;

/// `rsaEncryption` (RFC 8017, appendix A.1).
pub(in crate::secret) const RSA_ENCRYPTION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
/// Salt lengths a signature by PSS can be made with: up to those of a key of 4096 bits.
const SALTS: usize = 480;
/// Longest public exponent in bytes: all in use have one or three, and a long one is a way to make others compute.
const MAX_EXPONENT: usize = 4;

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

/// Whether aws-lc makes signatures over this hash. Others are made by `encode` and `raise`.
pub(in crate::secret) fn is_usual(hash: Hash) -> bool {
    matches!(hash, Hash::Sha256 | Hash::Sha384 | Hash::Sha512)
}

/// What is to be raised to the private exponent, for signatures that aws-lc does not make: over unusual hashes, and by PKCS#1 v1.5
/// over bytes whose hash algorithm is not named. `draw` gives random bytes.
pub(in crate::secret) fn encode(
    public: &[u8],
    scheme: Scheme,
    hash: Option<Hash>,
    hashed: &[u8],
    draw: impl FnOnce(usize) -> Zeroizing<Vec<u8>>,
) -> Result<Vec<u8>, Error> {
    let (modulus, _) = components(public)?;
    if let Some(hash) = hash {
        check_length(hash, hashed)?;
    }
    let encoded = match (scheme, hash) {
        (Scheme::Pkcs1, hash) => encoding::pkcs1(hash, hashed, modulus.len()),
        (Scheme::Pss(salt), Some(hash)) => {
            let salt = draw(salt_bytes(salt, hash, longest_salt(modulus.len(), hash))?);
            encoding::pss(hash, hashed, &salt, modulus.len())
        }
        (Scheme::Pss(_), None) => None,
    };
    encoded.ok_or_else(|| Error::invalid("crypto/rsa: message too long for RSA key size"))
}

/// RSASP1 (RFC 8017, section 5.2.1), in a time that does not depend on the private exponent. What comes of it is checked before
/// anybody sees it: a wrong one can give a key away.
pub(in crate::secret) fn raise(key: &[u8], encoded: &[u8]) -> Result<Vec<u8>, Error> {
    let broken = || Error::internal("a stored key is no RSA key");
    let numbers = || {
        let mut inner = der::Reader::new(der::Reader::new(pkcs1_der(key)?).next(SEQUENCE)?);
        inner.next(INTEGER)?;
        Some([inner.positive()?, inner.positive()?, inner.positive()?])
    };
    let [modulus, exponent, private] = numbers().ok_or_else(broken)?;
    let bits = u32::try_from(modulus.len() * 8).map_err(|_| broken())?;
    let number = |bytes: &[u8]| BoxedUint::from_be_slice(bytes, bits).map_err(|_| broken());
    let odd: Option<Odd<BoxedUint>> = Odd::new(number(modulus)?).into();
    let params = BoxedMontyParams::new_vartime(odd.ok_or_else(broken)?);
    let private = Zeroizing::new(number(private)?);
    let signature = BoxedMontyForm::new(number(encoded)?, &params).pow(&private);
    let signature = signature.retrieve().to_be_bytes().to_vec();
    let (n, e) = (BigUint::from_bytes_be(modulus), BigUint::from_bytes_be(exponent));
    if BigUint::from_bytes_be(&signature).modpow(&e, &n) != BigUint::from_bytes_be(encoded) {
        return Err(Error::internal("the signature could not be made"));
    }
    Ok(signature)
}

/// Signs a hash that is usual.
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
        _ => return Err(Error::internal("aws-lc does not sign this hash")),
    };
    let failed = |_| Error::internal("the signature could not be made");
    let digest = Digest::import_less_safe(hashed, algorithm).map_err(failed)?;
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign_digest(encoding, &digest, &mut signature)
        .map_err(failed)?;
    Ok(signature)
}

/// Whether `signature` is one of the hash. Without a hash algorithm, which only PKCS#1 v1.5 can do without, it is one of the bytes.
pub(in crate::secret) fn verify(
    public: &[u8],
    scheme: Scheme,
    hash: Option<Hash>,
    hashed: &[u8],
    signature: &[u8],
) -> Result<bool, Error> {
    let (modulus, exponent) = components(public)?;
    if let (Scheme::Pss(salt), Some(hash)) = (scheme, hash) {
        salt_bytes(salt, hash, longest_salt(modulus.len(), hash))?;
    }
    if hash.is_some_and(|hash| hashed.len() != hash.output_len()) || signature.len() != modulus.len() {
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
        Scheme::Pkcs1 => Some(encoded) == encoding::pkcs1(hash, hashed, modulus.len()),
        Scheme::Pss(salt) => hash.is_some_and(|hash| encoding::pss_matches(&encoded, salt, hash, hashed)),
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

/// An `RSAPublicKey` with a modulus of `bits` in the one form that it is kept in; `None` if it is no sound one.
pub(in crate::secret) fn sound_public(public: &[u8], bits: usize) -> Option<Vec<u8>> {
    let mut outer = der::Reader::new(public);
    let mut inner = der::Reader::new(outer.next(SEQUENCE)?);
    let (modulus, exponent) = (inner.positive()?, inner.positive()?);
    let of_size = modulus.len() * 8 == bits && modulus.first().is_some_and(|first| *first >= 0x80);
    let odd = |number: &[u8]| number.last().is_some_and(|last| last & 1 == 1);
    let sound = odd(modulus) && odd(exponent) && exponent != [1] && exponent.len() <= MAX_EXPONENT;
    let nothing_more = outer.is_empty() && inner.is_empty();
    let known = PublicEncryptingKey::from_der(&public_der(public)).is_ok();
    (of_size && sound && nothing_more && known).then(|| public.to_vec())
}

/// The `RSAPublicKey` of a modulus and an exponent, big-endian.
pub(in crate::secret) fn public_from(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    der::element(SEQUENCE, &[&der::integer(modulus), &der::integer(exponent)]).to_vec()
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Both ways to one signature, and none for what was tampered with.
    #[test]
    fn what_is_raised_here_is_what_aws_lc_raises() {
        let key = generate(2048).unwrap();
        let public = public_of(&key).unwrap();
        let hashed = Hash::Sha384.digest(&[b"message"]);
        let none = |_: usize| Zeroizing::default();
        let encoded = encode(&public, Scheme::Pkcs1, Some(Hash::Sha384), &hashed, none).unwrap();
        assert_eq!(
            raise(&key, &encoded).unwrap(),
            sign(&key, Scheme::Pkcs1, Hash::Sha384, &hashed).unwrap()
        );
        let salted = |bytes: usize| Zeroizing::new(vec![7; bytes]);
        let pss = Scheme::Pss(Salt::Hash);
        let encoded = encode(&public, pss, Some(Hash::Sha384), &hashed, salted).unwrap();
        let mut signature = raise(&key, &encoded).unwrap();
        let is_good =
            |signature: &[u8]| verify(&public, pss, Some(Hash::Sha384), &hashed, signature).unwrap();
        assert!(is_good(&signature));
        signature[9] ^= 1;
        assert!(!is_good(&signature));
    }

    #[test]
    fn only_sound_public_keys_are_taken() {
        let public = public_of(&generate(2048).unwrap()).unwrap();
        let (n, e) = components(&public).unwrap();
        assert_eq!(sound_public(&public, 2048).unwrap(), public);
        assert_eq!(public_from(n, e), public);
        assert!(sound_public(&public, 3072).is_none());
        assert!(sound_public(&[public.as_slice(), &[0]].concat(), 2048).is_none());
        let mut even = n.to_vec();
        *even.last_mut().unwrap() ^= 1;
        for (n, e) in [
            (even.as_slice(), e),
            (n, &[1][..]),
            (n, &[4][..]),
            (n, &[1, 0, 0, 0, 1][..]),
        ] {
            assert!(sound_public(&public_from(n, e), 2048).is_none(), "{e:?}");
        }
    }
}
