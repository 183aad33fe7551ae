//! One node on rows in memory, with a clock that moves when told to: what core's tests stand on.
#![allow(dead_code, reason = "each file of tests uses what it needs")]

pub mod device;
pub mod held;
pub mod hooked;
pub mod played;
pub mod sealed;
pub mod shared;

use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Map, Value};

use conclave_core::audit::{Couriers, NoCouriers};
use conclave_core::leases::{NoTargets, Targets};
use conclave_core::{Body, Core, Error, Launcher, Membership, Request, Response, Settings, Verb};
use conclave_raft::local::{LocalReplica, ManualClock};
use conclave_raft::net::{NodeKey, NodeSignature};
use conclave_raft::state::{MemoryStore, Store};
use conclave_raft::{Command, NodeRecord, Op, Outcome, PeerHandler, Replica};

/// 2026-01-01T00:00:00Z.
pub const START: u64 = 1_767_225_600_000;

/// A node whose replica is one process.
pub struct LocalLauncher {
    pub store: Arc<dyn Store>,
    pub clock: Arc<ManualClock>,
    pub resumes: bool,
    pub targets: Arc<dyn Targets>,
    pub couriers: Arc<dyn Couriers>,
}

impl LocalLauncher {
    fn replica(&self) -> Result<Arc<dyn Replica>, Error> {
        Ok(Arc::new(LocalReplica::open(
            self.store.clone(),
            self.clock.clone(),
        )?))
    }
}

impl Launcher for LocalLauncher {
    fn record(&self) -> NodeRecord {
        NodeRecord {
            name: "one".into(),
            zone: "a".into(),
            ..NodeRecord::default()
        }
    }

    fn sign(&self, message: &[u8]) -> Result<NodeSignature, Error> {
        Ok(NodeKey::generate()?.sign(message)?)
    }

    fn targets(&self) -> Arc<dyn Targets> {
        self.targets.clone()
    }

    fn couriers(&self) -> Arc<dyn Couriers> {
        self.couriers.clone()
    }

    fn seal_mark(&self) -> Result<bool, Error> {
        Ok(false)
    }

    fn set_seal_mark(&self, _: bool) -> Result<(), Error> {
        Ok(())
    }

    fn membership(&self) -> Result<Option<Membership>, Error> {
        let membership = Membership {
            node_id: 1,
            cluster_id: [7; 16],
            members: Vec::new(),
        };
        Ok(Some(membership).filter(|_| self.resumes))
    }

    fn found(&self, _: [u8; 16], _: Arc<dyn PeerHandler>) -> BoxFuture<'_, Result<Arc<dyn Replica>, Error>> {
        async { self.replica() }.boxed()
    }

    fn resume(
        &self,
        _: Membership,
        _: Arc<dyn PeerHandler>,
    ) -> BoxFuture<'_, Result<Arc<dyn Replica>, Error>> {
        async { self.replica() }.boxed()
    }

    fn join(&self, _: Membership, _: Arc<dyn PeerHandler>) -> BoxFuture<'_, Result<Arc<dyn Replica>, Error>> {
        async { Err(Error::Unsupported("joining in a test of one node".into())) }.boxed()
    }

    fn ask(
        &self,
        _: &Map<String, Value>,
        _: &str,
        _: Map<String, Value>,
    ) -> BoxFuture<'_, Result<Map<String, Value>, Error>> {
        async { Err(Error::Unsupported("asking in a test of one node".into())) }.boxed()
    }

    fn scratch(&self) -> std::path::PathBuf {
        std::env::temp_dir()
    }
}

/// A node under test.
pub struct Node {
    pub core: Arc<Core>,
    pub clock: Arc<ManualClock>,
    pub store: Arc<dyn Store>,
    pub settings: Settings,
    pub root: String,
    pub shares: Vec<String>,
    pub targets: Arc<dyn Targets>,
    pub couriers: Arc<dyn Couriers>,
    /// Where its numbers are.
    pub registry: prometheus::Registry,
}

impl Node {
    /// Initialized with three shares of which two open it, and unsealed, with kv-v2 at `secret/`.
    pub async fn unsealed() -> Self {
        Self::unsealed_with(Settings::default()).await
    }

    pub async fn unsealed_with(settings: Settings) -> Self {
        Self::unsealed_at(settings, Arc::new(NoTargets)).await
    }

    /// The same, acting outside by this.
    pub async fn unsealed_at(settings: Settings, targets: Arc<dyn Targets>) -> Self {
        Self::unsealed_reaching(settings, targets, Arc::new(NoCouriers)).await
    }

    /// The same, sending records and posts by this.
    pub async fn unsealed_reaching(
        settings: Settings,
        targets: Arc<dyn Targets>,
        couriers: Arc<dyn Couriers>,
    ) -> Self {
        let mut node = Self::blank_at(settings, targets, couriers);
        let born = node.plain(
            Verb::Write,
            "sys/init",
            serde_json::json!({"secret_shares": 3, "secret_threshold": 2}),
        );
        let born = born.await.unwrap();
        node.root = born["root_token"].as_str().unwrap().to_owned();
        node.shares = born["keys"]
            .as_array()
            .unwrap()
            .iter()
            .map(|share| share.as_str().unwrap().to_owned())
            .collect();
        node.unseal().await;
        let kv = serde_json::json!({"type": "kv", "options": {"version": "2"}});
        node.call(Verb::Write, "sys/mounts/secret", kv).await.unwrap();
        node
    }

    /// Not initialized.
    pub fn blank(settings: Settings) -> Self {
        Self::blank_at(settings, Arc::new(NoTargets), Arc::new(NoCouriers))
    }

    fn blank_at(settings: Settings, targets: Arc<dyn Targets>, couriers: Arc<dyn Couriers>) -> Self {
        let clock = Arc::new(ManualClock::new(START));
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let outside = (&targets, &couriers);
        let (core, registry) = Self::core(&settings, &store, &clock, outside, false);
        Self {
            core,
            registry,
            clock,
            store,
            settings,
            root: String::new(),
            shares: Vec::new(),
            targets,
            couriers,
        }
    }

    fn core(
        settings: &Settings,
        store: &Arc<dyn Store>,
        clock: &Arc<ManualClock>,
        (targets, couriers): (&Arc<dyn Targets>, &Arc<dyn Couriers>),
        resumes: bool,
    ) -> (Arc<Core>, prometheus::Registry) {
        let launcher = LocalLauncher {
            store: store.clone(),
            clock: clock.clone(),
            resumes,
            targets: targets.clone(),
            couriers: couriers.clone(),
        };
        let registry = prometheus::Registry::new();
        let core = Core::new(
            settings.clone(),
            conclave_engines::engines(),
            Arc::new(launcher),
            &registry,
        );
        (core.unwrap(), registry)
    }

    /// The same disk under a new process: sealed.
    pub async fn restarted(self) -> Self {
        let outside = (&self.targets, &self.couriers);
        let (core, registry) = Self::core(&self.settings, &self.store, &self.clock, outside, true);
        core.resume().await.unwrap();
        Self {
            core,
            registry,
            ..self
        }
    }

    pub async fn unseal(&self) {
        for share in self.shares.iter().take(2) {
            self.plain(Verb::Write, "sys/unseal", serde_json::json!({"key": share}))
                .await
                .unwrap();
        }
    }

    /// A request as root.
    pub async fn call(&self, verb: Verb, path: &str, data: Value) -> Result<Value, Error> {
        self.call_as(&self.root, verb, path, data).await
    }

    pub async fn call_as(&self, token: &str, verb: Verb, path: &str, data: Value) -> Result<Value, Error> {
        let mut request = Request::new(verb, path);
        request.token = Some(token.to_owned().into());
        request.data = data.as_object().cloned().unwrap_or_default();
        self.core
            .handle(request)
            .await
            .map(|response| value_of(&response))
    }

    /// A request without token.
    pub async fn plain(&self, verb: Verb, path: &str, data: Value) -> Result<Value, Error> {
        let mut request = Request::new(verb, path);
        request.data = data.as_object().cloned().unwrap_or_default();
        self.core
            .handle(request)
            .await
            .map(|response| value_of(&response))
    }

    /// A new token; its id.
    pub async fn token(&self, data: Value) -> String {
        let made = self.call(Verb::Write, "auth/token/create", data).await.unwrap();
        made["auth"]["client_token"].as_str().unwrap().to_owned()
    }

    /// Makes a row that waits in a queue one that nobody can read: a disk did what no check found, or another build wrote it.
    /// Who read it before goes on knowing it.
    pub async fn spoil(&self, queue: u64) {
        let replica = self.beside();
        let view = replica.view().unwrap();
        let (_, key) = view.rows().due(queue, u64::MAX, 2).unwrap().pop().unwrap();
        let row = view.rows().get(&key).unwrap().unwrap();
        let spoilt = Op::Rewrap {
            key,
            revision: row.revision,
            term: row.term,
            value: Bytes::from_static(b"nobody can read this"),
        };
        self.apply(spoilt).await;
    }

    /// Changes its rows past everything that guards them.
    pub async fn apply(&self, op: Op) {
        let replica = self.beside();
        let command = Command {
            origin: replica.next_origin(),
            oldest_term: 0,
            now_used: replica.now(),
            expect: Vec::new(),
            ops: vec![op],
        };
        let outcome = replica.propose(command).await.unwrap();
        assert!(matches!(outcome, Outcome::Applied { .. }), "{outcome:?}");
    }

    /// What one of its numbers says as it is scraped now, over all labels.
    pub fn number(&self, name: &str) -> f64 {
        self.core.observe();
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == name);
        let family = family.unwrap_or_else(|| panic!("{name} is not told"));
        let all = family.get_metric().iter();
        all.map(|metric| metric.get_gauge().get_value() + metric.get_counter().get_value())
            .sum()
    }

    /// How many rows wait in a queue.
    pub fn waiting(&self, queue: u64) -> usize {
        let view = self.beside().view().unwrap();
        view.rows().due(queue, u64::MAX, 1000).unwrap().len()
    }

    /// The queue of a target's leases.
    pub fn target_queue(&self) -> u64 {
        let view = self.beside().view().unwrap();
        view.rows().queues(Some((1 << 63) - 1), 1).unwrap()[0]
    }

    /// Another way to its rows.
    fn beside(&self) -> LocalReplica {
        LocalReplica::open(self.store.clone(), self.clock.clone()).unwrap()
    }

    /// Runs the leader's expiry until nothing is due.
    pub async fn expire(&self) {
        for _ in 0..10_000 {
            if self.core.expire_once().await.unwrap() == conclave_core::Round::Drained {
                return;
            }
        }
        panic!("expiry never drains");
    }
}

/// A request in a namespace named by header; what was answered, with wrapping info beside it.
pub async fn ask(
    node: &Node,
    namespace: &str,
    token: &str,
    (verb, path): (Verb, &str),
    data: Value,
) -> Result<Value, Error> {
    let mut request = Request::new(verb, path);
    request.namespace = Some(namespace.to_owned());
    request.token = Some(token.to_owned().into()).filter(|_| !token.is_empty());
    request.data = data.as_object().cloned().unwrap_or_default();
    let response = node.core.handle(request).await?;
    Ok(value_of(&response))
}

pub fn value_of(response: &Response) -> Value {
    match &response.body {
        Body::Empty => Value::Null,
        Body::Envelope(envelope)
        | Body::NotFound(envelope)
        | Body::Accepted(envelope)
        | Body::InPart { envelope, .. } => {
            serde_json::json!({
                "data": envelope.data, "auth": envelope.auth, "warnings": envelope.warnings,
                "lease_id": envelope.lease_id, "renewable": envelope.renewable,
                "lease_duration": envelope.lease_duration,
            })
        }
        Body::Plain(map) => Value::Object(map.clone()),
        Body::Health(health) => Value::Object(health.object.clone()),
        Body::Raw { .. } | Body::File { .. } | Body::Lines(_) | Body::Watch(_) => Value::Null,
    }
}
