//! A joining node's side: it asks a member for admission, proves its key, and enters or waits for approval.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use serde_json::{Map, Value, json};

use conclave_engine_api::Fields;

use crate::admission::Joining;
use crate::core::Core;
use crate::error::Error;
use crate::launcher::Membership;
use crate::sys::admit::{read_record, request_message};
use crate::sys::open::object;

/// Between two times a waiting node asks.
const ASK_PAUSE: Duration = Duration::from_secs(2);

/// What came of asking a member for admission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinStep {
    /// This node belongs to the cluster now.
    Joined,
    /// An operator has to approve it.
    Waiting,
}

/// `raft join`, on a node that belongs to no cluster: asks a member for admission and enters. Without a token it waits for
/// approval, and goes on asking after this was answered.
pub async fn join(core: &Arc<Core>, data: &Map<String, Value>) -> Result<Map<String, Value>, Error> {
    let retry = Fields::new(data).bool("retry")?.unwrap_or(false);
    let round = core.admissions.next_round();
    match core.join_once(data).await {
        Ok(JoinStep::Joined) => return Ok(object(json!({"joined": true}))),
        Ok(JoinStep::Waiting) => {
            tracing::warn!(
                fingerprint = core.fingerprint(),
                "this node waits for approval: on a member, run conclave operator raft approve with its fingerprint"
            );
        }
        Err(Error::NoLeader(reason)) if retry => {
            tracing::warn!(reason, "not admitted to a cluster yet; this node goes on asking");
        }
        Err(error) => return Err(error),
    }
    core.keep_asking(data.clone(), round);
    Ok(object(json!({
        "joined": false,
        "pending": true,
        "fingerprint": core.fingerprint(),
    })))
}

impl Core {
    /// Asks a member once for admission, and enters its cluster if it is granted. `target` is what `raft join` takes.
    ///
    /// # Errors
    /// Why not; `Error::Invalid` when this node belongs to a cluster already.
    pub async fn join_once(self: &Arc<Self>, target: &Map<String, Value>) -> Result<JoinStep, Error> {
        let fields = Fields::new(target);
        if self.seal.replica().is_ok() {
            return Err(Error::invalid("this node already belongs to a cluster"));
        }
        let address = fields.required("leader_api_addr")?;
        let step = self.ask_for_admission(target).await;
        let said = match &step {
            Ok(JoinStep::Joined) => None,
            Ok(JoinStep::Waiting) => Some(format!(
                "waits until an operator approves it: conclave operator raft approve {}",
                self.fingerprint()
            )),
            Err(error) => Some(error.to_string()),
        };
        self.admissions
            .set_joining(said.map(|said| Joining { address, said }));
        step
    }

    /// This node's key as operators are shown it: its SHA-256 in hexadecimal.
    pub fn fingerprint(&self) -> String {
        hex::encode(self.launcher.record().key_hash)
    }

    async fn ask_for_admission(self: &Arc<Self>, target: &Map<String, Value>) -> Result<JoinStep, Error> {
        let record = self.launcher.record();
        let asked = self
            .launcher
            .ask(target, "sys/storage/raft/bootstrap/challenge", Map::new())
            .await?;
        let challenge = Fields::new(&asked).required("challenge")?;
        let non_voter = Fields::new(target).bool("non_voter")?.unwrap_or(false);
        let proof = self.launcher.sign(&request_message(&challenge, &record))?;
        let base64 = &base64::engine::general_purpose::STANDARD;
        let mut body = object(json!({
            "key_hash": hex::encode(record.key_hash),
            "name": record.name,
            "zone": record.zone,
            "cluster_addr": record.cluster_addr,
            "api_addr": record.api_addr,
            "challenge": challenge,
            "public_key": base64.encode(&proof.public_key),
            "signature": base64.encode(&proof.signature),
            "non_voter": non_voter,
        }));
        if let Some(token) = Fields::new(target)
            .string("join_token")?
            .filter(|token| !token.is_empty())
        {
            body.insert("join_token".to_owned(), Value::String(token));
        }
        let answer = self
            .launcher
            .ask(target, "sys/storage/raft/bootstrap/admit", body)
            .await?;
        if answer.get("pending").and_then(Value::as_bool).unwrap_or(false) {
            return Ok(JoinStep::Waiting);
        }
        self.enter(read_admission(&answer)?).await?;
        Ok(JoinStep::Joined)
    }

    /// Asks again and again until this node belongs to a cluster or is told to join another way.
    fn keep_asking(self: &Arc<Self>, target: Map<String, Value>, round: u64) {
        let core = Arc::downgrade(self);
        tokio::spawn(async move {
            let mut said = String::new();
            loop {
                tokio::time::sleep(ASK_PAUSE).await;
                let Some(core) = core.upgrade() else { return };
                if !core.admissions.is_current(round) || core.seal.replica().is_ok() {
                    return;
                }
                match core.join_once(&target).await {
                    Ok(JoinStep::Joined) => return,
                    Ok(JoinStep::Waiting) => {}
                    // The same reason every two seconds helps nobody.
                    Err(error) if error.to_string() == said => {}
                    Err(error) => {
                        tracing::warn!(%error, "not admitted to a cluster yet");
                        said = error.to_string();
                    }
                }
            }
        });
    }
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
