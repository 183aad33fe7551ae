//! A member's side of a comparison: keeps its state as it stands behind the named command, hashes it, tells the digest.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use conclave_raft::node::Offload;
use conclave_raft::{Origin, Replica, state};

use crate::core::Core;
use crate::divergence::Digest;
use crate::error::Error;
use crate::offload::off_thread;

/// Message to a member: hash the state behind the command of this origin, which is about to be proposed.
pub const HOLD: u16 = 10;
/// Message to a member: what came of it?
pub const TELL: u16 = 11;

/// How long the command may take to arrive: a member that lags this far tells so.
const ARRIVAL: Duration = Duration::from_secs(60);
/// Between two looks whether it has.
const LOOK: Duration = Duration::from_millis(20);
/// A hash nobody has asked for this long is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(1800);

/// How far one hash is.
pub struct Progress {
    begun: Instant,
    pub(super) result: Option<Result<Told, String>>,
}

/// What a member tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// Commands applied.
    pub revision: u64,
    /// Hash over the rows.
    pub digest: Digest,
}

impl Core {
    /// Begins to wait for the command and to hash what stands behind it. One at a time: it reads the whole state.
    ///
    /// # Errors
    /// `Error::Overloaded` while another is under way here.
    pub(crate) fn hold(self: &Arc<Self>, origin: Origin) -> Result<(), Error> {
        let replica = self.seal.replica()?;
        {
            let mut hashes = self.divergence.hashes.lock();
            hashes.retain(|_, progress| progress.begun.elapsed() < FORGOTTEN);
            if hashes.contains_key(&origin) {
                return Ok(());
            }
            if hashes.values().any(|progress| progress.result.is_none()) {
                return Err(Error::Overloaded(
                    "another comparison of states is under way".to_owned(),
                ));
            }
            replica.mark(origin)?;
            let progress = Progress {
                begun: Instant::now(),
                result: None,
            };
            hashes.insert(origin, progress);
        }
        let (core, offload) = (Arc::downgrade(self), Arc::clone(&self.offload));
        tokio::spawn(async move {
            let told = hash_behind(offload.as_ref(), replica.as_ref(), origin).await;
            replica.forget_mark(origin);
            if let Some(core) = core.upgrade()
                && let Some(progress) = core.divergence.hashes.lock().get_mut(&origin)
            {
                progress.result = Some(told.map_err(|error| error.to_string()));
            }
        });
        Ok(())
    }

    /// What came of a hash; `None` while it is under way.
    pub(crate) fn tell(&self, origin: Origin) -> Option<Result<Told, String>> {
        match self.divergence.hashes.lock().get(&origin) {
            Some(progress) => progress.result.clone(),
            // It restarted meanwhile.
            None => Some(Err("it knows nothing of this comparison".to_owned())),
        }
    }

    /// The command was not proposed after all: what waits for it here ends.
    pub(crate) fn let_go(&self, origin: Origin) {
        if let Ok(replica) = self.seal.replica() {
            replica.forget_mark(origin);
        }
    }

    /// A member's message.
    pub(crate) fn receive_hold(self: &Arc<Self>, payload: &[u8]) -> Result<Bytes, Error> {
        self.hold(decode_origin(payload)?)?;
        Ok(Bytes::new())
    }

    /// A member's question: empty while the hash is under way, `0 | revision u64 | digest`, or `1 | why there is none`.
    pub(crate) fn receive_tell(&self, payload: &[u8]) -> Result<Bytes, Error> {
        Ok(match self.tell(decode_origin(payload)?) {
            None => Bytes::new(),
            Some(Ok(told)) => [&[0][..], &told.revision.to_be_bytes(), &told.digest]
                .concat()
                .into(),
            Some(Err(why)) => [&[1][..], why.as_bytes()].concat().into(),
        })
    }
}

/// Reads the answer to [`TELL`].
pub fn read_told(answer: &[u8]) -> Result<Option<Result<Told, String>>, Error> {
    let damaged = || Error::internal("a member's answer does not decode");
    match answer.split_first() {
        None => Ok(None),
        Some((0, rest)) => {
            let (revision, digest) = rest.split_first_chunk::<8>().ok_or_else(damaged)?;
            Ok(Some(Ok(Told {
                revision: u64::from_be_bytes(*revision),
                digest: Digest::try_from(digest).map_err(|_| damaged())?,
            })))
        }
        Some((1, why)) => Ok(Some(Err(String::from_utf8_lossy(why).into_owned()))),
        Some(_) => Err(damaged()),
    }
}

/// `node u64 | incarnation u64 | sequence u64`, big-endian.
pub fn encode_origin(origin: Origin) -> Bytes {
    let parts = [origin.node, origin.incarnation, origin.sequence];
    Bytes::from(parts.map(u64::to_be_bytes).concat())
}

fn decode_origin(payload: &[u8]) -> Result<Origin, Error> {
    let numbers: Vec<u64> = payload
        .as_chunks::<8>()
        .0
        .iter()
        .map(|bytes| u64::from_be_bytes(*bytes))
        .collect();
    match numbers[..] {
        [node, incarnation, sequence] if payload.len() == 24 => Ok(Origin {
            node,
            incarnation,
            sequence,
        }),
        _ => Err(Error::invalid("a member's message does not decode")),
    }
}

async fn hash_behind(offload: &dyn Offload, replica: &dyn Replica, origin: Origin) -> Result<Told, Error> {
    let until = Instant::now() + ARRIVAL;
    let view = loop {
        match replica.marked(origin) {
            Ok(Some(view)) => break view,
            Ok(None) if Instant::now() < until => tokio::time::sleep(LOOK).await,
            Ok(None) => {
                return Err(Error::NoLeader(
                    "the log has not come so far on this member".to_owned(),
                ));
            }
            Err(_) => {
                return Err(Error::NoLeader(
                    "this member jumped over the place by a snapshot".to_owned(),
                ));
            }
        }
    };
    off_thread(offload, "hashing the state", move || {
        Ok(Told {
            revision: view.applied().revision,
            digest: state::digest(&view)?,
        })
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_the_wire() {
        let origin = Origin {
            node: 1,
            incarnation: u64::MAX,
            sequence: 3,
        };
        assert_eq!(decode_origin(&encode_origin(origin)).unwrap(), origin);
        for bad in [&[][..], &[0; 23], &[0; 25], &[0; 32]] {
            assert!(decode_origin(bad).is_err());
        }
        assert!(read_told(&[]).unwrap().is_none());
        assert_eq!(read_told(b"\x01no").unwrap(), Some(Err("no".to_owned())));
        let told = [&[0][..], &7u64.to_be_bytes(), &[9; 32]].concat();
        let expected = Told {
            revision: 7,
            digest: [9; 32],
        };
        assert_eq!(read_told(&told).unwrap(), Some(Ok(expected)));
        for bad in [&told[..40], &[&told[..], &[0]].concat(), &[2]] {
            assert!(read_told(bad).is_err());
        }
    }
}
