//! What an unsealed node keeps between requests: keys, and what is derived from configuration rows. Everything derived
//! carries the epoch it was derived from and serves only views that hold that epoch.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use bytes::Bytes;
use parking_lot::Mutex;

use conclave_barrier::{Barrier, BarrierId, CLUSTER_RING, Keyring, RingKeys, RootKey};
use conclave_engine_api::Millis;
use conclave_raft::{View, mutant};

use crate::catalog::{CONFIG, Catalog, EPOCH};
use crate::error::Error;
use crate::seal::ring_rows::{self, RingRow};
use crate::seal::rows;
use crate::store::{NameCache, Opened};
use crate::tokens::Callers;

/// What is derived from the rows of one epoch.
pub struct Derived {
    /// Revision of the epoch row.
    pub epoch: u64,
    /// Mounts, policies, audit devices of the root namespace; those of the others stand behind it.
    pub catalog: Catalog,
    /// A revision at which the epoch was seen to be this.
    held_at: AtomicU64,
    barrier: Barrier,
    /// Revision of the keyring row. Its generation would not do: a restore takes it back, and it counts up again.
    keyring: u64,
    rings: OpenRings,
    /// Sealed keys of paths: those of a ring that was closed are not kept.
    names: Arc<NameCache>,
}

/// Revisions of the rows of the rings that are open beside the cluster's.
type OpenRings = BTreeMap<u16, u64>;

impl Derived {
    /// The key with which a device that a node's configuration declares at `path` hashes values: the same on every node
    /// and after every rotation.
    pub fn audit_key(&self, path: &str) -> [u8; 32] {
        self.barrier.audit_hmac(b"declared device", path.as_bytes())
    }
}

/// The root key of a ring beside the cluster's, as share holders or a member gave it.
struct HeldRing {
    root: RootKey,
    /// How often the ring had been sealed then: with the next time it is to be dropped.
    epoch: u64,
}

/// An unsealed node's keys and caches. Dropping it seals the node.
pub struct Session {
    root: ArcSwap<RootKey>,
    barrier_id: BarrierId,
    /// The seal epoch in which the keys were opened: with the next one they are to be dropped.
    seal_epoch: u64,
    epoch_key: Bytes,
    rings: Mutex<BTreeMap<u16, HeldRing>>,
    derived: ArcSwap<Derived>,
    /// Held while a change of keys or of the catalog is followed.
    following: Mutex<()>,
    /// Compiled callers.
    pub callers: Callers,
    /// The state became one that these keys do not open.
    lost: AtomicBool,
}

/// What is told of the data keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DataKeys {
    /// Term of the active one.
    pub term: u32,
    /// How many older ones are kept.
    pub old: usize,
    /// When the active one was made, on the cluster's clock.
    pub made: Millis,
}

impl Session {
    /// Opens the keyring of a view with the root key and derives everything from it.
    pub fn open(view: Arc<View>, root: RootKey) -> Result<Self, Error> {
        let (barrier_id, seal_epoch) = (rows::barrier_id(&view)?, rows::seal_epoch(&view)?);
        let keyring = Keyring::open(&root, barrier_id, &rows::keyring(&view)?)?;
        let barrier = Barrier::new(barrier_id, keyring)?;
        let names = Arc::new(NameCache::default());
        let opened = Opened::new(view, barrier, names.clone());
        let epoch_key = opened.key(CONFIG, EPOCH)?;
        let derived = derive(&opened, &epoch_key, None, (OpenRings::new(), names))?;
        Ok(Self {
            root: ArcSwap::from_pointee(root),
            barrier_id,
            seal_epoch,
            epoch_key,
            rings: Mutex::default(),
            derived: ArcSwap::from_pointee(derived),
            following: Mutex::new(()),
            callers: Callers::default(),
            lost: AtomicBool::new(false),
        })
    }

    /// The root key, for sealing the keyring again and for offering it to members.
    pub fn root(&self) -> Arc<RootKey> {
        self.root.load_full()
    }

    /// The keyring of a view that was opened here, to be changed, and the root key that seals it. `None`: another request
    /// followed a newer root key meanwhile, so whoever wants to change the keyring needs a newer view.
    pub fn keyring(&self, view: &View) -> Result<Option<(Arc<RootKey>, Keyring)>, Error> {
        let root = self.root();
        match Keyring::open(&root, self.barrier_id, &rows::keyring(view)?) {
            Ok(keyring) => Ok(Some((root, keyring))),
            Err(conclave_barrier::Error::WrongKey { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Names the barrier in every ciphertext.
    pub fn barrier_id(&self) -> BarrierId {
        self.barrier_id
    }

    /// The generation of the keyring as last followed.
    pub fn generation(&self) -> u64 {
        self.derived.load().barrier.keyring().generation()
    }

    /// The data keys.
    pub fn data_keys(&self) -> Result<DataKeys, Error> {
        let derived = self.derived.load();
        let keyring = derived.barrier.keyring();
        let (term, all) = (keyring.active_term(CLUSTER_RING)?, keyring.terms(CLUSTER_RING)?);
        let active = all.iter().find(|info| info.term == term);
        Ok(DataKeys {
            term,
            old: all.len().saturating_sub(1),
            made: active.map_or(0, |info| info.created_ms),
        })
    }

    /// The seal epoch in which the keys were opened.
    pub fn seal_epoch(&self) -> u64 {
        self.seal_epoch
    }

    /// Whether the state became one that these keys do not open, by a restore. There is no way back: the node is to be
    /// sealed.
    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    /// Opens a view with the keys and the catalog that belong to it.
    pub fn view(&self, view: Arc<View>) -> Result<(Opened, Arc<Derived>), Error> {
        let known = self.derived.load_full();
        // Rows change with the revision only, so one look serves all views of it.
        let revision = view.applied().revision;
        let mut epoch = known.epoch;
        if known.held_at.load(Ordering::Relaxed) != revision {
            epoch = view.row(&self.epoch_key)?.map_or(0, |row| row.revision);
        }
        if known.epoch == epoch {
            known.held_at.store(revision, Ordering::Relaxed);
            return Ok((
                Opened::new(view, known.barrier.clone(), known.names.clone()),
                known,
            ));
        }
        self.follow(view, epoch)
    }

    /// Opens a view of another epoch than the one known a moment ago. One at a time, and each from the newest known: who
    /// followed a change slowly would put back a root key that is gone, or take a newer one for another cluster's.
    fn follow(&self, view: Arc<View>, epoch: u64) -> Result<(Opened, Arc<Derived>), Error> {
        let _turn = self.following.lock();
        let known = self.derived.load_full();
        if known.epoch == epoch {
            return Ok((
                Opened::new(view, known.barrier.clone(), known.names.clone()),
                known,
            ));
        }
        let (opened, fresh) = self.derive_from(view, epoch, &known)?;
        // An older view must not displace what newer ones use.
        if fresh.epoch > known.epoch {
            self.derived.store(fresh.clone());
        }
        // The mutant: whoever meets a new epoch first is still served by the old one.
        let stale = mutant::is("late-catalog").then_some(known);
        Ok((opened, stale.unwrap_or(fresh)))
    }

    /// Opens a view with what was known before, and derives what belongs to it.
    fn derive_from(
        &self,
        view: Arc<View>,
        epoch: u64,
        known: &Derived,
    ) -> Result<(Opened, Arc<Derived>), Error> {
        let cluster = self.current_barrier(&view, epoch, known)?;
        let (barrier, rings) = self.with_rings(&view, &cluster, known, epoch >= known.epoch)?;
        let names = match rings == known.rings {
            true => known.names.clone(),
            false => Arc::default(),
        };
        let opened = Opened::new(view, barrier, names.clone());
        let fresh = derive(&opened, &self.epoch_key, Some(&known.catalog), (rings, names))?;
        Ok((opened, Arc::new(fresh)))
    }

    /// The cluster's keys with those of the rings beside it that are open in a view. Keys of a ring that is sealed in the newest
    /// view, or whose root key is another one, are dropped, and what was remembered of callers with them.
    fn with_rings(
        &self,
        view: &View,
        cluster: &Barrier,
        known: &Derived,
        newest: bool,
    ) -> Result<(Barrier, OpenRings), Error> {
        let mut held = self.rings.lock();
        let (mut open, mut keys) = (OpenRings::new(), Vec::new());
        // A ring is younger than the one its namespace lies in: that one was looked at before.
        for (number, ring) in held.iter_mut() {
            let Some((row, revision)) = ring_rows::ring(view, *number)? else {
                continue;
            };
            let above = row.parent == CLUSTER_RING || open.contains_key(&row.parent);
            if !above || row.epoch != ring.epoch {
                continue;
            }
            let before = known.barrier.ring_keys(*number);
            let found = match before.filter(|_| known.rings.get(number) == Some(&revision)) {
                Some(keys) => keys.clone(),
                None => match self.current_ring(view, (*number, &row), ring, before, newest) {
                    Ok(found) => found,
                    Err(error) => {
                        tracing::warn!(ring = number, %error, "the keys of a namespace are others now");
                        continue;
                    }
                },
            };
            open.insert(*number, revision);
            keys.push(found);
        }
        if newest && open.len() < held.len() {
            held.retain(|number, _| open.contains_key(number));
            self.callers.forget();
        }
        Ok((cluster.beside(keys), open))
    }

    /// The keys of a ring as a view has them, following a new root key of it; `before` are those known so far.
    fn current_ring(
        &self,
        view: &View,
        (number, row): (u16, &RingRow),
        held: &mut HeldRing,
        before: Option<&RingKeys>,
        newest: bool,
    ) -> Result<RingKeys, Error> {
        match (Keyring::open(&held.root, self.barrier_id, &row.keyring), before) {
            (Ok(keyring), _) => Ok(RingKeys::new(number, keyring)?),
            // A view from before a change of the root key that another request has followed already.
            (Err(conclave_barrier::Error::WrongKey { .. }), Some(keys)) if !newest => Ok(keys.clone()),
            (Err(conclave_barrier::Error::WrongKey { .. }), Some(keys)) => {
                let (root, keyring) = self.handed_over(view, number, &row.keyring, keys.keyring())?;
                held.root = root;
                Ok(RingKeys::new(number, keyring)?)
            }
            (Err(error), _) => Err(error.into()),
        }
    }

    /// Takes the root key of a ring, which must open its keyring in this view. `false`: a newer view is known here, and it is
    /// to be looked at first.
    ///
    /// # Errors
    /// [`Error::NamespaceSealed`] for another ring's key.
    pub fn take_ring(&self, view: Arc<View>, ring: u16, root: &RootKey) -> Result<bool, Error> {
        let closed = || Error::NamespaceSealed { ring };
        let (row, _) = ring_rows::ring(&view, ring)?.ok_or_else(closed)?;
        Keyring::open(root, self.barrier_id, &row.keyring).map_err(|_| closed())?;
        let _turn = self.following.lock();
        let known = self.derived.load_full();
        let epoch = view.row(&self.epoch_key)?.map_or(0, |row| row.revision);
        if epoch < known.epoch {
            return Ok(false);
        }
        let given = HeldRing {
            root: root.clone(),
            epoch: row.epoch,
        };
        self.rings.lock().insert(ring, given);
        let (_, fresh) = self.derive_from(view, epoch, &known)?;
        let open = fresh.barrier.has_ring(ring);
        self.derived.store(fresh);
        match open {
            true => Ok(true),
            // The namespace it lies in is sealed.
            false => Err(closed()),
        }
    }

    /// Whether the keys of a ring are here.
    pub fn has_ring(&self, ring: u16) -> bool {
        self.derived.load().barrier.has_ring(ring)
    }

    /// The generation of the keyring of a ring as last followed; `None` if its keys are not here.
    pub fn ring_generation(&self, ring: u16) -> Option<u64> {
        let derived = self.derived.load();
        let keys = derived.barrier.ring_keys(ring);
        keys.map(|keys| keys.keyring().generation())
    }

    /// The root key of a ring that is open here, and the ring as a view has it with its row's revision.
    ///
    /// # Errors
    /// [`Error::NamespaceSealed`] if it is not.
    pub fn ring_root(&self, view: &View, ring: u16) -> Result<(RootKey, RingRow, u64), Error> {
        let closed = || Error::NamespaceSealed { ring };
        let (row, revision) = ring_rows::ring(view, ring)?.ok_or_else(closed)?;
        let held = self.rings.lock();
        let held = held.get(&ring).filter(|held| held.epoch == row.epoch);
        let root = held
            .filter(|_| self.has_ring(ring))
            .ok_or_else(closed)?
            .root
            .clone();
        Ok((root, row, revision))
    }

    /// The barrier that the view's keyring makes, following a rotation of the keyring or of the root key.
    fn current_barrier(&self, view: &View, epoch: u64, known: &Derived) -> Result<Barrier, Error> {
        // A session is taken before the view, so a view of another barrier is a newer one.
        if rows::barrier_id(view).ok() != Some(self.barrier_id) {
            return Err(self.lose());
        }
        if epoch > known.epoch && rows::seal_epoch(view)? != self.seal_epoch {
            return Err(self.lose());
        }
        if rows::keyring_revision(view)? == known.keyring {
            return Ok(known.barrier.clone());
        }
        let blob = rows::keyring(view)?;
        if epoch < known.epoch {
            // A view from before a change that another request has followed already. It may hold rows of keys that are
            // gone by now, so its own keyring opens it; sealed under a root key that is gone, only the newer one is left.
            // Revisions never go back, not even by a restore.
            return match Keyring::open(&self.root.load(), self.barrier_id, &blob) {
                Ok(keyring) => Ok(Barrier::new(self.barrier_id, keyring)?),
                Err(_) => Ok(known.barrier.clone()),
            };
        }
        match Keyring::open(&self.root.load(), self.barrier_id, &blob) {
            Ok(keyring) => Ok(Barrier::new(self.barrier_id, keyring)?),
            Err(conclave_barrier::Error::WrongKey { .. }) => {
                match self.follow_root(view, &blob, known.barrier.keyring()) {
                    Ok(barrier) => Ok(barrier),
                    Err(error) => {
                        tracing::warn!(%error, "the root key is another one now");
                        Err(self.lose())
                    }
                }
            }
            Err(error) => {
                tracing::error!(%error, "the keyring of the applied state cannot be opened");
                Err(self.lose())
            }
        }
    }

    /// Takes over the root key that a rotation left for nodes that hold the keyring before it.
    fn follow_root(&self, view: &View, blob: &[u8], known: &Keyring) -> Result<Barrier, Error> {
        let (root, keyring) = self.handed_over(view, CLUSTER_RING, blob, known)?;
        self.root.store(Arc::new(root));
        Ok(Barrier::new(self.barrier_id, keyring)?)
    }

    /// The root key that a rotation left for whoever holds the keyring of a ring before it, and the keyring that it opens.
    fn handed_over(
        &self,
        view: &View,
        ring: u16,
        blob: &[u8],
        known: &Keyring,
    ) -> Result<(RootKey, Keyring), Error> {
        let handover = rows::handover(view, ring)?;
        let handover = handover.ok_or_else(|| Error::internal("no new root key was left"))?;
        let (root, _) = known.open_root_handover(self.barrier_id, &handover)?;
        let keyring = Keyring::open(&root, self.barrier_id, blob)?;
        Ok((root, keyring))
    }

    fn lose(&self) -> Error {
        self.lost.store(true, Ordering::Release);
        Error::Sealed
    }
}

fn derive(
    opened: &Opened,
    epoch_key: &[u8],
    before: Option<&Catalog>,
    (rings, names): (OpenRings, Arc<NameCache>),
) -> Result<Derived, Error> {
    let epoch = opened.view().row(epoch_key)?.map_or(0, |row| row.revision);
    Ok(Derived {
        epoch,
        catalog: Catalog::load(opened, before)?,
        held_at: AtomicU64::new(opened.view().applied().revision),
        barrier: opened.barrier().clone(),
        keyring: rows::keyring_revision(opened.view())?,
        rings,
        names,
    })
}
