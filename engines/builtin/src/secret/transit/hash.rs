//! Hash algorithms by their names in the API, and the keyed hash (RFC 2104) over each of them.

use aws_lc_rs::digest::{self, Algorithm};
use sha3::Digest as _;
use zeroize::Zeroizing;

/// A hash algorithm.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::secret) enum Hash {
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
    Sha3_224,
    Sha3_256,
    Sha3_384,
    Sha3_512,
}

/// Bytes of a block of SHA3-224 (FIPS 202, section 7): the rate.
const SHA3_224_BLOCK: usize = 144;

impl Hash {
    /// The algorithm that a request names.
    pub(in crate::secret) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "sha1" => Self::Sha1,
            "sha2-224" => Self::Sha224,
            "sha2-256" => Self::Sha256,
            "sha2-384" => Self::Sha384,
            "sha2-512" => Self::Sha512,
            "sha3-224" => Self::Sha3_224,
            "sha3-256" => Self::Sha3_256,
            "sha3-384" => Self::Sha3_384,
            "sha3-512" => Self::Sha3_512,
            _ => return None,
        })
    }

    /// Bytes of its result.
    pub(in crate::secret) fn output_len(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha224 | Self::Sha3_224 => 28,
            Self::Sha256 | Self::Sha3_256 => 32,
            Self::Sha384 | Self::Sha3_384 => 48,
            Self::Sha512 | Self::Sha3_512 => 64,
        }
    }

    /// The hash of `parts`, one after the other.
    pub(in crate::secret) fn digest(self, parts: &[&[u8]]) -> Vec<u8> {
        let Some(algorithm) = self.fast() else {
            let mut context = sha3::Sha3_224::new();
            parts.iter().for_each(|part| context.update(part));
            return context.finalize().to_vec();
        };
        let mut context = digest::Context::new(algorithm);
        parts.iter().for_each(|part| context.update(part));
        context.finish().as_ref().to_vec()
    }

    /// The keyed hash of `data` (RFC 2104).
    pub(in crate::secret) fn hmac(self, key: &[u8], data: &[u8]) -> Vec<u8> {
        let block = self.fast().map_or(SHA3_224_BLOCK, Algorithm::block_len);
        let mut padded = Zeroizing::new(vec![0; block]);
        let hashed;
        let key = if key.len() > block {
            hashed = Zeroizing::new(self.digest(&[key]));
            hashed.as_slice()
        } else {
            key
        };
        for (slot, byte) in padded.iter_mut().zip(key) {
            *slot = *byte;
        }
        let masked = |mask: u8| Zeroizing::new(padded.iter().map(|byte| byte ^ mask).collect::<Vec<u8>>());
        let inner = Zeroizing::new(self.digest(&[&masked(0x36), data]));
        self.digest(&[&masked(0x5c), &inner])
    }

    /// The implementation in assembler, if there is one.
    fn fast(self) -> Option<&'static Algorithm> {
        Some(match self {
            Self::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha224 => &digest::SHA224,
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
            Self::Sha3_224 => return None,
            Self::Sha3_256 => &digest::SHA3_256,
            Self::Sha3_384 => &digest::SHA3_384,
            Self::Sha3_512 => &digest::SHA3_512,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// RFC 4231, test cases 1 and 6 (a key longer than a block).
    #[test]
    fn keyed_hashes_are_those_of_rfc_4231() {
        let first = Hash::Sha256.hmac(&[0x0b; 20], b"Hi There");
        assert_eq!(
            hex(&first),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
        );
        let long = b"Test Using Larger Than Block-Size Key - Hash Key First";
        assert_eq!(
            hex(&Hash::Sha256.hmac(&[0xaa; 131], long)),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
        assert_eq!(
            hex(&Hash::Sha512.hmac(&[0x0b; 20], b"Hi There")),
            "87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cdedaa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854"
        );
    }

    /// FIPS 202 examples: the empty message.
    #[test]
    fn every_name_has_its_algorithm() {
        for (name, empty) in [
            ("sha1", "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
            (
                "sha2-224",
                "d14a028c2a3a2bc9476102bb288234c415a2b01f828ea62ac5b3e42f",
            ),
            (
                "sha3-224",
                "6b4e03423667dbb73b6e15454f0eb1abd4597f9a1b078e3f5b5a6bc7",
            ),
            (
                "sha3-256",
                "a7ffc6f8bf1ed76651c14756a061d662f580ff4de43b49fa82d80a4b80f8434a",
            ),
        ] {
            let hash = Hash::named(name).unwrap();
            assert_eq!(hex(&hash.digest(&[])), empty, "{name}");
        }
        for name in ["sha2-256", "sha2-384", "sha2-512", "sha3-384", "sha3-512"] {
            let hash = Hash::named(name).unwrap();
            assert_eq!(hash.digest(&[b"a", b"b"]), hash.digest(&[b"ab"]));
            assert_eq!(hash.digest(&[]).len(), hash.output_len());
        }
        assert!(Hash::named("md5").is_none());
    }
}
