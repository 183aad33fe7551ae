//! Networks as `*_bound_cidrs` parameters name them: CIDR blocks and single addresses. An IPv4 address that came mapped into
//! IPv6 is the IPv4 address.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::error::Error;

/// Most networks of one list.
const MAX_CIDRS: usize = 1024;

/// The same list, if every entry is a network or an address.
///
/// # Errors
/// One is neither, or there are too many.
pub fn check_cidrs(cidrs: Vec<String>) -> Result<Vec<String>, Error> {
    if cidrs.len() > MAX_CIDRS {
        return Err(Error::invalid(format!("more than {MAX_CIDRS} CIDR blocks")));
    }
    match cidrs.iter().find(|cidr| parse(cidr).is_none()) {
        Some(wrong) => Err(Error::invalid(format!("invalid CIDR address: {wrong}"))),
        None => Ok(cidrs),
    }
}

/// The same list, if every entry is a CIDR block: where OpenBao takes no single addresses.
///
/// # Errors
/// As [`check_cidrs`].
pub fn check_blocks(cidrs: Vec<String>) -> Result<Vec<String>, Error> {
    match cidrs.iter().find(|cidr| !cidr.contains('/')) {
        Some(wrong) => Err(Error::invalid(format!(
            "failed to validate CIDR blocks: invalid CIDR address: {wrong}"
        ))),
        None => check_cidrs(cidrs),
    }
}

/// Whether `remote` lies in one of the networks. No network bounds nothing; an unknown address lies in none.
pub fn admits(cidrs: &[String], remote: Option<IpAddr>) -> bool {
    if cidrs.is_empty() {
        return true;
    }
    let Some(remote) = remote.map(|remote| remote.to_canonical()) else {
        return false;
    };
    cidrs
        .iter()
        .filter_map(|cidr| parse(cidr))
        .any(|net| net.contains(&remote))
}

/// Whether every network of `inner` lies within one of `outer`. No outer network bounds nothing.
pub fn within(outer: &[String], inner: &[String]) -> bool {
    let outer: Vec<IpNet> = outer.iter().filter_map(|cidr| parse(cidr)).collect();
    let mut inner = inner.iter();
    outer.is_empty()
        || inner.all(|cidr| {
            let inner = parse(cidr);
            inner.is_some_and(|inner| outer.iter().any(|outer| outer.contains(&inner)))
        })
}

fn parse(text: &str) -> Option<IpNet> {
    match text.parse::<IpNet>() {
        Ok(net) => Some(net),
        Err(_) => text.parse::<IpAddr>().ok().map(IpNet::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(cidrs: &[&str]) -> Vec<String> {
        cidrs.iter().map(|cidr| (*cidr).to_owned()).collect()
    }

    #[test]
    fn addresses_are_found_in_their_networks() {
        let nets = list(&["10.0.0.0/8", "192.168.1.7", "fd00::/8"]);
        for inside in ["10.1.2.3", "::ffff:10.1.2.3", "192.168.1.7", "fd00::1"] {
            assert!(admits(&nets, Some(inside.parse().unwrap())), "{inside}");
        }
        for outside in ["11.0.0.1", "192.168.1.8", "::1", "fe80::1"] {
            assert!(!admits(&nets, Some(outside.parse().unwrap())), "{outside}");
        }
        assert!(!admits(&nets, None), "an unknown address is in no network");
        assert!(admits(&[], None));
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for wrong in ["", "x", "10.0.0.0/33", "999.0.0.1/32", "10.0.0.0/8/8", "::/129"] {
            assert!(check_cidrs(list(&[wrong])).is_err(), "{wrong}");
        }
        assert!(check_blocks(list(&["1.2.3.4"])).is_err());
        assert!(check_cidrs(vec!["10.0.0.0/8".to_owned(); MAX_CIDRS + 1]).is_err());
    }

    #[test]
    fn networks_within_networks() {
        let outer = list(&["10.0.0.0/8"]);
        assert!(within(&outer, &list(&["10.1.0.0/16", "10.2.3.4/32"])));
        assert!(!within(&outer, &list(&["10.1.0.0/16", "11.0.0.0/8"])));
        assert!(!within(&outer, &list(&["0.0.0.0/0"])));
        assert!(within(&[], &list(&["0.0.0.0/0"])));
    }
}
