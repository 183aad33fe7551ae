//! What answers without a token: health, seal status, init, unseal, leader, and a node's way into a cluster. Nothing else
//! may be added without a reason that outlives the reviewer.

use std::sync::Arc;

use base64::Engine as _;
use serde_json::{Map, Value, json};

use conclave_engine_api::{Env, Fields, Operation};

use crate::canon::CanonPath;
use crate::clocktext::rfc3339;
use crate::core::Core;
use crate::entropy::OsEntropy;
use crate::error::Error;
use crate::namespaces::path_of_header;
use crate::request::{Request, Verb};
use crate::response::{Body, Health, Response};
use crate::seal::{PgpKey, Threshold, hand_out, read_all, rows};
use crate::sys::{admit, anonymous, join, raft, ui};
use crate::trail::Step;

/// What needs no token, by path beneath `sys/`. What is not named here is not answered without one; the few exceptions,
/// which answer without a token in some states only, stand in [`without_token`].
pub const ROUTES: &[(&str, &[Operation])] = &[
    ("health", &[Operation::Read]),
    ("seal-status", &[Operation::Read]),
    ("leader", &[Operation::Read]),
    ("init", &[Operation::Read, Operation::Update]),
    ("unseal", &[Operation::Update]),
    ("storage/raft/join", &[Operation::Update]),
    ("storage/raft/bootstrap/admit", &[Operation::Update]),
    ("storage/raft/bootstrap/challenge", &[Operation::Update]),
    // Whoever knows the name of a login that waits has shown the first factor.
    ("mfa/validate", &[Operation::Update]),
    // Whoever holds the token that wraps an answer may ask about it: that token is the permission.
    ("wrapping/lookup", &[Operation::Read, Operation::Update]),
];

/// Answers a request that needs no token; `None` for all others.
pub async fn without_token(
    core: &Arc<Core>,
    request: &Request,
    path: &CanonPath,
) -> Option<Result<Response, Error>> {
    let beneath = path.as_str().strip_prefix("sys/");
    if path_of_header(request.namespace.as_deref()).is_some() && !beneath.is_some_and(is_told_in_namespaces) {
        return None;
    }
    if let Some(answered) = anonymous::answer(core, request, path).await {
        return Some(answered);
    }
    let beneath = beneath?;
    if request.verb == Verb::Write && STEPS.contains(&beneath) {
        return Some(recorded(core, request, path, beneath).await);
    }
    let body = match (beneath, request.verb) {
        ("health", Verb::Read) => health(core),
        ("seal-status", Verb::Read) => seal_status(core).map(Body::Plain),
        ("leader", Verb::Read) => raft::leader(core).map(Body::Plain),
        ("init", Verb::Read) => core
            .is_initialized()
            .map(|yes| Body::Plain(object(json!({"initialized": yes})))),
        ("storage/raft/bootstrap/challenge", Verb::Write) => return Some(admit::challenge(core).await),
        // A sealed node is as sealed as was asked for, and cannot tell who asks.
        ("seal", Verb::Write) if core.is_initialized().unwrap_or(false) && core.seal.is_sealed() => {
            Ok(Body::Empty)
        }
        ("internal/ui/mounts", Verb::Read) if request.token.is_none() && request.inline.is_none() => {
            let told = ui::mounts_for_anybody(core, request, path).await;
            told.map(Body::Envelope)
        }
        (
            "health" | "seal-status" | "leader" | "init" | "unseal",
            Verb::Read | Verb::Write | Verb::Delete,
        ) => Err(Error::UnsupportedOperation),
        _ => return None,
    };
    let request_id = Env::new(0, &mut OsEntropy).uuid();
    Some(body.map(|body| Response {
        request_id,
        revision: None,
        body,
    }))
}

/// What a node tells of itself in whatever namespace it is asked, and what a namespace tells everybody.
fn is_told_in_namespaces(beneath: &str) -> bool {
    matches!(beneath, "seal-status" | "leader" | "internal/ui/mounts")
}

/// What changes who belongs to the cluster or who holds its keys: each is on record.
const STEPS: [&str; 4] = [
    "init",
    "unseal",
    "storage/raft/join",
    "storage/raft/bootstrap/admit",
];

async fn recorded(
    core: &Arc<Core>,
    request: &Request,
    path: &CanonPath,
    beneath: &str,
) -> Result<Response, Error> {
    let step = Step::begin(core, path.as_str(), request.remote)?;
    let plain = |body: Map<String, Value>| Response {
        request_id: Env::new(0, &mut OsEntropy).uuid(),
        revision: None,
        body: Body::Plain(body),
    };
    let outcome = match beneath {
        "init" => init(core, &request.data).await.map(plain),
        "unseal" => unseal(core, &request.data).await.map(plain),
        "storage/raft/join" => join::join(core, &request.data).await.map(plain),
        _ => admit::admit(core, &request.data, request.remote).await,
    };
    step.end(outcome, &core.unseal_told()).await
}

pub(crate) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

async fn init(core: &Arc<Core>, data: &Map<String, Value>) -> Result<Map<String, Value>, Error> {
    let fields = Fields::new(data);
    let mut foreign = Vec::new();
    if fields
        .strings("recovery_pgp_keys")?
        .is_some_and(|keys| !keys.is_empty())
    {
        foreign.push("recovery_pgp_keys");
    }
    for parameter in ["recovery_shares", "recovery_threshold"] {
        if fields.int(parameter)?.unwrap_or(0) != 0 {
            foreign.push(parameter);
        }
    }
    if !foreign.is_empty() {
        let foreign = foreign.join(",");
        return Err(Error::invalid(format!(
            "parameters {foreign} not applicable to seal type shamir"
        )));
    }
    let shares = fields.int("secret_shares")?.unwrap_or(0);
    let threshold = fields.int("secret_threshold")?.unwrap_or(0);
    let split = Threshold::check(shares, threshold)?;
    // Keys are tried before anything is made: what could not be encrypted afterwards would be lost.
    let now = core.seal.now();
    let keys = read_all(fields.strings("pgp_keys")?, split.shares, now)?;
    let token_key = fields.string("root_token_pgp_key")?.filter(|key| !key.is_empty());
    let token_key = token_key.map(|key| PgpKey::read(&key, now)).transpose()?;
    let born = core.init(split, None).await?;
    let base64 = &base64::engine::general_purpose::STANDARD;
    let shares = hand_out(&born.shares, &keys)?;
    let root_token = match token_key {
        Some(key) => base64.encode(key.encrypt(born.root_token.as_bytes())?),
        None => born.root_token.to_string(),
    };
    Ok(object(json!({
        "keys": shares.iter().map(hex::encode).collect::<Vec<_>>(),
        "keys_base64": shares.iter().map(|share| base64.encode(share)).collect::<Vec<_>>(),
        "root_token": root_token,
    })))
}

async fn unseal(core: &Arc<Core>, data: &Map<String, Value>) -> Result<Map<String, Value>, Error> {
    let fields = Fields::new(data);
    if fields.bool("reset")?.unwrap_or(false) {
        core.reset_shares().await;
    } else if fields.bool("migrate")?.unwrap_or(false) {
        return Err(Error::Unsupported("seal migration".to_owned()));
    } else {
        let key = zeroize::Zeroizing::new(fields.string("key")?.unwrap_or_default());
        core.give_share(&key).await?;
    }
    seal_status(core)
}

/// What `status` shows.
pub(super) fn seal_status(core: &Arc<Core>) -> Result<Map<String, Value>, Error> {
    let initialized = core.is_initialized()?;
    let (given, nonce) = core.share_progress();
    let mut status = object(json!({
        "type": "shamir",
        "initialized": initialized,
        "sealed": core.seal.is_sealed(),
        "t": 0,
        "n": 0,
        "progress": given,
        "nonce": nonce.map(uuid_text).unwrap_or_default(),
        "version": core.settings.vault_version,
        "commit_date": core.settings.build_date,
        "conclave_version": core.settings.conclave_version,
        "migration": false,
        "recovery_seal": false,
        "storage_type": core.settings.storage_type,
    }));
    if let Some(joining) = core.admissions.joining().filter(|_| !initialized) {
        status.insert("join_address".to_owned(), json!(joining.address));
        status.insert("join_status".to_owned(), json!(joining.said));
        status.insert("fingerprint".to_owned(), json!(core.fingerprint()));
    }
    if initialized {
        let config = core.seal_config()?;
        status.insert("t".to_owned(), json!(config.threshold()));
        status.insert("n".to_owned(), json!(config.shares()));
        if !core.seal.is_sealed() {
            status.insert("cluster_name".to_owned(), json!(cluster_name(core)?));
            status.insert("cluster_id".to_owned(), json!(cluster_id(core)?));
        }
    }
    Ok(status)
}

fn cluster_name(core: &Core) -> Result<String, Error> {
    rows::cluster_name(core.seal.replica()?.view()?.as_ref())
}

pub(super) fn cluster_id(core: &Core) -> Result<String, Error> {
    Ok(core
        .launcher
        .membership()?
        .map(|membership| uuid_text(membership.cluster_id))
        .unwrap_or_default())
}

/// Sixteen bytes in the form of a UUID.
pub(crate) fn uuid_text(bytes: [u8; 16]) -> String {
    let hex = hex::encode(bytes);
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}

fn health(core: &Arc<Core>) -> Result<Body, Error> {
    let initialized = core.is_initialized()?;
    let sealed = core.seal.is_sealed();
    let (standby, has_leader) = match core.seal.replica() {
        Err(_) => (true, false),
        Ok(replica) => {
            let status = replica.status();
            let status = status.borrow();
            (!status.is_leader, status.leader.is_some())
        }
    };
    let mut health = object(json!({
        "initialized": initialized,
        "sealed": sealed,
        "standby": standby,
        "performance_standby": false,
        "replication_performance_mode": "disabled",
        "replication_dr_mode": "disabled",
        "server_time_utc": core.seal.now() / 1000,
        "version": core.settings.vault_version,
        "conclave_version": core.settings.conclave_version,
        "audit_devices": core.audit.summary(),
    }));
    if initialized && !sealed {
        health.insert("cluster_name".to_owned(), json!(cluster_name(core)?));
        health.insert("cluster_id".to_owned(), json!(cluster_id(core)?));
    }
    if core.room.is_low() {
        health.insert("disk_low".to_owned(), json!(true));
    }
    let diverged = core.diverged_members();
    if !diverged.is_empty() {
        health.insert("diverged_nodes".to_owned(), json!(diverged));
    }
    if core.seal.now() > 0 {
        health.insert("server_time".to_owned(), json!(rfc3339(core.seal.now())));
    }
    Ok(Body::Health(Health {
        initialized,
        sealed,
        standby,
        has_leader,
        object: health,
    }))
}
