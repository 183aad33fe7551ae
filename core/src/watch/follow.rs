//! A watch under way. It sleeps until this node has applied more, proves that what it has applied is current, looks again at
//! who asks, and reads on in the log of changes. Between two looks it holds neither keys nor a view.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, stream};
use tokio::select;
use tokio::sync::watch;
use zeroize::Zeroizing;

use conclave_engine_api::Millis;
use conclave_raft::state::Changes;
use conclave_raft::{Status, mutant};

use super::seats::Seat;
use super::target::Target;
use super::{Batch, Event};
use crate::core::Core;
use crate::error::Error;
use crate::namespaces::Place;
use crate::session::Derived;
use crate::store::Opened;
use crate::tokens::{Caller, Shown};

/// Most commands that one look goes through.
const COMMANDS: usize = 1024;
/// A batch with so many bytes of names takes no further command in.
const BATCH_BYTES: usize = 256 * 1024;
/// After so many revisions without an event the revision is told by itself, so that whoever resumes finds what follows still
/// kept.
const SILENCE: u64 = 1000;

/// What a watch is opened with.
pub struct Watched {
    /// The node.
    pub core: Arc<Core>,
    /// What is watched.
    pub target: Target,
    /// The token that was shown.
    pub token: Zeroizing<String>,
    /// Where it was shown from.
    pub remote: Option<IpAddr>,
    /// What comes after this revision is told.
    pub after: u64,
}

/// A watch.
pub struct Follow {
    watched: Watched,
    /// Up to where the log of changes was read.
    read: u64,
    /// The revision of the batch before.
    told: Option<u64>,
    /// When the caller's rights end or change by themselves.
    until: Option<Millis>,
    status: watch::Receiver<Status>,
    seals: watch::Receiver<u64>,
    /// Its room, given back with it.
    _seat: Seat,
}

impl Follow {
    /// A watch that has told nothing yet.
    ///
    /// # Errors
    /// [`Error::NotInitialized`] without a cluster.
    pub fn new(watched: Watched, seat: Seat) -> Result<Self, Error> {
        Ok(Self {
            read: watched.after,
            told: None,
            until: None,
            status: watched.core.seal.replica()?.status(),
            seals: watched.core.seals(),
            watched,
            _seat: seat,
        })
    }

    /// What it finds, until an error ends it.
    pub fn batches(self) -> impl Stream<Item = Result<Batch, Error>> + Send {
        stream::unfold(Some(self), |follow| async move {
            let mut follow = follow?;
            match follow.next().await {
                Ok(batch) => Some((Ok(batch), Some(follow))),
                Err(error) => Some((Err(error), None)),
            }
        })
    }

    async fn next(&mut self) -> Result<Batch, Error> {
        loop {
            if let Some(batch) = self.look().await? {
                return Ok(batch);
            }
            self.wait().await?;
        }
    }

    /// Reads on as far as this node has applied, if that is all that was acknowledged anywhere: a watch on a node that is cut
    /// off must end rather than be silent, and nobody hears of a key by rights that were taken from him before.
    async fn look(&mut self) -> Result<Option<Batch>, Error> {
        let core = &self.watched.core;
        // Before the view, so that a view of another barrier is a newer one.
        let session = core.seal.session()?;
        core.divergence.check()?;
        let replica = core.seal.replica()?;
        let view = replica.read().await?;
        if self.seals.has_changed().unwrap_or(true) {
            return Err(Error::Sealed);
        }
        let (opened, derived) = session.view(view)?;
        let now = replica.now();
        let shown = Shown {
            token: &self.watched.token,
            remote: self.watched.remote,
        };
        let caller = session
            .callers
            .authenticate(&opened, &derived.catalog, derived.epoch, shown, now)?;
        derived.catalog.watched.holds.check(&caller)?;
        let target = self.target(&derived)?;
        target.check_reach(&caller)?;
        let expires = Some(caller.record.expires).filter(|expires| *expires > 0);
        self.until = expires.into_iter().chain(caller.acl.valid_until()).min();
        self.read_on(&opened, &target, &caller)
    }

    /// What is watched, as the view has it.
    ///
    /// # Errors
    /// [`Error::NoRoute`] if another mount has taken its place, or none; those of a namespace that is locked, sealed or gone.
    fn target(&self, derived: &Derived) -> Result<Target, Error> {
        let before = &self.watched.target;
        let place = Place::find(
            &derived.catalog,
            Some(before.namespace.path.as_str()),
            &before.path,
        )?;
        let target = Target::find(&self.watched.core, &place.catalog, place.path.as_str())?;
        match target.record.id == before.record.id {
            true => Ok(target),
            false => Err(Error::NoRoute(before.path.to_string())),
        }
    }

    fn read_on(&mut self, opened: &Opened, target: &Target, caller: &Caller) -> Result<Option<Batch>, Error> {
        let view = opened.view();
        let sets = match view.changes(self.read, COMMANDS)? {
            Changes::Sets(sets) => sets,
            Changes::Compacted => {
                return Err(Error::Compacted {
                    after: self.read,
                    revision: view.applied().revision,
                });
            }
        };
        let places = target.places(opened)?;
        let mut events: Vec<Event> = Vec::new();
        let mut bytes = 0;
        for set in sets {
            for happening in target.happenings(opened, &places, &set, caller)? {
                if mutant::is("lost-event") && mutant::sometimes() {
                    continue;
                }
                bytes += happening.key.len();
                events.push(Event {
                    revision: set.revision,
                    mount: target.record.full_path(),
                    path: happening.key,
                    what: happening.what,
                    versions: happening.versions,
                });
            }
            self.read = set.revision;
            if bytes >= BATCH_BYTES {
                break;
            }
        }
        let silent = self
            .told
            .is_some_and(|told| self.read.saturating_sub(told) < SILENCE);
        if events.is_empty() && silent {
            return Ok(None);
        }
        self.told = Some(self.read);
        Ok(Some(Batch {
            events,
            revision: self.read,
        }))
    }

    /// Until there is something to look at: more was applied, the leader was lost, or the caller's rights end.
    async fn wait(&mut self) -> Result<(), Error> {
        if self.status.borrow_and_update().revision > self.read {
            return Ok(());
        }
        loop {
            let now = self.watched.core.seal.now();
            let left = self.until.map(|until| until.saturating_sub(now).max(1));
            select! {
                biased;
                _ = self.seals.changed() => return Err(Error::Sealed),
                changed = self.status.changed() => {
                    changed.map_err(|_| Error::NoLeader("this node is stopping".to_owned()))?;
                    let status = self.status.borrow_and_update();
                    if status.revision > self.read || status.leader.is_none() {
                        return Ok(());
                    }
                }
                () = over(left) => return Ok(()),
            }
        }
    }
}

/// When the time is over; never without one.
async fn over(left: Option<Millis>) {
    match left {
        Some(left) => tokio::time::sleep(Duration::from_millis(left)).await,
        None => std::future::pending().await,
    }
}
