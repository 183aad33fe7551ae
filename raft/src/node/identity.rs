//! Who this data directory belongs to and how often it was started: one small synced file. This file must not know
//! what else lies in the directory.

use std::fs;
use std::path::Path;

use bytes::{BufMut, Bytes, BytesMut};

use crate::codec::wire::Reader;
use crate::error::Error;
use crate::log::durable::{failed, write_durably};

const FORMAT: u16 = 1;
const FILE: &str = "identity";

/// Identity of a data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The cluster's Raft identity; another one after a restore.
    pub cluster: [u8; 16],
    /// The node's id.
    pub node: u64,
    /// Starts so far, this one included.
    pub incarnation: u64,
}

impl Identity {
    /// Claims `dir` for one more start of `node`, durably.
    ///
    /// # Errors
    /// `Error::Corrupt` when the directory belongs to another node or cluster or the file is damaged,
    /// `Error::Storage` when the disk fails.
    pub fn begin(dir: &Path, cluster: [u8; 16], node: u64) -> Result<Self, Error> {
        let path = dir.join(FILE);
        let before = match fs::read(&path) {
            Ok(bytes) => decode(&Bytes::from(bytes))?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Self {
                cluster,
                node,
                incarnation: 0,
            },
            Err(e) => return Err(failed(&path, &e)),
        };
        if before.cluster != cluster || before.node != node {
            return Err(Error::Corrupt {
                what: "data directory",
                detail: format!(
                    "it belongs to node {} of another cluster or to another node",
                    before.node
                ),
            });
        }
        let identity = Self {
            incarnation: before.incarnation + 1,
            ..before
        };
        write_durably(&path, &encode(&identity))?;
        Ok(identity)
    }
}

fn encode(identity: &Identity) -> Bytes {
    let mut body = BytesMut::new();
    body.put_u16(FORMAT);
    body.put_slice(&identity.cluster);
    body.put_u64(identity.node);
    body.put_u64(identity.incarnation);
    let mut out = BytesMut::new();
    out.put_u32(crc32fast::hash(&body));
    out.put_slice(&body);
    out.freeze()
}

fn decode(bytes: &Bytes) -> Result<Identity, Error> {
    let mut reader = Reader::new(bytes, "identity file");
    let crc = reader.u32()?;
    if crc32fast::hash(bytes.get(4..).unwrap_or_default()) != crc {
        return Err(reader.corrupt("the checksum is wrong".to_owned()));
    }
    reader.format(FORMAT)?;
    let identity = Identity {
        cluster: reader.array()?,
        node: reader.u64()?,
        incarnation: reader.u64()?,
    };
    reader.finish()?;
    Ok(identity)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn incarnations_count_starts_and_a_foreign_directory_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Identity::begin(dir.path(), [7; 16], 3).unwrap().incarnation, 1);
        assert_eq!(Identity::begin(dir.path(), [7; 16], 3).unwrap().incarnation, 2);
        assert!(matches!(
            Identity::begin(dir.path(), [7; 16], 4),
            Err(Error::Corrupt { .. })
        ));
        assert!(matches!(
            Identity::begin(dir.path(), [8; 16], 3),
            Err(Error::Corrupt { .. })
        ));
        assert_eq!(Identity::begin(dir.path(), [7; 16], 3).unwrap().incarnation, 3);
    }
}
