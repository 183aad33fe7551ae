//! The entries of a snapshot file in ustar (POSIX 1003.1). Each header is exactly the one we write for its name and
//! size: no links, no directories, no sparse files, no long names, no second meaning.

use std::io::{self, Read, Write};

use crate::backup::gzip::bad;

const BLOCK: usize = 512;
/// Two empty blocks end the archive.
const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];
/// Where the checksum is, which counts as spaces in its own sum.
const CHECKSUM: std::ops::Range<usize> = 148..156;
const OTHER: &str = "the file holds something else than the entries of a snapshot in their order";
/// Greatest size that eleven octal digits hold.
const MAX_SIZE: u64 = (1 << 33) - 1;

/// Begins an entry of `size` bytes, which the caller writes next.
pub fn begin(out: &mut dyn Write, name: &str, size: u64) -> io::Result<()> {
    out.write_all(&header(name, size)?)
}

/// Ends an entry of `size` bytes.
pub fn end(out: &mut dyn Write, size: u64) -> io::Result<()> {
    out.write_all(END.get(..padding(size)).unwrap_or_default())
}

/// Ends the archive.
pub fn finish(out: &mut dyn Write) -> io::Result<()> {
    out.write_all(&END)
}

/// Reads the header of the entry `name`, of at most `max` bytes; its size.
pub fn enter(input: &mut dyn Read, name: &str, max: u64) -> io::Result<u64> {
    let mut found = [0; BLOCK];
    input.read_exact(&mut found)?;
    let size = found.get(124..135).and_then(octal);
    let size = size.ok_or_else(|| bad(OTHER))?;
    if found != header(name, size)? {
        return Err(bad(OTHER));
    }
    if size > max {
        return Err(bad("an entry of the file is too large"));
    }
    Ok(size)
}

/// Reads what follows an entry of `size` bytes.
pub fn leave(input: &mut dyn Read, size: u64) -> io::Result<()> {
    empty(input, padding(size))
}

/// Reads the end of the archive, behind which nothing may follow.
pub fn exit(input: &mut dyn Read) -> io::Result<()> {
    empty(input, END.len())?;
    if input.read(&mut [0])? != 0 {
        return Err(bad("something follows the entries of the file"));
    }
    Ok(())
}

fn empty(input: &mut dyn Read, length: usize) -> io::Result<()> {
    let mut found = END;
    let found = found.get_mut(..length).unwrap_or_default();
    input.read_exact(found)?;
    if found.iter().any(|byte| *byte != 0) {
        return Err(bad("the file is damaged between its entries"));
    }
    Ok(())
}

fn padding(size: u64) -> usize {
    let over = usize::try_from(size % BLOCK as u64).unwrap_or(0);
    (BLOCK - over) % BLOCK
}

fn octal(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0u64, |number, digit| match digit {
        b'0'..=b'7' => Some(number << 3 | u64::from(digit - b'0')),
        _ => None,
    })
}

fn header(name: &str, size: u64) -> io::Result<[u8; BLOCK]> {
    if size > MAX_SIZE {
        return Err(bad("an entry of the file is too large"));
    }
    let mut header = [0; BLOCK];
    let size = format!("{size:011o}");
    for (at, text) in [
        (0, name),
        (100, "0000600"),
        (108, "0000000"),
        (116, "0000000"),
        (124, size.as_str()),
        // Never a time of day: the same state gives the same file.
        (136, "00000000000"),
        (CHECKSUM.start, "        "),
        (156, "0"),
        (257, "ustar"),
        (263, "00"),
    ] {
        put(&mut header, at, text.as_bytes());
    }
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    put(&mut header, CHECKSUM.start, format!("{sum:06o}\0 ").as_bytes());
    Ok(header)
}

fn put(header: &mut [u8; BLOCK], at: usize, text: &[u8]) {
    for (place, byte) in header.iter_mut().skip(at).zip(text) {
        *place = *byte;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, bytes) in entries {
            begin(&mut out, name, bytes.len() as u64).unwrap();
            out.extend_from_slice(bytes);
            end(&mut out, bytes.len() as u64).unwrap();
        }
        finish(&mut out).unwrap();
        out
    }

    fn read(mut input: &[u8], names: &[&str]) -> io::Result<Vec<Vec<u8>>> {
        let mut found = Vec::new();
        for name in names {
            let size = enter(&mut input, name, 10_000)?;
            let mut bytes = vec![0; size as usize];
            input.read_exact(&mut bytes)?;
            leave(&mut input, size)?;
            found.push(bytes);
        }
        exit(&mut input)?;
        Ok(found)
    }

    #[test]
    fn entries_come_back_in_their_order() {
        let long = vec![7; 1024];
        let file = archive(&[("a", b"one"), ("b", b""), ("c", &long)]);
        assert_eq!(file.len() % BLOCK, 0);
        let found = read(&file, &["a", "b", "c"]).unwrap();
        assert_eq!(found, [b"one".to_vec(), Vec::new(), long]);
        assert!(read(&file, &["b", "a", "c"]).is_err());
        assert!(read(&file, &["a", "b"]).is_err(), "one entry too many");
        assert!(read(&file, &["a", "b", "c", "d"]).is_err(), "one too few");
    }

    #[test]
    fn only_the_header_that_we_write_is_read() {
        let file = archive(&[("a", b"one")]);
        for at in 0..BLOCK {
            let mut other = file.clone();
            other[at] ^= 1;
            assert!(read(&other, &["a"]).is_err(), "byte {at}");
        }
        // Headers in order with themselves, of kinds that could lead elsewhere.
        for (name, kind) in [
            ("../a", b'0'),
            ("/a", b'0'),
            ("a", b'1'),
            ("a", b'2'),
            ("a", b'5'),
            ("a", b'S'),
            ("a", b'x'),
        ] {
            let mut other = archive(&[(name, b"one")]);
            other[156] = kind;
            put_checksum(&mut other);
            assert!(read(&other, &["a"]).is_err(), "{name} of kind {kind}");
        }
        assert!(enter(&mut archive(&[("a", &[1; 600])]).as_slice(), "a", 599).is_err());
        let sparse = header("a", MAX_SIZE).unwrap();
        assert!(enter(&mut sparse.as_slice(), "a", 1 << 30).is_err());
        let mut padded = file.clone();
        padded[BLOCK + 3] = 1;
        assert!(read(&padded, &["a"]).is_err(), "what is between entries is empty");
    }

    fn put_checksum(file: &mut [u8]) {
        file[CHECKSUM].fill(b' ');
        let sum: u32 = file[..BLOCK].iter().map(|byte| u32::from(*byte)).sum();
        file[CHECKSUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }

    #[test]
    fn other_programs_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.tar");
        std::fs::write(&path, archive(&[("a", b"one"), ("b", b"two")])).unwrap();
        let listed = std::process::Command::new("tar")
            .arg("-tvf")
            .arg(&path)
            .output()
            .unwrap();
        let text = String::from_utf8(listed.stdout).unwrap();
        assert!(listed.status.success() && listed.stderr.is_empty());
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.starts_with("-rw-------"), "{text}");
    }
}
