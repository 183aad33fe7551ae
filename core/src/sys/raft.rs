//! Members of the cluster: who leads, who belongs, how a node is promoted, demoted and removed.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Map, Value, json};

use conclave_raft::{Change, Member, NodeRecord, Status};

use crate::clocktext::rfc3339;
use crate::core::Core;
use crate::divergence::Outcome;
use crate::error::Error;
use crate::routes::{Act, Answer, Call};
use crate::sys::open::object;

/// The storage of a development server.
const IN_MEMORY: &str = "inmem";

/// `sys/leader`.
pub fn leader(core: &Arc<Core>) -> Result<Map<String, Value>, Error> {
    // What clients of the original take for "not unsealed yet" rather than for a failure.
    let status = status(core).map_err(|_| Error::Sealed)?;
    // A development server is one node without a disk: there is nobody to hand over to.
    if core.settings.storage_type == IN_MEMORY && status.members.len() < 2 {
        return Ok(object(json!({
            "ha_enabled": false,
            "is_self": false,
            "active_time": "0001-01-01T00:00:00Z",
            "leader_address": "",
            "leader_cluster_address": "",
        })));
    }
    let record = leader_of(&status)
        .map(|member| member.record.clone())
        .unwrap_or_default();
    Ok(object(json!({
        "ha_enabled": true,
        "is_self": status.is_leader,
        "active_time": "0001-01-01T00:00:00Z",
        "leader_address": record.api_addr,
        "leader_cluster_address": cluster_url(&record),
        "performance_standby": false,
        "performance_standby_last_remote_wal": 0,
        "raft_committed_index": status.committed_index,
        "raft_applied_index": status.applied_index,
    })))
}

fn cluster_url(record: &NodeRecord) -> String {
    if record.cluster_addr.is_empty() {
        String::new()
    } else {
        format!("https://{}", record.cluster_addr)
    }
}

pub(super) fn status(core: &Core) -> Result<Status, Error> {
    Ok(core.seal.replica()?.status().borrow().clone())
}

fn leader_of(status: &Status) -> Option<&Member> {
    status
        .members
        .iter()
        .find(|member| Some(member.id) == status.leader)
}

/// `sys/ha-status`, what `operator members` shows.
pub fn ha_status(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let status = status(call.core)?;
    let now = call.env.now();
    let diverged = crate::divergence::diverged(call.work.opened().view())?;
    let nodes = status.members.iter().map(|member| {
        let is_leader = Some(member.id) == status.leader;
        let contact = member
            .last_contact_ms
            .filter(|_| !is_leader)
            .map(|ago| rfc3339(now.saturating_sub(ago)));
        let mut node = object(json!({
            "hostname": member.record.name,
            "api_address": member.record.api_addr,
            "cluster_address": cluster_url(&member.record),
            "active_node": is_leader,
            "last_echo": contact,
            "version": call.core.settings.vault_version,
            "upgrade_version": call.core.settings.vault_version,
            "redundancy_zone": member.record.zone,
        }));
        if diverged.contains(&member.id) {
            node.insert("diverged".to_owned(), json!(true));
        }
        node
    });
    Ok(Answer::at_top_level(object(json!({
        "nodes": nodes.collect::<Vec<_>>(),
        "audit_devices": call.core.audit.summary(),
    }))))
}

/// `sys/storage/raft/configuration`, what `raft list-peers` shows.
pub fn configuration(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let status = status(call.core)?;
    let servers = status.members.iter().map(|member| {
        json!({
            "node_id": member.record.name,
            "id": member.id,
            "address": member.record.cluster_addr,
            "leader": Some(member.id) == status.leader,
            "voter": member.voter,
            "protocol_version": "3",
            "zone": member.record.zone,
        })
    });
    let servers = servers.collect::<Vec<_>>();
    Ok(Answer::data(object(
        json!({"config": {"index": status.committed_index, "servers": servers}}),
    )))
}

/// `operator digest -cluster`: all members hash their states at one place and compare.
pub fn compare(act: Act) -> BoxFuture<'static, Result<Answer, Error>> {
    async move {
        let found = act.core.compare_states().await?;
        let members = found.members.iter().map(|(member, told)| {
            let mut shown = object(json!({
                "node_id": member.record.name,
                "id": member.id,
                "differs": found.differ.contains(&member.id),
            }));
            match told {
                Ok(told) => shown.insert("digest".to_owned(), json!(hex::encode(told.digest))),
                Err(why) => shown.insert("error".to_owned(), json!(why)),
            };
            Value::Object(shown)
        });
        let members = members.collect::<Vec<_>>();
        Ok(Answer::data(object(json!({
            "revision": found.revision,
            "decided": found.outcome != Outcome::Undecided,
            "members": members,
        }))))
    }
    .boxed()
}

/// `operator step-down`: whoever leads hands leadership over, whichever node was asked.
pub fn step_down(act: Act) -> BoxFuture<'static, Result<Answer, Error>> {
    async move {
        act.core.change_members(Change::Transfer { to: None }).await?;
        Ok(Answer::empty())
    }
    .boxed()
}

/// `raft remove-peer`.
pub fn remove_peer(act: Act) -> BoxFuture<'static, Result<Answer, Error>> {
    change(act, |node| Change::Remove { node })
}

/// `raft promote`.
pub fn promote(act: Act) -> BoxFuture<'static, Result<Answer, Error>> {
    change(act, |node| Change::Promote { node })
}

/// `raft demote`.
pub fn demote(act: Act) -> BoxFuture<'static, Result<Answer, Error>> {
    change(act, |node| Change::Demote { node })
}

fn change(act: Act, make: fn(u64) -> Change) -> BoxFuture<'static, Result<Answer, Error>> {
    async move {
        let wanted = act.fields().required("server_id");
        let wanted = wanted.map_err(|_| Error::invalid("no server id provided"))?;
        let members = status(&act.core)?.members;
        let member = members
            .iter()
            .find(|member| member.record.name == wanted || member.id.to_string() == wanted);
        let node = member
            .ok_or_else(|| Error::listed(format!("server {wanted} not found in raft configuration")))?
            .id;
        act.core.change_as_asked(make(node)).await?;
        Ok(Answer::empty())
    }
    .boxed()
}
