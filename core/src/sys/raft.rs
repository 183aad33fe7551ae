//! Members of the cluster: who leads, who belongs, how a node is admitted, promoted and removed.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use conclave_engine_api::{Env, Fields, Millis};
use conclave_raft::{Change, Member, NodeRecord, Op, Status};

use crate::catalog::{decode_record, encode_record};
use crate::clocktext::rfc3339;
use crate::core::Core;
use crate::entropy::OsEntropy;
use crate::error::Error;
use crate::launcher::Membership;
use crate::response::{Body, Envelope, Response};
use crate::routes::{Act, Answer, Call};
use crate::store::{CommitError, commit};
use crate::sys::open::object;
use crate::work::{Readers, Work};

/// Life of a join token that names none.
const TOKEN_TTL: Millis = 600_000;
/// Longest life of a join token: a day.
const TOKEN_TTL_MAX: Millis = 86_400_000;
/// Random characters of a join token: 190 bits.
const TOKEN_CHARS: usize = 32;
/// Tries of an admission that conflicts.
const TRIES: u32 = 8;
/// Longest name, zone or address of a node in bytes.
const MAX_TEXT: usize = 256;

/// A join token as stored, under the HMAC of what the operator was shown.
#[derive(Serialize, Deserialize)]
struct JoinToken {
    expires: Millis,
    uses: u32,
}

/// `sys/leader`.
pub fn leader(core: &Arc<Core>) -> Result<Map<String, Value>, Error> {
    let status = status(core)?;
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

fn status(core: &Core) -> Result<Status, Error> {
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
    let nodes = status.members.iter().map(|member| {
        let contact = member.last_contact_ms.map(|ago| rfc3339(now.saturating_sub(ago)));
        json!({
            "hostname": member.record.name,
            "api_address": member.record.api_addr,
            "cluster_address": cluster_url(&member.record),
            "active_node": Some(member.id) == status.leader,
            "last_echo": contact,
            "version": call.core.settings.vault_version,
            "upgrade_version": call.core.settings.vault_version,
            "redundancy_zone": member.record.zone,
        })
    });
    Ok(Answer::at_top_level(object(
        json!({"nodes": nodes.collect::<Vec<_>>()}),
    )))
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
        let wanted = act.fields().required("server_id")?;
        let members = status(&act.core)?.members;
        let member = members
            .iter()
            .find(|member| member.record.name == wanted || member.id.to_string() == wanted);
        let node = member
            .ok_or_else(|| Error::invalid(format!("no member is called {wanted:?}")))?
            .id;
        act.core.change_as_asked(make(node)).await?;
        Ok(Answer::empty())
    }
    .boxed()
}

/// `raft join-token`: what a new node shows to be admitted.
pub fn new_join_token(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let fields = call.fields();
    let ttl = fields.duration("ttl")?.unwrap_or(TOKEN_TTL);
    if ttl == 0 || ttl > TOKEN_TTL_MAX {
        return Err(Error::invalid(
            "ttl of a join token must be more than nothing and at most a day",
        ));
    }
    let uses = u32::try_from(fields.count("uses")?.unwrap_or(1)).unwrap_or(u32::MAX);
    if uses == 0 || uses > 100 {
        return Err(Error::invalid("uses of a join token must be 1 to 100"));
    }
    let token = format!("cj.{}", call.env.base62(TOKEN_CHARS));
    let name = format!(
        "token/{}",
        crate::tokens::name_of(call.work.opened().barrier(), &token)
    );
    let expires = call.env.now().saturating_add(ttl);
    call.work
        .admissions
        .put_due(&name, encode_record(&JoinToken { expires, uses })?, Some(expires))?;
    Ok(Answer::data(object(
        json!({"join_token": token, "ttl": ttl / 1000, "uses": uses}),
    )))
}

/// `raft join`, on a node that belongs to no cluster: asks a member for admission and enters.
pub async fn join(core: &Arc<Core>, data: &Map<String, Value>) -> Result<Map<String, Value>, Error> {
    let fields = Fields::new(data);
    if core.seal.replica().is_ok() {
        return Err(Error::invalid("this node already belongs to a cluster"));
    }
    fields.required("leader_api_addr")?;
    if fields.bool("non_voter")?.unwrap_or(false) {
        return Err(Error::Unsupported("joining as a permanent non-voter".to_owned()));
    }
    let record = core.launcher.record();
    let body = object(json!({
        "join_token": fields.required("join_token").map_err(|_| Error::invalid("missing join_token: make one with `conclave operator raft join-token` on a member"))?,
        "key_hash": hex::encode(record.key_hash),
        "name": record.name,
        "zone": record.zone,
        "cluster_addr": record.cluster_addr,
        "api_addr": record.api_addr,
    }));
    let admitted = core
        .launcher
        .ask(data, "sys/storage/raft/bootstrap/admit", body)
        .await?;
    core.enter(read_admission(&admitted)?).await?;
    Ok(object(json!({"joined": true})))
}

fn read_admission(data: &Map<String, Value>) -> Result<Membership, Error> {
    let damaged = || Error::internal("the member's answer to the join is not understood");
    let cluster_id = data
        .get("cluster_id")
        .and_then(Value::as_str)
        .and_then(|text| hex::decode(text).ok());
    let cluster_id = cluster_id
        .and_then(|bytes| <[u8; 16]>::try_from(bytes).ok())
        .ok_or_else(damaged)?;
    let node_id = data.get("node_id").and_then(Value::as_u64).ok_or_else(damaged)?;
    let members = data
        .get("members")
        .and_then(Value::as_array)
        .ok_or_else(damaged)?;
    let members = members.iter().map(|member| {
        let id = member.get("id").and_then(Value::as_u64)?;
        Some((id, read_record(member.as_object()?).ok()?))
    });
    let members = members.collect::<Option<Vec<_>>>().ok_or_else(damaged)?;
    Ok(Membership {
        node_id,
        cluster_id,
        members,
    })
}

fn read_record(data: &Map<String, Value>) -> Result<NodeRecord, Error> {
    let fields = Fields::new(data);
    let text = |name: &str| -> Result<String, Error> {
        let text = fields.string(name)?.unwrap_or_default();
        if text.len() > MAX_TEXT || text.chars().any(char::is_control) {
            return Err(Error::invalid(format!(
                "{name} of a node is too long or contains control characters"
            )));
        }
        Ok(text)
    };
    let key_hash = hex::decode(fields.required("key_hash")?).ok();
    let key_hash = key_hash.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    Ok(NodeRecord {
        key_hash: key_hash.ok_or_else(|| Error::invalid("key_hash must be 64 hexadecimal digits"))?,
        name: text("name")?,
        zone: text("zone")?,
        cluster_addr: text("cluster_addr")?,
        api_addr: text("api_addr")?,
    })
}

fn record_value(id: u64, record: &NodeRecord) -> Value {
    json!({
        "id": id,
        "key_hash": hex::encode(record.key_hash),
        "name": record.name,
        "zone": record.zone,
        "cluster_addr": record.cluster_addr,
        "api_addr": record.api_addr,
    })
}

/// A member's side of a join: spends the join token and registers the node in one command, then has the leader replicate
/// to it.
pub async fn admit(core: &Arc<Core>, data: &Map<String, Value>) -> Result<Response, Error> {
    let record = read_record(data)?;
    if record.name.is_empty() || record.cluster_addr.is_empty() {
        return Err(Error::invalid(
            "name and cluster_addr of a node must not be empty",
        ));
    }
    let token = Fields::new(data).required("join_token")?;
    let node = register(core, &token, &record).await?;
    core.enrol(node).await?;
    let cluster_id = core
        .launcher
        .membership()?
        .map(|m| m.cluster_id)
        .ok_or(Error::NotInitialized)?;
    let members = status(core)?.members;
    let members = members
        .iter()
        .map(|member| record_value(member.id, &member.record));
    let answer = object(json!({
        "node_id": node,
        "cluster_id": hex::encode(cluster_id),
        "members": members.collect::<Vec<_>>(),
    }));
    tracing::info!(node, name = record.name, zone = record.zone, "node admitted");
    let request_id = Env::new(0, &mut OsEntropy).uuid();
    let body = Body::Envelope(Box::new(Envelope {
        data: Some(answer),
        ..Envelope::default()
    }));
    Ok(Response {
        request_id,
        revision: None,
        body,
    })
}

async fn register(core: &Arc<Core>, token: &str, record: &NodeRecord) -> Result<u64, Error> {
    let (session, replica) = (core.seal.session()?, core.seal.replica()?);
    for _ in 0..TRIES {
        let view = replica.read().await?;
        let (opened, derived) = session.view(view)?;
        let proposal = {
            let readers = Readers::new(&opened);
            let mut work = Work::new(&readers, &derived.catalog);
            spend(&mut work, token, replica.now())?;
            work.draft.op(Op::RegisterNode { node: record.clone() });
            work.finish()?
        };
        match commit(replica.as_ref(), proposal).await {
            Ok(committed) => return Ok(committed.node),
            Err(CommitError::Retry) => {}
            Err(CommitError::Refused) => return Err(Error::internal("a registration was refused")),
            Err(CommitError::Failed(error)) => return Err(error),
        }
    }
    Err(Error::Contention)
}

fn spend(work: &mut Work<'_>, token: &str, now: Millis) -> Result<(), Error> {
    let name = format!("token/{}", crate::tokens::name_of(work.opened().barrier(), token));
    let row = work.admissions.get(&name)?.ok_or_else(Error::unauthenticated)?;
    let mut stored: JoinToken = decode_record(&row.value)?;
    if stored.expires <= now {
        return Err(Error::unauthenticated());
    }
    stored.uses = stored.uses.saturating_sub(1);
    if stored.uses == 0 {
        work.admissions.delete(&name)?;
    } else {
        work.admissions
            .put_due(&name, encode_record(&stored)?, Some(stored.expires))?;
    }
    Ok(())
}

/// Removes a join token whose time has come.
pub fn join_token_due(work: &mut Work<'_>, path: &str) -> Result<(), Error> {
    if work.admissions.get(path)?.is_some() {
        work.admissions.delete(path)?;
    }
    Ok(())
}
