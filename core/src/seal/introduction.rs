//! What a member says of itself to another, signed with its node key: where secrets for this start of it are to be sealed
//! to, and what it would take. Whether it is believed is decided elsewhere.

use bytes::{BufMut, Bytes, BytesMut};

use conclave_raft::net::NodeSignature;

use crate::error::Error;
use crate::seal::PeerUnseal;

/// In front of every signed introduction, so that no other use of a node key can be confused with this one.
const PURPOSE: &[u8] = b"conclave introduction 1\0";
const FORMAT: u8 = 1;
const SEALED: u8 = 1;
const MARKED: u8 = 2;
/// `format | flags | peer_unseal | node | public key | nonce | incarnation | generation`.
const BODY_LEN: usize = 3 + 8 + 32 + 16 + 8 + 8;
/// Longest public key in bytes.
const MAX_KEY: usize = 512;

/// A member as it describes itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Introduction {
    /// Its node id.
    pub node: u64,
    /// Whether it holds no keys.
    pub sealed: bool,
    /// Whether an operator sealed it: then it takes shares only.
    pub marked: bool,
    /// Its setting.
    pub peer_unseal: PeerUnseal,
    /// The X25519 key of this start.
    pub public: [u8; 32],
    /// Random, of this start.
    pub nonce: [u8; 16],
    /// Which start of the node this is.
    pub incarnation: u64,
    /// Generation of the keyring it opened last; 0 if it opened none since it started.
    pub generation: u64,
}

/// An introduction as it was received.
pub struct Received {
    /// What was said.
    pub says: Introduction,
    /// Hash of the key that signed it.
    pub key_hash: [u8; 32],
}

impl Introduction {
    /// What is signed: the introduction bound to the cluster and to the one it is for.
    fn message(body: &[u8], cluster: &[u8; 16], to: u64) -> Vec<u8> {
        [PURPOSE, cluster, &to.to_be_bytes(), body].concat()
    }

    fn body(&self) -> BytesMut {
        let mut out = BytesMut::with_capacity(BODY_LEN);
        out.put_u8(FORMAT);
        out.put_u8(if self.sealed { SEALED } else { 0 } | if self.marked { MARKED } else { 0 });
        out.put_u8(self.peer_unseal.to_byte());
        out.put_u64(self.node);
        out.put_slice(&self.public);
        out.put_slice(&self.nonce);
        out.put_u64(self.incarnation);
        out.put_u64(self.generation);
        out
    }

    /// Signs it for member `to` of a cluster. Answers `body | length of the public key u16 | public key | signature`.
    pub fn encode(
        &self,
        cluster: &[u8; 16],
        to: u64,
        sign: impl FnOnce(&[u8]) -> Result<NodeSignature, Error>,
    ) -> Result<Bytes, Error> {
        let mut out = self.body();
        let signed = sign(&Self::message(&out, cluster, to))?;
        let length =
            u16::try_from(signed.public_key.len()).map_err(|_| Error::internal("a long public key"))?;
        out.put_u16(length);
        out.put_slice(&signed.public_key);
        out.put_slice(&signed.signature);
        Ok(out.freeze())
    }

    /// Reads an introduction that was made for member `to` and checks its signature.
    ///
    /// # Errors
    /// `Error::Invalid` when it does not decode or the signature is wrong.
    pub fn decode(bytes: &[u8], cluster: &[u8; 16], to: u64) -> Result<Received, Error> {
        let damaged = || Error::invalid("a member's introduction does not decode");
        let (body, signed) = bytes.split_at_checked(BODY_LEN).ok_or_else(damaged)?;
        let says = Self::read(body).ok_or_else(damaged)?;
        let (length, signed) = signed.split_first_chunk::<2>().ok_or_else(damaged)?;
        let length = usize::from(u16::from_be_bytes(*length));
        if length > MAX_KEY {
            return Err(damaged());
        }
        let (public_key, signature) = signed.split_at_checked(length).ok_or_else(damaged)?;
        let signature = NodeSignature {
            public_key: public_key.to_vec(),
            signature: signature.to_vec(),
        };
        let key_hash = signature.verify(&Self::message(body, cluster, to));
        let key_hash =
            key_hash.ok_or_else(|| Error::invalid("a member's introduction is not signed by it"))?;
        Ok(Received { says, key_hash })
    }

    fn read(body: &[u8]) -> Option<Self> {
        let (&[format, flags, setting], rest) = body.split_first_chunk::<3>()?;
        let (node, rest) = rest.split_first_chunk::<8>()?;
        let (public, rest) = rest.split_first_chunk::<32>()?;
        let (nonce, rest) = rest.split_first_chunk::<16>()?;
        let (incarnation, rest) = rest.split_first_chunk::<8>()?;
        let generation = <[u8; 8]>::try_from(rest).ok()?;
        (format == FORMAT && flags & !(SEALED | MARKED) == 0).then_some(())?;
        Some(Self {
            node: u64::from_be_bytes(*node),
            sealed: flags & SEALED != 0,
            marked: flags & MARKED != 0,
            peer_unseal: PeerUnseal::from_byte(setting)?,
            public: *public,
            nonce: *nonce,
            incarnation: u64::from_be_bytes(*incarnation),
            generation: u64::from_be_bytes(generation),
        })
    }
}

#[cfg(test)]
mod tests {
    use conclave_raft::net::NodeKey;

    use super::*;

    #[test]
    fn is_bound_to_its_signer_its_cluster_and_its_reader() {
        let key = NodeKey::generate().unwrap();
        let says = Introduction {
            node: 3,
            sealed: true,
            marked: false,
            peer_unseal: PeerUnseal::Always,
            public: [1; 32],
            nonce: [2; 16],
            incarnation: 7,
            generation: 0,
        };
        let sign = |message: &[u8]| key.sign(message).map_err(Error::from);
        let sent = says.encode(&[9; 16], 1, sign).unwrap();
        let received = Introduction::decode(&sent, &[9; 16], 1).unwrap();
        assert_eq!(received.says, says);
        assert_eq!(received.key_hash, key.key_hash());
        assert!(
            Introduction::decode(&sent, &[9; 16], 2).is_err(),
            "for another member"
        );
        assert!(
            Introduction::decode(&sent, &[8; 16], 1).is_err(),
            "of another cluster"
        );
        for at in 0..sent.len() {
            let mut changed = sent.to_vec();
            changed[at] ^= 1;
            assert!(
                Introduction::decode(&changed, &[9; 16], 1).is_err(),
                "byte {at} was changed"
            );
            assert!(
                Introduction::decode(&sent[..at], &[9; 16], 1).is_err(),
                "cut at {at}"
            );
        }
    }
}
