//! Names as numbers: SipHash-2-4 under a key that callers cannot know, so that nobody can choose paths that collide. And
//! addresses as the networks they are in.

use std::fmt;
use std::hash::Hasher as _;
use std::net::IpAddr;

use siphasher::sip::SipHasher24;

/// A name, hashed; 0 stands for none.
pub type Key = u64;

/// Bits of an IPv4 address that name its network.
const V4_BITS: u32 = 24;
/// The same for IPv6: what a site is usually given.
const V6_BITS: u32 = 48;

/// Hashes names.
#[derive(Clone)]
pub struct Keyer(SipHasher24);

impl Keyer {
    /// With this key, which must be the same on all nodes and known to no client.
    pub fn new(key: &[u8; 16]) -> Self {
        Self(SipHasher24::new_with_key(key))
    }

    /// The key of a name in a domain (paths, identities, ...). Never 0.
    pub fn key(&self, domain: u8, parts: &[&[u8]]) -> Key {
        let mut hasher = self.0;
        hasher.write_u8(domain);
        for part in parts {
            hasher.write_u32(u32::try_from(part.len()).unwrap_or(u32::MAX));
            hasher.write(part);
        }
        hasher.finish().max(1)
    }
}

/// The network an address is in: 24 bits of IPv4, 48 of IPv6. An IPv4 address in IPv6's clothes is IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network(IpAddr);

impl Network {
    /// Of an address.
    pub fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(v4) => IpAddr::V4((v4.to_bits() & (u32::MAX << (32 - V4_BITS))).into()),
            IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & (u128::MAX << (128 - V6_BITS))).into()),
        })
    }

    /// Its bytes, to be hashed.
    pub fn bytes(&self) -> Vec<u8> {
        match self.0 {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = if self.0.is_ipv4() { V4_BITS } else { V6_BITS };
        write!(f, "{}/{bits}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_network_are_one() {
        let network = |text: &str| Network::of(text.parse().unwrap()).to_string();
        assert_eq!(network("10.1.2.3"), "10.1.2.0/24");
        assert_eq!(network("::ffff:10.1.2.3"), "10.1.2.0/24");
        assert_eq!(network("2001:db8:1:2:3::4"), "2001:db8:1::/48");
    }

    #[test]
    fn keys_depend_on_key_domain_and_bounds_of_parts() {
        let keyer = Keyer::new(&[7; 16]);
        let key = keyer.key(1, &[b"ab", b"c"]);
        assert_eq!(key, keyer.key(1, &[b"ab", b"c"]));
        assert_ne!(key, keyer.key(2, &[b"ab", b"c"]));
        assert_ne!(key, keyer.key(1, &[b"a", b"bc"]));
        assert_ne!(key, Keyer::new(&[8; 16]).key(1, &[b"ab", b"c"]));
    }
}
