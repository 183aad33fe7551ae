//! Requests to one node of a vault, and what an operator asks of it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use conclave_core::{Body, Core, Error, Request, Verb};
use conclave_raft::Replica;
use conclave_raft::node::RaftReplica;
use serde_json::{Map, Value, json};

use crate::dice::Dice;
use crate::node::Node;
use crate::vault::clients::Client;
use crate::world::World;

/// Lets a token make others and read about itself.
const MAKER: &str = r#"path "auth/token/*" { capabilities = ["create", "read", "update"] }"#;
/// Between two looks at whether the node is sealed.
const LOOK: Duration = Duration::from_millis(100);
/// Number of the shares, and of those that open.
const SHARES: (u64, usize) = (3, 2);

/// What an operator does.
#[derive(Debug, Clone)]
pub enum Deed {
    /// Makes the keys.
    Init,
    /// Makes what clients use.
    Furnish,
    /// Gives shares until they open.
    Open,
    /// Seals this node, or all.
    Seal { all: bool },
    /// A new data key.
    Rotate,
    /// Uses every token, reads every secret.
    Inspect,
    /// Counts the tokens that are kept.
    Count,
}

/// What came of a request.
#[derive(Debug)]
pub enum Told {
    Done(Map<String, Value>),
    Missing,
    Denied,
    Sealed,
    /// It may be done.
    Unknown,
    /// It is not done.
    Failed(String),
}

#[derive(Clone)]
pub struct User {
    pub world: Arc<World>,
    pub node: Arc<Node>,
    pub replica: RaftReplica,
    core: Arc<Core>,
}

impl User {
    pub fn new(world: &Arc<World>, node: &Arc<Node>, core: &Arc<Core>, replica: &RaftReplica) -> Self {
        let user = Self {
            world: Arc::clone(world),
            node: Arc::clone(node),
            replica: replica.clone(),
            core: Arc::clone(core),
        };
        tokio::spawn(user.clone().watch_seal());
        user
    }

    pub fn client(&self, number: u64) -> Client {
        let name = self.node.id << 32 | self.node.starts() << 8 | number;
        Client::new(self.clone(), self.world.plan.dice().fork(name))
    }

    pub fn dice(&self) -> Dice {
        self.world.plan.dice().fork(self.world.event())
    }

    /// The cluster's time as this node has it.
    pub fn now(&self) -> u64 {
        self.replica.now()
    }

    async fn watch_seal(self) {
        loop {
            if let Told::Done(status) = self.ask("", Verb::Read, "sys/seal-status", Value::Null).await {
                let sealed = status.get("sealed").is_none_or(|sealed| *sealed == true);
                self.node.sealed.store(sealed, Ordering::Relaxed);
            }
            // why: simulated time between two looks.
            tokio::time::sleep(LOOK).await;
        }
    }

    /// One request of a client; a sealed node must not serve it.
    pub async fn call(&self, token: &str, verb: Verb, path: &str, data: Value) -> Told {
        let id = self.world.ledger.begin();
        let node = self.node.id;
        self.world.note(format_args!("n{node} call {id} {verb:?} {path}"));
        let mut was_closed = false;
        self.world.check(|all| {
            was_closed = all.sealed.is_closed(node);
            Ok(())
        });
        let write = verb == Verb::Write;
        let told = self.ask(token, verb, path, data).await;
        self.world
            .note(format_args!("n{node} call {id} ends {}", told.name()));
        if matches!(told, Told::Done(_) | Told::Missing) {
            self.world.check(|all| all.sealed.served(node, was_closed, path));
            self.world.ledger.served(node, write, self.world.event());
        }
        told
    }

    async fn ask(&self, token: &str, verb: Verb, path: &str, data: Value) -> Told {
        let mut request = Request::new(verb, path);
        request.token = (!token.is_empty()).then(|| token.to_owned().into());
        request.data = data.as_object().cloned().unwrap_or_default();
        match self.core.handle(request).await {
            Ok(response) => Told::Done(match response.body {
                Body::Envelope(envelope) | Body::Accepted(envelope) => {
                    let envelope = *envelope;
                    envelope.auth.or(envelope.data).unwrap_or_default()
                }
                Body::NotFound(_) => return Told::Missing,
                Body::Plain(plain) => plain,
                _ => Map::new(),
            }),
            Err(Error::NotFound { .. }) => Told::Missing,
            Err(Error::Denied { .. } | Error::BadToken) => Told::Denied,
            Err(Error::Sealed) => Told::Sealed,
            Err(Error::OutcomeUnknown) => Told::Unknown,
            Err(Error::Internal(why)) => {
                let node = self.node.id;
                self.world.found(format!(
                    "node {node} answers {verb:?} {path} with an internal error: {why}"
                ));
                Told::Failed(why)
            }
            Err(error) => Told::Failed(error.to_string()),
        }
    }

    /// What an operator asks for; a number where one is the answer.
    pub async fn obey(&self, deed: &Deed) -> Result<u64, String> {
        match deed {
            Deed::Init => self.init().await,
            Deed::Furnish => self.furnish().await,
            Deed::Open => self.open().await,
            Deed::Seal { all } => self.seal(*all).await,
            Deed::Rotate => self.must(Verb::Write, "sys/rotate", Value::Null).await.map(|_| 0),
            Deed::Inspect => Client::new(self.clone(), self.dice()).inspect().await,
            Deed::Count => {
                let kept = self.must(Verb::List, "auth/token/accessors", Value::Null).await?;
                let keys = kept.get("keys").and_then(Value::as_array);
                Ok(keys.map_or(0, |keys| keys.len() as u64))
            }
        }
    }

    /// As root, and it must be done.
    async fn must(&self, verb: Verb, path: &str, data: Value) -> Result<Map<String, Value>, String> {
        match self.ask(&self.world.ledger.root(), verb, path, data).await {
            Told::Done(data) => Ok(data),
            told => Err(format!("{path}: {told:?}")),
        }
    }

    async fn init(&self) -> Result<u64, String> {
        let (shares, threshold) = SHARES;
        let body = json!({"secret_shares": shares, "secret_threshold": threshold});
        let born = match self.ask("", Verb::Write, "sys/init", body).await {
            Told::Done(born) => born,
            told => return Err(format!("{told:?}")),
        };
        *self.world.ledger.root.lock() = text(&born, "root_token");
        let keys = born.get("keys").and_then(Value::as_array).ok_or("no shares")?;
        let keys = keys.iter().filter_map(Value::as_str).map(str::to_owned);
        *self.world.ledger.shares.lock() = keys.collect();
        Ok(0)
    }

    async fn furnish(&self) -> Result<u64, String> {
        let kv = json!({"type": "kv", "options": {"version": "2"}});
        self.must(Verb::Write, "sys/mounts/secret", kv).await?;
        let maker = json!({"policy": MAKER});
        self.must(Verb::Write, "sys/policies/acl/maker", maker).await?;
        let reader = json!({"policies": ["guard"], "ttl": "700h"});
        let reader = self.must(Verb::Write, "auth/token/create", reader).await?;
        *self.world.ledger.reader.lock() = text(&reader, "client_token");
        Ok(0)
    }

    async fn open(&self) -> Result<u64, String> {
        let _opening = self.world.ledger.opening();
        self.world.check(|all| {
            all.sealed.opening();
            Ok(())
        });
        let mut shares = self.world.ledger.shares.lock().clone();
        self.dice().shuffle(&mut shares);
        for share in shares.into_iter().take(SHARES.1) {
            let told = self
                .ask("", Verb::Write, "sys/unseal", json!({"key": share}))
                .await;
            if !matches!(told, Told::Done(_)) {
                return Err(format!("{told:?}"));
            }
        }
        self.world.fired("vault opened again");
        Ok(0)
    }

    async fn seal(&self, all: bool) -> Result<u64, String> {
        let body = if all { json!({"cluster": true}) } else { json!({}) };
        // Sealing takes place somewhere in this call: from its answer on it holds, unless somebody opens meanwhile.
        let nodes: Vec<u64> = match all {
            true => self.world.ledger.members(),
            false => vec![self.node.id],
        };
        let opened = self.world.ledger.openings();
        self.must(Verb::Write, "sys/seal", body).await?;
        if opened.is_some() && self.world.ledger.openings() == opened {
            self.world.check(|invariants| {
                nodes.iter().for_each(|node| invariants.sealed.closed(*node));
                Ok(())
            });
        }
        Ok(0)
    }
}

impl Told {
    /// For the trace: without what differs from run to run.
    pub fn name(&self) -> &str {
        match self {
            Self::Done(_) => "done",
            Self::Missing => "missing",
            Self::Denied => "denied",
            Self::Sealed => "sealed",
            Self::Unknown => "unknown",
            Self::Failed(why) => why,
        }
    }
}

pub fn text(data: &Map<String, Value>, field: &str) -> String {
    let value = data.get(field).and_then(Value::as_str);
    value.unwrap_or_default().to_owned()
}
