//! A node's key pair and self-signed certificate: its identity between nodes. This file must not know who trusts it.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, UnparsedPublicKey};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ED25519};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::{Zeroize, Zeroizing};

use crate::error::Error;

/// An Ed25519 key with a self-signed certificate. The certificate only carries the public key: between members
/// neither names nor dates are checked, the recorded key is the identity.
pub struct NodeKey {
    key: PrivatePkcs8KeyDer<'static>,
    certificate: CertificateDer<'static>,
    key_hash: [u8; 32],
}

impl Drop for NodeKey {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeKey")
            .field("key_hash", &self.key_hash)
            .finish_non_exhaustive()
    }
}

impl NodeKey {
    /// Makes a new key.
    ///
    /// # Errors
    /// `Error::Stopped` when the cryptographic provider fails.
    pub fn generate() -> Result<Self, Error> {
        let pair = KeyPair::generate_for(&PKCS_ED25519).map_err(|e| failed(&e))?;
        Self::from_pair(&pair)
    }

    /// Reads a key as `to_pem` writes it; the certificate is made anew.
    ///
    /// # Errors
    /// `Error::Corrupt` when it is not an Ed25519 key in PKCS#8.
    pub fn from_pem(pem: &str) -> Result<Self, Error> {
        let mut key = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).map_err(|e| unreadable(&e))?;
        let pair = KeyPair::from_pkcs8_der_and_sign_algo(&key, &PKCS_ED25519).map_err(|e| unreadable(&e));
        key.zeroize();
        Self::from_pair(&pair?)
    }

    fn from_pair(pair: &KeyPair) -> Result<Self, Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, "conclave node");
        let certificate = params.self_signed(pair).map_err(|e| failed(&e))?.der().clone();
        let key_hash = key_hash(&certificate)?;
        Ok(Self {
            key: PrivatePkcs8KeyDer::from(pair.serialize_der()),
            certificate,
            key_hash,
        })
    }

    /// The private key as PEM, for the node's own key file: secret, readable by the node alone.
    ///
    /// # Errors
    /// `Error::Stopped` when the cryptographic provider fails.
    pub fn to_pem(&self) -> Result<Zeroizing<String>, Error> {
        let pair = KeyPair::from_pkcs8_der_and_sign_algo(&self.key, &PKCS_ED25519).map_err(|e| failed(&e))?;
        Ok(Zeroizing::new(pair.serialize_pem()))
    }

    /// SHA-256 of the public key's SubjectPublicKeyInfo.
    pub fn key_hash(&self) -> [u8; 32] {
        self.key_hash
    }

    /// Signs a message. The caller puts in front of it what no other use of the key begins with.
    ///
    /// # Errors
    /// `Error::Stopped` when the cryptographic provider fails.
    pub fn sign(&self, message: &[u8]) -> Result<NodeSignature, Error> {
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(self.key.secret_pkcs8_der())
            .map_err(|e| failed(&e))?;
        let (_, certificate) = X509Certificate::from_der(&self.certificate).map_err(|e| unreadable(&e))?;
        Ok(NodeSignature {
            public_key: certificate.tbs_certificate.subject_pki.raw.to_vec(),
            signature: pair.sign(message).as_ref().to_vec(),
        })
    }

    /// The certificate to present.
    pub fn certificate(&self) -> CertificateDer<'static> {
        self.certificate.clone()
    }

    /// The private key, for a TLS configuration or to sign with.
    pub fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(self.key.clone_key())
    }
}

/// DER of an Ed25519 SubjectPublicKeyInfo up to the key itself (RFC 8410 section 4).
const ED25519_SPKI: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// A message signed by a node, and the key to check it with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSignature {
    /// The signer's public key: an Ed25519 SubjectPublicKeyInfo in DER.
    pub public_key: Vec<u8>,
    /// The signature, 64 bytes.
    pub signature: Vec<u8>,
}

impl NodeSignature {
    /// Checks the signature over `message`. Returns the hash of the signer's key, by which the register knows it; `None`
    /// if the signature is wrong or of another kind.
    #[must_use]
    pub fn verify(&self, message: &[u8]) -> Option<[u8; 32]> {
        let raw = self.public_key.strip_prefix(&ED25519_SPKI)?;
        UnparsedPublicKey::new(&ED25519, raw)
            .verify(message, &self.signature)
            .ok()?;
        digest(&SHA256, &self.public_key).as_ref().try_into().ok()
    }
}

/// SHA-256 of the SubjectPublicKeyInfo in a certificate.
///
/// # Errors
/// `Error::Corrupt` when it is not a certificate.
pub fn key_hash(certificate: &CertificateDer<'_>) -> Result<[u8; 32], Error> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|e| unreadable(&e))?;
    let hash = digest(&SHA256, parsed.tbs_certificate.subject_pki.raw);
    hash.as_ref().try_into().map_err(|_| failed(&"digest length"))
}

fn unreadable(error: &dyn fmt::Display) -> Error {
    Error::Corrupt {
        what: "node key or certificate",
        detail: error.to_string(),
    }
}

fn failed(error: &dyn fmt::Display) -> Error {
    Error::Stopped(format!("cryptographic provider: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_keeps_its_identity_through_its_file() {
        let key = NodeKey::generate().unwrap();
        let again = NodeKey::from_pem(&key.to_pem().unwrap()).unwrap();
        assert_eq!(key.key_hash(), again.key_hash());
        assert_ne!(key.key_hash(), NodeKey::generate().unwrap().key_hash());
        assert!(matches!(
            NodeKey::from_pem("nonsense"),
            Err(Error::Corrupt { .. })
        ));
        assert!(!format!("{key:?}").contains("key: "));
    }

    #[test]
    fn a_signature_names_its_key_and_binds_its_message() {
        let key = NodeKey::from_pem(&NodeKey::generate().unwrap().to_pem().unwrap()).unwrap();
        let signed = key.sign(b"purpose | message").unwrap();
        assert_eq!(signed.verify(b"purpose | message"), Some(key.key_hash()));
        assert_eq!(signed.verify(b"purpose | massage"), None);
        let other = NodeKey::generate().unwrap().sign(b"purpose | message").unwrap();
        let mixed = NodeSignature {
            public_key: other.public_key,
            ..signed.clone()
        };
        assert_eq!(mixed.verify(b"purpose | message"), None);
        let cut = NodeSignature {
            signature: signed.signature[..63].to_vec(),
            ..signed
        };
        assert_eq!(cut.verify(b"purpose | message"), None);
    }
}
