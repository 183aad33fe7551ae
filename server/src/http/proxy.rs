//! The PROXY protocol, versions 1 and 2 (haproxy's doc/proxy-protocol.txt): a trusted balancer says for whom it speaks.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::AsyncRead;

use super::stream::Prefixed;
use crate::address::Networks;

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Longest version 1 line, with its end.
const MAX_LINE: usize = 107;
/// Longest version 2 header taken: addresses and some extensions.
const MAX_HEADER: usize = 1024;
/// Fixed part of a version 2 header.
const FIXED: usize = 16;

/// Who may speak for others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Trust {
    /// The protocol is not spoken here.
    #[default]
    Off,
    /// Everybody.
    Everyone,
    /// These; the rest is served under its own address, and its header is no HTTP.
    Listed(Networks),
    /// These; the rest is turned away.
    Only(Networks),
}

/// Reads the header, if a trusted peer sent one. The address of the client it names; `None` if there is none.
pub async fn source<S: AsyncRead + Unpin>(
    stream: &mut Prefixed<S>,
    peer: IpAddr,
    trust: &Trust,
) -> io::Result<Option<SocketAddr>> {
    match trust {
        Trust::Off => return Ok(None),
        Trust::Everyone => {}
        Trust::Listed(networks) if networks.contains(peer) => {}
        Trust::Listed(_) => return Ok(None),
        Trust::Only(networks) if networks.contains(peer) => {}
        Trust::Only(_) => return Err(bad("this peer may not speak for others")),
    }
    loop {
        let ahead = stream.ahead();
        if begins(ahead, SIGNATURE) {
            if let Some((length, address)) = version_2(ahead)? {
                stream.consume(length);
                return Ok(address);
            }
        } else if begins(ahead, b"PROXY ") {
            if let Some((length, address)) = version_1(ahead)? {
                stream.consume(length);
                return Ok(address);
            }
        } else {
            // The header is optional: health checks of balancers send none.
            return Ok(None);
        }
        if !stream.read_ahead(MAX_HEADER).await? {
            return Err(bad("incomplete header"));
        }
    }
}

fn bad(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("PROXY protocol: {text}"))
}

/// Whether `bytes` is the beginning of `whole`, or has it as its beginning.
fn begins(bytes: &[u8], whole: &[u8]) -> bool {
    bytes.iter().zip(whole).all(|(a, b)| a == b)
}

/// Length of the header and the source address; `None` while incomplete.
fn version_1(bytes: &[u8]) -> io::Result<Option<(usize, Option<SocketAddr>)>> {
    let Some(end) = bytes.windows(2).position(|pair| pair == b"\r\n") else {
        return if bytes.len() >= MAX_LINE {
            Err(bad("line too long"))
        } else {
            Ok(None)
        };
    };
    if end + 2 > MAX_LINE {
        return Err(bad("line too long"));
    }
    let line = bytes.get(..end).and_then(|line| std::str::from_utf8(line).ok());
    let line = line.ok_or_else(|| bad("line is not ASCII"))?;
    let mut words = line.split(' ').skip(1);
    let address = match words.next() {
        Some("UNKNOWN") => None,
        Some(family @ ("TCP4" | "TCP6")) => {
            let ip = words.next().and_then(|word| word.parse::<IpAddr>().ok());
            let port = words.nth(1).and_then(|word| word.parse::<u16>().ok());
            match (ip, port) {
                (Some(ip), Some(port)) if ip.is_ipv4() == (family == "TCP4") => {
                    Some(SocketAddr::new(ip, port))
                }
                _ => return Err(bad("bad address")),
            }
        }
        _ => return Err(bad("unknown family")),
    };
    Ok(Some((end + 2, address)))
}

/// Length of the header and the source address; `None` while incomplete.
fn version_2(bytes: &[u8]) -> io::Result<Option<(usize, Option<SocketAddr>)>> {
    let Some(&[command, family, high, low]) = bytes.get(SIGNATURE.len()..FIXED) else {
        return Ok(None);
    };
    let length = FIXED + usize::from(u16::from_be_bytes([high, low]));
    if length > MAX_HEADER {
        return Err(bad("header too long"));
    }
    let Some(body) = bytes.get(FIXED..length) else {
        return Ok(None);
    };
    let address = match (command, family) {
        // LOCAL: the balancer speaks for itself.
        (0x20, _) => None,
        (0x21, 0x11) => match body.first_chunk::<12>() {
            Some([a, b, c, d, _, _, _, _, p, q, ..]) => Some(SocketAddr::new(
                Ipv4Addr::new(*a, *b, *c, *d).into(),
                u16::from_be_bytes([*p, *q]),
            )),
            None => return Err(bad("bad address")),
        },
        (0x21, 0x21) => match (body.first_chunk::<16>(), body.get(32..34)) {
            (Some(ip), Some(&[p, q])) => Some(SocketAddr::new(
                Ipv6Addr::from(*ip).into(),
                u16::from_be_bytes([p, q]),
            )),
            _ => return Err(bad("bad address")),
        },
        // UNSPEC, UDP and UNIX say nothing usable about a client.
        (0x21, _) => None,
        _ => return Err(bad("unknown version or command")),
    };
    Ok(Some((length, address)))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(bytes: &[u8], trust: &Trust) -> io::Result<(Option<SocketAddr>, Vec<u8>)> {
        let mut stream = Prefixed::new(bytes);
        stream.read_ahead(1).await?;
        let address = source(&mut stream, "192.0.2.1".parse().unwrap(), trust).await?;
        let mut rest = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut rest).await?;
        Ok((address, rest))
    }

    #[tokio::test]
    async fn both_versions_name_the_client_and_leave_the_rest() {
        let mut v2 = SIGNATURE.to_vec();
        v2.extend([0x21, 0x11, 0, 12, 198, 51, 100, 7, 10, 0, 0, 1, 0x30, 0x39, 0, 80]);
        v2.extend(b"GET /");
        let mut v2_6 = SIGNATURE.to_vec();
        v2_6.extend([0x21, 0x21, 0, 36]);
        v2_6.extend("2001:db8::7".parse::<Ipv6Addr>().unwrap().octets());
        v2_6.extend([0; 16]);
        v2_6.extend([0x30, 0x39, 0, 80]);
        v2_6.extend(b"GET /");
        let cases: [(&[u8], Option<&str>); 6] = [
            (
                b"PROXY TCP4 198.51.100.7 10.0.0.1 12345 80\r\nGET /",
                Some("198.51.100.7:12345"),
            ),
            (
                b"PROXY TCP6 2001:db8::7 ::1 12345 80\r\nGET /",
                Some("[2001:db8::7]:12345"),
            ),
            (b"PROXY UNKNOWN\r\nGET /", None),
            (b"GET /", None),
            (&v2, Some("198.51.100.7:12345")),
            (&v2_6, Some("[2001:db8::7]:12345")),
        ];
        for (bytes, want) in cases {
            let (address, rest) = read(bytes, &Trust::Everyone).await.unwrap();
            assert_eq!(address, want.map(|text| text.parse().unwrap()), "{bytes:?}");
            assert_eq!(rest, b"GET /", "{bytes:?}");
        }
    }

    #[tokio::test]
    async fn malformed_headers_are_refused() {
        let mut truncated = SIGNATURE.to_vec();
        truncated.extend([0x21, 0x11, 0, 12, 1]);
        let mut wrong = SIGNATURE.to_vec();
        wrong.extend([0x11, 0x11, 0, 0]);
        let long = [b"PROXY TCP4 ".as_slice(), &[b'1'; 200]].concat();
        let cases: [&[u8]; 7] = [
            b"PROXY TCP4 2001:db8::7 ::1 1 2\r\n",
            b"PROXY TCP4 198.51.100.7 10.0.0.1 99999 80\r\n",
            b"PROXY TCP9 1 2 3 4\r\n",
            b"PROXY TCP4 198.51.100.7 10.0",
            &truncated,
            &wrong,
            &long,
        ];
        for bytes in cases {
            assert!(read(bytes, &Trust::Everyone).await.is_err(), "{bytes:?}");
        }
    }

    #[tokio::test]
    async fn only_the_trusted_speak_for_others() {
        let header = b"PROXY TCP4 198.51.100.7 10.0.0.1 12345 80\r\nGET /";
        let stranger = Networks::parse(&["203.0.113.0/24"]).unwrap();
        let (address, rest) = read(header, &Trust::Listed(stranger.clone())).await.unwrap();
        assert!(
            address.is_none() && rest == header,
            "the header stays where it is"
        );
        assert!(read(header, &Trust::Only(stranger)).await.is_err());
        let friend = Networks::parse(&["192.0.2.0/24"]).unwrap();
        for trust in [Trust::Listed(friend.clone()), Trust::Only(friend)] {
            assert!(read(header, &trust).await.unwrap().0.is_some());
        }
    }
}
