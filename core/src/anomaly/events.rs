//! What was found, as stored: sealed rows, the oldest of which make room for new ones.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use conclave_anomaly::{Evidence, Finding, Kind};
use conclave_engine_api::{Millis, Page, Txn};
use conclave_raft::Replica;

use crate::anomaly::{Response, STORED};
use crate::catalog::{Catalog, decode_record, encode_record};
use crate::clocktext::rfc3339;
use crate::core::Core;
use crate::error::Error;
use crate::session::Session;
use crate::store::{CommitError, Draft, Opened, commit, commit_once};
use crate::sys::object;

/// Where events are stored, by id.
pub const EVENTS: &str = "event/";
/// Most events that are kept.
const MAX_EVENTS: usize = 1000;
/// For so long an event goes on in which the same is found again.
pub const EPISODE: Millis = 3_600_000;
/// Tries of a change that keeps losing to an operator's.
const TRIES: u32 = 8;

/// How far people are with it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Nobody has looked at it.
    #[default]
    Open,
    /// Somebody has.
    Acknowledged,
}

/// An event as stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventRecord {
    /// Its name: the time it began and a hash, hexadecimal. Later ones sort later.
    pub id: String,
    /// The rule that found it.
    pub rule: String,
    /// How bad it is.
    pub severity: String,
    /// What kind of thing it is about, ...
    pub subject_type: String,
    /// ... and which.
    pub subject: String,
    /// Its hash.
    pub key: u64,
    /// Path of the namespace of the last request that belongs to it.
    pub namespace: String,
    /// Path of its mount; empty for none.
    pub mount: String,
    /// When it was found first, ...
    pub first: Millis,
    /// ... and last.
    pub last: Millis,
    /// How often it was told that it goes on.
    pub updates: u64,
    /// Why, in a sentence.
    pub explanation: String,
    /// What shows it.
    pub evidence: BTreeMap<String, Evidence>,
    /// How far people are with it.
    pub state: State,
    /// Whether it was muted when it was found: nobody was told.
    pub muted: bool,
    /// What was done about it.
    pub responses: Vec<String>,
    /// What who acknowledged it said.
    pub note: String,
    /// Who that was.
    pub acknowledged_by: String,
}

impl EventRecord {
    /// The row of the event with this id.
    pub fn row(id: &str) -> String {
        format!("{EVENTS}{id}")
    }

    /// What people and receivers of posts are told.
    pub fn shown(&self) -> Map<String, Value> {
        object(json!({
            "id": self.id,
            "rule": self.rule,
            "severity": self.severity,
            "subject": self.subject,
            "subject_type": self.subject_type,
            "namespace": self.namespace,
            "mount": self.mount,
            "first_seen": rfc3339(self.first),
            "last_seen": rfc3339(self.last),
            "updates": self.updates,
            "explanation": self.explanation,
            "evidence": self.evidence,
            "state": self.state,
            "muted": self.muted,
            "responses": self.responses,
            "note": self.note,
            "acknowledged_by": self.acknowledged_by,
        }))
    }

    /// What goes on in it, while it does.
    pub fn episode(&self) -> Option<(Kind, u64)> {
        Some((Kind::parse(&self.rule)?, self.key))
    }

    fn new(finding: &Finding, catalog: &Catalog) -> Self {
        let namespace = catalog.tree().node(finding.namespace);
        let mount = catalog
            .mount_by_id(finding.mount)
            .map(|mount| mount.full_path())
            .unwrap_or_default();
        let name = match finding.name.is_empty() {
            true => mount.clone(),
            false => finding.name.clone(),
        };
        Self {
            id: format!(
                "{:011x}-{:08x}",
                finding.at,
                (finding.key ^ finding.kind as u64) & 0xffff_ffff
            ),
            rule: finding.kind.name().to_owned(),
            severity: finding.severity.name().to_owned(),
            subject_type: format!("{:?}", finding.subject).to_lowercase(),
            explanation: format!("{name}: {}", finding.explanation),
            subject: name,
            key: finding.key,
            namespace: namespace.map(|node| node.record.path.clone()).unwrap_or_default(),
            mount,
            first: finding.at,
            last: finding.at,
            updates: 0,
            evidence: finding.evidence.clone(),
            state: State::Open,
            muted: false,
            responses: Vec::new(),
            note: String::new(),
            acknowledged_by: String::new(),
        }
    }
}

/// Ids of all events, oldest first.
pub fn ids(opened: &Opened) -> Result<Vec<String>, Error> {
    opened.space(STORED).names(EVENTS, &Page::default())
}

/// One of them.
pub fn event(opened: &Opened, id: &str) -> Result<Option<EventRecord>, Error> {
    let row = opened.space(STORED).row(&EventRecord::row(id))?;
    row.map(|row| decode_record(&row.value)).transpose()
}

/// Those that may be going on.
pub fn recent(opened: &Opened, now: Millis) -> Result<Vec<EventRecord>, Error> {
    let mut found = Vec::new();
    for id in ids(opened)? {
        if let Some(event) = event(opened, &id)?
            && event.last.saturating_add(EPISODE) > now
        {
            found.push(event);
        }
    }
    Ok(found)
}

/// How many are open, by rule: going on, and looked at by nobody.
pub fn open_by_rule(opened: &Opened, now: Millis) -> Result<BTreeMap<String, i64>, Error> {
    let mut open = BTreeMap::new();
    for event in recent(opened, now)? {
        if event.state == State::Open && !event.muted {
            *open.entry(event.rule).or_insert(0) += 1;
        }
    }
    Ok(open)
}

impl Core {
    /// Stores what was found, tells of it and acts upon it; of something that goes on, brings up to date what is stored.
    pub(super) async fn report(
        &self,
        session: &Arc<Session>,
        replica: &dyn Replica,
        finding: &Finding,
    ) -> Result<(), Error> {
        let (opened, derived) = session.view(replica.read().await?)?;
        if !self.concerns(&opened, &derived.catalog, finding)? {
            return Ok(());
        }
        let now = replica.now();
        let goes_on = recent(&opened, now)?
            .into_iter()
            .rev()
            .find(|event| event.episode() == Some((finding.kind, finding.key)));
        let found = EventRecord::new(finding, &derived.catalog);
        if let Some(known) = goes_on {
            let record = derived.catalog.watched.record(finding.kind);
            if record.response == Response::RateLimit {
                self.prolong(session, replica, &known.id, record.limit).await?;
            }
            return self
                .update_event(session, replica, &known.id, |event| {
                    event.last = event.last.max(found.last);
                    event.updates += 1;
                    event.explanation.clone_from(&found.explanation);
                    event.evidence.clone_from(&found.evidence);
                })
                .await;
        }
        let watched = &derived.catalog.watched;
        let muted = watched.mutes(&found.rule, &found.subject, now);
        let event = EventRecord { muted, ..found };
        self.put_event(&opened, replica, &event).await?;
        // The count pages somebody, as a webhook does.
        if muted {
            return Ok(());
        }
        self.watch.numbers.found(finding.kind, finding.severity);
        // Names stay out of logs: whoever may read the event finds them there.
        tracing::warn!(
            rule = event.rule,
            severity = event.severity,
            event = event.id,
            "unusual access"
        );
        let done = self.respond(session, replica, finding, &event.id).await;
        let event = EventRecord {
            responses: done,
            ..event
        };
        self.post(&watched.hooks, &event);
        if !event.responses.is_empty() {
            self.update_event(session, replica, &event.id, |known| {
                known.responses.clone_from(&event.responses);
            })
            .await?;
        }
        Ok(())
    }

    async fn put_event(
        &self,
        opened: &Opened,
        replica: &dyn Replica,
        event: &EventRecord,
    ) -> Result<(), Error> {
        let proposal = {
            let reader = opened.space(STORED);
            let mut txn = Txn::new(&reader);
            let known = ids(opened)?;
            for old in known.iter().take((known.len() + 1).saturating_sub(MAX_EVENTS)) {
                txn.delete(&EventRecord::row(old))?;
            }
            txn.put(&EventRecord::row(&event.id), encode_record(event)?)?;
            let mut draft = Draft::new(opened);
            draft.include(STORED, txn.into_changes())?;
            draft.finish()
        };
        commit_once(replica, proposal).await
    }

    /// Changes an event that is stored. One that is gone stays so.
    async fn update_event(
        &self,
        session: &Arc<Session>,
        replica: &dyn Replica,
        id: &str,
        change: impl Fn(&mut EventRecord),
    ) -> Result<(), Error> {
        for _ in 0..TRIES {
            let (opened, _) = session.view(replica.read().await?)?;
            let proposal = {
                let reader = opened.space(STORED);
                let mut txn = Txn::new(&reader);
                let row = EventRecord::row(id);
                let Some(stored) = txn.get(&row)? else {
                    return Ok(());
                };
                let mut event: EventRecord = decode_record(&stored.value)?;
                change(&mut event);
                txn.put(&row, encode_record(&event)?)?;
                let mut draft = Draft::new(&opened);
                draft.include(STORED, txn.into_changes())?;
                draft.finish()
            };
            match commit(replica, proposal).await {
                Ok(_) => return Ok(()),
                Err(CommitError::Failed(error)) => return Err(error),
                Err(CommitError::Retry | CommitError::Refused) => {}
            }
        }
        Err(Error::Contention)
    }
}
