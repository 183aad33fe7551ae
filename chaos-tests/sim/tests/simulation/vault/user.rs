//! Requests to one node of a vault, and what an operator asks of it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use conclave_core::{Body, Core, Error, Request, Verb};
use conclave_raft::Replica;
use conclave_raft::node::RaftReplica;
use serde_json::{Map, Value, json};

use crate::dice::Dice;
use crate::invariants::wrapping;
use crate::node::Node;
use crate::vault::clients::Client;
use crate::world::World;

/// Lets a token make others and read about itself.
const MAKER: &str = r#"path "auth/token/*" { capabilities = ["create", "read", "update"] }"#;
/// Roles of the database, and how long their accounts live unless their leases are renewed.
pub const ROLES: [(&str, &str); 2] = [("brief", "3s"), ("app", "20s")];
/// The role whose account stays, and that account.
pub const STATIC: (&str, &str) = ("kept", "keeper");
/// How long a wrapped answer holds, in milliseconds.
const WRAPPED: u64 = 40_000;
/// Between two looks at whether the node is sealed.
const LOOK: Duration = Duration::from_millis(100);
/// Tries of what is made for clients before anything goes wrong.
const TRIES: u32 = 3;
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
    /// Has an answer wrapped and takes it out again.
    Wrap,
    /// Uses every token, reads every secret.
    Inspect,
    /// Counts the tokens that are kept.
    Count,
    /// Counts the leases of accounts, and a rotation that is under way.
    Leases,
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

    /// The cluster's time as this node has it: before it has heard of a leader, what its own clock shows, which may be ahead.
    pub fn now(&self) -> u64 {
        self.replica.now()
    }

    /// The cluster's time as far as this node has applied it: nothing is decided by an earlier one.
    pub fn applied(&self) -> u64 {
        self.node.state.view().applied().cluster_time
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
        self.call_with(request(token, verb, path, data)).await
    }

    async fn call_with(&self, request: Request) -> Told {
        let id = self.world.ledger.begin();
        let (node, verb, path) = (self.node.id, request.verb, request.path.clone());
        self.world.note(format_args!("n{node} call {id} {verb:?} {path}"));
        let mut was_closed = false;
        self.world.check(|all| {
            was_closed = all.sealed.is_closed(node);
            Ok(())
        });
        let write = verb == Verb::Write;
        let told = self.send(request).await;
        self.world
            .note(format_args!("n{node} call {id} ends {}", told.name()));
        if matches!(told, Told::Done(_) | Told::Missing) {
            self.world.check(|all| all.sealed.served(node, was_closed, &path));
            self.world.ledger.served(node, write, self.world.event());
        }
        told
    }

    async fn ask(&self, token: &str, verb: Verb, path: &str, data: Value) -> Told {
        self.send(request(token, verb, path, data)).await
    }

    async fn send(&self, request: Request) -> Told {
        let (verb, path) = (request.verb, request.path.clone());
        match self.core.handle(request).await {
            Ok(response) => Told::Done(match response.body {
                Body::Envelope(envelope) | Body::Accepted(envelope) => {
                    let envelope = *envelope;
                    let said = envelope.auth.or(envelope.wrap_info).or(envelope.data);
                    let mut said = said.unwrap_or_default();
                    if !envelope.warnings.is_empty() {
                        said.insert("warnings".to_owned(), envelope.warnings.into());
                    }
                    if !envelope.lease_id.is_empty() {
                        said.insert("lease_id".to_owned(), envelope.lease_id.into());
                        said.insert("lease_duration".to_owned(), envelope.lease_duration.into());
                    }
                    said
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
            Deed::Wrap => {
                self.wrap().await;
                Ok(0)
            }
            Deed::Inspect => Client::new(self.clone(), self.dice()).inspect().await,
            Deed::Count => {
                let kept = self.must(Verb::List, "auth/token/accessors", Value::Null).await?;
                let keys = kept.get("keys").and_then(Value::as_array);
                Ok(keys.map_or(0, |keys| keys.len() as u64))
            }
            Deed::Leases => {
                let mut all = 0;
                for (role, _) in ROLES {
                    let path = format!("sys/leases/lookup/database/creds/{role}");
                    all += match self
                        .ask(&self.world.ledger.root(), Verb::List, &path, Value::Null)
                        .await
                    {
                        Told::Done(kept) => kept.get("keys").and_then(Value::as_array).map_or(0, Vec::len),
                        Told::Missing => 0,
                        told => return Err(format!("{path}: {told:?}")),
                    };
                }
                let kept = format!("database/static-creds/{}", STATIC.0);
                let kept = self.must(Verb::Read, &kept, Value::Null).await?;
                Ok(all as u64 + u64::from(kept.contains_key("warnings")))
            }
        }
    }

    /// The answer of an act goes into a token of its own, by a command that expects nothing of the rows of the vault: it is
    /// held off a key that may be gone by its term alone. Whoever shows the token finds the answer once.
    pub async fn wrap(&self) {
        let mut asked = request(
            &self.world.ledger.root(),
            Verb::Read,
            "sys/rotate/root/init",
            Value::Null,
        );
        asked.wrap_ttl = Some(WRAPPED);
        let Told::Done(made) = self.call_with(asked).await else {
            return;
        };
        self.world.fired("answer wrapped");
        let token = text(&made, "token");
        let path = "sys/wrapping/unwrap";
        let first = self.call(&token, Verb::Write, path, Value::Null).await;
        let again = self.call(&token, Verb::Write, path, Value::Null).await;
        let was_taken = |told: &Told| matches!(told, Told::Done(_));
        if was_taken(&first) {
            self.world.fired("answer unwrapped");
        }
        self.world
            .check(|_| wrapping::taken(was_taken(&first), was_taken(&again)));
    }

    /// The same, again if it is not: a node may be late with what it was told just now, which is for others to find out.
    async fn settle(&self, path: &str, data: Value) -> Result<(), String> {
        let mut told = self.must(Verb::Write, path, data.clone()).await;
        for _ in 1..TRIES {
            if told.is_ok() {
                break;
            }
            // why: simulated time before another try.
            tokio::time::sleep(LOOK).await;
            told = self.must(Verb::Write, path, data.clone()).await;
        }
        told.map(|_| ())
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
        self.settle("sys/mounts/secret", kv).await?;
        let maker = json!({"policy": MAKER});
        self.settle("sys/policies/acl/maker", maker).await?;
        self.settle("sys/mounts/database", json!({"type": "database"}))
            .await?;
        let database = json!({
            "plugin_name": "postgresql-database-plugin", "allowed_roles": "*", "verify_connection": false,
            "connection_url": "postgresql://{{username}}:{{password}}@database/db", "username": "root", "password": "root",
        });
        self.settle("database/config/db", database).await?;
        for (role, ttl) in ROLES {
            let role_of = json!({
                "db_name": "db", "creation_statements": ["CREATE ROLE {{name}}"], "default_ttl": ttl, "max_ttl": "5m",
            });
            self.settle(&format!("database/roles/{role}"), role_of).await?;
        }
        let (role, account) = STATIC;
        let kept = json!({
            "db_name": "db", "username": account, "rotation_period": "5s",
            "rotation_statements": ["SET {{name}} {{password}}"],
        });
        self.settle(&format!("database/static-roles/{role}"), kept)
            .await?;
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

fn request(token: &str, verb: Verb, path: &str, data: Value) -> Request {
    let mut request = Request::new(verb, path);
    request.token = (!token.is_empty()).then(|| token.to_owned().into());
    request.data = data.as_object().cloned().unwrap_or_default();
    request
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
