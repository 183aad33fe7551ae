//! The durable high-water mark of a log: a small file, synced on its own, that says up to which index the log was
//! surely durable. A log that ends below it has lost its middle, whatever its own checks say (the idea is from
//! Protocol-Aware Recovery, FAST 2018). It is a lower bound: raised now and then, lowered before the log is cut.

use std::fs;
use std::path::PathBuf;

use bytes::{BufMut, Bytes, BytesMut};

use crate::codec::wire::Reader;
use crate::error::Error;
use crate::log::durable::{failed, write_durably};

const FORMAT: u16 = 1;

/// The mark of one log. `0` means that nothing is promised; otherwise the last durable index + 1.
pub struct Mark {
    path: PathBuf,
    position: u64,
}

impl Mark {
    /// Reads the mark at `path`; a missing file promises nothing.
    pub fn open(path: PathBuf) -> Result<Self, Error> {
        let position = match fs::read(&path) {
            Ok(bytes) => decode(&Bytes::from(bytes))?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => 0,
            Err(e) => return Err(failed(&path, &e)),
        };
        Ok(Self { path, position })
    }

    /// The promise.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Replaces the promise, durably and atomically.
    pub fn set(&mut self, position: u64) -> Result<(), Error> {
        if position == self.position {
            return Ok(());
        }
        write_durably(&self.path, &encode(position))?;
        self.position = position;
        Ok(())
    }
}

fn encode(position: u64) -> Bytes {
    let mut body = BytesMut::new();
    body.put_u16(FORMAT);
    body.put_u64(position);
    let mut out = BytesMut::new();
    out.put_u32(crc32fast::hash(&body));
    out.put_slice(&body);
    out.freeze()
}

fn decode(bytes: &Bytes) -> Result<u64, Error> {
    let mut reader = Reader::new(bytes, "log high-water mark");
    let crc = reader.u32()?;
    if crc32fast::hash(bytes.get(4..).unwrap_or_default()) != crc {
        return Err(reader.corrupt("the checksum is wrong".to_owned()));
    }
    reader.format(FORMAT)?;
    let position = reader.u64()?;
    reader.finish()?;
    Ok(position)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_survives_and_damage_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mark");
        let mut mark = Mark::open(path.clone()).unwrap();
        assert_eq!(mark.position(), 0);
        mark.set(42).unwrap();
        assert_eq!(Mark::open(path.clone()).unwrap().position(), 42);
        let mut bytes = fs::read(&path).unwrap();
        bytes[8] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert!(matches!(Mark::open(path), Err(Error::Corrupt { .. })));
    }
}
