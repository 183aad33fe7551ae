//! What is done about a finding, beside telling of it: the token is revoked, the identity locked or held back. Each is one
//! command, as if an operator had asked for it.

use std::sync::Arc;

use conclave_anomaly::{Finding, Kind, Subject};
use conclave_raft::Replica;

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
        let catalog = catalog.of(finding.namespace)?;
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
        let mut done = Vec::new();
        let (wished, limit) = match self.wished(session, replica, finding) {
            Ok(wished) => wished,
            Err(error) => return vec![format!("nothing: {error}")],
        };
        let outcome = match wished {
            Response::Alert => return done,
            Response::RevokeToken => self.revoke_token_of(session, replica, finding).await,
            Response::LockIdentity => self.lock_identity_of(session, replica, finding).await,
            Response::RateLimit => self.limit(session, replica, (finding, event), limit).await,
        };
        done.push(match outcome {
            Ok(text) => text,
            Err(error) => format!("failed: {error}"),
        });
        done
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

    async fn revoke_token_of(
        &self,
        session: &Arc<Session>,
        replica: &dyn Replica,
        finding: &Finding,
    ) -> Result<String, Error> {
        let name = match self.watch.leading.lock().await.as_ref() {
            Some(leading) => leading.detector.name(finding.token),
            None => return Err(Error::NoLeader("leadership moves".to_owned())),
        };
        for _ in 0..TRIES {
            let (opened, derived) = session.view(replica.read().await?)?;
            let proposal = {
                let (namespace, _) = located::split(&name);
                let catalog = derived.catalog.of(namespace)?;
                let readers = Readers::within(&opened, namespace);
                let mut work = Work::new(&readers, &catalog);
                let found = tokens::by_name(&mut work, &name, replica.now())?;
                let Some(found) = found else {
                    return Ok("the token had ended already, or is stored nowhere".to_owned());
                };
                if found.record.is_root() {
                    return Ok("nothing: root tokens are revoked by people alone".to_owned());
                }
                tokens::revoke(&mut work, &found)?;
                work.finish()?
            };
            let closed = proposal.closed().to_vec();
            match commit(replica, proposal).await {
                Ok(_) => {
                    self.close_tokens(session, replica, closed).await;
                    return Ok("revoked the token".to_owned());
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
    ) -> Result<String, Error> {
        let Some(entity) = entity_of(&finding.name).filter(|_| finding.subject == Subject::Identity) else {
            return Ok("nothing: no entity stands behind it".to_owned());
        };
        for _ in 0..TRIES {
            let (opened, derived) = session.view(replica.read().await?)?;
            let proposal = {
                let catalog = derived.catalog.of(finding.namespace)?;
                let readers = Readers::within(&opened, finding.namespace);
                let mut work = Work::new(&readers, &catalog);
                if !identity::disable(&mut work, entity, replica.now())? {
                    return Ok("nothing: the entity is disabled already, or gone".to_owned());
                }
                work.finish()?
            };
            match commit(replica, proposal).await {
                Ok(_) => return Ok("disabled the entity".to_owned()),
                Err(CommitError::Failed(error)) => return Err(error),
                Err(CommitError::Retry | CommitError::Refused) => {}
            }
        }
        Err(Error::Contention)
    }
}
