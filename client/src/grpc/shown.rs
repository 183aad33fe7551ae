//! What calls show to prove who calls: a token that never changes, or the one that a session has at the time. Knows neither
//! logins nor calls.

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout_at};
use tonic::metadata::{Ascii, MetadataValue};

/// A token that is refused while it is younger than this is not asked about again: the next would fare no better, and
/// each login costs the cluster something.
const FRESH: Duration = Duration::from_secs(1);

/// Where a client's token comes from.
#[derive(Clone)]
pub enum Door {
    /// This one, or none.
    Fixed(Option<MetadataValue<Ascii>>),
    /// A session's.
    Session {
        /// What it shows.
        current: watch::Receiver<Shown>,
        /// Tells it that the token of this number was refused.
        refused: mpsc::Sender<u64>,
    },
}

/// What one call shows.
#[derive(Clone)]
pub struct Shown {
    value: Option<MetadataValue<Ascii>>,
    /// Counts the tokens of a session, from 1.
    number: u64,
    since: Instant,
    /// The session's login is refused: waiting for another token would not help.
    is_last: bool,
}

impl Shown {
    /// A session's token of this number.
    pub fn new(value: MetadataValue<Ascii>, number: u64) -> Self {
        Self {
            value: Some(value),
            number,
            since: Instant::now(),
            is_last: false,
        }
    }

    /// No other follows, as far as is known.
    pub fn follows_none(&mut self) {
        self.is_last = true;
    }

    /// The token, as metadata.
    pub fn value(&self) -> Option<&MetadataValue<Ascii>> {
        self.value.as_ref()
    }

    /// Its number.
    pub fn number(&self) -> u64 {
        self.number
    }
}

impl Door {
    /// What a call that begins now shows.
    pub fn current(&self) -> Shown {
        match self {
            Self::Fixed(value) => Shown {
                value: value.clone(),
                number: 0,
                since: Instant::now(),
                is_last: true,
            },
            Self::Session { current, .. } => current.borrow().clone(),
        }
    }

    /// Another token than the one that was refused, as soon as the session has it; `None` if it will have none in time.
    pub async fn after(&self, refused_one: &Shown, deadline: Instant) -> Option<Shown> {
        let Self::Session { current, refused } = self else {
            return None;
        };
        let mut current = current.clone();
        if current.borrow().number == refused_one.number {
            if refused_one.since.elapsed() < FRESH {
                return None;
            }
            // Full: it was told by others already.
            if let Err(mpsc::error::TrySendError::Closed(_)) = refused.try_send(refused_one.number) {
                return None;
            }
        }
        let told = current.wait_for(|shown| shown.number != refused_one.number || shown.is_last);
        let told = timeout_at(deadline, told).await.ok()?.ok()?;
        (told.number != refused_one.number).then(|| told.clone())
    }
}
