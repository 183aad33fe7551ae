//! What nodes and the leader say to each other about slices. Names of rules and addresses stay at home: a bucket goes by an
//! HMAC.

use std::time::Duration;

use bytes::Bytes;

/// Bytes of an [`Ask`].
const ASK_BYTES: usize = 32 + 8 * 4 + 4;

/// A node wants a slice.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ask {
    /// The bucket.
    pub bucket: [u8; 32],
    /// Most tokens it holds.
    pub capacity: f64,
    /// Tokens it gains in a second.
    pub gain: f64,
    /// For how long nothing is granted once it was empty, in milliseconds.
    pub block: u64,
    /// Tokens the node has used and the bucket has not gained since: of use to a leader that knows nothing yet.
    pub debt: f64,
    /// Tokens that are wanted.
    pub want: u32,
}

impl Ask {
    /// `bucket 32 | capacity f64 | gain f64 | block u64 | debt f64 | want u32`, big-endian.
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(ASK_BYTES);
        out.extend_from_slice(&self.bucket);
        out.extend_from_slice(&self.capacity.to_be_bytes());
        out.extend_from_slice(&self.gain.to_be_bytes());
        out.extend_from_slice(&self.block.to_be_bytes());
        out.extend_from_slice(&self.debt.to_be_bytes());
        out.extend_from_slice(&self.want.to_be_bytes());
        out.into()
    }

    /// The other way; `None` for anything that is not an ask with sensible numbers.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (bucket, rest) = bytes.split_first_chunk::<32>()?;
        let (numbers, want) = rest.split_at_checked(32)?;
        let numbers: Vec<[u8; 8]> = numbers.as_chunks::<8>().0.to_vec();
        let [capacity, gain, block, debt] = numbers[..] else {
            return None;
        };
        let positive =
            |bytes: [u8; 8]| Some(f64::from_be_bytes(bytes)).filter(|n| n.is_finite() && *n >= 0.0);
        Some(Self {
            bucket: *bucket,
            capacity: positive(capacity)?.max(1.0),
            gain: positive(gain)?,
            block: u64::from_be_bytes(block),
            debt: positive(debt)?,
            want: u32::from_be_bytes(want.try_into().ok()?),
        })
    }
}

/// What the leader gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// Tokens; none if the bucket is empty.
    pub tokens: u32,
    /// If none: when to ask again at the earliest.
    pub wait: Duration,
}

impl Grant {
    /// `0 | tokens u32 | wait u32 in milliseconds`, big-endian; `1` from a node that does not lead.
    pub fn encode(grant: Option<Self>) -> Bytes {
        let Some(grant) = grant else {
            return Bytes::from_static(&[1]);
        };
        let wait = u32::try_from(grant.wait.as_millis()).unwrap_or(u32::MAX);
        [&[0][..], &grant.tokens.to_be_bytes(), &wait.to_be_bytes()]
            .concat()
            .into()
    }

    /// The other way.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (tokens, wait) = bytes.strip_prefix(&[0])?.split_first_chunk::<4>()?;
        Some(Self {
            tokens: u32::from_be_bytes(*tokens),
            wait: Duration::from_millis(u32::from_be_bytes(wait.try_into().ok()?).into()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_the_wire() {
        let ask = Ask {
            bucket: [7; 32],
            capacity: 100.0,
            gain: 0.5,
            block: 10,
            debt: 3.25,
            want: 9,
        };
        let encoded = ask.encode();
        assert_eq!(Ask::decode(&encoded), Some(ask));
        assert_eq!(Ask::decode(&encoded[1..]), None);
        assert_eq!(Ask::decode(&[]), None);
        let infinite = Ask {
            gain: f64::INFINITY,
            ..ask
        };
        assert_eq!(Ask::decode(&infinite.encode()), None);
        let grant = Grant {
            tokens: 3,
            wait: Duration::from_millis(250),
        };
        assert_eq!(Grant::decode(&Grant::encode(Some(grant))), Some(grant));
        assert_eq!(Grant::decode(&Grant::encode(None)), None);
        assert_eq!(Grant::decode(b"\0\0"), None);
    }
}
