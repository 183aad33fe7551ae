//! Where every row lives: `format | table | ring | namespace | mount | sealed segments`. Numbers are clear, names are
//! sealed one segment at a time under everything before them. Once assigned, a table's number never changes.

use bytes::Bytes;

use conclave_barrier::Barrier;

use crate::error::Error;

/// The first byte of every key.
const FORMAT: u8 = 1;
/// Bytes before the first segment.
pub const PREFIX_BYTES: usize = 12;
/// The ring that seals everything but what is in a namespace with keys of its own.
pub const RING: u16 = conclave_barrier::CLUSTER_RING;
/// The root namespace.
pub const ROOT_NAMESPACE: u32 = 0;
/// Set in the numbers of namespaces whose rows another ring than the cluster's seals: the ring follows, then a number in it.
const OTHER_RING: u32 = 1 << 31;
/// Bits of the number of a namespace in its ring.
const IN_RING_BITS: u32 = 15;

/// The ring that seals the rows of a namespace. A namespace's number says it, so that it never changes and no row's place
/// needs another row to be found.
pub const fn ring_of(namespace: u32) -> u16 {
    match namespace & OTHER_RING {
        0 => RING,
        // Exact: sixteen bits are left.
        _ => ((namespace & !OTHER_RING) >> IN_RING_BITS) as u16,
    }
}

/// The namespace that a ring was made for, whose seal opens it; the root for the cluster's.
pub const fn owner_of(ring: u16) -> u32 {
    match ring {
        RING => ROOT_NAMESPACE,
        other => OTHER_RING | (other as u32) << IN_RING_BITS,
    }
}

/// The number of the `nth` namespace of a ring, its owner being the zeroth; `None` once a ring is full.
pub fn nth_of(ring: u16, nth: u32) -> Option<u32> {
    let limit = match ring {
        RING => OTHER_RING,
        _ => 1 << IN_RING_BITS,
    };
    (nth < limit).then(|| owner_of(ring) | nth)
}

/// What a row is part of. Table 1 is replication's own register.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Table {
    /// Seal configuration and keyring: ciphertext of the barrier itself, under clear names.
    Seal = 0x10,
    /// Mounts, policies, audit devices, and the epoch row that moves with any of them and with the keyring.
    Config = 0x11,
    /// Tokens by the HMAC of their id.
    Token = 0x12,
    /// How often a limited token may still be used: clear counters.
    TokenUses = 0x13,
    /// Token by the HMAC of its accessor.
    Accessor = 0x14,
    /// `parent/child` for each token that has a parent; a login's keeps which quota counts it.
    TokenChild = 0x15,
    /// What engines store, by mount.
    Data = 0x16,
    /// Tokens that are revoked and whose children and cubbyholes are still to be removed.
    Closing = 0x17,
    /// Join tokens and nodes that wait for approval.
    Admission = 0x18,
    /// Answers of writes that carried an idempotency key.
    Answered = 0x19,
    /// Logins that failed, by mount and name.
    LoginFailures = 0x1a,
    /// Logins that wait for a second factor, and what was shown of these lately.
    Mfa = 0x1b,
    /// Leases of what engines handed out, by id; due in their target's queue.
    Lease = 0x28,
    /// Leases in the making, and what is left of those that did not come to be.
    Intent = 0x29,
    /// `owner/lease` for each lease that ends with a token.
    OwnedLease = 0x2a,
    /// How many leases, and tokens of logins, each rule counts: clear counters.
    LeaseCount = 0x2b,
    /// Ends of nodes' audit chains.
    AuditHead = 0x38,
    /// What nodes did by themselves and is not on record yet, and which members are.
    Act = 0x39,
    /// What detection found and learned.
    Anomaly = 0x40,
    /// Who used a secret last, by mount.
    Access = 0x41,
}

/// The rows of one table, namespace and mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Space {
    /// Its table.
    pub table: Table,
    /// Its namespace's id.
    pub namespace: u32,
    /// Its mount's id; 0 for tables that belong to no mount.
    pub mount: u32,
}

impl Space {
    /// A table of the root namespace that belongs to no mount.
    pub const fn root(table: Table) -> Self {
        Self {
            table,
            namespace: ROOT_NAMESPACE,
            mount: 0,
        }
    }

    /// A table of a namespace that belongs to no mount.
    pub const fn within(table: Table, namespace: u32) -> Self {
        Self {
            table,
            namespace,
            mount: 0,
        }
    }

    /// The rows of a mount.
    pub const fn of_mount(namespace: u32, mount: u32) -> Self {
        Self {
            table: Table::Data,
            namespace,
            mount,
        }
    }

    /// The ring that seals its names and values.
    pub const fn ring(self) -> u16 {
        ring_of(self.namespace)
    }

    /// What every key of the space begins with.
    pub fn prefix(self) -> Vec<u8> {
        let mut key = Vec::with_capacity(PREFIX_BYTES + 128);
        key.extend_from_slice(&[FORMAT, self.table as u8]);
        key.extend_from_slice(&self.ring().to_be_bytes());
        key.extend_from_slice(&self.namespace.to_be_bytes());
        key.extend_from_slice(&self.mount.to_be_bytes());
        key
    }

    /// The space a key belongs to and the rest of the key.
    pub fn of_key(key: &[u8]) -> Result<(Self, &[u8]), Error> {
        let damaged = || Error::internal("a stored key has an unknown layout");
        let (prefix, rest) = key.split_at_checked(PREFIX_BYTES).ok_or_else(damaged)?;
        let &[format, table, r0, r1, n0, n1, n2, n3, m0, m1, m2, m3] = prefix else {
            return Err(damaged());
        };
        if format != FORMAT {
            return Err(damaged());
        }
        let table = Table::from_number(table).ok_or_else(damaged)?;
        let (namespace, mount) = (
            u32::from_be_bytes([n0, n1, n2, n3]),
            u32::from_be_bytes([m0, m1, m2, m3]),
        );
        let space = Self {
            table,
            namespace,
            mount,
        };
        match space.ring() == u16::from_be_bytes([r0, r1]) {
            true => Ok((space, rest)),
            false => Err(damaged()),
        }
    }
}

impl Table {
    fn from_number(number: u8) -> Option<Self> {
        [
            Self::Seal,
            Self::Config,
            Self::Token,
            Self::TokenUses,
            Self::Accessor,
            Self::TokenChild,
            Self::Data,
            Self::Closing,
            Self::Admission,
            Self::Answered,
            Self::LoginFailures,
            Self::Mfa,
            Self::Lease,
            Self::Intent,
            Self::OwnedLease,
            Self::LeaseCount,
            Self::AuditHead,
            Self::Act,
            Self::Anomaly,
            Self::Access,
        ]
        .into_iter()
        .find(|table| *table as u8 == number)
    }
}

/// A key in the Seal table: its names are clear, for it is read before any key is there.
pub fn clear_key(name: &str) -> Bytes {
    let mut key = Space::root(Table::Seal).prefix();
    push_segment(&mut key, name.as_bytes());
    key.into()
}

/// The ring that a key says it is of, without a look at the rest of it.
pub fn ring_of_key(key: &[u8]) -> Result<u16, Error> {
    Ok(Space::of_key(key)?.0.ring())
}

/// What the keys of a table begin with that a ring seals, whatever their namespace.
pub fn ring_prefix(table: u8, ring: u16) -> [u8; 4] {
    let [high, low] = ring.to_be_bytes();
    [FORMAT, table, high, low]
}

/// What the keys of a table begin with, whatever their ring.
pub const fn table_prefix(table: Table) -> [u8; 2] {
    [FORMAT, table as u8]
}

/// Appends the segments of `path`, which is of `ring`, each sealed under what `key` holds by then.
pub fn push_path(barrier: &Barrier, ring: u16, key: &mut Vec<u8>, path: &str) -> Result<(), Error> {
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        let sealed = barrier.seal_segment(ring, key, segment.as_bytes())?;
        push_segment(key, &sealed);
    }
    Ok(())
}

fn push_segment(key: &mut Vec<u8>, sealed: &[u8]) {
    // Sealed segments are bounded by the barrier far below 64 KiB.
    let length = u16::try_from(sealed.len()).unwrap_or(u16::MAX);
    key.extend_from_slice(&length.to_be_bytes());
    key.extend_from_slice(sealed);
}

/// Splits the first sealed segment off `rest`.
pub fn split_segment(rest: &[u8]) -> Result<(&[u8], &[u8]), Error> {
    let damaged = || Error::internal("a stored key has a damaged segment");
    let (length, tail) = rest.split_first_chunk::<2>().ok_or_else(damaged)?;
    tail.split_at_checked(usize::from(u16::from_be_bytes(*length)))
        .ok_or_else(damaged)
}

/// Opens one segment of `ring` that follows `parent`.
pub fn open_segment(barrier: &Barrier, ring: u16, parent: &[u8], sealed: &[u8]) -> Result<String, Error> {
    let opened = barrier.open_segment(ring, parent, sealed)?;
    String::from_utf8(opened.expose().to_vec()).map_err(|_| Error::internal("a stored name is not UTF-8"))
}

/// Opens all segments of a key: its space and its path.
pub fn open_key(barrier: &Barrier, key: &[u8]) -> Result<(Space, String), Error> {
    let (space, mut rest) = Space::of_key(key)?;
    let mut path = String::new();
    while !rest.is_empty() {
        let parent = key.get(..key.len() - rest.len()).unwrap_or_default();
        let (sealed, tail) = split_segment(rest)?;
        if !path.is_empty() {
            path.push('/');
        }
        path.push_str(&open_segment(barrier, space.ring(), parent, sealed)?);
        rest = tail;
    }
    Ok((space, path))
}

/// The first key after all keys that begin with `prefix`; empty if there is none.
pub fn after_prefix(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spaces_survive_their_keys() {
        let space = Space {
            table: Table::Data,
            namespace: 7,
            mount: 0x0102_0304,
        };
        let mut key = space.prefix();
        assert_eq!(key.len(), PREFIX_BYTES);
        key.extend_from_slice(b"rest");
        assert_eq!(Space::of_key(&key).unwrap(), (space, &b"rest"[..]));
        assert!(Space::of_key(&key[..11]).is_err());
        key[1] = 0x7f;
        assert!(Space::of_key(&key).is_err());
    }

    #[test]
    fn a_namespaces_number_says_its_ring() {
        for (ring, nth) in [(0, 0), (0, 70_000), (1, 0), (1, 9), (4711, 32_767), (u16::MAX, 1)] {
            let number = nth_of(ring, nth).unwrap();
            assert_eq!(ring_of(number), ring, "{number:#x}");
            let key = Space::within(Table::Token, number).prefix();
            assert_eq!(key[2..4], ring.to_be_bytes());
            assert_eq!(Space::of_key(&key).unwrap().0.namespace, number);
            // A row that claims another ring than its namespace's is of none.
            let mut moved = key.clone();
            moved[3] ^= 1;
            assert!(Space::of_key(&moved).is_err());
        }
        assert_eq!(owner_of(0), ROOT_NAMESPACE);
        assert_eq!((nth_of(1, 1 << 15), nth_of(0, 1 << 31)), (None, None));
    }

    #[test]
    fn successors_of_prefixes() {
        assert_eq!(after_prefix(b"ab"), b"ac");
        assert_eq!(after_prefix(b"a\xff"), b"b");
        assert_eq!(after_prefix(b"\xff"), b"");
    }
}
