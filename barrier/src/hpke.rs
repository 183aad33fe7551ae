//! HPKE (RFC 9180) in base mode, one message per key: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256,
//! ChaCha20-Poly1305. The published crates bring another provider of curves; ours is aws-lc-rs. It knows not what
//! is sent.

use aws_lc_rs::agreement::{self, PrivateKey, UnparsedPublicKey, X25519};
use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit};
use hkdf::{Hkdf, HkdfExtract};
use sha2::Sha256;
use zeroize::{Zeroize, Zeroizing};

use crate::{Error, Key32};

pub(crate) const PUBLIC_LEN: usize = 32;
pub(crate) const TAG_LEN: usize = 16;

const VERSION: &[u8] = b"HPKE-v1";
const KEM_SUITE: &[u8] = b"KEM\x00\x20";
const SUITE: &[u8] = b"HPKE\x00\x20\x00\x01\x00\x03";
const MODE_BASE: u8 = 0;

/// An X25519 key pair.
pub(crate) struct KeyPair {
    private: PrivateKey,
    public: [u8; PUBLIC_LEN],
}

impl KeyPair {
    /// The pair of a private key, which is any 32 random bytes (RFC 7748 section 5).
    pub(crate) fn new(private: &Key32) -> Result<Self, Error> {
        let private =
            PrivateKey::from_private_key(&X25519, private.expose()).map_err(|_| failed("X25519"))?;
        let public = private.compute_public_key().map_err(|_| failed("X25519"))?;
        let public = public.as_ref().try_into().map_err(|_| failed("X25519"))?;
        Ok(Self { private, public })
    }

    pub(crate) fn public(&self) -> &[u8; PUBLIC_LEN] {
        &self.public
    }
}

/// Seals for `recipient` with the one-time key `ephemeral`; answers `ciphertext | tag`. The recipient also needs
/// the ephemeral public key.
pub(crate) fn seal(
    ephemeral: &KeyPair,
    recipient: &[u8; PUBLIC_LEN],
    info: &[u8],
    aad: &[u8],
    plaintext: &[u8],
) -> Result<Vec<u8>, Error> {
    let (cipher, nonce) = schedule(ephemeral, recipient, ephemeral.public(), recipient, info)?;
    let mut out = Zeroizing::new(Vec::with_capacity(plaintext.len() + TAG_LEN));
    out.extend_from_slice(plaintext);
    let tag = cipher
        .encrypt_inout_detached(&nonce.into(), aad, out.as_mut_slice().into())
        .map_err(|_| failed("ChaCha20-Poly1305"))?;
    out.extend_from_slice(&tag);
    Ok(std::mem::take(&mut *out))
}

/// Opens what [`seal`] made with the ephemeral key of `sender`.
pub(crate) fn open(
    recipient: &KeyPair,
    sender: &[u8; PUBLIC_LEN],
    info: &[u8],
    aad: &[u8],
    sealed: &[u8],
    what: &'static str,
) -> Result<Zeroizing<Vec<u8>>, Error> {
    let (text, tag) = sealed
        .split_last_chunk::<TAG_LEN>()
        .ok_or(Error::Truncated { what })?;
    let (cipher, nonce) = schedule(recipient, sender, sender, recipient.public(), info)?;
    let mut out = Zeroizing::new(text.to_vec());
    cipher
        .decrypt_inout_detached(&nonce.into(), aad, out.as_mut_slice().into(), tag.into())
        .map_err(|_| Error::Tampered { what })?;
    Ok(out)
}

/// RFC 9180 sections 4.1 and 5.1: the agreement of `own` with `peer`, bound to both public keys and to `info`.
fn schedule(
    own: &KeyPair,
    peer: &[u8; PUBLIC_LEN],
    encapsulated: &[u8; PUBLIC_LEN],
    recipient: &[u8; PUBLIC_LEN],
    info: &[u8],
) -> Result<(ChaCha20Poly1305, [u8; 12]), Error> {
    let peer = UnparsedPublicKey::new(&X25519, peer);
    let shared = agreement::agree(&own.private, peer, Error::BadPublicKey, |secret| {
        let mut shared = Key32::zeroed();
        let prk = extract(KEM_SUITE, &[], b"eae_prk", secret).1;
        expand(
            &prk,
            KEM_SUITE,
            b"shared_secret",
            &[encapsulated, recipient],
            shared.expose_mut(),
        )?;
        Ok(shared)
    })?;
    let psk_id_hash = extract(SUITE, &[], b"psk_id_hash", &[]).0;
    let info_hash = extract(SUITE, &[], b"info_hash", info).0;
    let context: [&[u8]; 3] = [&[MODE_BASE], psk_id_hash.as_slice(), info_hash.as_slice()];
    let secret = extract(SUITE, shared.expose(), b"secret", &[]).1;
    let mut key = Key32::zeroed();
    expand(&secret, SUITE, b"key", &context, key.expose_mut())?;
    let mut nonce = [0; 12];
    expand(&secret, SUITE, b"base_nonce", &context, &mut nonce)?;
    Ok((ChaCha20Poly1305::new(key.expose().into()), nonce))
}

/// LabeledExtract of RFC 9180 section 4: the pseudorandom key, as bytes and ready to expand.
fn extract(suite: &[u8], salt: &[u8], label: &[u8], secret: &[u8]) -> (Zeroizing<[u8; 32]>, Hkdf<Sha256>) {
    let mut extract = HkdfExtract::<Sha256>::new(Some(salt));
    for part in [VERSION, suite, label, secret] {
        extract.input_ikm(part);
    }
    let (mut bytes, key) = extract.finalize();
    let copy = Zeroizing::new(bytes.into());
    bytes.as_mut_slice().zeroize();
    (copy, key)
}

/// LabeledExpand of RFC 9180 section 4.
fn expand(
    key: &Hkdf<Sha256>,
    suite: &[u8],
    label: &[u8],
    context: &[&[u8]],
    out: &mut [u8],
) -> Result<(), Error> {
    let len = u16::try_from(out.len())
        .map_err(|_| failed("HKDF-SHA256"))?
        .to_be_bytes();
    let mut info: Vec<&[u8]> = vec![&len, VERSION, suite, label];
    info.extend_from_slice(context);
    key.expand_multi_info(&info, out)
        .map_err(|_| failed("HKDF-SHA256"))
}

fn failed(primitive: &'static str) -> Error {
    Error::Primitive { primitive }
}

#[cfg(test)]
mod tests {
    use super::{KeyPair, open, seal};
    use crate::{Error, Key32};

    fn pair(private: &str) -> KeyPair {
        KeyPair::new(&Key32::from_slice(&hex::decode(private).unwrap()).unwrap()).unwrap()
    }

    /// RFC 9180 appendix A.2.1, sequence number 0.
    #[test]
    fn the_vector_of_rfc_9180_a_2_1() {
        let ephemeral = pair("f4ec9b33b792c372c1d2c2063507b684ef925b8c75a42dbcbf57d63ccd381600");
        let recipient = pair("8057991eef8f1f1af18f4a9491d16a1ce333f695d4db8e38da75975c4478e0fb");
        assert_eq!(
            hex::encode(ephemeral.public()),
            "1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a"
        );
        assert_eq!(
            hex::encode(recipient.public()),
            "4310ee97d88cc1f088a5576c77ab0cf5c3ac797f3d95139c6c84b5429c59662a"
        );
        let info = hex::decode("4f6465206f6e2061204772656369616e2055726e").unwrap();
        let (aad, text) = (b"Count-0", b"Beauty is truth, truth beauty");
        let sealed = seal(&ephemeral, recipient.public(), &info, aad, text).unwrap();
        assert_eq!(
            hex::encode(&sealed),
            "1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db21993c62ce81883d2dd1b51a28"
        );
        let opened = open(&recipient, ephemeral.public(), &info, aad, &sealed, "test").unwrap();
        assert_eq!(opened.as_slice(), text);
    }

    /// RFC 9180 section 7.1.4: an all-zero agreement must be refused.
    #[test]
    fn a_public_key_of_small_order_is_refused() {
        let own = pair("f4ec9b33b792c372c1d2c2063507b684ef925b8c75a42dbcbf57d63ccd381600");
        let mut one = [0; 32];
        one[0] = 1;
        for small in [[0; 32], one] {
            assert_eq!(
                seal(&own, &small, b"", b"", b"text").err(),
                Some(Error::BadPublicKey)
            );
            assert_eq!(
                open(&own, &small, b"", b"", &[0; 16], "test").err(),
                Some(Error::BadPublicKey)
            );
        }
    }
}
