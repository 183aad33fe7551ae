//! A node's key pair and self-signed certificate: its identity between nodes. This file must not know who trusts it.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ED25519};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::error::Error;

/// An Ed25519 key with a self-signed certificate. The certificate only carries the public key: between members
/// neither names nor dates are checked, the recorded key is the identity.
pub struct NodeKey {
    key: PrivatePkcs8KeyDer<'static>,
    certificate: CertificateDer<'static>,
    key_hash: [u8; 32],
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
        let key = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).map_err(|e| unreadable(&e))?;
        let pair = KeyPair::from_pkcs8_der_and_sign_algo(&key, &PKCS_ED25519).map_err(|e| unreadable(&e))?;
        Self::from_pair(&pair)
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
    pub fn to_pem(&self) -> Result<String, Error> {
        let pair = KeyPair::from_pkcs8_der_and_sign_algo(&self.key, &PKCS_ED25519).map_err(|e| failed(&e))?;
        Ok(pair.serialize_pem())
    }

    /// SHA-256 of the public key's SubjectPublicKeyInfo.
    pub fn key_hash(&self) -> [u8; 32] {
        self.key_hash
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
}
