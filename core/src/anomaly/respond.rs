//! What is done about a finding, beside telling of it: the token is revoked, the identity locked, held or held back. Each is one
//! command, as if an operator had asked for it, and on record.

use std::sync::Arc;

use conclave_anomaly::{Finding, Kind, Subject};
use conclave_raft::Replica;

use crate::acts::Act;
use crate::anomaly::identity::entity_of;
use crate::anomaly::{Limit, Response};
use crate::catalog::Catalog;
use crate::core::Core;
use crate::error::Error;
use crate::identity;
use crate::namespaces::located;
use crate::session::Session;
use crate::store::{CommitError, Opened, commit};
use crate::tokens;
use crate::work::{Readers, Work};

/// Tries of a change that keeps losing to others.
const TRIES: u32 = 8;

/// What came of a response, in words for the event.
pub(super) enum Came {
    /// It was done, and is on record: how.
    Done(String),
    /// There was nothing to do, or nobody to do it to: why.
    Nothing(&'static str),
}

/// What is on record of a response: at which path, and to what it was done, by the name of a member of the record and its value,
/// which is recorded hashed; `None` if it failed.
pub(super) fn responded(path: &str, to: Option<(&'static str, &str)>) -> Act {
    let mut act = Act::change(path).complete(to.is_some());
    act.data
        .extend(to.map(|(name, value)| (name.to_owned(), value.into())));
    act
}

impl Core {
    /// Whether a rule is about whom was found: everybody, or members of its groups.
    pub(super) fn concerns(
        &self,
        opened: &Opened,
        catalog: &Catalog,
        finding: &Finding,
    ) -> Result<bool, Error> {
        let record = catalog.watched.records.get(&finding.kind);
        let Some(record) = record.filter(|record| !record.groups.is_empty()) else {
            return Ok(true);
        };
        let Some(entity) = entity_of(&finding.name).filter(|_| finding.subject == Subject::Identity) else {
            return Ok(false);
        };
        let asked_in = catalog.of(finding.namespace)?;
        let Some(catalog) = identity::home_of(opened, &asked_in, entity)? else {
            return Ok(false);
        };
        let groups = identity::groups_of_entity(opened, &catalog, entity)?;
        Ok(groups.iter().any(|group| record.groups.contains(group)))
    }

    /// Does what the rule, or the canary, says. What was done, in words for the event.
    pub(super) async fn respond(
        &self,
        session: &Arc<Session>,
        replica: &dyn Replica,
        finding: &Finding,
        event: &str,
    ) -> Vec<String> {
        let (wished, limit) = match self.wished(session, replica, finding) {
            Ok(wished) => wished,
            Err(error) => return vec![format!("nothing: {error}")],
        };
        let told = format!("sys/anomaly/events/{event}/{}", wished.name());
        let came = match wished {
            Response::Alert => return Vec::new(),
            Response::RevokeToken => self.revoke_token_of(session, replica, finding, &told).await,
            Response::LockIdentity => self.lock_identity_of(session, replica, finding, &told).await,
            Response::RateLimit => {
                let found = (finding, event, told.as_str());
                self.limit(session, replica, found, limit).await
            }
            Response::RequireMfa => {
                let found = (finding, event, told.as_str());
                self.require_factor(session, replica, found).await
            }
        };
        vec![match came {
            Ok(Came::Nothing(why)) => format!("nothing: {why}"),
            Ok(Came::Done(text)) => text,
            Err(error) => {
                self.record_acts(&[responded(&told, None)]).await;
                format!("failed: {error}")
            }
        }]
    }

    fn wished(
        &self,
        session: &Arc<Session>,
        replica: &dyn Replica,
        finding: &Finding,
    ) -> Result<(Response, Limit), Error> {
        let (_, derived) = session.view(replica.view()?)?;
        let watched = &derived.catalog.watched;
        let record = watched.record(finding.kind);
        let response = (record.response, record.limit);
        let path = match finding.evidence.get("path") {
            Some(conclave_anomaly::Evidence::Text(path)) if finding.kind == Kind::CanaryRead => path,
            _ => return Ok(response),
        };
        let above = derived.catalog.tree().node(finding.namespace);
        let above = above.map_or("", |node| node.record.path.as_str());
        let asked = path.strip_prefix(above).unwrap_or(path);
        Ok(match watched.canary(finding.namespace, asked) {
            Some(true) => (Response::RevokeToken, record.limit),
            _ => response,
        })
    }

    pub(super) async fn revoke_token_of(
        &self,
        session: &Arc<Session>,
        replica: &dyn Replica,
        finding: &Finding,
        told: &str,
    ) -> Result<Came, Error> {
        let name = match self.watch.leading.lock().await.as_ref() {
            Some(leading) => leading.detector.name(finding.token),
            None => return Err(Error::NoLeader("leadership moves".to_owned())),
        };
        for _ in 0..TRIES {
            let (opened, derived) = session.view(replica.read().await?)?;
            let (proposal, noted) = {
                let (namespace, _) = located::split(&name);
                let catalog = derived.catalog.of(namespace)?;
                let readers = Readers::within(&opened, namespace);
                let mut work = Work::new(&readers, &catalog);
                let found = tokens::by_name(&mut work, &name, replica.now())?;
                let Some(found) = found else {
                    return Ok(Came::Nothing("the token had ended already, or is stored nowhere"));
                };
                if found.record.is_root() {
                    return Ok(Came::Nothing("root tokens are revoked by people alone"));
                }
                tokens::revoke(&mut work, &found)?;
                let act = responded(told, Some(("accessor", found.record.accessor.as_str())));
                let noted = self.note(&opened, replica, vec![act])?;
                noted.add_to(&mut work.draft);
                (work.finish()?, noted)
            };
            let closed = proposal.closed().to_vec();
            match commit(replica, proposal).await {
                Ok(_) => {
                    self.record_noted(noted).await;
                    self.close_tokens(session, replica, closed).await;
                    return Ok(Came::Done("revoked the token".to_owned()));
                }
                Err(CommitError::Failed(error)) => return Err(error),
                Err(CommitError::Retry | CommitError::Refused) => {}
            }
        }
        Err(Error::Contention)
    }

    async fn lock_identity_of(
        &self,
        session: &Arc<Session>,
        replica: &dyn Replica,
        finding: &Finding,
        told: &str,
    ) -> Result<Came, Error> {
        let Some(entity) = entity_of(&finding.name).filter(|_| finding.subject == Subject::Identity) else {
            return Ok(Came::Nothing("no entity stands behind it"));
        };
        for _ in 0..TRIES {
            let (opened, derived) = session.view(replica.read().await?)?;
            let (proposal, noted) = {
                let asked_in = derived.catalog.of(finding.namespace)?;
                let Some(catalog) = identity::home_of(&opened, &asked_in, entity)? else {
                    return Ok(Came::Nothing("the entity is gone"));
                };
                let readers = Readers::within(&opened, catalog.namespace().number);
                let mut work = Work::new(&readers, &catalog);
                if !identity::disable(&mut work, entity, replica.now())? {
                    return Ok(Came::Nothing("the entity is disabled already, or gone"));
                }
                let act = responded(told, Some(("entity_id", entity)));
                let noted = self.note(&opened, replica, vec![act])?;
                noted.add_to(&mut work.draft);
                (work.finish()?, noted)
            };
            match commit(replica, proposal).await {
                Ok(_) => {
                    self.record_noted(noted).await;
                    return Ok(Came::Done("disabled the entity".to_owned()));
                }
                Err(CommitError::Failed(error)) => return Err(error),
                Err(CommitError::Retry | CommitError::Refused) => {}
            }
        }
        Err(Error::Contention)
    }
}
