//! The hash chain of an audit device: each record carries its number and a hash over the one before and itself, so that a
//! record altered, dropped, added or moved shows. Pure: it knows neither files nor what records say.
//!
//! A record's line is a JSON object whose last member is `chain`: `{"id":ID,"seq":N,"hash":H}`. With `B` the bytes of the
//! line before `,"chain":`, `H(N) = SHA-256(H(N-1) ‖ N as 8 bytes, big endian ‖ SHA-256(B))` and `H(0) = SHA-256("conclave
//! audit chain" ‖ 0 ‖ ID)`.

use serde::Deserialize;
use sha2::{Digest, Sha256};

/// What stands between a record and its link.
const MEMBER: &[u8] = b",\"chain\":{\"id\":";
/// What every chain begins with.
const PURPOSE: &[u8] = b"conclave audit chain\0";
/// What a salt is hashed behind.
const TAG: &[u8] = b"conclave audit device\0";
/// Digits of a tag.
const TAG_DIGITS: usize = 8;

/// A SHA-256 hash.
pub type Hash = [u8; 32];

/// The end of a chain so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tip {
    /// Number of the last record; 0 before the first.
    pub seq: u64,
    /// Its hash.
    pub hash: Hash,
}

/// A link as it stands in a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Names the chain: node and device.
    pub id: String,
    /// Where in it.
    pub tip: Tip,
}

/// What a chain is called: `NODE:DEVICE/`, with `#TAG` behind it for a device that was enabled over the API.
pub fn name(node: &str, device: &str, tag: Option<&str>) -> String {
    match tag {
        Some(tag) => format!("{node}:{device}#{tag}"),
        None => format!("{node}:{device}"),
    }
}

/// Tells one enabling of a device from the next, by the salt that each has of its own: eight digits that do not tell the salt.
pub fn tag(salt: &str) -> String {
    let hash = Sha256::new().chain_update(TAG).chain_update(salt).finalize();
    let mut digits = hex::encode(hash);
    digits.truncate(TAG_DIGITS);
    digits
}

/// Whether a chain of this name is one of that device's, of whichever time it was enabled.
pub fn is_of(id: &str, node: &str, device: &str) -> bool {
    let rest = id.strip_prefix(name(node, device, None).as_str());
    rest.is_some_and(|rest| {
        let tag = rest.strip_prefix('#');
        rest.is_empty() || tag.is_some_and(|tag| tag.len() == TAG_DIGITS && !tag.contains('/'))
    })
}

/// Hash of a record without its link.
pub fn digest(body: &[u8]) -> Hash {
    Sha256::digest(body).into()
}

impl Tip {
    /// Before the first record of a chain.
    pub fn start(id: &str) -> Self {
        let hash = Sha256::new().chain_update(PURPOSE).chain_update(id).finalize();
        Self {
            seq: 0,
            hash: hash.into(),
        }
    }

    /// After one more record.
    #[must_use]
    pub fn next(&self, digest: &Hash) -> Self {
        let seq = self.seq.saturating_add(1);
        let hash = Sha256::new()
            .chain_update(self.hash)
            .chain_update(seq.to_be_bytes())
            .chain_update(digest)
            .finalize();
        Self {
            seq,
            hash: hash.into(),
        }
    }
}

/// Appends the link and the end of a line to `out`, which ends with a record whose closing brace is cut off. `quoted` is the
/// chain's name as JSON.
pub fn push_link(out: &mut Vec<u8>, quoted: &str, tip: &Tip) {
    out.extend_from_slice(MEMBER);
    out.extend_from_slice(quoted.as_bytes());
    out.extend_from_slice(b",\"seq\":");
    out.extend_from_slice(tip.seq.to_string().as_bytes());
    out.extend_from_slice(b",\"hash\":\"");
    let mut digits = [b'0'; 64];
    // 32 bytes give 64 digits: this cannot fail.
    hex::encode_to_slice(tip.hash, &mut digits).ok();
    out.extend_from_slice(&digits);
    out.extend_from_slice(b"\"}}\n");
}

/// Splits a line, without its end, into the record and its link; `None` where there is none, written exactly as
/// [`push_link`] writes it.
pub fn split(line: &[u8]) -> Option<(&[u8], Link)> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Written {
        id: String,
        seq: u64,
        hash: String,
    }
    // The last of its kind: members of the record itself stand before it.
    let at = line.windows(MEMBER.len()).rposition(|bytes| bytes == MEMBER)?;
    let (body, rest) = line.split_at_checked(at)?;
    let object = rest.strip_prefix(b",\"chain\":".as_slice())?.strip_suffix(b"}")?;
    let written: Written = serde_json::from_slice(object).ok()?;
    let mut hash = [0; 32];
    hex::decode_to_slice(&written.hash, &mut hash).ok()?;
    let tip = Tip {
        seq: written.seq,
        hash,
    };
    let mut exact = Vec::with_capacity(rest.len() + 1);
    push_link(&mut exact, &quoted(&written.id), &tip);
    let same = exact.strip_suffix(b"\n") == Some(rest);
    let id = written.id;
    same.then_some((body, Link { id, tip }))
}

/// A chain's name as it stands in a line.
pub fn quoted(id: &str) -> String {
    serde_json::Value::from(id).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_read_as_it_was_written() {
        let id = "n\"1:file/";
        let body = br#"{"type":"request","request":{"data":{"chain":{"id":"x","seq":1,"hash":"y"}}}"#;
        let tip = Tip::start(id).next(&digest(body));
        let mut line = body.to_vec();
        push_link(&mut line, &quoted(id), &tip);
        serde_json::from_slice::<serde_json::Value>(&line).unwrap();
        let line = line.strip_suffix(b"\n").unwrap();
        let (read, link) = split(line).unwrap();
        assert_eq!((read, link.id.as_str(), link.tip), (&body[..], id, tip));
        assert_eq!(split(body), None, "no link");
        // Nothing but the exact bytes will do: digits in capitals mean the same to a reader of JSON.
        let text = String::from_utf8(line.to_vec()).unwrap();
        let digits = hex::encode(tip.hash);
        assert_eq!(
            split(text.replace(&digits, &digits.to_uppercase()).as_bytes()),
            None
        );
        assert_eq!(split(text.replace(",\"seq\"", ", \"seq\"").as_bytes()), None);
    }

    #[test]
    fn chains_of_a_device_are_told_from_those_of_others() {
        assert_eq!(tag("salt").len(), TAG_DIGITS);
        assert_ne!(tag("salt"), tag("pepper"));
        for id in [name("n1", "file/", None), name("n1", "file/", Some(&tag("salt")))] {
            assert!(is_of(&id, "n1", "file/"), "{id}");
            assert!(!is_of(&id, "n1", "fil"), "{id}");
            assert!(!is_of(&id, "n2", "file/"), "{id}");
        }
        assert!(!is_of("n1:file/x/", "n1", "file/"), "another device");
        assert!(!is_of("n1:file/#234567/", "n1", "file/"), "another device");
    }

    #[test]
    fn everything_counts() {
        let start = Tip::start("a");
        let one = start.next(&digest(b"1"));
        assert_eq!(one.seq, 1);
        assert_ne!(one, start.next(&digest(b"2")));
        assert_ne!(one.hash, Tip::start("b").next(&digest(b"1")).hash);
        assert_ne!(one.next(&digest(b"1")).hash, one.hash);
    }
}
