//! `X-Forwarded-For`: whose word counts about where a request came from, with OpenBao's four settings.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;

use super::status::Refusal;
use crate::address::Networks;

/// What a listener makes of `X-Forwarded-For`. By default nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forwarding {
    /// Proxies whose header counts. Empty: the header is ignored, whoever sends it.
    pub authorized: Networks,
    /// Entries at the end of the header that further proxies of ours added.
    pub hop_skips: usize,
    /// Whether requests from others than the proxies are refused.
    pub reject_not_authorized: bool,
    /// Whether requests without the header are refused.
    pub reject_not_present: bool,
}

impl Default for Forwarding {
    fn default() -> Self {
        Self {
            authorized: Networks::default(),
            hop_skips: 0,
            reject_not_authorized: true,
            reject_not_present: true,
        }
    }
}

impl Forwarding {
    /// Whether `peer` is one of our proxies.
    pub fn trusts(&self, peer: IpAddr) -> bool {
        self.authorized.contains(peer)
    }

    /// Where the request came from.
    pub fn source(&self, peer: IpAddr, headers: &HeaderMap) -> Result<IpAddr, Refusal> {
        if self.authorized.is_empty() {
            return Ok(peer);
        }
        let mut values = headers.get_all("x-forwarded-for").iter().peekable();
        if values.peek().is_none() {
            return if self.reject_not_present {
                Err(refuse(
                    "missing x-forwarded-for header and configured to reject when not present",
                ))
            } else {
                Ok(peer)
            };
        }
        if !self.trusts(peer) {
            return if self.reject_not_authorized {
                Err(refuse(
                    "client address not authorized for x-forwarded-for and configured to reject connection",
                ))
            } else {
                Ok(peer)
            };
        }
        let values: Vec<&str> = values.map(|value| value.to_str().unwrap_or("")).collect();
        let hops: Vec<&str> = values
            .iter()
            .flat_map(|value| value.split(','))
            .map(str::trim)
            .collect();
        let wanted = hops
            .len()
            .checked_sub(self.hop_skips + 1)
            .and_then(|index| hops.get(index));
        let hop = wanted.ok_or_else(|| refuse("x-forwarded-for has fewer hops than are to be skipped"))?;
        parse(hop).ok_or_else(|| refuse("x-forwarded-for does not hold an IP address where one is expected"))
    }
}

fn refuse(text: &str) -> Refusal {
    Refusal::Malformed(text.to_owned())
}

/// An address, alone, with a port, or in brackets.
fn parse(hop: &str) -> Option<IpAddr> {
    let bare = hop
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(hop);
    let address = bare
        .parse()
        .or_else(|_| hop.parse::<SocketAddr>().map(|address| address.ip()));
    address.ok().map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(forwarding: &Forwarding, peer: &str, values: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("x-forwarded-for", value.parse().unwrap());
        }
        let source = forwarding.source(peer.parse().unwrap(), &headers);
        source.ok().map(|address| address.to_string())
    }

    #[test]
    fn the_header_counts_from_a_listed_proxy_alone() {
        let nobody = Forwarding::default();
        assert_eq!(
            source(&nobody, "192.0.2.1", &["203.0.113.9"]).as_deref(),
            Some("192.0.2.1")
        );

        let strict = Forwarding {
            authorized: Networks::parse(&["192.0.2.0/24"]).unwrap(),
            ..Forwarding::default()
        };
        let rows: [(&str, &[&str], Option<&str>); 9] = [
            ("192.0.2.1", &["203.0.113.9"], Some("203.0.113.9")),
            ("192.0.2.1", &["198.51.100.1, 203.0.113.9"], Some("203.0.113.9")),
            ("192.0.2.1", &["198.51.100.1", "203.0.113.9"], Some("203.0.113.9")),
            ("192.0.2.1", &["203.0.113.9:4711"], Some("203.0.113.9")),
            ("192.0.2.1", &["[2001:db8::1]"], Some("2001:db8::1")),
            ("192.0.2.1", &["evil"], None),
            ("192.0.2.1", &[""], None),
            ("192.0.2.1", &[], None),
            ("198.51.100.1", &["203.0.113.9"], None),
        ];
        for (peer, values, want) in rows {
            assert_eq!(
                source(&strict, peer, values).as_deref(),
                want,
                "{peer} {values:?}"
            );
        }

        let lax = Forwarding {
            reject_not_authorized: false,
            reject_not_present: false,
            hop_skips: 1,
            ..strict
        };
        assert_eq!(
            source(&lax, "198.51.100.1", &["203.0.113.9"]).as_deref(),
            Some("198.51.100.1")
        );
        assert_eq!(source(&lax, "192.0.2.1", &[]).as_deref(), Some("192.0.2.1"));
        assert_eq!(source(&lax, "192.0.2.1", &["203.0.113.9"]), None);
        assert_eq!(
            source(&lax, "192.0.2.1", &["203.0.113.9, 10.0.0.1"]).as_deref(),
            Some("203.0.113.9")
        );
    }
}
