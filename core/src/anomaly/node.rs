//! Every node's side: empties the queue, makes a summary a second, and hands it to the leader. Those of the last minutes are
//! kept, so that a new leader can be told again what the old one may not have stored.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use conclave_anomaly::{Gather, Summary};
use conclave_engine_api::{Env, Millis};
use conclave_raft::{PeerCall, Replica};

use crate::anomaly::identity::keyer;
use crate::anomaly::{SUMMARY, Seen};
use crate::core::Core;
use crate::entropy::OsEntropy;
use crate::error::Error;
use crate::session::Session;
use crate::store::layout::RING;
use crate::store::{Opened, Table};

/// Between two summaries.
const SECOND: Millis = 1000;
/// For so long summaries are kept: two times what passes before a leader stores what it learned.
const KEPT: Millis = 120_000;
/// Most bytes of summaries that are kept.
const KEPT_BYTES: usize = 8 << 20;
/// How long the leader is waited for.
const PATIENCE: Duration = Duration::from_millis(800);
/// Most requests looked at before others may run.
const SLICE: usize = 4096;
/// What a summary is sealed for.
const PURPOSE: &[u8] = b"summary";

/// What one node keeps.
pub struct Node {
    waiting: mpsc::Receiver<Seen>,
    urgent: mpsc::Receiver<Seen>,
    gather: Gather,
    /// Names this start of the node; 0 before the first summary.
    boot: u64,
    number: u64,
    last: Millis,
    kept: VecDeque<Kept>,
    /// How many of those that are kept the leader has not taken.
    unsent: usize,
    /// Whom they were sent to.
    leader: Option<(u64, u64)>,
}

struct Kept {
    at: Millis,
    summary: Arc<Summary>,
    bytes: usize,
}

impl Node {
    /// Empties these queues.
    pub fn new(waiting: mpsc::Receiver<Seen>, urgent: mpsc::Receiver<Seen>) -> Self {
        Self {
            waiting,
            urgent,
            gather: Gather::default(),
            boot: 0,
            number: 0,
            last: 0,
            kept: VecDeque::new(),
            unsent: 0,
            leader: None,
        }
    }

    /// A sealed node forgets what it saw.
    fn forget(&mut self) {
        while self.waiting.try_recv().is_ok() || self.urgent.try_recv().is_ok() {}
        self.gather = Gather::default();
        self.kept.clear();
        self.unsent = 0;
        self.leader = None;
    }

    /// Takes entries off the queues. Whether one was a canary's.
    async fn empty(&mut self, core: &Core, opened: &Opened) -> bool {
        let keyer = keyer(opened);
        let mut urgent = false;
        while let Ok(seen) = self.urgent.try_recv() {
            urgent = true;
            seen.gather(core, &keyer, &mut self.gather);
        }
        let mut looked = 0;
        while let Ok(seen) = self.waiting.try_recv() {
            seen.gather(core, &keyer, &mut self.gather);
            looked += 1;
            if looked % SLICE == 0 {
                tokio::task::yield_now().await;
            }
        }
        self.gather.missed(core.watch.dropped.swap(0, Ordering::Relaxed));
        urgent
    }

    /// Makes a summary of what was gathered.
    fn summarise(&mut self, now: Millis) {
        if self.boot == 0 {
            let id = Env::new(now, &mut OsEntropy).hex(8);
            self.boot = u64::from_str_radix(&id, 16).unwrap_or(1).max(1);
        }
        self.last = now;
        if let Some(summary) = self.gather.take(self.boot, self.number + 1) {
            self.number += 1;
            let bytes = summary.facts.len() * size_of::<conclave_anomaly::Fact>();
            self.kept.push_back(Kept {
                at: now,
                summary: Arc::new(summary),
                bytes,
            });
            self.unsent += 1;
        }
        let size = |kept: &VecDeque<Kept>| kept.iter().map(|kept| kept.bytes).sum::<usize>();
        while self
            .kept
            .front()
            .is_some_and(|first| first.at + KEPT < now || size(&self.kept) > KEPT_BYTES)
        {
            self.kept.pop_front();
        }
        self.unsent = self.unsent.min(self.kept.len());
    }

    /// Another leader, or the same in a later term, is told everything that is kept.
    fn follow(&mut self, leader: (u64, u64)) {
        if self.leader != Some(leader) {
            self.leader = Some(leader);
            self.unsent = self.kept.len();
            self.gather.forget_told();
        }
    }
}

impl Core {
    /// One round of watching, on every node: what was seen goes to the leader. `at_once` makes a summary even if the last one
    /// was made less than a second ago.
    ///
    /// # Errors
    /// The leader's or the store's own; what was gathered is kept.
    pub async fn watch_once(&self, at_once: bool) -> Result<(), Error> {
        let mut node = self.watch.node.lock().await;
        let (Ok(session), Ok(replica)) = (self.seal.session(), self.seal.replica()) else {
            node.forget();
            self.stop_leading().await;
            return Ok(());
        };
        let (opened, _) = session.view(replica.view()?)?;
        let urgent = node.empty(self, &opened).await;
        let now = replica.now();
        if at_once || urgent || now >= node.last + SECOND || now < node.last {
            node.summarise(now);
        }
        let (leader, term) = {
            let status = replica.status();
            let status = status.borrow();
            (status.leader, status.term)
        };
        let Some(leader) = leader else { return Ok(()) };
        node.follow((leader, term));
        while node.unsent > 0 {
            let at = node.kept.len() - node.unsent;
            let Some(summary) = node.kept.get(at).map(|kept| kept.summary.clone()) else {
                break;
            };
            self.hand_over(replica.as_ref(), &opened, leader, &summary)
                .await?;
            node.unsent -= 1;
        }
        drop(node);
        self.lead_watch(&session, replica.as_ref()).await
    }

    /// The last round before this process ends: what was seen goes to the leader, and what the leader learned is stored.
    ///
    /// # Errors
    /// Those of [`Core::watch_once`]: what was not stored is lost with this process.
    pub(crate) async fn watch_last(&self) -> Result<(), Error> {
        self.watch_once(true).await?;
        let (session, replica) = (self.seal.session()?, self.seal.replica()?);
        self.store_watch(&session, replica.as_ref()).await
    }

    async fn hand_over(
        &self,
        replica: &dyn Replica,
        opened: &Opened,
        leader: u64,
        summary: &Arc<Summary>,
    ) -> Result<(), Error> {
        if leader == replica.node_id() {
            return self.take_summary(leader, summary).await;
        }
        let barrier = opened.barrier();
        let sealed = barrier.seal_value(
            RING,
            Table::Anomaly as u8,
            PURPOSE,
            &summary.encode(),
            &mut OsEntropy,
        )?;
        let call = PeerCall {
            kind: SUMMARY,
            payload: sealed.into(),
        };
        let taken = tokio::time::timeout(PATIENCE, replica.call_peer(leader, call)).await;
        match taken.map_err(|_| Error::NoLeader("the leader does not answer".to_owned()))?? {
            answer if answer.as_ref() == [0] => Ok(()),
            _ => Err(Error::NoLeader("leadership moves".to_owned())),
        }
    }

    /// The leader's side: what a member saw.
    pub(crate) async fn receive_summary(&self, from: u64, payload: &[u8]) -> Result<Bytes, Error> {
        let (session, replica) = (self.seal.session()?, self.seal.replica()?);
        let (opened, _) = session.view(replica.view()?)?;
        let plain = opened
            .barrier()
            .open_value(Table::Anomaly as u8, PURPOSE, payload)?;
        let summary = Summary::decode(plain.expose())
            .map_err(|_| Error::invalid("a member's summary does not decode"))?;
        match self.take_summary(from, &summary).await {
            Ok(()) => Ok(Bytes::from_static(&[0])),
            Err(Error::NoLeader(_)) => Ok(Bytes::from_static(&[1])),
            Err(error) => Err(error),
        }
    }
}

/// Whether a session still serves: a sealed node must not hold on to what it saw.
pub(super) fn is_open(core: &Core, session: &Arc<Session>) -> bool {
    core.seal
        .session()
        .is_ok_and(|current| Arc::ptr_eq(&current, session))
}
