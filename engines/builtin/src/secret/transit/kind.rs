//! The types of keys: their names, what each can do, and the numbers under which OpenBao's backups know them.

use serde::{Deserialize, Serialize};

use super::ec::Curve;

/// Fewest bytes of a key of type `hmac`.
pub(super) const MIN_HMAC_BYTES: usize = 32;
/// Most bytes of a key of type `hmac`.
pub(super) const MAX_HMAC_BYTES: usize = 512;

/// The type of a key.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    Aes128,
    Aes256,
    ChaCha20,
    XChaCha20,
    Ed25519,
    P256,
    P384,
    P521,
    Rsa2048,
    Rsa3072,
    Rsa4096,
    Hmac,
}

/// Type, name, number in backups.
const KINDS: &[(Kind, &str, u64)] = &[
    (Kind::Aes256, "aes256-gcm96", 0),
    (Kind::P256, "ecdsa-p256", 1),
    (Kind::Ed25519, "ed25519", 2),
    (Kind::Rsa2048, "rsa-2048", 3),
    (Kind::Rsa4096, "rsa-4096", 4),
    (Kind::ChaCha20, "chacha20-poly1305", 5),
    (Kind::P384, "ecdsa-p384", 6),
    (Kind::P521, "ecdsa-p521", 7),
    (Kind::Aes128, "aes128-gcm96", 8),
    (Kind::Rsa3072, "rsa-3072", 9),
    (Kind::Hmac, "hmac", 10),
    (Kind::XChaCha20, "xchacha20-poly1305", 11),
];

impl Kind {
    /// As in `type=`.
    pub(super) fn name(self) -> &'static str {
        KINDS
            .iter()
            .find(|(kind, ..)| *kind == self)
            .map_or("", |(_, name, _)| name)
    }

    /// The type called `name`.
    pub(super) fn named(name: &str) -> Option<Self> {
        let found = KINDS.iter().find(|(_, known, _)| *known == name);
        found.map(|(kind, ..)| *kind)
    }

    /// Its number in OpenBao's backups.
    pub(super) fn number(self) -> u64 {
        KINDS
            .iter()
            .find(|(kind, ..)| *kind == self)
            .map_or(u64::MAX, |(.., number)| *number)
    }

    /// The type that has this number in OpenBao's backups.
    pub(super) fn numbered(number: u64) -> Option<Self> {
        let found = KINDS.iter().find(|(.., known)| *known == number);
        found.map(|(kind, ..)| *kind)
    }

    /// Whether it is a key of an authenticated cipher.
    pub(super) fn is_symmetric(self) -> bool {
        matches!(
            self,
            Self::Aes128 | Self::Aes256 | Self::ChaCha20 | Self::XChaCha20
        )
    }

    /// Whether it encrypts and decrypts.
    pub(super) fn encrypts(self) -> bool {
        self.is_symmetric() || self.is_rsa()
    }

    /// Whether it signs and verifies.
    pub(super) fn signs(self) -> bool {
        self.is_rsa() || self.curve().is_some() || self == Self::Ed25519
    }

    /// Whether keys can be derived from it by context.
    pub(super) fn derives(self) -> bool {
        self.is_symmetric() || self == Self::Ed25519
    }

    /// Whether what it signs is hashed first.
    pub(super) fn hashes_input(self) -> bool {
        self.is_rsa() || self.curve().is_some()
    }

    /// Whether it is an RSA key.
    pub(super) fn is_rsa(self) -> bool {
        self.rsa_bits().is_some()
    }

    /// The size of an RSA key's modulus.
    pub(super) fn rsa_bits(self) -> Option<usize> {
        match self {
            Self::Rsa2048 => Some(2048),
            Self::Rsa3072 => Some(3072),
            Self::Rsa4096 => Some(4096),
            _ => None,
        }
    }

    /// The curve of an ECDSA key.
    pub(super) fn curve(self) -> Option<Curve> {
        match self {
            Self::P256 => Some(Curve::P256),
            Self::P384 => Some(Curve::P384),
            Self::P521 => Some(Curve::P521),
            _ => None,
        }
    }

    /// The type of keys on a curve.
    pub(super) fn of_curve(curve: Curve) -> Self {
        match curve {
            Curve::P256 => Self::P256,
            Curve::P384 => Self::P384,
            Curve::P521 => Self::P521,
        }
    }

    /// Bytes of a symmetric key.
    pub(super) fn symmetric_bytes(self) -> usize {
        if self == Self::Aes128 { 16 } else { 32 }
    }

    /// Most items of one batch: what one request may cost. A signature by RSA costs a thousand AES blocks.
    pub(super) fn batch_limit(self) -> usize {
        if self.is_rsa() { 1_000 } else { 10_000 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_lead_back() {
        for (kind, name, number) in KINDS {
            assert!(Kind::named(name) == Some(*kind) && kind.name() == *name);
            assert!(Kind::numbered(*number) == Some(*kind) && kind.number() == *number);
        }
        assert!(Kind::named("aes512").is_none() && Kind::numbered(99).is_none());
    }
}
