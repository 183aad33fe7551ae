//! The leader's side: takes summaries in, asks the rules, and answers what operators ask of what was learned. Events, and what
//! outlives this leader, are stored by others.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use conclave_anomaly::{Detector, Fact, Finding, ProfileView, Status, Summary};
use conclave_engine_api::Millis;
use conclave_raft::{PeerCall, Replica};

use crate::anomaly::ASK;
use crate::anomaly::access::{self, Access};
use crate::anomaly::events;
use crate::anomaly::keep::store_learned;
use crate::anomaly::node::is_open;
use crate::core::Core;
use crate::entropy::OsEntropy;
use crate::error::Error;
use crate::session::Session;
use crate::store::layout::RING;
use crate::store::{Opened, Table};

/// Between two times that what was learned is stored.
const STORE_EVERY: Millis = 60_000;
/// Most parts of what was learned that are stored at a time.
const MAX_PARTS: usize = 64;
/// Most findings that wait to be stored.
const MAX_FOUND: usize = 1024;
/// How long the leader is waited for.
const PATIENCE: Duration = Duration::from_secs(3);
/// Most identities told as silent in one answer.
const MAX_SILENT: usize = 1000;
/// What a question and its answer are sealed for.
const PURPOSE: &[u8] = b"question";

/// What this node keeps while it leads.
pub struct Leading {
    pub term: u64,
    pub detector: Detector,
    pub access: Access,
    pub stored: Millis,
}

/// What an operator asks the leader.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub enum Question {
    /// How much is known.
    Status,
    /// What is usual for an identity.
    Identity(u64),
    /// Who has been silent since then.
    Silent(Millis),
}

/// What it answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Told {
    /// How much is known, and which node knows it.
    Status(Status, u64),
    /// What is usual; `None` for somebody unknown.
    Identity(Option<Box<ProfileView>>),
    /// Labels, and when they were seen last.
    Silent(Vec<(String, Millis)>),
}

impl Core {
    /// Takes in what a node saw.
    ///
    /// # Errors
    /// [`Error::NoLeader`] if this node does not lead.
    pub(super) async fn take_summary(&self, node: u64, summary: &Summary) -> Result<(), Error> {
        let session = self.seal.session()?;
        let replica = self.seal.replica()?;
        let mut leading = self.watch.leading.lock().await;
        let leading = self.led(&mut leading, &session, replica.as_ref())?;
        let (_, derived) = session.view(replica.view()?)?;
        let mut found = Vec::new();
        if leading.detector.take(node, summary, &mut found) {
            let mount = |fact: &&Fact| derived.catalog.mount_by_id(fact.mount);
            let has_secrets = |fact: &&Fact| mount(fact).is_some_and(|mount| access::has_secrets(mount));
            for fact in summary.facts.iter().filter(has_secrets) {
                leading.access.note(fact);
            }
        }
        self.watch.numbers.took(summary);
        if !found.is_empty() {
            let mut waiting = self.watch.found.lock();
            let room = MAX_FOUND.saturating_sub(waiting.len());
            self.watch.numbers.suppressed(found.len().saturating_sub(room));
            waiting.extend(found.into_iter().take(room));
        }
        Ok(())
    }

    /// What this node keeps as leader of this term; what earlier leaders learned is read when it begins to lead.
    fn led<'l>(
        &self,
        leading: &'l mut Option<Leading>,
        session: &Arc<Session>,
        replica: &dyn Replica,
    ) -> Result<&'l mut Leading, Error> {
        let (leads, term) = {
            let status = replica.status();
            let status = status.borrow();
            (status.is_leader, status.term)
        };
        if !leads {
            *leading = None;
            self.watch.numbers.leads_not();
            return Err(Error::NoLeader("this node does not lead".to_owned()));
        }
        let (opened, derived) = session.view(replica.view()?)?;
        let watched = &derived.catalog.watched;
        if leading.as_ref().is_none_or(|known| known.term != term) {
            let mut detector = Detector::new(watched.rules.clone());
            self.read_learned(&opened, &mut detector)?;
            *leading = Some(Leading {
                term,
                detector,
                access: Access::default(),
                stored: replica.now(),
            });
        }
        let known = leading
            .as_mut()
            .ok_or_else(|| Error::internal("nobody leads the watch"))?;
        known.detector.set_rules(watched.rules.clone());
        Ok(known)
    }

    /// One round of the leader: what was found is stored and acted upon, and what was learned is stored now and then.
    pub(super) async fn lead_watch(
        &self,
        session: &Arc<Session>,
        replica: &dyn Replica,
    ) -> Result<(), Error> {
        if !replica.status().borrow().is_leader || !is_open(self, session) {
            self.stop_leading().await;
            return Ok(());
        }
        let found: Vec<Finding> = std::mem::take(&mut *self.watch.found.lock());
        for finding in found {
            if let Err(error) = self.report(session, replica, &finding).await {
                tracing::warn!(%error, rule = finding.kind.name(), "an anomaly was found and is not stored yet");
                let mut waiting = self.watch.found.lock();
                if waiting.len() < MAX_FOUND {
                    waiting.push(finding);
                }
            }
        }
        let leading = self.watch.leading.lock().await;
        let stored = leading.as_ref().map_or(0, |known| known.stored);
        drop(leading);
        match replica.now() < stored.saturating_add(STORE_EVERY) {
            true => Ok(()),
            false => self.store_watch(session, replica).await,
        }
    }

    /// Stores what was learned, if this node leads.
    pub(super) async fn store_watch(
        &self,
        session: &Arc<Session>,
        replica: &dyn Replica,
    ) -> Result<(), Error> {
        let now = replica.now();
        let (parts, used) = {
            let mut leading = self.watch.leading.lock().await;
            let Some(known) = leading.as_mut() else {
                return Ok(());
            };
            known.stored = now;
            self.watch.numbers.knows(&known.detector.status(now));
            (
                known.detector.take_saved(MAX_PARTS),
                known.access.take(&known.detector),
            )
        };
        self.watch
            .numbers
            .limits(self.end_limits(session, replica).await?);
        // Members go on telling meanwhile: nobody waits for what is committed here.
        let (opened, derived) = session.view(replica.view()?)?;
        self.watch.numbers.open(&events::open_by_rule(&opened, now)?);
        let held = derived.catalog.watched.holds.records.len();
        self.watch.numbers.holds(held);
        access::store(&opened, &derived.catalog, replica, used).await?;
        if let Err((parts, error)) = store_learned(&opened, replica, parts).await {
            if let Some(known) = self.watch.leading.lock().await.as_mut() {
                known.detector.not_saved(&parts);
            }
            return Err(error);
        }
        Ok(())
    }

    /// This node leads no more, or may know nothing any more.
    pub(super) async fn stop_leading(&self) {
        *self.watch.leading.lock().await = None;
        self.watch.found.lock().clear();
        self.watch.numbers.leads_not();
    }

    /// Asks the leader what was learned.
    ///
    /// # Errors
    /// [`Error::NoLeader`] if there is none to be reached.
    pub async fn ask_watch(&self, question: Question) -> Result<Told, Error> {
        let (session, replica) = (self.seal.session()?, self.seal.replica()?);
        let leader = replica.status().borrow().leader;
        let leader = leader.ok_or_else(|| Error::NoLeader("no leader is known".to_owned()))?;
        if leader == replica.node_id() {
            return self.answer_watch(question).await;
        }
        let (opened, _) = session.view(replica.view()?)?;
        let call = PeerCall {
            kind: ASK,
            payload: seal(&opened, &question)?,
        };
        let answer = tokio::time::timeout(PATIENCE, replica.call_peer(leader, call)).await;
        open(
            &opened,
            &answer.map_err(|_| Error::NoLeader("the leader does not answer".to_owned()))??,
        )
    }

    /// The leader's side.
    pub(crate) async fn receive_question(&self, payload: &[u8]) -> Result<Bytes, Error> {
        let (opened, _) = self.seal.session()?.view(self.seal.replica()?.view()?)?;
        let told = self.answer_watch(open(&opened, payload)?).await?;
        seal(&opened, &told)
    }

    async fn answer_watch(&self, question: Question) -> Result<Told, Error> {
        let (session, replica) = (self.seal.session()?, self.seal.replica()?);
        let mut leading = self.watch.leading.lock().await;
        let now = replica.now();
        let detector = &self.led(&mut leading, &session, replica.as_ref())?.detector;
        Ok(match question {
            Question::Status => Told::Status(detector.status(now), replica.node_id()),
            Question::Identity(who) => Told::Identity(detector.profile(who, now).map(Box::new)),
            Question::Silent(before) => {
                let silent = detector.silent_since(before, MAX_SILENT).into_iter();
                Told::Silent(silent.map(|(who, last)| (detector.name(who), last)).collect())
            }
        })
    }
}

fn seal<T: Serialize>(opened: &Opened, message: &T) -> Result<Bytes, Error> {
    let plain = crate::catalog::encode_record(message)?;
    let sealed = opened
        .barrier()
        .seal_value(RING, Table::Anomaly as u8, PURPOSE, &plain, &mut OsEntropy)?;
    Ok(sealed.into())
}

fn open<T: serde::de::DeserializeOwned>(opened: &Opened, sealed: &[u8]) -> Result<T, Error> {
    let plain = opened
        .barrier()
        .open_value(Table::Anomaly as u8, PURPOSE, sealed)?;
    crate::catalog::decode_record(plain.expose())
}
