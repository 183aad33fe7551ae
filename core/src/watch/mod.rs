//! `sys/watch/`: what happens to the keys beneath a path, as it happens, out of the log of changes that every node keeps. It
//! tells names, numbers and kinds, never a value, and it must not know how an engine lays out its rows.

mod follow;
mod seats;
mod target;

use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;
use parking_lot::Mutex;

pub use conclave_engine_api::What;
use conclave_raft::state::Changes;

use crate::error::Error;
use crate::routes::{Answer, Call};
use follow::{Follow, Watched};
pub(crate) use seats::Seats;
use target::Target;

/// What the routes of watches begin with.
const ROUTE: &str = "watch/";

/// Something that happened to a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Revision of the change.
    pub revision: u64,
    /// The mount, with a trailing slash.
    pub mount: String,
    /// The key beneath it, as users name it.
    pub path: String,
    /// What happened.
    pub what: What,
    /// The versions that it happened to, ascending, where that is known.
    pub versions: Vec<u64>,
}

/// What was found by one look. Events come in the order of their revisions, and all those of one revision in one batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// May be none: then only the revision moved.
    pub events: Vec<Event>,
    /// Everything up to here was told: whoever goes on after it misses nothing and hears nothing twice.
    pub revision: u64,
}

/// A watch that is open: batches until an error ends it. It reads when it is asked, and keeps nothing meanwhile.
pub struct Watching {
    /// The lock makes it `Sync`; nobody waits for it.
    batches: Mutex<Batches>,
}

type Batches = Pin<Box<dyn Stream<Item = Result<Batch, Error>> + Send>>;

impl Stream for Watching {
    type Item = Result<Batch, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.batches.get_mut().as_mut().poll_next(cx)
    }
}

/// `GET sys/watch/<path>`: from after the revision `after`, or from now on. Every later change is told: the view that this
/// stands on is proven to hold all that was acknowledged before.
pub fn open(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let after = call.fields().count("after")?.unwrap_or(0);
    let path = call.path.strip_prefix(ROUTE).unwrap_or_default();
    let target = Target::find(call.core, call.work.catalog, path)?;
    target.check_reach(call.caller)?;
    let view = call.work.opened().view();
    let revision = view.applied().revision;
    if after > revision {
        return Err(Error::invalid(format!(
            "revision {after} is to come: the newest is {revision}"
        )));
    }
    let after = if after == 0 { revision } else { after };
    if view.changes(after, 1)? == Changes::Compacted {
        return Err(Error::Compacted { after, revision });
    }
    let seat = call.core.watches.take(&call.caller.keyholder())?;
    let watched = Watched {
        core: call.core.clone(),
        target,
        token: call.token.to_owned().into(),
        remote: call.remote,
        after,
    };
    let follow = Follow::new(watched, seat)?;
    Ok(Answer {
        watch: Some(Watching {
            batches: Mutex::new(Box::pin(follow.batches())),
        }),
        ..Answer::empty()
    })
}
