//! The node's side of the door: one task that sends what callers propose to whoever leads, many commands per frame,
//! with at most one read index under way for all reads queued before it. It tries again what was certainly not taken,
//! so that callers do not see an election. This file must not know what commands mean.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::codec::{MAX_BATCH_COMMANDS, SOFT_BATCH_BYTES};
use crate::door::Waiters;
use crate::door::desk::{Item, Reply, ReplyTo, Request};
use crate::door::link::{Frame, Links};
use crate::door::proof::Question;
use crate::error::Error;
use crate::mutant;
use crate::state::{Applied, View, Views};

/// Frames of a link that the leader has not yet put into its log; more wait here.
const MAX_UNTAKEN: usize = 16;
/// A read index that this many reads or more waited for found a queue: the next one lets reads gather.
const CROWD: usize = 4;
/// Least time from the start of such a read index to the start of the next, for each read that waited ...
const GATHERING: Duration = Duration::from_micros(100);
/// ... and at most. Each read index costs every node a message both ways, on which a busy cluster would spend a third of
/// its time; a read that comes alone never waits for others.
const MAX_GATHERING: Duration = Duration::from_millis(1);
/// Pause after the leader refused something, so that a leader in trouble is not asked in a circle.
const PAUSE: Duration = Duration::from_millis(20);
/// Longest pause between attempts to reach a leader that does not take the stream: it may have removed this node.
const MAX_PAUSE: Duration = Duration::from_secs(1);
/// A follower that needs nothing still asks for the leader's clock this often.
pub const PING: Duration = Duration::from_secs(1);

/// Who leads, as far as this node knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Leadership {
    /// The term.
    pub term: u64,
    /// Its leader, once a quorum has granted it.
    pub leader: Option<u64>,
}

/// What callers ask of the door.
pub enum Ask {
    /// Send this command, which waits in `Waiters`.
    Propose(u64),
    /// Prove that a view is current.
    Read(Read),
}

/// A read that waits for its view.
pub struct Read {
    /// When to give up.
    pub until: Instant,
    /// Where the view goes.
    pub answer: oneshot::Sender<Result<Arc<View>, Error>>,
}

/// What the door works with.
pub struct Parts {
    /// This node.
    pub node: u64,
    /// Commands and who waits for them.
    pub waiters: Arc<Waiters>,
    /// What callers ask.
    pub asks: mpsc::UnboundedReceiver<Ask>,
    /// Commands that became free to be sent again.
    pub freed: mpsc::UnboundedReceiver<Vec<u64>>,
    /// Who leads.
    pub leadership: watch::Receiver<Leadership>,
    /// This node's desk.
    pub desk: mpsc::UnboundedSender<Request>,
    /// Streams to other nodes' desks.
    pub links: Arc<dyn Links>,
    /// How far this node has applied.
    pub applied: watch::Receiver<Applied>,
    /// Views of the applied state.
    pub views: Views,
}

/// Runs the door until its callers are gone.
pub async fn run(mut parts: Parts) {
    let (replies, mut heard) = mpsc::unbounded_channel();
    let mut door = Door {
        node: parts.node,
        waiters: parts.waiters,
        desk: parts.desk,
        links: parts.links,
        applied: parts.applied,
        views: parts.views,
        replies,
        leadership: *parts.leadership.borrow_and_update(),
        queue: VecDeque::new(),
        reads: Vec::new(),
        reading: None,
        next_reading: Instant::now(),
        counter: 0,
        link: None,
        pause_until: Instant::now(),
        closed_in_a_row: 0,
    };
    loop {
        door.pump();
        let wake = door.next_wake();
        tokio::select! {
            ask = parts.asks.recv() => match ask {
                Some(ask) => door.ask(ask),
                None => return,
            },
            Some(sequences) = parts.freed.recv() => door.queue.extend(sequences),
            changed = parts.leadership.changed() => match changed {
                Ok(()) => door.leader_changed(*parts.leadership.borrow_and_update()),
                Err(_) => return,
            },
            Some((link, reply)) = heard.recv() => door.hear(link, reply),
            () = tokio::time::sleep_until(wake) => door.expire(),
        }
        while let Ok(ask) = parts.asks.try_recv() {
            door.ask(ask);
        }
    }
}

struct Door {
    node: u64,
    waiters: Arc<Waiters>,
    desk: mpsc::UnboundedSender<Request>,
    links: Arc<dyn Links>,
    applied: watch::Receiver<Applied>,
    views: Views,
    replies: mpsc::UnboundedSender<(u64, Reply)>,
    leadership: Leadership,
    /// Commands that are certainly in no log.
    queue: VecDeque<u64>,
    reads: Vec<Read>,
    /// The read index under way and the reads it will answer.
    reading: Option<(u64, Vec<Read>)>,
    /// When the next one may begin.
    next_reading: Instant,
    /// Numbers links and reads.
    counter: u64,
    link: Option<Link>,
    pause_until: Instant,
    /// Streams to the leader of this term that ended before they were open.
    closed_in_a_row: u32,
}

/// The way to the leader of one term.
struct Link {
    id: u64,
    leadership: Leadership,
    /// Frames to another node; `None` when this node leads and its own desk is used.
    remote: Option<mpsc::UnboundedSender<Frame>>,
    ready: bool,
    frame: u64,
    /// Frames sent and not yet known to be taken, with their commands.
    untaken: VecDeque<(u64, Vec<u64>)>,
    asked_at: Instant,
}

impl Door {
    fn ask(&mut self, ask: Ask) {
        match ask {
            Ask::Propose(sequence) => self.queue.push_back(sequence),
            Ask::Read(read) => self.reads.push(read),
        }
    }

    fn leader_changed(&mut self, leadership: Leadership) {
        if leadership == self.leadership {
            return;
        }
        self.leadership = leadership;
        self.pause_until = Instant::now();
        self.closed_in_a_row = 0;
        // The mutant: what the old leader took counts as lost as soon as another leads.
        if mutant::is("replayed-proposal") {
            self.waiters.applied(leadership.term, Vec::new());
        }
        // What was sent under the old term is settled by this node's own apply; a read can simply be asked again.
        self.drop_link();
    }

    fn drop_link(&mut self) {
        self.link = None;
        if let Some((_, reads)) = self.reading.take() {
            self.reads.extend(reads);
        }
    }

    fn hear(&mut self, link: u64, reply: Reply) {
        if let Reply::Rejected { term, sequences } = &reply {
            // Valid from whichever link it comes: the fence says which sending it is about.
            let free = self.waiters.rejected(*term, sequences);
            self.queue.extend(free);
            self.pause();
            return;
        }
        if self.link.as_ref().is_none_or(|current| current.id != link) {
            return;
        }
        match reply {
            Reply::Ready { accepted } => self.opened(accepted),
            Reply::Taken { frame } => {
                if let Some(link) = &mut self.link {
                    link.untaken.retain(|(sent, _)| *sent > frame);
                }
            }
            Reply::Index { id, position } => self.index(id, position),
            Reply::Closed => self.closed(),
            // Answered by the stream itself.
            Reply::Confirm { .. } | Reply::Rejected { .. } => {}
        }
    }

    /// The stream is open: frames that the leader has not seen are free again.
    fn opened(&mut self, accepted: u64) {
        let Some(link) = &mut self.link else { return };
        self.closed_in_a_row = 0;
        link.ready = true;
        link.frame = accepted;
        let term = link.leadership.term;
        for (frame, sequences) in std::mem::take(&mut link.untaken) {
            if frame > accepted {
                let free = self.waiters.rejected(term, &sequences);
                self.queue.extend(free);
            } else {
                link.untaken.push_back((frame, sequences));
            }
        }
    }

    /// The stream broke. A new one to the same leader will say which frames it has seen.
    fn closed(&mut self) {
        if let Some((_, reads)) = self.reading.take() {
            self.reads.extend(reads);
        }
        let pause = PAUSE.saturating_mul(1 << self.closed_in_a_row.min(16));
        self.pause_until = Instant::now() + pause.min(MAX_PAUSE);
        self.closed_in_a_row = self.closed_in_a_row.saturating_add(1);
        if let Some(link) = &mut self.link {
            link.remote = None;
            link.ready = false;
        }
    }

    fn index(&mut self, id: u64, position: Option<u64>) {
        let Some((_, reads)) = self.reading.take_if(|(asked, _)| *asked == id) else {
            return;
        };
        match position {
            Some(position) => {
                let (applied, views) = (self.applied.clone(), self.views.clone());
                tokio::spawn(answer(reads, position, applied, views));
            }
            None => {
                self.reads.extend(reads);
                self.pause();
            }
        }
    }

    fn pause(&mut self) {
        self.pause_until = Instant::now() + PAUSE;
    }

    fn expire(&mut self) {
        let now = Instant::now();
        self.queue = self.waiters.expire(self.queue.drain(..), now).into();
        self.reads.retain(|read| !read.answer.is_closed());
        for read in self.reads.extract_if(.., |read| read.until <= now) {
            read.answer.send(Err(Error::NoLeader)).ok();
        }
    }

    fn next_wake(&self) -> Instant {
        let now = Instant::now();
        let idle = self.queue.is_empty() && self.reads.is_empty();
        if !idle && self.pause_until > now {
            return self.pause_until;
        }
        if self.reading.is_none() && !self.reads.is_empty() && self.next_reading > now {
            return self.next_reading;
        }
        now + if idle { PING } else { PAUSE }
    }

    /// Sends what can be sent.
    fn pump(&mut self) {
        let now = Instant::now();
        let Some(leader) = self.leadership.leader else {
            return;
        };
        if now < self.pause_until {
            return;
        }
        self.connect(leader, now);
        let Some(mut link) = self.link.take() else { return };
        if link.ready {
            self.send_commands(&mut link);
            self.send_read(&mut link, now);
            if let Some(remote) = &link.remote
                && now.duration_since(link.asked_at) >= PING
            {
                remote.send(Frame::Ping).ok();
                link.asked_at = now;
            }
        }
        self.link = Some(link);
    }

    /// Makes sure there is a link to the leader.
    fn connect(&mut self, leader: u64, now: Instant) {
        let leadership = self.leadership;
        let local = leader == self.node;
        let usable = |link: &Link| link.leadership == leadership && (local || link.remote.is_some());
        if self.link.as_ref().is_some_and(usable) {
            return;
        }
        self.counter += 1;
        let id = self.counter;
        let to = ReplyTo {
            link: id,
            replies: self.replies.clone(),
        };
        let remote = (!local).then(|| self.links.open(leader, leadership.term, to));
        let untaken = self.link.take().filter(|link| link.leadership == leadership);
        self.link = Some(Link {
            id,
            leadership,
            remote,
            ready: local,
            frame: 0,
            untaken: untaken.map(|link| link.untaken).unwrap_or_default(),
            asked_at: now,
        });
    }

    fn send_commands(&mut self, link: &mut Link) {
        let term = link.leadership.term;
        while !self.queue.is_empty() && link.untaken.len() < MAX_UNTAKEN {
            let mut commands = Vec::new();
            let mut bytes = 0;
            while commands.len() < MAX_BATCH_COMMANDS && bytes < SOFT_BATCH_BYTES {
                let Some(sequence) = self.queue.pop_front() else {
                    break;
                };
                match self.waiters.send(sequence, term) {
                    Some(command) => {
                        bytes += command.len();
                        commands.push((sequence, command));
                    }
                    // This node has applied a later term than it thinks is current: wait for the news.
                    None if self.waiters.is_queued(sequence) => {
                        self.queue.push_front(sequence);
                        self.pause_until = Instant::now() + PAUSE;
                        break;
                    }
                    None => {}
                }
            }
            if commands.is_empty() {
                return;
            }
            link.frame += 1;
            let sequences = commands.iter().map(|(sequence, _)| *sequence).collect();
            link.untaken.push_back((link.frame, sequences));
            self.hand_over(link, commands);
        }
    }

    fn hand_over(&self, link: &Link, commands: Vec<(u64, bytes::Bytes)>) {
        let (term, frame) = (link.leadership.term, link.frame);
        if let Some(remote) = &link.remote {
            remote
                .send(Frame::Propose {
                    term,
                    frame,
                    commands,
                })
                .ok();
            return;
        }
        let from = ReplyTo {
            link: link.id,
            replies: self.replies.clone(),
        };
        let last = commands.len().saturating_sub(1);
        let items = commands
            .into_iter()
            .enumerate()
            .map(|(at, (sequence, command))| Item {
                term,
                sequence,
                command,
                frame: (at == last).then_some(frame),
                from: from.clone(),
            });
        self.desk.send(Request::Commands(items.collect())).ok();
    }

    fn send_read(&mut self, link: &mut Link, now: Instant) {
        if self.reading.is_some() || self.reads.is_empty() || now < self.next_reading {
            return;
        }
        self.counter += 1;
        let id = self.counter;
        let reads = std::mem::take(&mut self.reads);
        let crowd = reads.len() >= CROWD;
        if crowd {
            let crowd = u32::try_from(reads.len()).unwrap_or(u32::MAX);
            self.next_reading = now + GATHERING.saturating_mul(crowd).min(MAX_GATHERING);
        }
        self.reading = Some((id, reads));
        link.asked_at = now;
        if let Some(remote) = &link.remote {
            remote.send(Frame::Read { id, crowd }).ok();
            return;
        }
        let from = ReplyTo {
            link: link.id,
            replies: self.replies.clone(),
        };
        let question = Question {
            id,
            from,
            word: None,
            crowd,
        };
        self.desk.send(Request::Read(question)).ok();
    }
}

/// Waits until this node has applied up to `position` and hands the reads one view.
async fn answer(reads: Vec<Read>, position: u64, mut applied: watch::Receiver<Applied>, views: Views) {
    let Some(latest) = reads.iter().map(|read| read.until).max() else {
        return;
    };
    let reached = applied.wait_for(|applied| applied.index >= position);
    let reached = matches!(tokio::time::timeout_at(latest, reached).await, Ok(Ok(_)));
    let view = match reached {
        true => views.latest(),
        false => Err(Error::NoLeader),
    };
    for read in reads {
        let answer = match &view {
            Ok(view) => Ok(Arc::clone(view)),
            Err(Error::NoLeader) => Err(Error::NoLeader),
            Err(error) => Err(Error::Storage(error.to_string())),
        };
        read.answer.send(answer).ok();
    }
}
