//! The gzip wrapping (RFC 1952) of snapshot files, with stored blocks only (RFC 1951, 3.2.4): what is in them is
//! ciphertext, which nothing compresses. Read as strictly as written, so that no file grows when it is opened.

use std::io::{self, ErrorKind, Read, Write};

/// Magic, deflate, no flags, no time, no extra flags, unknown system.
const HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
/// Longest stored block.
const MAX_BLOCK: usize = u16::MAX as usize;
const MORE: u8 = 0;
const LAST: u8 = 1;

/// Wraps what is written to it.
pub struct GzipWriter<W> {
    out: W,
    block: Vec<u8>,
    crc: crc32fast::Hasher,
    length: u32,
}

impl<W: Write> GzipWriter<W> {
    /// Begins a file.
    pub fn new(mut out: W) -> io::Result<Self> {
        out.write_all(&HEAD)?;
        Ok(Self {
            out,
            block: Vec::with_capacity(MAX_BLOCK),
            crc: crc32fast::Hasher::new(),
            length: 0,
        })
    }

    /// Ends the file.
    pub fn finish(mut self) -> io::Result<W> {
        self.end_block(LAST)?;
        self.out.write_all(&self.crc.finalize().to_le_bytes())?;
        self.out.write_all(&self.length.to_le_bytes())?;
        Ok(self.out)
    }

    fn end_block(&mut self, kind: u8) -> io::Result<()> {
        // Never more than `MAX_BLOCK`.
        let length = u16::try_from(self.block.len()).map_err(io::Error::other)?;
        self.out.write_all(&[kind])?;
        self.out.write_all(&length.to_le_bytes())?;
        self.out.write_all(&(!length).to_le_bytes())?;
        self.out.write_all(&self.block)?;
        self.block.clear();
        Ok(())
    }
}

impl<W: Write> Write for GzipWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.block.len() == MAX_BLOCK {
            self.end_block(MORE)?;
        }
        let room = MAX_BLOCK - self.block.len();
        let taken = bytes.get(..room.min(bytes.len())).unwrap_or_default();
        self.block.extend_from_slice(taken);
        self.crc.update(taken);
        // RFC 1952: the length modulo 2^32.
        self.length = self.length.wrapping_add(u32::try_from(taken.len()).unwrap_or(0));
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Unwraps what a [`GzipWriter`] wrote. The end of its bytes is given out only once the checksum was found right.
pub struct GzipReader<R> {
    input: R,
    left: usize,
    last: bool,
    ended: bool,
    crc: crc32fast::Hasher,
    length: u32,
}

impl<R: Read> GzipReader<R> {
    /// Begins to read.
    pub fn new(mut input: R) -> io::Result<Self> {
        let mut head = [0; HEAD.len()];
        input.read_exact(&mut head)?;
        if head.get(..3) != HEAD.get(..3) {
            return Err(bad("the file is no snapshot"));
        }
        if head != HEAD {
            return Err(bad(COMPRESSED));
        }
        Ok(Self {
            input,
            left: 0,
            last: false,
            ended: false,
            crc: crc32fast::Hasher::new(),
            length: 0,
        })
    }

    fn next_block(&mut self) -> io::Result<()> {
        if self.last {
            return self.check_end();
        }
        let [kind] = self.take()?;
        if kind != MORE && kind != LAST {
            return Err(bad(COMPRESSED));
        }
        let length = u16::from_le_bytes(self.take()?);
        if u16::from_le_bytes(self.take()?) != !length {
            return Err(bad("a block of the file is damaged"));
        }
        // A writer makes empty blocks at the end alone; others could go on for ever without a byte.
        if length == 0 && kind != LAST {
            return Err(bad("a block of the file is empty"));
        }
        (self.left, self.last) = (usize::from(length), kind == LAST);
        Ok(())
    }

    fn check_end(&mut self) -> io::Result<()> {
        let crc = u32::from_le_bytes(self.take()?);
        let length = u32::from_le_bytes(self.take()?);
        if crc != self.crc.clone().finalize() || length != self.length {
            return Err(bad("the checksum of the file does not match"));
        }
        if self.input.read(&mut [0])? != 0 {
            return Err(bad("something follows the end of the file"));
        }
        self.ended = true;
        Ok(())
    }

    fn take<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.input.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

impl<R: Read> Read for GzipReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        while self.left == 0 && !self.ended {
            self.next_block()?;
        }
        let wanted = out.len().min(self.left);
        let room = out.get_mut(..wanted).unwrap_or_default();
        let count = self.input.read(room)?;
        if count == 0 && wanted > 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.crc.update(room.get(..count).unwrap_or_default());
        self.length = self.length.wrapping_add(u32::try_from(count).unwrap_or(0));
        self.left -= count;
        Ok(count)
    }
}

const COMPRESSED: &str = "the file is not as it was saved: it was packed again by something else";

/// The file is wrong, not the disk.
pub fn bad(text: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrapped(bytes: &[u8]) -> Vec<u8> {
        let mut writer = GzipWriter::new(Vec::new()).unwrap();
        writer.write_all(bytes).unwrap();
        writer.finish().unwrap()
    }

    fn unwrapped(file: &[u8]) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        GzipReader::new(file)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    #[test]
    fn what_is_wrapped_unwraps() {
        for length in [
            0,
            1,
            MAX_BLOCK - 1,
            MAX_BLOCK,
            MAX_BLOCK + 1,
            3 * MAX_BLOCK,
            200_001,
        ] {
            let bytes: Vec<u8> = (0..length).map(|at| (at * 7 % 251) as u8).collect();
            assert_eq!(unwrapped(&wrapped(&bytes)).unwrap(), bytes, "{length}");
        }
    }

    #[test]
    fn other_programs_read_it() {
        let mut child = std::process::Command::new("gzip")
            .arg("-dc")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let bytes = vec![5u8; 70_000];
        child.stdin.take().unwrap().write_all(&wrapped(&bytes)).unwrap();
        let out = child.wait_with_output().unwrap();
        assert!(out.status.success());
        assert_eq!(out.stdout, bytes);
    }

    #[test]
    fn every_flip_and_every_cut_is_an_error() {
        let file = wrapped(b"some bytes that matter");
        for at in 0..file.len() * 8 {
            let mut flipped = file.clone();
            flipped[at / 8] ^= 1 << (at % 8);
            assert!(unwrapped(&flipped).is_err(), "bit {at}");
        }
        for length in 0..file.len() {
            assert!(unwrapped(&file[..length]).is_err(), "{length} bytes");
        }
        assert!(unwrapped(&[file.as_slice(), b"x"].concat()).is_err());
        // A second member, which gzip would append.
        assert!(unwrapped(&[file.as_slice(), file.as_slice()].concat()).is_err());
    }

    #[test]
    fn compressed_blocks_are_refused_unread() {
        // Deflate with a dynamic block: a bomb would begin like this.
        let mut bomb = HEAD.to_vec();
        bomb.extend_from_slice(&[0x05, 0xc0, 0x81, 0x00]);
        let error = unwrapped(&bomb).unwrap_err();
        assert_eq!(error.to_string(), COMPRESSED);
    }
}
