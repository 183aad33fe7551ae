//! What is raised to the private exponent when a hash is signed (RFC 8017, section 9), and read again when it is verified. Knows no
//! key.

use super::Salt;
use crate::secret::transit::der::{self, NULL, OCTET_STRING, OID, SEQUENCE};
use crate::secret::transit::hash::Hash;

/// EMSA-PKCS1-v1_5 (RFC 8017, section 9.2); without a hash algorithm that is named, `hashed` stands for itself. `None` if it does
/// not fit.
pub(super) fn pkcs1(hash: Option<Hash>, hashed: &[u8], length: usize) -> Option<Vec<u8>> {
    let info = match hash {
        None => hashed.to_vec(),
        Some(hash) => {
            let oid = der::element(OID, &[oid(hash)]);
            let algorithm = der::element(SEQUENCE, &[&oid, &der::element(NULL, &[])]);
            der::element(SEQUENCE, &[&algorithm, &der::element(OCTET_STRING, &[hashed])]).to_vec()
        }
    };
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

/// EMSA-PSS-ENCODE (RFC 8017, section 9.1.1) with MGF1 over the same hash, `length` bytes for a modulus of as many whole bytes.
/// `None` if it does not fit.
pub(super) fn pss(hash: Hash, hashed: &[u8], salt: &[u8], length: usize) -> Option<Vec<u8>> {
    let check = hash.digest(&[&[0; 8], hashed, salt]);
    let zeros = length.checked_sub(check.len() + salt.len() + 2)?;
    let mut block = vec![0; zeros];
    block.push(1);
    block.extend_from_slice(salt);
    let mask = mgf1(hash, &check, block.len());
    let mut out: Vec<u8> = block.iter().zip(mask).map(|(byte, mask)| byte ^ mask).collect();
    if let Some(first) = out.first_mut() {
        *first &= 0x7f;
    }
    out.extend_from_slice(&check);
    out.push(0xbc);
    Some(out)
}

/// EMSA-PSS-VERIFY (RFC 8017, section 9.1.2) with MGF1 over the same hash. The modulus has a multiple of eight bits, so
/// the encoded message is as long as it and its first bit is zero.
pub(super) fn pss_matches(encoded: &[u8], salt: Salt, hash: Hash, hashed: &[u8]) -> bool {
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
