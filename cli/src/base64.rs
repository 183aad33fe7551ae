//! Base64 (RFC 4648 section 4) for keys and encoded tokens. Pure functions.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Encodes with padding.
pub fn encode(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let at = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
        let group = at(0) << 16 | at(1) << 8 | at(2);
        for i in 0..4 {
            let index = usize::try_from(group >> (18 - 6 * i) & 63).unwrap_or(0);
            let letter = ALPHABET.get(index).copied().unwrap_or(b'A');
            out.push(if i <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    out
}

/// Decodes with or without padding; `None` for anything that is not base64.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let letters: Vec<u32> = text
        .trim_end_matches('=')
        .bytes()
        .map(|b| {
            ALPHABET
                .iter()
                .position(|a| *a == b)
                .and_then(|i| u32::try_from(i).ok())
        })
        .collect::<Option<_>>()?;
    let mut out = Vec::new();
    for chunk in letters.chunks(4) {
        if chunk.len() == 1 {
            return None;
        }
        let group = chunk
            .iter()
            .enumerate()
            .fold(0_u32, |sum, (i, letter)| sum | letter << (18 - 6 * i));
        let [_, a, b, c] = group.to_be_bytes();
        out.extend([a, b, c].into_iter().take(chunk.len() - 1));
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_vectors() {
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(encode(plain.as_bytes()), coded);
            assert_eq!(decode(coded).unwrap(), plain.as_bytes());
            assert_eq!(decode(coded.trim_end_matches('=')).unwrap(), plain.as_bytes());
        }
        assert!(decode("a").is_none());
        assert!(decode("a*aa").is_none());
    }
}
