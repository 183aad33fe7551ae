//! The durable high-water mark of a log: a small file, synced on its own, that says up to which index and which term of
//! its vote the log was surely durable. A log that ends below it has lost its middle, whatever its own checks say (the idea
//! is from Protocol-Aware Recovery, FAST 2018). It is a lower bound: raised now and then, lowered before the log is cut.

use std::fs;
use std::path::PathBuf;

use bytes::{BufMut, Bytes, BytesMut};

use crate::codec::wire::Reader;
use crate::error::Error;
use crate::log::durable::{failed, write_durably};

const FORMAT: u16 = 2;
/// Without the term.
const FORMAT_1: u16 = 1;

/// The mark of one log. `0` means that nothing is promised; otherwise the last durable index + 1.
pub struct Mark {
    path: PathBuf,
    position: u64,
    term: u64,
}

impl Mark {
    /// Reads the mark at `path`; a missing file promises nothing.
    pub fn open(path: PathBuf) -> Result<Self, Error> {
        let (position, term) = match fs::read(&path) {
            Ok(bytes) => decode(&Bytes::from(bytes))?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => (0, 0),
            Err(e) => return Err(failed(&path, &e)),
        };
        Ok(Self { path, position, term })
    }

    /// The promise about entries.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The promise about the vote: it is of this term or a later one.
    pub fn term(&self) -> u64 {
        self.term
    }

    /// Replaces the promises, durably and atomically.
    pub fn set(&mut self, position: u64, term: u64) -> Result<(), Error> {
        if (position, term) == (self.position, self.term) {
            return Ok(());
        }
        write_durably(&self.path, &encode(position, term))?;
        (self.position, self.term) = (position, term);
        Ok(())
    }
}

fn encode(position: u64, term: u64) -> Bytes {
    let mut body = BytesMut::new();
    body.put_u16(FORMAT);
    body.put_u64(position);
    body.put_u64(term);
    let mut out = BytesMut::new();
    out.put_u32(crc32fast::hash(&body));
    out.put_slice(&body);
    out.freeze()
}

fn decode(bytes: &Bytes) -> Result<(u64, u64), Error> {
    let mut reader = Reader::new(bytes, "log high-water mark");
    let crc = reader.u32()?;
    if crc32fast::hash(bytes.get(4..).unwrap_or_default()) != crc {
        return Err(reader.corrupt("the checksum is wrong".to_owned()));
    }
    let format = reader.u16()?;
    if ![FORMAT_1, FORMAT].contains(&format) {
        return Err(Error::UnknownFormat {
            what: "log high-water mark",
            format: format.into(),
        });
    }
    let position = reader.u64()?;
    let term = if format == FORMAT { reader.u64()? } else { 0 };
    reader.finish()?;
    Ok((position, term))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_survives_and_damage_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mark");
        let mut mark = Mark::open(path.clone()).unwrap();
        assert_eq!((mark.position(), mark.term()), (0, 0));
        mark.set(42, 7).unwrap();
        let mark = Mark::open(path.clone()).unwrap();
        assert_eq!((mark.position(), mark.term()), (42, 7));
        let mut bytes = fs::read(&path).unwrap();
        bytes[8] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert!(matches!(Mark::open(path), Err(Error::Corrupt { .. })));
    }

    #[test]
    fn a_mark_without_a_term_is_read_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mark");
        let body = [0, 1, 0, 0, 0, 0, 0, 0, 0, 42];
        fs::write(&path, [&crc32fast::hash(&body).to_be_bytes()[..], &body].concat()).unwrap();
        let mark = Mark::open(path).unwrap();
        assert_eq!((mark.position(), mark.term()), (42, 0));
    }
}
