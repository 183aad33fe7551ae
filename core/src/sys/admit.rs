//! A member's side of a join: join tokens, approval by fingerprint, admission. Who asks proves the key it asks for by a
//! signature over a challenge that the member can check without remembering it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use conclave_engine_api::cidr::{admits, check_cidrs};
use conclave_engine_api::{Env, Fields, Millis};
use conclave_raft::net::NodeSignature;
use conclave_raft::state::{find_node, is_forgotten};
use conclave_raft::{NodeRecord, Op, PeerCall};

use crate::catalog::{decode_record, encode_record};
use crate::core::Core;
use crate::entropy::OsEntropy;
use crate::error::Error;
use crate::response::{Body, Envelope, Response};
use crate::routes::{Act, Answer, Call};
use crate::session::Derived;
use crate::store::{CommitError, Opened, commit, commit_once};
use crate::sys::open::object;
use crate::sys::raft::status;
use crate::work::{Readers, Work};

/// Message to a member: who waits for approval at it?
pub const WAITING: u16 = 9;

/// Life of a join token that names none.
const TOKEN_TTL: Millis = 600_000;
/// Longest life of a join token: a day.
const TOKEN_TTL_MAX: Millis = 86_400_000;
/// Random characters of a join token: 190 bits.
const TOKEN_CHARS: usize = 32;
/// How long an approval waits for its node.
const APPROVAL_TTL: Millis = 600_000;
/// How old a challenge may be.
const CHALLENGE_TTL: Millis = 60_000;
/// Random bytes of a challenge.
const CHALLENGE_BYTES: usize = 16;
/// Tries of an admission that conflicts.
const TRIES: u32 = 8;
/// Longest name, zone or address of a node in bytes.
const MAX_TEXT: usize = 256;
/// Longest signature, public key or challenge in characters.
const MAX_PROOF: usize = 1024;
/// How long members are waited for that may know of waiting nodes.
const LIST_PATIENCE: Duration = Duration::from_secs(2);
/// In front of what a joiner signs.
const PURPOSE: &[u8] = b"conclave request to join 1\0";

/// A join token as stored, under the HMAC of what the operator was shown.
#[derive(Serialize, Deserialize)]
struct JoinToken {
    expires: Millis,
    uses: u32,
    /// Networks a node must ask from; none: from anywhere. Absent in tokens of earlier builds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    bound_cidrs: Vec<String>,
}

/// An approval as stored, under the fingerprint.
#[derive(Serialize, Deserialize)]
struct Approval {
    expires: Millis,
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
    let bound_cidrs = check_cidrs(fields.strings("bound_cidrs")?.unwrap_or_default())?;
    let token = format!("cj.{}", call.env.base62(TOKEN_CHARS));
    let name = format!(
        "token/{}",
        crate::tokens::name_of(call.work.opened().barrier(), &token)
    );
    let expires = call.env.now().saturating_add(ttl);
    let stored = JoinToken {
        expires,
        uses,
        bound_cidrs,
    };
    call.work
        .admissions
        .put_due(&name, encode_record(&stored)?, Some(expires))?;
    let mut made = object(json!({"join_token": token, "ttl": ttl / 1000, "uses": uses}));
    if !stored.bound_cidrs.is_empty() {
        made.insert("bound_cidrs".to_owned(), json!(stored.bound_cidrs));
    }
    Ok(Answer::data(made))
}

/// `raft approve`: the node with this key may join, whether it waits already or asks within ten minutes.
pub fn approve(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let key_hash = read_fingerprint(&call.fields().required("fingerprint")?)?;
    if is_forgotten(call.work.opened().view(), &key_hash)? {
        return Err(removed());
    }
    let expires = call.env.now().saturating_add(APPROVAL_TTL);
    let name = approval_name(&key_hash);
    call.work.admissions.get(&name)?;
    call.work
        .admissions
        .put_due(&name, encode_record(&Approval { expires })?, Some(expires))?;
    Ok(Answer::data(object(
        json!({"fingerprint": hex::encode(key_hash), "ttl": APPROVAL_TTL / 1000}),
    )))
}

/// `raft pending`: who waits for approval, at any member.
pub fn pending(act: Act) -> BoxFuture<'static, Result<Answer, Error>> {
    async move {
        let replica = act.core.seal.replica()?;
        let call = PeerCall {
            kind: WAITING,
            payload: Bytes::new(),
        };
        let asked = act.core.others().into_iter().map(|node| {
            let asked = replica.call_peer(node, call.clone());
            tokio::time::timeout(LIST_PATIENCE, asked)
        });
        let mut found = act.core.admissions.waiting();
        for told in join_all(asked).await.into_iter().flatten().flatten() {
            found.extend(serde_json::from_slice::<Vec<NodeRecord>>(&told).unwrap_or_default());
        }
        found.sort_by_key(|record| record.key_hash);
        found.dedup_by_key(|record| record.key_hash);
        let keys: Vec<String> = found.iter().map(|record| hex::encode(record.key_hash)).collect();
        let info: Map<String, Value> = found
            .iter()
            .map(|record| {
                let about = json!({
                    "name": record.name,
                    "zone": record.zone,
                    "cluster_addr": record.cluster_addr,
                    "api_addr": record.api_addr,
                });
                (hex::encode(record.key_hash), about)
            })
            .collect();
        Ok(Answer::data(object(json!({"keys": keys, "key_info": info}))))
    }
    .boxed()
}

impl Core {
    /// Tells a member who waits here.
    pub(crate) fn tell_waiting(&self) -> Result<Bytes, Error> {
        serde_json::to_vec(&self.admissions.waiting())
            .map(Bytes::from)
            .map_err(|_| Error::internal("a message does not encode"))
    }
}

pub(super) fn read_record(data: &Map<String, Value>) -> Result<NodeRecord, Error> {
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

/// What a joiner signs: the challenge and all it says of itself, each with its length in front.
pub(super) fn request_message(challenge: &str, record: &NodeRecord) -> Vec<u8> {
    let mut message = PURPOSE.to_vec();
    let parts: [&[u8]; 6] = [
        challenge.as_bytes(),
        &record.key_hash,
        record.name.as_bytes(),
        record.zone.as_bytes(),
        record.cluster_addr.as_bytes(),
        record.api_addr.as_bytes(),
    ];
    for part in parts {
        message.extend_from_slice(&(part.len() as u64).to_be_bytes());
        message.extend_from_slice(part);
    }
    message
}

/// A challenge for whoever asks: nothing of it is kept, any unsealed member knows its own again.
pub async fn challenge(core: &Arc<Core>) -> Result<Response, Error> {
    let (session, replica) = (core.seal.session()?, core.seal.replica()?);
    core.divergence.check()?;
    let (opened, _) = session.view(replica.view()?)?;
    let random = Env::new(0, &mut OsEntropy).hex(CHALLENGE_BYTES);
    let text = format!("{}.{random}", replica.now());
    let mac = challenge_mac(&opened, &text);
    Ok(answered(
        json!({"challenge": format!("{text}.{mac}"), "ttl": CHALLENGE_TTL / 1000}),
    ))
}

fn challenge_mac(opened: &Opened, text: &str) -> String {
    crate::tokens::name_of(opened.barrier(), &format!("join challenge {text}"))
}

/// Whether the challenge is a fresh one of this cluster, and answered with the key that asks.
fn check_proof(
    opened: &Opened,
    data: &Map<String, Value>,
    record: &NodeRecord,
    now: Millis,
) -> Result<(), Error> {
    let fields = Fields::new(data);
    let text = |name: &str| -> Result<String, Error> {
        let text = fields.required(name)?;
        if text.len() > MAX_PROOF {
            return Err(Error::invalid(format!("{name} is too long")));
        }
        Ok(text)
    };
    let challenge = text("challenge")?;
    let stale = || Error::invalid("the challenge is not of this cluster or too old: ask for another");
    let (made, mac) = challenge.rsplit_once('.').ok_or_else(stale)?;
    let expected = challenge_mac(opened, made);
    let differs = expected
        .bytes()
        .zip(mac.bytes())
        .fold(expected.len() ^ mac.len(), |all, (a, b)| all | usize::from(a ^ b));
    let at = made.split('.').next().and_then(|at| at.parse::<Millis>().ok());
    if differs != 0 || at.is_none_or(|at| now.abs_diff(at) > CHALLENGE_TTL) {
        return Err(stale());
    }
    let base64 = &base64::engine::general_purpose::STANDARD;
    let decode = |name: &str| {
        let decoded = base64.decode(text(name)?);
        decoded.map_err(|_| Error::invalid(format!("{name} is no base64")))
    };
    let proof = NodeSignature {
        public_key: decode("public_key")?,
        signature: decode("signature")?,
    };
    match proof.verify(&request_message(&challenge, record)) {
        Some(key_hash) if key_hash == record.key_hash => Ok(()),
        _ => Err(Error::invalid(
            "the request to join is not signed with the node's key",
        )),
    }
}

/// By what a node is admitted.
enum Ticket {
    /// It shows a join token.
    Token(String),
    /// An operator approved its fingerprint.
    Approval,
    /// It is a member: its answer got lost.
    Member(u64),
    /// None: it has to wait.
    None,
}

/// A member's side of a join: spends the join token, or finds the approval, and registers the node in one command; then has
/// the leader replicate to it. A node without either waits.
pub async fn admit(
    core: &Arc<Core>,
    data: &Map<String, Value>,
    remote: Option<IpAddr>,
) -> Result<Response, Error> {
    let record = read_record(data)?;
    if record.name.is_empty() || record.cluster_addr.is_empty() {
        return Err(Error::invalid(
            "name and cluster_addr of a node must not be empty",
        ));
    }
    let (session, replica) = (core.seal.session()?, core.seal.replica()?);
    core.divergence.check()?;
    let view = replica.read().await?;
    let (opened, derived) = session.view(view)?;
    check_proof(&opened, data, &record, replica.now())?;
    let ticket = ticket(core, &opened, &derived, data, &record)?;
    drop(opened);
    let node = match &ticket {
        Ticket::None => {
            if core.admissions.wait(record.clone())? {
                tracing::warn!(
                    fingerprint = hex::encode(record.key_hash),
                    name = record.name,
                    cluster_addr = record.cluster_addr,
                    "a node waits for approval"
                );
            }
            return Ok(answered(
                json!({"pending": true, "fingerprint": hex::encode(record.key_hash)}),
            ));
        }
        Ticket::Member(node) => *node,
        Ticket::Token(_) | Ticket::Approval => {
            let node = register(core, &ticket, &record, remote).await?;
            if Fields::new(data).bool("non_voter")?.unwrap_or(false) {
                // Before anybody replicates to it: a learner that caught up is promoted otherwise.
                core.keep_demoted(node, true).await?;
            }
            node
        }
    };
    core.enrol(node).await?;
    core.admissions.done(&record.key_hash);
    if let Ticket::Approval = ticket
        && let Err(error) = drop_approval(core, &record).await
    {
        tracing::info!(%error, "an approval that was used is left to its end");
    }
    let cluster_id = core.launcher.membership()?.map(|known| known.cluster_id);
    let cluster_id = cluster_id.ok_or(Error::NotInitialized)?;
    let members = status(core)?.members;
    let members = members
        .iter()
        .map(|member| record_value(member.id, &member.record));
    tracing::info!(node, name = record.name, zone = record.zone, "node admitted");
    Ok(answered(json!({
        "node_id": node,
        "cluster_id": hex::encode(cluster_id),
        "members": members.collect::<Vec<_>>(),
    })))
}

fn ticket(
    core: &Arc<Core>,
    opened: &Opened,
    derived: &Derived,
    data: &Map<String, Value>,
    record: &NodeRecord,
) -> Result<Ticket, Error> {
    if is_forgotten(opened.view(), &record.key_hash)? {
        return Err(removed());
    }
    if let Some(known) = find_node(opened.view(), &record.key_hash)?
        && status(core)?.members.iter().any(|member| member.id == known.id)
    {
        return Ok(Ticket::Member(known.id));
    }
    let token = Fields::new(data).string("join_token")?;
    if let Some(token) = token.filter(|token| !token.is_empty()) {
        return Ok(Ticket::Token(token));
    }
    let readers = Readers::new(opened);
    let mut work = Work::new(&readers, &derived.catalog);
    let approved = approval(&mut work, record, core.seal.now())?;
    Ok(if approved { Ticket::Approval } else { Ticket::None })
}

fn answered(data: Value) -> Response {
    let body = Body::Envelope(Box::new(Envelope {
        data: Some(object(data)),
        ..Envelope::default()
    }));
    Response {
        request_id: Env::new(0, &mut OsEntropy).uuid(),
        revision: None,
        body,
    }
}

async fn register(
    core: &Arc<Core>,
    ticket: &Ticket,
    record: &NodeRecord,
    remote: Option<IpAddr>,
) -> Result<u64, Error> {
    let (session, replica) = (core.seal.session()?, core.seal.replica()?);
    for _ in 0..TRIES {
        let view = replica.read().await?;
        let (opened, derived) = session.view(view)?;
        let proposal = {
            let readers = Readers::new(&opened);
            let mut work = Work::new(&readers, &derived.catalog);
            match ticket {
                Ticket::Token(token) => spend(&mut work, token, remote, replica.now())?,
                _ => {
                    // Read here, so that the command expects it; dropped once the node is a member.
                    if !approval(&mut work, record, replica.now())? {
                        return Err(Error::invalid("the approval of this node has run out"));
                    }
                }
            }
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

/// An approval serves one admission.
async fn drop_approval(core: &Arc<Core>, record: &NodeRecord) -> Result<(), Error> {
    let (session, replica) = (core.seal.session()?, core.seal.replica()?);
    let (opened, derived) = session.view(replica.read().await?)?;
    let proposal = {
        let readers = Readers::new(&opened);
        let mut work = Work::new(&readers, &derived.catalog);
        let name = approval_name(&record.key_hash);
        if work.admissions.get(&name)?.is_some() {
            work.admissions.delete(&name)?;
        }
        work.finish()?
    };
    commit_once(replica.as_ref(), proposal).await
}

fn approval_name(key_hash: &[u8; 32]) -> String {
    format!("approved/{}", hex::encode(key_hash))
}

fn approval(work: &mut Work<'_>, record: &NodeRecord, now: Millis) -> Result<bool, Error> {
    let Some(row) = work.admissions.get(&approval_name(&record.key_hash))? else {
        return Ok(false);
    };
    Ok(decode_record::<Approval>(&row.value)?.expires > now)
}

fn spend(work: &mut Work<'_>, token: &str, remote: Option<IpAddr>, now: Millis) -> Result<(), Error> {
    let name = format!("token/{}", crate::tokens::name_of(work.opened().barrier(), token));
    let row = work.admissions.get(&name)?.ok_or_else(Error::unauthenticated)?;
    let mut stored: JoinToken = decode_record(&row.value)?;
    if stored.expires <= now {
        return Err(Error::unauthenticated());
    }
    if !admits(&stored.bound_cidrs, remote) {
        tracing::warn!(
            remote = remote.map(tracing::field::display),
            bound_cidrs = stored.bound_cidrs.join(","),
            "a node showed a join token from an address that the token is not bound to"
        );
        return Err(Error::denied());
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

/// Removes a join token or an approval whose time has come.
pub fn admission_due(work: &mut Work<'_>, path: &str) -> Result<(), Error> {
    if work.admissions.get(path)?.is_some() {
        work.admissions.delete(path)?;
    }
    Ok(())
}

fn removed() -> Error {
    Error::invalid(
        "the key of this node was removed from the cluster and is refused for ever: give the node an empty data directory",
    )
}

/// A fingerprint as people copy it: in either case, with or without colons.
fn read_fingerprint(text: &str) -> Result<[u8; 32], Error> {
    let digits: String = text
        .chars()
        .filter(|c| *c != ':' && !c.is_whitespace())
        .take(65)
        .collect();
    hex::decode(digits)
        .ok()
        .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok())
        .ok_or_else(|| {
            Error::invalid(
                "fingerprint must be the 64 hexadecimal digits that the joining node shows in its log and status",
            )
        })
}
