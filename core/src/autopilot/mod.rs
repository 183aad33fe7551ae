//! Autopilot: the leader promotes members that caught up and are stable, and removes those that are dead, as far as the quorum
//! allows. Everybody can ask how healthy the members are; the leader alone sees it, and is asked.

mod health;
mod settings;

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};

use conclave_engine_api::{Millis, format_duration};
use conclave_raft::{Change, Member, PeerCall, Replica, Status};

use crate::clocktext::rfc3339;
use crate::core::Core;
use crate::error::Error;
use crate::seal::rows;

use health::Watched;
pub use settings::{SETTINGS, Settings};

/// Message to the leader: how healthy are the members?
pub const STATE: u16 = 40;

/// What one node keeps for autopilot; used while it leads.
#[derive(Default)]
pub struct Autopilot {
    watched: Mutex<Watched>,
}

impl Core {
    /// One round of the leader's care for its members.
    pub(crate) async fn tend_members(self: &Arc<Self>, replica: &dyn Replica) {
        let status = replica.status().borrow().clone();
        let now = replica.now();
        // A sealed leader cannot read the settings: it promotes as by default, and removes nobody.
        let settings = self.autopilot_settings().unwrap_or_default();
        let demoted = replica
            .view()
            .map_err(Error::from)
            .and_then(|view| rows::nonvoters(&view));
        let Ok(demoted) = demoted else { return };
        let (ready, dead) = {
            let mut watched = self.autopilot.watched.lock();
            watched.look(&status, &settings, now);
            (
                watched.ready(&status, &settings, &demoted, now),
                watched.dead(&status, &settings, now),
            )
        };
        if let Some(node) = ready {
            match replica.change(Change::Promote { node }).await {
                Ok(()) => tracing::info!(node, "promoted to voter"),
                Err(error) => tracing::info!(node, %error, "not promoted yet"),
            }
        }
        if let Some(node) = dead {
            match self.change_as_asked(Change::Remove { node }).await {
                Ok(()) => tracing::warn!(node, "a dead member is removed"),
                Err(error) => tracing::warn!(node, %error, "a dead member is not removed yet"),
            }
        }
        if let Err(error) = self.record_members(replica).await {
            tracing::debug!(%error, "who the members are is put on record later");
        }
    }

    fn autopilot_settings(&self) -> Result<Settings, Error> {
        let (session, replica) = (self.seal.session()?, self.seal.replica()?);
        let (opened, _) = session.view(replica.view()?)?;
        Settings::load(&opened)
    }

    /// How healthy the members are, as the leader sees it.
    pub(crate) async fn member_health(&self) -> Result<Map<String, Value>, Error> {
        let replica = self.seal.replica()?;
        let leader = replica.status().borrow().leader;
        let leader = leader.ok_or_else(|| Error::NoLeader("no leader is known".to_owned()))?;
        if leader == replica.node_id() {
            return self.own_view_of_health();
        }
        let call = PeerCall {
            kind: STATE,
            payload: Bytes::new(),
        };
        let told = replica.call_peer(leader, call).await?;
        serde_json::from_slice(&told).map_err(|_| Error::internal("a member's answer does not decode"))
    }

    /// The leader's side of it.
    pub(crate) fn receive_state(&self) -> Result<Bytes, Error> {
        let told = self.own_view_of_health()?;
        Ok(Value::Object(told).to_string().into_bytes().into())
    }

    fn own_view_of_health(&self) -> Result<Map<String, Value>, Error> {
        let replica = self.seal.replica()?;
        let status = replica.status().borrow().clone();
        if !status.is_leader {
            return Err(Error::NoLeader("leadership moves; try again".to_owned()));
        }
        let settings = self.autopilot_settings().unwrap_or_default();
        let now = replica.now();
        let mut watched = self.autopilot.watched.lock();
        watched.look(&status, &settings, now);
        Ok(described(&watched, &status, &self.settings.vault_version, now))
    }
}

/// The members in the shape of `sys/storage/raft/autopilot/state`.
fn described(watched: &Watched, status: &Status, version: &str, now: Millis) -> Map<String, Value> {
    let all_healthy = status
        .members
        .iter()
        .all(|member| watched.healthy_since(member.id).is_some());
    let servers: Map<String, Value> = status
        .members
        .iter()
        .map(|member| (name_of(member), server(watched, status, member, version, now)))
        .collect();
    let names = |voters: bool| {
        let chosen = status.members.iter().filter(|member| member.voter == voters);
        chosen.map(name_of).collect::<Vec<_>>()
    };
    let leader = status
        .members
        .iter()
        .find(|member| status.leader == Some(member.id));
    let mut told = crate::sys::object(json!({
        "healthy": all_healthy,
        "failure_tolerance": watched.failure_tolerance(status),
        "leader": leader.map(name_of).unwrap_or_default(),
        "servers": servers,
        "voters": names(true),
    }));
    let others = names(false);
    if !others.is_empty() {
        told.insert("non_voters".to_owned(), json!(others));
    }
    told
}

fn server(watched: &Watched, status: &Status, member: &Member, version: &str, now: Millis) -> Value {
    let leads = status.leader == Some(member.id);
    let kind = if member.voter { "voter" } else { "non-voter" };
    let silence = watched.silence(member, status, now);
    let since = watched.healthy_since(member.id);
    json!({
        "id": name_of(member),
        "name": name_of(member),
        "address": member.record.cluster_addr,
        "node_status": if since.is_some() { "alive" } else { "failed" },
        "last_contact": format_duration(silence),
        "last_term": status.term,
        "last_index": if leads { status.last_log_index } else { member.matched_index.unwrap_or(0) },
        "healthy": since.is_some(),
        "stable_since": since.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), rfc3339),
        "status": if leads { "leader" } else { kind },
        "version": version,
        "node_type": kind,
    })
}

/// What people call a member: as `list-peers` does.
fn name_of(member: &Member) -> String {
    match member.record.name.is_empty() {
        true => member.id.to_string(),
        false => member.record.name.clone(),
    }
}
