//! Rate limits that hold for the cluster: rules, the leader's buckets, and the slices that nodes lease from them. A request
//! that no rule concerns touches nothing here.

mod ledger;
mod message;
mod rule;
mod slices;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;

use conclave_raft::PeerCall;

use crate::auth;
use crate::core::Core;
use crate::error::Error;
use crate::namespaces::Place;
use crate::request::Request;
use crate::store::Opened;

use ledger::Ledger;
use message::{Ask, Grant};
pub use rule::{Asked, GroupBy, LEASE_COUNTS, LIMITS, LeaseCount, RateLimit, Rules, SETTINGS, Settings};
use slices::{Bank, Slices};

/// Message to the leader: a slice of this bucket.
pub const SLICE: u16 = 12;

/// How long the leader is waited for before a node goes by its share of the limit.
const PATIENCE: Duration = Duration::from_millis(300);

/// What one node keeps for rate limits.
#[derive(Default)]
pub struct Quotas {
    slices: Slices,
    ledger: Ledger,
}

impl Core {
    /// Takes one request off the limit that concerns it.
    ///
    /// # Errors
    /// `Error::RateLimited` if the limit is used up.
    pub(crate) async fn admit(
        &self,
        opened: &Opened,
        place: &Place<'_>,
        request: &Request,
    ) -> Result<(), Error> {
        let above = &place.catalog.namespace().path;
        let routed = place.catalog.route(&place.path);
        let mount = routed.map(|routed| format!("{above}{}", routed.mount.full_path()));
        let path = format!("{above}{}", place.path.as_str());
        let rules = &place.catalog.quotas;
        let role = match mount.as_deref() {
            Some(mount) if rules.limits_roles_of(mount) => auth::role_of_login(self, opened, place, request)?,
            _ => None,
        };
        let asked = Asked {
            path: &path,
            mount: mount.as_deref(),
            role: role.as_deref(),
            namespace: above,
        };
        let Some(rule) = rules.concerning(&asked) else {
            return Ok(());
        };
        let group = match rule.group_by {
            GroupBy::Ip => request.remote,
            GroupBy::None => None,
        };
        match self.takes_one(opened, rule, group).await {
            true => Ok(()),
            false => Err(Error::RateLimited {
                path,
                recorded: rules.settings.audit,
            }),
        }
    }

    /// Takes one request off a limit, whoever made that; whether it passes.
    pub(crate) async fn takes_one(
        &self,
        opened: &Opened,
        rule: &Arc<RateLimit>,
        group: Option<IpAddr>,
    ) -> bool {
        let leader = Leader { core: self, opened };
        let passes = self.quotas.slices.take(rule, group, &leader).await;
        if !passes {
            self.metrics.rate_limited();
        }
        passes
    }

    /// The leader's side: a slice for a member.
    pub(crate) fn receive_ask(&self, from: u64, payload: &[u8]) -> Result<Bytes, Error> {
        let ask = Ask::decode(payload).ok_or_else(|| Error::invalid("a member's message does not decode"))?;
        Ok(Grant::encode(self.grant(from, &ask)?))
    }

    /// What this node grants, if it leads.
    fn grant(&self, from: u64, ask: &Ask) -> Result<Option<Grant>, Error> {
        let status = self.seal.replica()?.status();
        let (leads, term) = {
            let status = status.borrow();
            (status.is_leader, status.term)
        };
        Ok(leads.then(|| self.quotas.ledger.grant(term, from, ask)))
    }
}

/// The leader's buckets as slices see them.
struct Leader<'a> {
    core: &'a Core,
    opened: &'a Opened,
}

impl Bank for Leader<'_> {
    fn name(&self, rule: &RateLimit, group: Option<IpAddr>) -> [u8; 32] {
        let group = group.map(|address| address.to_string()).unwrap_or_default();
        let text = format!("rate limit\0{}\0{group}", rule.name);
        self.opened.barrier().lease_hmac(text.as_bytes())
    }

    fn ask(&self, ask: Ask) -> BoxFuture<'_, Option<Grant>> {
        async move {
            let replica = self.core.seal.replica().ok()?;
            let leader = replica.status().borrow().leader?;
            if leader == replica.node_id() {
                return self.core.grant(leader, &ask).ok()?;
            }
            let call = PeerCall {
                kind: SLICE,
                payload: ask.encode(),
            };
            let answer = tokio::time::timeout(PATIENCE, replica.call_peer(leader, call));
            Grant::decode(&answer.await.ok()?.ok()?)
        }
        .boxed()
    }

    fn members(&self) -> usize {
        self.core.seal.replica().map_or(1, |replica| {
            let status = replica.status();
            let status = status.borrow();
            status.members.iter().filter(|member| member.voter).count().max(1)
        })
    }
}
