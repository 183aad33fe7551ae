//! Who waits for what became of a command. A command is either queued (certainly not in any log) or sent, fenced to
//! one term: then it is answered when this node applies it, or known to be lost once an entry of a later term is
//! applied, since terms in a log never fall (Raft paper, section 5.3).

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tracing::Span;

use crate::command::{Origin, Outcome};
use crate::error::Error;
use crate::meter::TRACES;

/// Most commands of one node that wait at a time.
pub const MAX_WAITING: usize = 65_536;
/// Most bytes of commands of one node that wait at a time.
pub const MAX_WAITING_BYTES: usize = 256 << 20;

/// The answer to a proposal.
pub type Answer = Result<Outcome, Error>;

/// The waiting commands of one start of one node.
pub struct Waiters {
    node: u64,
    incarnation: u64,
    inner: Mutex<Inner>,
    /// Tells the door which commands are free to be sent again.
    freed: mpsc::UnboundedSender<Vec<u64>>,
}

#[derive(Default)]
struct Inner {
    /// Term of the last applied entry.
    applied_term: u64,
    bytes: usize,
    /// By sequence, so that what frees or drops many does so in the order they were made.
    waiting: BTreeMap<u64, Waiter>,
}

struct Waiter {
    command: Bytes,
    /// The term it is fenced to while it may be in a log.
    sent: Option<u64>,
    ever_sent: bool,
    retry_until: Instant,
    answer: oneshot::Sender<Answer>,
    /// The span of the proposal, where it is traced.
    span: Span,
}

impl Waiters {
    /// Nobody waits yet. Commands that are certainly lost are announced on `freed`.
    pub fn new(node: u64, incarnation: u64, freed: mpsc::UnboundedSender<Vec<u64>>) -> Self {
        Self {
            node,
            incarnation,
            inner: Mutex::default(),
            freed,
        }
    }

    /// Adds a queued command. It is tried again until `retry_until` as long as it is certainly not in a log.
    ///
    /// # Errors
    /// `Error::Limit` when too much waits already or the sequence waits already.
    pub fn add(
        &self,
        sequence: u64,
        command: Bytes,
        retry_until: Instant,
    ) -> Result<oneshot::Receiver<Answer>, Error> {
        let mut inner = self.inner.lock();
        if inner.waiting.len() >= MAX_WAITING || inner.bytes + command.len() > MAX_WAITING_BYTES {
            return Err(Error::Limit("proposals that wait on this node"));
        }
        if inner.waiting.contains_key(&sequence) {
            return Err(Error::Limit("one proposal per origin"));
        }
        let (answer, wait) = oneshot::channel();
        inner.bytes += command.len();
        let waiter = Waiter {
            command,
            sent: None,
            ever_sent: false,
            retry_until,
            answer,
            span: Span::current(),
        };
        inner.waiting.insert(sequence, waiter);
        Ok(wait)
    }

    /// Marks a queued command as sent in `term` and returns it; `None` if nobody waits for it any more, it is sent
    /// already, or this node has seen a later term.
    pub fn send(&self, sequence: u64, term: u64) -> Option<Bytes> {
        let mut inner = self.inner.lock();
        if inner.applied_term > term {
            return None;
        }
        let waiter = inner.waiting.get_mut(&sequence)?;
        if waiter.sent.is_some() {
            return None;
        }
        waiter.sent = Some(term);
        waiter.ever_sent = true;
        Some(waiter.command.clone())
    }

    /// Whether the command waits and is queued.
    pub fn is_queued(&self, sequence: u64) -> bool {
        let inner = self.inner.lock();
        inner
            .waiting
            .get(&sequence)
            .is_some_and(|waiter| waiter.sent.is_none())
    }

    /// These commands were certainly not put into the log in `term`: returns those that may be sent again.
    pub fn rejected(&self, term: u64, sequences: &[u64]) -> Vec<u64> {
        let mut inner = self.inner.lock();
        let mut free = Vec::new();
        for sequence in sequences {
            if let Some(waiter) = inner.waiting.get_mut(sequence)
                && waiter.sent == Some(term)
            {
                waiter.sent = None;
                free.push(*sequence);
            }
        }
        free
    }

    /// Answers queued commands whose time to be tried is over; returns the others.
    pub fn expire(&self, queued: impl Iterator<Item = u64>, now: Instant) -> Vec<u64> {
        let mut inner = self.inner.lock();
        let mut left = Vec::new();
        for sequence in queued {
            let Some(waiter) = inner.waiting.get(&sequence) else {
                continue;
            };
            if waiter.sent.is_some() {
                continue;
            }
            if waiter.retry_until > now {
                left.push(sequence);
            } else if let Some(waiter) = inner.take(sequence) {
                let error = match waiter.ever_sent {
                    true => Error::NotCommitted,
                    false => Error::NoLeader,
                };
                waiter.answer.send(Err(error)).ok();
            }
        }
        left
    }

    /// Takes a command back, because its caller waits no longer: what can be said about it.
    pub fn give_up(&self, sequence: u64) -> Error {
        match self.inner.lock().take(sequence) {
            Some(waiter) if waiter.sent.is_none() && waiter.ever_sent => Error::NotCommitted,
            Some(waiter) if waiter.sent.is_none() => Error::NoLeader,
            _ => Error::OutcomeUnknown,
        }
    }

    /// Tells the traces of those who wait for these that the entry of this term and index was applied, and how long that took.
    pub fn trace(&self, (term, index): (u64, u64), took: Duration, outcomes: &[(Origin, Outcome)]) {
        if !tracing::enabled!(target: TRACES, tracing::Level::TRACE) {
            return;
        }
        let took_nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let inner = self.inner.lock();
        for (origin, _) in outcomes {
            if origin.node == self.node
                && origin.incarnation == self.incarnation
                && let Some(waiter) = inner.waiting.get(&origin.sequence)
            {
                // It is over when it is told of.
                drop(tracing::trace_span!(
                    target: TRACES, parent: &waiter.span, "raft.apply", term, index, took_nanos
                ));
            }
        }
    }

    /// This node applied an entry of `term` with these outcomes.
    pub fn applied(&self, term: u64, outcomes: Vec<(Origin, Outcome)>) {
        let mut inner = self.inner.lock();
        for (origin, outcome) in outcomes {
            if origin.node == self.node
                && origin.incarnation == self.incarnation
                && let Some(waiter) = inner.take(origin.sequence)
            {
                waiter.answer.send(Ok(outcome)).ok();
            }
        }
        if term > inner.applied_term {
            inner.applied_term = term;
            let lost = inner.fenced_below(term);
            for sequence in &lost {
                if let Some(waiter) = inner.waiting.get_mut(sequence) {
                    waiter.sent = None;
                }
            }
            if !lost.is_empty() {
                self.freed.send(lost).ok();
            }
        }
    }

    /// A snapshot whose last entry is of `term` replaced the state: outcomes of commands it covers are gone.
    pub fn jumped(&self, term: u64) {
        let mut inner = self.inner.lock();
        inner.applied_term = inner.applied_term.max(term);
        for sequence in inner.fenced_below(term + 1) {
            if let Some(waiter) = inner.take(sequence) {
                waiter.answer.send(Err(Error::OutcomeUnknown)).ok();
            }
        }
    }
}

impl Inner {
    fn take(&mut self, sequence: u64) -> Option<Waiter> {
        let waiter = self.waiting.remove(&sequence)?;
        self.bytes = self.bytes.saturating_sub(waiter.command.len());
        Some(waiter)
    }

    fn fenced_below(&self, term: u64) -> Vec<u64> {
        self.waiting
            .iter()
            .filter(|(_, waiter)| waiter.sent.is_some_and(|sent| sent < term))
            .map(|(sequence, _)| *sequence)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiters() -> (Waiters, mpsc::UnboundedReceiver<Vec<u64>>) {
        let (freed, announced) = mpsc::unbounded_channel();
        (Waiters::new(1, 5, freed), announced)
    }

    fn origin(sequence: u64) -> Origin {
        Origin {
            node: 1,
            incarnation: 5,
            sequence,
        }
    }

    const DONE: Outcome = Outcome::Applied { revision: 9, node: 0 };

    #[tokio::test]
    async fn an_outcome_reaches_its_own_incarnation_only() {
        let (waiters, _announced) = waiters();
        let mut wait = waiters.add(1, Bytes::new(), Instant::now()).unwrap();
        assert!(waiters.send(1, 2).is_some());
        let stranger = Origin {
            incarnation: 4,
            ..origin(1)
        };
        waiters.applied(2, vec![(stranger, DONE)]);
        assert!(wait.try_recv().is_err());
        waiters.applied(2, vec![(origin(1), DONE)]);
        assert_eq!(wait.try_recv().unwrap().unwrap(), DONE);
    }

    #[tokio::test]
    async fn a_later_term_frees_what_was_fenced_to_an_earlier_one() {
        let (waiters, mut announced) = waiters();
        let mut wait = waiters.add(1, Bytes::new(), Instant::now()).unwrap();
        waiters.send(1, 2);
        waiters.applied(2, vec![]);
        assert!(announced.try_recv().is_err(), "the same term may still bring it");
        waiters.applied(3, vec![]);
        assert_eq!(announced.try_recv().unwrap(), [1]);
        assert!(
            waiters.send(1, 2).is_none(),
            "never sent under a term that has passed"
        );
        assert_eq!(waiters.expire([1].into_iter(), Instant::now()), [0; 0]);
        assert!(matches!(wait.try_recv().unwrap(), Err(Error::NotCommitted)));
    }

    #[tokio::test]
    async fn a_late_rejection_of_an_earlier_term_frees_nothing() {
        let (waiters, _announced) = waiters();
        let _wait = waiters.add(1, Bytes::new(), Instant::now()).unwrap();
        waiters.send(1, 2);
        assert_eq!(waiters.rejected(2, &[1]), [1]);
        waiters.send(1, 3);
        assert_eq!(waiters.rejected(2, &[1]), [0; 0]);
        assert!(!waiters.is_queued(1));
    }

    #[tokio::test]
    async fn a_snapshot_leaves_sent_commands_unknown_and_queued_ones_alone() {
        let (waiters, _announced) = waiters();
        let mut sent = waiters.add(1, Bytes::new(), Instant::now()).unwrap();
        let _queued = waiters.add(2, Bytes::new(), Instant::now()).unwrap();
        waiters.send(1, 2);
        waiters.jumped(2);
        assert!(matches!(sent.try_recv().unwrap(), Err(Error::OutcomeUnknown)));
        assert!(waiters.is_queued(2));
        assert!(matches!(waiters.give_up(2), Error::NoLeader));
    }
}
