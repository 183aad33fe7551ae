//! The parts of URLs that more than one driver reads (RFC 3986). Errors never repeat what was given.

use conclave_engine_api::Hidden;

/// A part without its percent-encoding.
///
/// # Errors
/// It is no encoded UTF-8.
pub fn decoded(text: &str) -> Result<Hidden, String> {
    let wrong = || "connection_url holds what is no percent-encoded text".to_owned();
    let mut bytes = zeroize::Zeroizing::new(Vec::with_capacity(text.len()));
    let mut given = text.bytes();
    while let Some(byte) = given.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        let (high, low) = (digit(given.next()), digit(given.next()));
        let byte = high
            .zip(low)
            .and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
        bytes.push(byte.ok_or_else(wrong)?);
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| wrong())?;
    Ok(Hidden::new(text.to_owned()))
}

/// As a part of a path: unreserved characters stay, every other byte is percent-encoded.
pub fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            true => out.push(char::from(byte)),
            false => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// `host`, `host:port`, `[::1]` or `[::1]:port`.
///
/// # Errors
/// There is no host, or what follows is no port.
pub fn host_and_port(text: &str, usual: u16) -> Result<(String, u16), String> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest
                .split_once(']')
                .ok_or_else(|| "connection_url has an address whose [ is not closed".to_owned())?;
            (host, after.strip_prefix(':'))
        }
        None => match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    if host.is_empty() {
        return Err("connection_url names no host".to_owned());
    }
    let port = match port {
        None | Some("") => usual,
        Some(port) => port
            .parse()
            .map_err(|_| "connection_url has a port that is no number below 65536".to_owned())?,
    };
    Ok((host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_decoded_or_refused() {
        assert_eq!(decoded("a%40b%C3%A9").unwrap().as_str(), "a@bé");
        for bad in ["%", "%4", "%zz", "%ff"] {
            assert!(decoded(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn hosts_may_be_addresses() {
        assert_eq!(host_and_port("[::1]:5", 1).unwrap(), ("::1".to_owned(), 5));
        assert_eq!(host_and_port("[::1]", 1).unwrap(), ("::1".to_owned(), 1));
        assert_eq!(host_and_port("h:", 1).unwrap(), ("h".to_owned(), 1));
        for bad in ["", ":5", "[::1", "h:x", "h:99999"] {
            assert!(host_and_port(bad, 1).is_err(), "{bad}");
        }
    }
}
