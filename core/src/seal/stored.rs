//! How a ring is sealed, and its keyring, as a view has them. Those of the cluster lie in rows of their own, those of a ring beside it
//! in that ring's row: here alone is the difference, so that what changes them is written once for both.

use std::sync::Arc;

use conclave_barrier::{BarrierId, Keyring, RootKey, SealConfig};
use conclave_raft::{Expect, Op, View};

use crate::entropy::OsEntropy;
use crate::error::Error;
use crate::seal::ring_rows::{self, RingRow};
use crate::seal::rows;
use crate::session::Session;
use crate::store::Opened;
use crate::store::layout::RING;

/// How a ring is sealed.
pub struct StoredSeal {
    /// The ring.
    pub ring: u16,
    /// How its root key is shared.
    pub config: SealConfig,
    /// How often it was sealed.
    pub epoch: u64,
    /// Revision of the row that says so.
    revision: u64,
}

impl StoredSeal {
    /// As a view has it.
    ///
    /// # Errors
    /// [`Error::NotInitialized`] before the cluster has a seal; `Error::Invalid` if there is no such ring.
    pub fn of(view: &View, ring: u16) -> Result<Self, Error> {
        if ring == RING {
            return Ok(Self {
                ring,
                config: rows::seal_config(view)?.ok_or(Error::NotInitialized)?,
                epoch: rows::seal_epoch(view)?,
                revision: rows::seal_revision(view)?,
            });
        }
        let (row, revision) = ring_rows::required(view, ring)?;
        Ok(Self {
            ring,
            config: row.config,
            epoch: row.epoch,
            revision,
        })
    }

    /// Expects it to be as it was read.
    pub fn expect(&self) -> Expect {
        match self.ring {
            RING => rows::expect_seal(self.revision),
            other => ring_rows::expect(other, Some(self.revision)),
        }
    }

    /// Keeps every change from taking effect that expects it as it was read.
    pub fn touch(&self) -> Op {
        Op::Touch {
            key: self.expect().key,
        }
    }

    /// Whether the shares that opened `before` open this one, and nobody sealed it since.
    pub fn is_still(&self, before: &Self) -> bool {
        self.config.id() == before.config.id() && self.epoch == before.epoch
    }
}

/// The keyring of a ring that is open here, to be changed.
pub struct StoredKeyring {
    /// Its keys.
    pub keyring: Keyring,
    root: Arc<RootKey>,
    barrier: BarrierId,
    place: Place,
}

/// Where a keyring was read.
enum Place {
    /// In a row of its own, which had this revision.
    Cluster(u64),
    /// In the row of a ring, which had this revision.
    Ring(u16, Box<RingRow>, u64),
}

impl StoredKeyring {
    /// As a view has it that was opened here. `None`: another request followed a newer root key meanwhile, so whoever wants to
    /// change the keyring needs a newer view.
    ///
    /// # Errors
    /// [`Error::NamespaceSealed`] for a ring that is not open here.
    pub fn of(session: &Session, opened: &Opened, ring: u16) -> Result<Option<Self>, Error> {
        let barrier = session.barrier_id();
        if ring == RING {
            let revision = rows::keyring_revision(opened.view())?;
            let found = session.keyring(opened.view())?;
            return Ok(found.map(|(root, keyring)| Self {
                keyring,
                root,
                barrier,
                place: Place::Cluster(revision),
            }));
        }
        let (root, row, revision) = session.ring_root(opened.view(), ring)?;
        match Keyring::open(&root, barrier, &row.keyring) {
            Ok(keyring) => Ok(Some(Self {
                keyring,
                root: Arc::new(root),
                barrier,
                place: Place::Ring(ring, Box::new(row), revision),
            })),
            Err(conclave_barrier::Error::WrongKey { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Expects it to be as it was read.
    pub fn expect(&self) -> Expect {
        match &self.place {
            Place::Cluster(revision) => rows::expect_keyring(*revision),
            Place::Ring(ring, _, revision) => ring_rows::expect(*ring, Some(*revision)),
        }
    }

    /// The operation that puts it back, changed, under the root key it was under.
    pub fn put(self) -> Result<Op, Error> {
        let sealed = self.keyring.seal(&self.root, self.barrier, &mut OsEntropy)?;
        match self.place {
            Place::Cluster(_) => Ok(rows::put_keyring(sealed)),
            Place::Ring(ring, row, _) => {
                let keyring = sealed.into();
                ring_rows::put(ring, &RingRow { keyring, ..*row })
            }
        }
    }

    /// The operations that put it back under a new root key, with the seal of that one; nodes that hold the present root key find
    /// the new one beside it.
    pub fn put_under(mut self, root: &RootKey, seal: &SealConfig) -> Result<Vec<Op>, Error> {
        let generation = self.keyring.advance()?;
        let ring = self.ring();
        let handover =
            self.keyring
                .seal_root_handover(ring, root, generation, self.barrier, &mut OsEntropy)?;
        let sealed = self.keyring.seal(root, self.barrier, &mut OsEntropy)?;
        let mut ops = vec![rows::put_handover(ring, handover)];
        match self.place {
            Place::Cluster(_) => ops.extend([rows::put_seal(seal), rows::put_keyring(sealed)]),
            Place::Ring(ring, row, _) => {
                let row = RingRow {
                    config: seal.clone(),
                    keyring: sealed.into(),
                    ..*row
                };
                ops.push(ring_rows::put(ring, &row)?);
            }
        }
        Ok(ops)
    }

    fn ring(&self) -> u16 {
        match &self.place {
            Place::Cluster(_) => RING,
            Place::Ring(ring, ..) => *ring,
        }
    }
}

/// The generation of the sealed keyring of a ring; nobody needs its keys to know it.
pub fn generation(view: &View, ring: u16) -> Result<u64, Error> {
    let sealed = match ring {
        RING => rows::keyring(view)?,
        other => ring_rows::required(view, other)?.0.keyring,
    };
    Ok(Keyring::generation_of(&sealed)?)
}
