//! A text as a QR code in a PNG picture: black and white, one bit a pixel, not compressed. It must not know what the text is.

use qrcodegen::{QrCode, QrCodeEcc};

use crate::error::Error;

/// White modules around the code, as readers want them (ISO/IEC 18004).
const QUIET: u32 = 4;
/// What every PNG file begins with.
const SIGNATURE: [u8; 8] = [0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a];
/// One bit, grey, deflate, the one filter method, not interlaced.
const GREY: [u8; 5] = [1, 0, 0, 0, 0];
/// zlib without compression (RFC 1950).
const ZLIB: [u8; 2] = [0x78, 0x01];
/// Longest stored block (RFC 1951, 3.2.4).
const MAX_BLOCK: usize = u16::MAX as usize;
/// What Adler-32 counts modulo (RFC 1950, 9).
const ADLER: u32 = 65_521;

/// `text` as a square picture of `size` pixels a side.
///
/// # Errors
/// The text is too long, or the picture too small for it.
pub fn png(text: &str, size: u32) -> Result<Vec<u8>, Error> {
    let code = QrCode::encode_text(text, QrCodeEcc::Medium)
        .map_err(|_| Error::invalid("the secret is too long for a barcode"))?;
    let modules = u32::try_from(code.size()).unwrap_or(u32::MAX);
    let scale = size / modules.saturating_add(2 * QUIET);
    if scale == 0 {
        return Err(Error::invalid("qr_size is too small for the barcode"));
    }
    let margin = (size - scale * modules) / 2;
    let module = |pixel: u32| {
        let at = pixel.checked_sub(margin)? / scale;
        (at < modules).then_some(i32::try_from(at).ok()?)
    };
    let mut rows = Vec::new();
    for y in 0..size {
        // Each row begins with its filter: none.
        rows.push(0);
        let mut byte = 0;
        for x in 0..size {
            let dark = module(x)
                .zip(module(y))
                .is_some_and(|(x, y)| code.get_module(x, y));
            byte = byte << 1 | u8::from(!dark);
            if x % 8 == 7 {
                rows.push(byte);
                byte = 0;
            }
        }
        if !size.is_multiple_of(8) {
            rows.push(byte << (8 - size % 8));
        }
    }
    let mut head = [size.to_be_bytes(), size.to_be_bytes()].concat();
    head.extend_from_slice(&GREY);
    let mut file = SIGNATURE.to_vec();
    chunk(&mut file, *b"IHDR", &head);
    chunk(&mut file, *b"IDAT", &stored(&rows));
    chunk(&mut file, *b"IEND", &[]);
    Ok(file)
}

fn chunk(file: &mut Vec<u8>, kind: [u8; 4], data: &[u8]) {
    let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
    let mut checked = kind.to_vec();
    checked.extend_from_slice(data);
    file.extend_from_slice(&length.to_be_bytes());
    file.extend_from_slice(&checked);
    file.extend_from_slice(&crc32fast::hash(&checked).to_be_bytes());
}

/// A zlib stream of stored blocks.
fn stored(data: &[u8]) -> Vec<u8> {
    let mut out = ZLIB.to_vec();
    let blocks = data.chunks(MAX_BLOCK);
    let last = blocks.len().saturating_sub(1);
    for (number, block) in blocks.enumerate() {
        let length = u16::try_from(block.len()).unwrap_or(u16::MAX);
        out.push(u8::from(number == last));
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&(!length).to_le_bytes());
        out.extend_from_slice(block);
    }
    let (mut a, mut b) = (1u32, 0u32);
    for byte in data {
        a = (a + u32::from(*byte)) % ADLER;
        b = (b + a) % ADLER;
    }
    out.extend_from_slice(&(b << 16 | a).to_be_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_has_its_size_and_sums() {
        // A text of this length is a code of 37 modules; with its margin it fits into 45 pixels.
        let text = "otpauth://totp/issuer:1f6e0c1c-50c9-4b31-a8f0-1ef1a5a3e9a1?secret=GEZDGNBVGY3TQOJQ";
        let file = png(text, 200).unwrap();
        assert_eq!(file[..8], SIGNATURE);
        assert_eq!(file[16..24], [0, 0, 0, 200, 0, 0, 0, 200]);
        let rows = 200 * (1 + 200 / 8);
        assert_eq!(
            file[33..41],
            [&(rows as u32 + 11).to_be_bytes()[..], b"IDAT"].concat()
        );
        let crc = crc32fast::hash(&file[37..41 + rows + 11]);
        assert_eq!(file[41 + rows + 11..][..4], crc.to_be_bytes());
        // The first pixels are margin, and the code has both colours.
        let pixels = &file[41 + 7..][..rows];
        assert!(pixels[1..26].iter().all(|byte| *byte == 0xff));
        assert!(pixels.contains(&0x0f) || pixels.iter().any(|byte| *byte != 0xff && *byte != 0));
        assert!(png(text, 40).is_err());
        assert!(png(text, 0).is_err());
        assert!(png(&"x".repeat(5000), 500).is_err());
        // 203 pixels are no whole bytes.
        assert!(png(text, 203).unwrap().len() > file.len());
    }

    #[test]
    fn sums_are_those_of_zlib() {
        let out = stored(b"Wikipedia");
        assert_eq!(out[out.len() - 4..], 0x11e6_0398_u32.to_be_bytes());
    }
}
