//! The leader's side of the door: packs the commands of all nodes into log entries, one fenced write per flush, and
//! answers all waiting read indexes with one proof. It runs on every node and is idle where nobody asks. This file
//! must not know how nodes reach it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use openraft::errors::ClientWriteError;
use openraft::impls::ProgressResponder;
use openraft::{RaftState, ServerState};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::codec::{MAX_BATCH_BYTES, MAX_BATCH_COMMANDS, SOFT_BATCH_BYTES, encode_batch};
use crate::door::proof::{Facts, Proofs, Question, Word};
use crate::log::types::{Payload, TypeConfig, position, term_of};
use crate::node::clock::ClusterClock;
use crate::node::machine::StateMachine;
use crate::replica::Status;

/// A Raft core over this crate's state machine.
pub type Raft = openraft::Raft<TypeConfig, StateMachine>;

/// Entries of the desk that are not yet applied here. Commands that arrive meanwhile make the next entry: this is what
/// makes batches, without a delay when idle.
const WINDOW: usize = 2;
/// Who is asked for a proof and does not answer within this time is slow or gone: all others are asked too.
const PATIENCE: Duration = Duration::from_millis(10);
/// A proof that takes longer has failed.
const PROOF: Duration = Duration::from_secs(1);
/// What a batch takes besides its commands, at most, in bytes.
const BATCH_OVERHEAD: usize = 64;

/// Where the answers for one node go.
#[derive(Clone)]
pub struct ReplyTo {
    /// Which link they belong to, for the receiver.
    pub link: u64,
    /// The receiver.
    pub replies: mpsc::UnboundedSender<(u64, Reply)>,
}

impl ReplyTo {
    /// Sends one answer; nobody may be listening any more.
    pub fn send(&self, reply: Reply) {
        self.replies.send((self.link, reply)).ok();
    }
}

/// What the leader says to a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The link is open; frames up to `accepted` were taken in this term.
    Ready {
        /// Highest frame taken.
        accepted: u64,
    },
    /// Frames up to this one are off the desk.
    Taken {
        /// The frame.
        frame: u64,
    },
    /// These commands were certainly not put into the log.
    Rejected {
        /// The term they were fenced to.
        term: u64,
        /// Their sequences.
        sequences: Vec<u64>,
    },
    /// A read index.
    Index {
        /// Which request.
        id: u64,
        /// Position to apply up to; `None` when leadership could not be proved.
        position: Option<u64>,
    },
    /// The leader wants to know whether the node voted in a later term.
    Confirm {
        /// Which question.
        id: u64,
    },
    /// The link is gone.
    Closed,
}

/// One command for the log.
pub struct Item {
    /// The term it is fenced to.
    pub term: u64,
    /// Its sequence at its origin.
    pub sequence: u64,
    /// The encoded command.
    pub command: Bytes,
    /// Set on the last command of a frame.
    pub frame: Option<u64>,
    /// Where it came from.
    pub from: ReplyTo,
}

impl Item {
    fn source(&self) -> Source {
        (self.term, self.sequence, self.from.clone())
    }

    /// The frame that ends with this command is off the desk, whatever becomes of it.
    fn tell_taken(&self) {
        if let Some(frame) = self.frame {
            self.from.send(Reply::Taken { frame });
        }
    }
}

/// What can be put on the desk.
pub enum Request {
    /// Commands, in order.
    Commands(Vec<Item>),
    /// A read index is wanted.
    Read(Question),
    /// A node's stream is open.
    Opened {
        /// The node.
        node: u64,
        /// What it hears.
        stream: ReplyTo,
    },
    /// A node answers a question.
    Word {
        /// Which.
        id: u64,
        /// The answer.
        word: Word,
    },
}

/// Runs a desk until all senders are gone.
pub async fn run(
    node: u64,
    raft: Arc<ArcSwap<Raft>>,
    clock: Arc<ClusterClock>,
    status: watch::Receiver<Status>,
    asked: Arc<AtomicU64>,
    mut requests: mpsc::UnboundedReceiver<Request>,
) {
    let mut desk = Desk {
        node,
        asked,
        raft,
        clock,
        status,
        queue: VecDeque::new(),
        proofs: Proofs::new(node),
        until: Until {
            next: Instant::now(),
            end: Instant::now(),
        },
        writes: FuturesUnordered::new(),
        facts: FuturesUnordered::new(),
    };
    loop {
        tokio::select! {
            request = requests.recv() => match request {
                Some(request) => desk.take(request),
                None => return,
            },
            Some(rejected) = desk.writes.next() => reject(rejected),
            Some((number, facts)) = desk.facts.next() => desk.proofs.facts(number, facts),
            () = tokio::time::sleep_until(desk.until.next), if desk.proofs.is_waiting() => desk.late(),
        }
        while let Ok(request) = requests.try_recv() {
            desk.take(request);
        }
        desk.flush();
        desk.prove();
    }
}

type Source = (u64, u64, ReplyTo);

struct Desk {
    node: u64,
    /// Commands and questions so far.
    asked: Arc<AtomicU64>,
    raft: Arc<ArcSwap<Raft>>,
    clock: Arc<ClusterClock>,
    /// Whether a quorum follows this node.
    status: watch::Receiver<Status>,
    queue: VecDeque<Item>,
    proofs: Proofs,
    until: Until,
    /// Entries on their way; each ends with the commands to reject, none if it may be in the log.
    writes: FuturesUnordered<BoxFuture<'static, Vec<Source>>>,
    /// What the Raft core is asked for a round of proofs.
    facts: FuturesUnordered<BoxFuture<'static, (u64, Option<Facts>)>>,
}

/// How long a round may take.
struct Until {
    /// When to look at it again.
    next: Instant,
    /// When it has failed.
    end: Instant,
}

impl Desk {
    fn take(&mut self, request: Request) {
        match request {
            Request::Commands(items) => {
                self.asked.fetch_add(items.len() as u64, Ordering::Relaxed);
                self.queue.extend(items);
            }
            Request::Read(question) => {
                self.asked.fetch_add(1, Ordering::Relaxed);
                self.proofs.ask(question);
            }
            Request::Opened { node, stream } => self.proofs.opened(node, stream),
            Request::Word { id, word } => self.proofs.word(id, word),
        }
    }

    fn flush(&mut self) {
        // The core would put it into a log that nobody else may ever have, and its origin could only wait for the outcome.
        if !self.queue.is_empty() && !self.status.borrow().is_leader {
            let refused = std::mem::take(&mut self.queue);
            reject(refused.iter().map(Item::source));
            refused.iter().for_each(Item::tell_taken);
        }
        while self.writes.len() < WINDOW && !self.queue.is_empty() {
            let batch = self.next_batch();
            let commands: Vec<Bytes> = batch.iter().map(|item| item.command.clone()).collect();
            let term = batch.first().map_or(0, |item| item.term);
            let sources: Vec<Source> = batch.iter().map(Item::source).collect();
            match encode_batch(self.clock.now(), &commands) {
                Ok(bytes) => {
                    let raft = self.raft.load_full();
                    self.writes
                        .push(Box::pin(write(raft, term, Payload(bytes), sources)));
                }
                Err(error) => {
                    tracing::error!(%error, "a batch of proposals does not encode");
                    reject(sources);
                }
            }
            batch.iter().for_each(Item::tell_taken);
        }
    }

    /// The longest run of queued commands that fits one entry and has one term.
    fn next_batch(&mut self) -> Vec<Item> {
        let mut batch: Vec<Item> = Vec::new();
        let mut bytes = 0;
        while let Some(item) = self.queue.front() {
            let fits = batch.len() < MAX_BATCH_COMMANDS && bytes < SOFT_BATCH_BYTES;
            let fits = fits && bytes + item.command.len() + BATCH_OVERHEAD < MAX_BATCH_BYTES;
            let fits = fits || batch.is_empty();
            if !fits || batch.first().is_some_and(|first| first.term != item.term) {
                break;
            }
            bytes += item.command.len() + 4;
            batch.extend(self.queue.pop_front());
        }
        batch
    }

    /// Begins the next round of proofs.
    fn prove(&mut self) {
        let Some(number) = self.proofs.begin() else { return };
        let now = Instant::now();
        self.until = Until {
            next: now + PATIENCE,
            end: now + PROOF,
        };
        let (raft, node) = (self.raft.load_full(), self.node);
        self.facts.push(Box::pin(async move {
            let facts = raft.with_raft_state(move |state| facts(state, node)).await;
            (number, facts.ok().flatten())
        }));
    }

    /// The round under way takes long.
    fn late(&mut self) {
        if Instant::now() >= self.until.end {
            self.proofs.fail();
        } else {
            self.proofs.ask_all();
            self.until.next = self.until.end;
        }
    }
}

/// What a leader knows of its term; `None` when this node does not lead.
fn facts(state: &RaftState<TypeConfig>, node: u64) -> Option<Facts> {
    let vote = state.vote_ref();
    let leads = vote.committed && vote.leader_id.voted_for == node;
    if !leads || state.server_state != ServerState::Leader {
        return None;
    }
    let term = vote.leader_id.term;
    let committed = state.local_committed();
    // Until an entry of its own term is committed a leader does not know what those before it have committed.
    let known = committed.filter(|id| term_of(id) == term);
    let membership = state.membership_state.effective().membership();
    Some(Facts {
        term,
        position: position(known.or(state.log_ids.last())),
        voters: membership.get_joint_config().clone(),
    })
}

/// Writes one entry, fenced to `term`; the commands to reject when it certainly is in no log.
async fn write(raft: Arc<Raft>, term: u64, payload: Payload, sources: Vec<Source>) -> Vec<Source> {
    let (responder, done) = ProgressResponder::complete_only();
    if raft
        .write(payload)
        .responder(responder)
        .with_leader(term)
        .await
        .is_err()
    {
        return sources;
    }
    match done.await {
        Ok(Err(ClientWriteError::ForwardToLeader(_))) => sources,
        // Applied, or its fate is open: the origins learn it from their own apply.
        _ => Vec::new(),
    }
}

/// Tells each origin which of its commands are in no log.
fn reject(sources: impl IntoIterator<Item = Source>) {
    let mut rest = sources.into_iter().peekable();
    while let Some((term, sequence, from)) = rest.next() {
        let mut sequences = vec![sequence];
        while let Some((_, sequence, _)) =
            rest.next_if(|next| next.0 == term && next.2.replies.same_channel(&from.replies))
        {
            sequences.push(sequence);
        }
        from.send(Reply::Rejected { term, sequences });
    }
}
