//! Public keys as OpenSSH writes them: `ssh-ed25519 AAAA... comment`. Knows which kinds certificates are made of, and no paths.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use conclave_engine_api::Error;

use super::super::transit::hash::Hash;
use super::wire::{Reader, Writer};

/// Longest line of a key in bytes: one of RSA with 16,384 bits has some 2,800.
const MAX_LINE: usize = 16 * 1024;
/// Longest name of an application in a key of a token, in bytes.
const MAX_APPLICATION: usize = 256;
/// Bits of an RSA key: OpenSSH takes none above.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=16_384;

/// What a key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Rsa,
    Ec,
    Ed25519,
}

impl Family {
    /// The names by which roles bound its lengths; the last is told.
    pub(super) fn names(self) -> &'static [&'static str] {
        match self {
            Self::Rsa => &["rsa"],
            Self::Ec => &["ec", "ecdsa"],
            Self::Ed25519 => &["ed25519"],
        }
    }

    /// The name by which requests know it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Rsa => "rsa",
            Self::Ec => "ec",
            Self::Ed25519 => "ed25519",
        }
    }
}

/// A kind of key: its name, what it is, and its bits, which a key of RSA says itself.
const KINDS: [(&str, Family, usize); 7] = [
    ("ssh-rsa", Family::Rsa, 0),
    ("ecdsa-sha2-nistp256", Family::Ec, 256),
    ("ecdsa-sha2-nistp384", Family::Ec, 384),
    ("ecdsa-sha2-nistp521", Family::Ec, 521),
    ("ssh-ed25519", Family::Ed25519, 256),
    ("sk-ecdsa-sha2-nistp256@openssh.com", Family::Ec, 256),
    ("sk-ssh-ed25519@openssh.com", Family::Ed25519, 256),
];

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PublicKey {
    /// What it is called on the wire.
    pub(super) name: &'static str,
    pub(super) family: Family,
    pub(super) bits: usize,
    /// What follows the name on the wire.
    pub(super) body: Vec<u8>,
}

impl PublicKey {
    /// Reads a line of `authorized_keys` or a `.pub` file, without options.
    pub(super) fn parse(line: &str) -> Result<Self, Error> {
        let wrong = |why: &str| Error::invalid(format!("failed to parse public_key as SSH key: {why}"));
        let line = line.trim();
        if line.len() > MAX_LINE || line.contains('\n') {
            return Err(wrong("it is longer than a key"));
        }
        let mut words = line.split_ascii_whitespace();
        let (name, body) = match (words.next(), words.next()) {
            (Some(name), Some(body)) => (Some(name), body),
            (Some(body), None) => (None, body),
            _ => return Err(wrong("it is empty")),
        };
        let blob = STANDARD.decode(body).map_err(|_| wrong("illegal base64 data"))?;
        let key = Self::of_blob(&blob)
            .ok_or_else(|| wrong("it is no key of RSA, ECDSA or Ed25519 that is well formed"))?;
        match name {
            Some(name) if name != key.name => Err(wrong("its name and its data differ")),
            _ => Ok(key),
        }
    }

    /// Reads a key as it is on the wire.
    pub(super) fn of_blob(blob: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(blob);
        let name = reader.string()?;
        let (name, family, bits) = *KINDS.iter().find(|(known, ..)| known.as_bytes() == name)?;
        let body = reader.rest().to_vec();
        let bits = match family {
            Family::Rsa => {
                reader.integer()?;
                let modulus = reader.integer()?;
                let unused = modulus.first()?.leading_zeros() as usize;
                let bits = modulus.len() * 8 - unused;
                RSA_BITS.contains(&bits).then_some(bits)?
            }
            Family::Ec => {
                let curve = format!("nistp{bits}");
                let coordinate = bits.div_ceil(8);
                let fits = reader.string()? == curve.as_bytes()
                    && matches!(reader.string()?, [4, point @ ..] if point.len() == 2 * coordinate);
                fits.then_some(bits)?
            }
            Family::Ed25519 => (reader.string()?.len() == 32).then_some(bits)?,
        };
        if name.starts_with("sk-") && reader.string()?.len() > MAX_APPLICATION {
            return None;
        }
        reader.rest().is_empty().then_some(Self {
            name,
            family,
            bits,
            body,
        })
    }

    /// As it is on the wire.
    pub(super) fn blob(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.string(self.name.as_bytes()).raw(&self.body);
        out.done().to_vec()
    }

    /// As it stands in files.
    pub(super) fn line(&self) -> String {
        format!("{} {}", self.name, STANDARD.encode(self.blob()))
    }

    /// What a certificate of it is called.
    pub(super) fn certificate_name(&self) -> String {
        let name = self.name.strip_suffix("@openssh.com").unwrap_or(self.name);
        format!("{name}-cert-v01@openssh.com")
    }

    /// Its SHA-256, as hex digits.
    pub(super) fn hash(&self) -> String {
        hex::encode(Hash::Sha256.digest(&[&self.blob()]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILvj9zQocuzkiuteVM7lZGR98WV3Rxe1o41tliiLsbAq";

    #[test]
    fn keys_are_read_and_written_back() {
        let key = PublicKey::parse(&format!("{ED} me@here")).unwrap();
        assert_eq!(
            (key.line().as_str(), key.family, key.bits),
            (ED, Family::Ed25519, 256)
        );
        assert_eq!(key.certificate_name(), "ssh-ed25519-cert-v01@openssh.com");
        assert_eq!(PublicKey::parse(ED.split(' ').nth(1).unwrap()).unwrap(), key);
        // What ssh-keygen -l says of it, as hex digits.
        assert_eq!(
            STANDARD.encode(hex::decode(key.hash()).unwrap()),
            "3y5HoczxLfrCE15+KcMNzv7ZdQ014+DB97eC0pxESi8="
        );
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let cut = &ED[..ED.len() - 4];
        let renamed = ED.replacen("ed25519", "rsa", 1);
        for wrong in [
            "",
            "zz",
            "ssh-ed25519 !",
            cut,
            &renamed,
            "ssh-ed25519 AAAA",
            &format!("{ED}\n{ED}"),
        ] {
            let error = PublicKey::parse(wrong).unwrap_err().to_string();
            assert!(
                error.starts_with("failed to parse public_key"),
                "{wrong}: {error}"
            );
        }
        let blob = PublicKey::parse(ED).unwrap().blob();
        for end in 0..blob.len() {
            assert_eq!(PublicKey::of_blob(&blob[..end]), None);
        }
        assert_eq!(PublicKey::of_blob(&[blob, vec![0]].concat()), None);
    }
}
