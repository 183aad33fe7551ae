//! A watch that goes on: when its connection or node is lost, another node takes it up after the last revision that was heard.
//! Knows no other call.

use tokio::time::sleep;
use tonic::Streaming;

use super::call::Repeat;
use super::error::Verdict;
use super::kv::Kv;
use super::pace::Pauses;
use super::{Error, v1};

/// Pauses between nodes that take the watch up and lose it at once.
const PAUSES: (std::time::Duration, std::time::Duration) = (
    std::time::Duration::from_millis(25),
    std::time::Duration::from_secs(2),
);

/// What happens to keys. Dropped, it ends.
pub struct Watch {
    kv: Kv,
    path: String,
    revision: u64,
    open: Option<Streaming<v1::KvWatchResponse>>,
    pauses: Pauses,
}

/// What a watch heard at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// In the order of their revisions; none if only the revision moved.
    pub events: Vec<Event>,
    /// Everything up to here was told: a watch after it misses nothing and hears nothing twice.
    pub revision: u64,
}

/// Something that happened to a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Revision of the change.
    pub revision: u64,
    /// The mount, with a slash at its end.
    pub mount: String,
    /// The key within it.
    pub path: String,
    /// What happened.
    pub kind: EventKind,
    /// The versions that were written or destroyed, ascending; none on mounts of version 1.
    pub versions: Vec<u64>,
}

/// What happened to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventKind {
    /// It was given a value.
    Written,
    /// Versions were deleted or brought back, or settings were written: its metadata tells which.
    Changed,
    /// Values of versions were removed for ever.
    Destroyed,
    /// It is gone with all its versions.
    Removed,
    /// A kind that this client does not know.
    Unknown,
}

impl EventKind {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::Changed => "changed",
            Self::Destroyed => "destroyed",
            Self::Removed => "removed",
            Self::Unknown => "unknown",
        }
    }
}

impl Kv {
    /// What happens to keys of the mount, which may be of version 1 too: beneath `path` if it ends in `/` or is empty, else to
    /// that key. Told is what came after the revision `after`; of 0, whatever is acknowledged once this has returned.
    ///
    /// # Errors
    /// [`Error::Compacted`] if what came after `after` is no longer kept; [`Error::Denied`] if the token may read nothing there.
    pub async fn watch(&self, path: &str, after: u64) -> Result<Watch, Error> {
        let mut watch = Watch {
            kv: self.clone(),
            path: path.to_owned(),
            revision: after,
            open: None,
            pauses: Pauses::new(PAUSES.0, PAUSES.1),
        };
        watch.begin().await?;
        Ok(watch)
    }
}

impl Watch {
    /// Up to where everything was told.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// What is heard next, from whichever node. It may be dropped while it waits, and loses nothing by that. After an error that
    /// [`Error::is_passing`], the next call tries again.
    ///
    /// # Errors
    /// [`Error::Compacted`] if the watch was away for too long: list again, then begin another. [`Error::Unavailable`] if no node
    /// took it up in the time that a call has.
    pub async fn next(&mut self) -> Result<Heard, Error> {
        loop {
            if self.open.is_none() {
                self.begin().await?;
            }
            let Some(open) = &mut self.open else { continue };
            match open.message().await {
                Ok(Some(message)) => {
                    let moved = message.revision > self.revision;
                    if moved || !message.events.is_empty() {
                        self.pauses = Pauses::new(PAUSES.0, PAUSES.1);
                        return Ok(self.heard(message));
                    }
                }
                Ok(None) => self.lost().await,
                Err(status) => match Verdict::of(&status) {
                    // A session may have another token by now.
                    Verdict::Again { .. } | Verdict::CutShort | Verdict::Final(Error::Unauthenticated) => {
                        self.lost().await;
                    }
                    Verdict::Final(error) => {
                        self.open = None;
                        return Err(error);
                    }
                },
            }
        }
    }

    async fn lost(&mut self) {
        self.open = None;
        sleep(self.pauses.next()).await;
    }

    /// Opens it on a node. Without a revision the first message tells from where on it hears.
    async fn begin(&mut self) -> Result<(), Error> {
        let (mount, path) = self.kv.place(&self.path);
        let after = self.revision;
        let message = v1::KvWatchRequest { mount, path, after };
        let cluster = self.kv.cluster();
        let opening = cluster.exchange(Repeat::Freely, message, move |link, request| async move {
            let mut opened = link.kv().watch(request).await?;
            if after > 0 {
                return Ok(opened.map(|stream| (stream, None)));
            }
            let first = opened.get_mut().message().await?;
            Ok(opened.map(|stream| (stream, first)))
        });
        let (stream, first) = opening.await?.into_inner();
        if let Some(first) = first {
            self.revision = first.revision;
        }
        // A stream that ended before it told anything is opened again when it is asked.
        self.open = Some(stream).filter(|_| self.revision > 0);
        Ok(())
    }

    fn heard(&mut self, message: v1::KvWatchResponse) -> Heard {
        self.revision = message.revision;
        let events = message.events.into_iter().map(|event| Event {
            kind: match event.kind() {
                v1::KvEventKind::Written => EventKind::Written,
                v1::KvEventKind::Changed => EventKind::Changed,
                v1::KvEventKind::Destroyed => EventKind::Destroyed,
                v1::KvEventKind::Removed => EventKind::Removed,
                v1::KvEventKind::Unspecified => EventKind::Unknown,
            },
            revision: event.revision,
            mount: event.mount,
            path: event.path,
            versions: event.versions,
        });
        Heard {
            events: events.collect(),
            revision: message.revision,
        }
    }
}
