//! Who is held back because a rule found something: so many requests a second, over all nodes, until a time. As stored, and
//! ready to be asked. Buckets are those of rate limits; what holds requests back is there.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use conclave_anomaly::{Finding, Subject};
use conclave_engine_api::{Millis, Page};
use conclave_raft::Replica;

use crate::acts::Act;
use crate::anomaly::identity::entity_of;
use crate::anomaly::respond::{Came, responded};
use crate::anomaly::rules::Limit;
use crate::catalog::{CONFIG, decode_record, encode_record};
use crate::core::Core;
use crate::error::Error;
use crate::namespaces::located;
use crate::quota::{GroupBy, RateLimit};
use crate::session::Session;
use crate::store::{CommitError, Opened, Proposal, commit};
use crate::tokens::{self, Caller};
use crate::work::{Readers, Work};

/// Where it is stored who is held back, by name.
pub const LIMITS: &str = "anomaly/limit/";
/// Most of them: those that end first make room.
const MAX_LIMITS: usize = 1000;
/// Digits of a token's hash in the name of its limit.
const DIGITS: usize = 16;
/// Tries of a change that keeps losing to others.
const TRIES: u32 = 8;

/// Somebody who is held back, as stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LimitRecord {
    /// Its name: `entity-` and an id, or `token-` and the beginning of a hash.
    pub name: String,
    /// Whom it is about, as people read it.
    pub subject: String,
    /// The entity; empty for a token alone.
    pub entity: String,
    /// The name of the token's row; empty for an entity.
    pub token: String,
    /// Requests in a second that pass.
    pub rate: f64,
    /// When it began, ...
    pub since: Millis,
    /// ... and when it ends.
    pub until: Millis,
    /// The rule that found something, ...
    pub rule: String,
    /// ... and the event that tells of it.
    pub event: String,
}

/// All of them, ready to be asked.
#[derive(Debug, Default)]
pub struct Limits {
    /// As stored, by name.
    pub records: Vec<LimitRecord>,
    by_entity: HashMap<String, Limited>,
    by_token: HashMap<String, Limited>,
}

#[derive(Debug)]
struct Limited {
    until: Millis,
    rule: Arc<RateLimit>,
}

impl Limits {
    /// Reads those of a view.
    pub fn load(opened: &Opened) -> Result<Self, Error> {
        let config = opened.space(CONFIG);
        let mut limits = Self::default();
        for name in config.names(LIMITS, &Page::default())? {
            if let Some(row) = config.row(&format!("{LIMITS}{name}"))? {
                limits.add(decode_record(&row.value)?);
            }
        }
        Ok(limits)
    }

    fn add(&mut self, record: LimitRecord) {
        let limited = Limited {
            until: record.until,
            rule: Arc::new(bucket(&record)),
        };
        match record.entity.is_empty() {
            true => self.by_token.insert(record.token.clone(), limited),
            false => self.by_entity.insert(record.entity.clone(), limited),
        };
        self.records.push(record);
    }

    /// The limit of who shows a token, or of the entity behind it, while it lasts.
    fn of(&self, entity: &str, token: &str, now: Millis) -> Option<&Arc<RateLimit>> {
        if self.records.is_empty() {
            return None;
        }
        let lasts = |limited: &&Limited| now < limited.until;
        let by_entity = self.by_entity.get(entity).filter(lasts);
        let limited = by_entity.or_else(|| self.by_token.get(token).filter(lasts));
        limited.map(|limited| &limited.rule)
    }
}

/// Its bucket. The name of a rule of an operator's making begins with no such sign.
fn bucket(record: &LimitRecord) -> RateLimit {
    RateLimit {
        name: format!("\0anomaly\0{}", record.name),
        path: String::new(),
        role: String::new(),
        rate: record.rate,
        interval: 1000,
        block: 0,
        inheritable: true,
        group_by: GroupBy::None,
    }
}

impl Core {
    /// Takes one request off the limit of its caller, if there is one. What is held back is on record like any refusal: it is
    /// evidence.
    ///
    /// # Errors
    /// [`Error::RateLimited`] if the limit is used up.
    pub(crate) async fn hold_back(
        &self,
        opened: &Opened,
        limits: &Limits,
        caller: &Caller,
        path: &str,
        now: Millis,
    ) -> Result<(), Error> {
        let Some(rule) = limits.of(&caller.record.entity, &caller.name, now) else {
            return Ok(());
        };
        match self.takes_one(opened, rule, None).await {
            true => Ok(()),
            false => Err(Error::RateLimited {
                path: path.to_owned(),
                recorded: true,
            }),
        }
    }

    /// Holds back whom a finding is about: the entity, or without one the token of the last request.
    pub(super) async fn limit(
        &self,
        session: &Arc<Session>,
        replica: &dyn Replica,
        (finding, event, told): (&Finding, &str, &str),
        limit: Limit,
    ) -> Result<Came, Error> {
        let now = replica.now();
        let Some(mut record) = self.limited(finding, event).await? else {
            return Ok(Came::Nothing("no identity stands behind it"));
        };
        (record.rate, record.since) = (limit.rate, now);
        record.until = now.saturating_add(limit.ttl);
        for _ in 0..TRIES {
            let (opened, derived) = session.view(replica.read().await?)?;
            let (proposal, noted) = {
                let readers = Readers::new(&opened);
                let mut work = Work::new(&readers, &derived.catalog);
                if !record.token.is_empty()
                    && let Some(found) = tokens::by_name(&mut work, &record.token, now)?
                    && found.record.is_root()
                {
                    return Ok(Came::Nothing("root tokens are held back by nobody"));
                }
                make_room(&mut work)?;
                put(&mut work, &record)?;
                let act = responded(told, Some(("limit", &record.name)));
                let noted = self.note(&opened, replica, vec![act])?;
                noted.add_to(&mut work.draft);
                (work.finish()?, noted)
            };
            match commit(replica, proposal).await {
                Ok(_) => {
                    self.record_noted(noted).await;
                    let (rate, seconds) = (limit.rate, limit.ttl / 1000);
                    let text = format!("holds back to {rate} requests a second for {seconds} s");
                    return Ok(Came::Done(text));
                }
                Err(CommitError::Failed(error)) => return Err(error),
                Err(CommitError::Retry | CommitError::Refused) => {}
            }
        }
        Err(Error::Contention)
    }

    async fn limited(&self, finding: &Finding, event: &str) -> Result<Option<LimitRecord>, Error> {
        if finding.subject != Subject::Identity {
            return Ok(None);
        }
        let entity = entity_of(&finding.name).unwrap_or_default().to_owned();
        let token = match (entity.is_empty(), self.watch.leading.lock().await.as_ref()) {
            (false, _) => String::new(),
            (true, Some(leading)) => leading.detector.name(finding.token),
            (true, None) => return Err(Error::NoLeader("leadership moves".to_owned())),
        };
        let hash: String = located::split(&token).1.chars().take(DIGITS).collect();
        let name = match (entity.is_empty(), hash.is_empty()) {
            (false, _) => format!("entity-{entity}"),
            (true, false) => format!("token-{hash}"),
            (true, true) => return Ok(None),
        };
        Ok(Some(LimitRecord {
            name,
            subject: finding.name.clone(),
            entity,
            token,
            rate: 0.0,
            since: 0,
            until: 0,
            rule: finding.kind.name().to_owned(),
            event: event.to_owned(),
        }))
    }

    /// What an event is about goes on: who is held back for it stays so. Once that has ended, or somebody has lifted it, it is
    /// over.
    pub(super) async fn prolong(
        &self,
        session: &Arc<Session>,
        replica: &dyn Replica,
        event: &str,
        limit: Limit,
    ) -> Result<(), Error> {
        let now = replica.now();
        let (opened, derived) = session.view(replica.read().await?)?;
        let limits = &derived.catalog.watched.limits.records;
        let found = limits.iter().find(|record| record.event == event);
        // Not at each sign of it: each change is a command, and every node reads its configuration anew.
        let lasts = |record: &&LimitRecord| (now..now.saturating_add(limit.ttl / 2)).contains(&record.until);
        let Some(record) = found.filter(lasts) else {
            return Ok(());
        };
        let longer = LimitRecord {
            until: now.saturating_add(limit.ttl),
            ..record.clone()
        };
        let proposal = {
            let readers = Readers::new(&opened);
            let mut work = Work::new(&readers, &derived.catalog);
            put(&mut work, &longer)?;
            work.finish()?
        };
        settle(replica, proposal).await.map(drop)
    }

    /// Removes what has ended, which is on record; how many are left.
    pub(super) async fn end_limits(
        &self,
        session: &Arc<Session>,
        replica: &dyn Replica,
    ) -> Result<usize, Error> {
        let now = replica.now();
        let (opened, derived) = session.view(replica.view()?)?;
        let limits = &derived.catalog.watched.limits.records;
        let ended: Vec<_> = limits.iter().filter(|record| record.until <= now).collect();
        let left = limits.len() - ended.len();
        if !ended.is_empty() {
            self.may_act()?;
            let (proposal, noted) = {
                let readers = Readers::new(&opened);
                let mut work = Work::new(&readers, &derived.catalog);
                let mut acts = Vec::with_capacity(ended.len());
                for record in &ended {
                    remove(&mut work, &record.name)?;
                    let name = record.name.as_str();
                    acts.push(Act::end("sys/anomaly/limits/expire", "limit", name));
                }
                let noted = self.note(&opened, replica, acts)?;
                noted.add_to(&mut work.draft);
                (work.finish()?, noted)
            };
            if settle(replica, proposal).await? {
                self.record_noted(noted).await;
            }
        }
        Ok(left)
    }
}

/// Those that end first go, if there are too many.
fn make_room(work: &mut Work<'_>) -> Result<(), Error> {
    let limits = &work.catalog.watched.limits.records;
    let too_many = (limits.len() + 1).saturating_sub(MAX_LIMITS);
    if too_many > 0 {
        let mut oldest: Vec<_> = limits.iter().map(|record| (record.until, &record.name)).collect();
        oldest.sort_unstable();
        for (_, name) in oldest.into_iter().take(too_many) {
            remove(work, name)?;
        }
    }
    Ok(())
}

fn put(work: &mut Work<'_>, record: &LimitRecord) -> Result<(), Error> {
    let row = format!("{LIMITS}{}", record.name);
    work.config.get(&row)?;
    Ok(work.config.put(&row, encode_record(record)?)?)
}

/// Lifts one; whether it was there.
pub fn remove(work: &mut Work<'_>, name: &str) -> Result<bool, Error> {
    let row = format!("{LIMITS}{name}");
    let there = work.config.get(&row)?.is_some();
    if there {
        work.config.delete(&row)?;
    }
    Ok(there)
}

/// Commits what is tried again later if it loses; whether it did not.
async fn settle(replica: &dyn Replica, proposal: Proposal) -> Result<bool, Error> {
    match commit(replica, proposal).await {
        Ok(_) => Ok(true),
        Err(CommitError::Retry | CommitError::Refused) => Ok(false),
        Err(CommitError::Failed(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_an_entitys_or_a_tokens_and_ends() {
        let mut limits = Limits::default();
        for (name, entity, token) in [("entity-e", "e", ""), ("token-t", "", "t")] {
            limits.add(LimitRecord {
                name: name.to_owned(),
                subject: String::new(),
                entity: entity.to_owned(),
                token: token.to_owned(),
                rate: 1.0,
                since: 0,
                until: 100,
                rule: String::new(),
                event: String::new(),
            });
        }
        for (entity, token, now, found) in [
            ("e", "x", 99, Some("\0anomaly\0entity-e")),
            ("e", "x", 100, None),
            ("", "t", 99, Some("\0anomaly\0token-t")),
            ("", "x", 99, None),
            ("t", "e", 99, None),
        ] {
            let limit = limits.of(entity, token, now).map(|rule| rule.name.as_str());
            assert_eq!(limit, found, "{entity} {token} {now}");
        }
    }
}
