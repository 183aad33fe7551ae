//! Passing the root key or a share to a peer, sealed to a key that the peer made for this one exchange. Who the
//! peer is, and whether it may have the key, the caller must have checked and must bind in the context.

use crate::codec::Reader;
use crate::hpke::{self, KeyPair, PUBLIC_LEN, TAG_LEN};
use crate::{Entropy, Error, Key32, SecretBytes, mutant};

const WHAT: &str = "key offer";
const FORMAT: u8 = 1;
/// DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305 of RFC 9180.
const SUITE: u8 = 1;
/// In front of every context, so that no other use of HPKE can be confused with this one.
const PURPOSE: &[u8] = b"conclave key offer 1\0";
/// The largest payload, in bytes: a root key or a share is far smaller.
const MAX_PAYLOAD_BYTES: usize = 4096;

/// The receiving end of one exchange: an ephemeral X25519 key, wiped when dropped. Make a new one for each.
pub struct Recipient(KeyPair);

impl Recipient {
    /// A recipient with a fresh key.
    ///
    /// # Errors
    /// [`Error::Primitive`]; none is known.
    pub fn new(entropy: &mut dyn Entropy) -> Result<Self, Error> {
        KeyPair::new(&Key32::generate(entropy)).map(Self)
    }

    /// The public key to send to the peer, over a channel that proves whose it is.
    #[must_use]
    pub fn public(&self) -> &[u8; PUBLIC_LEN] {
        self.0.public()
    }

    /// Opens what [`seal_to`] made for this recipient in the same context.
    ///
    /// # Errors
    /// [`Error::Tampered`] if it was altered, is for another recipient or of another context;
    /// [`Error::BadPublicKey`], and the errors of an unreadable format.
    pub fn open(&self, context: &[u8], blob: &[u8]) -> Result<SecretBytes, Error> {
        let mut reader = Reader::new(WHAT, blob);
        reader.format(FORMAT)?;
        match reader.u8()? {
            SUITE => {}
            suite => return Err(Error::UnknownSuite { what: WHAT, suite }),
        }
        let sender = reader.array()?;
        let sealed = reader.rest();
        if sealed.len() > MAX_PAYLOAD_BYTES + TAG_LEN {
            return Err(too_large());
        }
        if mutant::is("plain-offers") {
            return Ok(SecretBytes::copy_of(sealed));
        }
        hpke::open(&self.0, sender, &info(context), &HEAD, sealed, WHAT).map(SecretBytes::from)
    }
}

/// Seals `payload` for the holder of `recipient`, in `context`: whatever the two ends must agree on (barrier,
/// nodes, nonces, generation). Answers `format u8 | suite u8 | ephemeral public key 32 | ciphertext | tag 16`.
///
/// # Errors
/// [`Error::BadPublicKey`]; [`Error::TooLarge`] above 4096 bytes.
pub fn seal_to(
    recipient: &[u8; PUBLIC_LEN],
    context: &[u8],
    payload: &[u8],
    entropy: &mut dyn Entropy,
) -> Result<Vec<u8>, Error> {
    if payload.len() > MAX_PAYLOAD_BYTES {
        return Err(too_large());
    }
    let ephemeral = KeyPair::new(&Key32::generate(entropy))?;
    if mutant::is("plain-offers") {
        return Ok([&HEAD, ephemeral.public().as_slice(), payload].concat());
    }
    let sealed = hpke::seal(&ephemeral, recipient, &info(context), &HEAD, payload)?;
    Ok([&HEAD, ephemeral.public().as_slice(), &sealed].concat())
}

const HEAD: [u8; 2] = [FORMAT, SUITE];

fn info(context: &[u8]) -> Vec<u8> {
    [PURPOSE, context].concat()
}

fn too_large() -> Error {
    Error::TooLarge {
        what: "key offer, in bytes,",
        limit: MAX_PAYLOAD_BYTES,
    }
}
