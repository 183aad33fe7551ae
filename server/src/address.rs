//! Sets of IP addresses as configuration writes them: single addresses and CIDR blocks.

use std::net::IpAddr;

/// One block, `10.0.0.0/8`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    base: u128,
    /// Leading bits that count, of 128; IPv4 lives in its mapped range `::ffff:0:0/96`.
    bits: u32,
}

/// Addresses that are trusted with something. Empty means nobody.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks(Vec<Network>);

impl Network {
    /// Reads `a.b.c.d`, `a.b.c.d/n`, and the same of IPv6. The text names the offending entry.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bad = || format!("{text:?} is neither an IP address nor a CIDR block");
        let (address, length) = match text.trim().split_once('/') {
            Some((address, length)) => (address, Some(length.parse::<u32>().map_err(|_| bad())?)),
            None => (text.trim(), None),
        };
        let address: IpAddr = address.parse().map_err(|_| bad())?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let length = length.unwrap_or(width);
        if length > width {
            return Err(bad());
        }
        let bits = 128 - width + length;
        Ok(Self {
            base: wide(address) & mask(bits),
            bits,
        })
    }

    /// Whether `address` lies in it. An IPv4 address and its IPv6-mapped form are the same.
    pub fn contains(&self, address: IpAddr) -> bool {
        wide(address) & mask(self.bits) == self.base
    }
}

impl Networks {
    /// Reads each entry; see [`Network::parse`].
    pub fn parse<S: AsRef<str>>(entries: &[S]) -> Result<Self, String> {
        entries
            .iter()
            .map(|entry| Network::parse(entry.as_ref()))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether any entry contains `address`.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }

    /// Whether nobody is in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn wide(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

fn mask(bits: u32) -> u128 {
    u128::MAX.checked_shl(128 - bits.min(128)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn blocks_hold_their_addresses_and_no_others() {
        let set = Networks::parse(&["10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "0.0.0.0/32"]).unwrap();
        for inside in [
            "10.255.0.1",
            "::ffff:10.1.1.1",
            "192.0.2.7",
            "2001:db8:1::1",
            "0.0.0.0",
        ] {
            assert!(set.contains(ip(inside)), "{inside}");
        }
        for outside in ["11.0.0.1", "192.0.2.8", "2001:db9::1", "::1", "::ffff:11.0.0.1"] {
            assert!(!set.contains(ip(outside)), "{outside}");
        }
        assert!(Networks::parse(&["0.0.0.0/0"]).unwrap().contains(ip("8.8.8.8")));
        assert!(
            !Networks::parse(&["0.0.0.0/0"])
                .unwrap()
                .contains(ip("2001:db8::1"))
        );
        assert!(Networks::parse(&["::/0"]).unwrap().contains(ip("2001:db8::1")));
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in [
            "",
            "10.0.0.0/33",
            "10.0.0/8",
            "::/129",
            "host",
            "10.0.0.0/-1",
            "10.0.0.0/8/8",
        ] {
            assert!(Network::parse(bad).is_err(), "{bad}");
        }
    }
}
