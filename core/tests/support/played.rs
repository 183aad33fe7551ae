//! A target that a test plays, and a database mount that makes its accounts there.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use serde_json::{Value, json};

use conclave_core::leases::{Bounds, Failure, Plan, Targets};
use conclave_core::{Error, Settings, Verb};
use conclave_engine_api::{Action, Done};

use super::Node;

pub const PATH: &str = "database/creds/app";
pub const SECOND: u64 = 1_000;

/// How the target behaves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mood {
    Well,
    /// Nobody is there.
    Down,
    /// It refuses to drop.
    Stubborn,
    /// It does what it is asked and its answer gets lost.
    Mute,
    /// Somebody else has the name of whatever is to be made.
    Taken,
}

pub struct Played {
    pub accounts: Mutex<BTreeSet<String>>,
    /// The statements that it was told last.
    pub told: Mutex<Vec<String>>,
    mood: Mutex<Mood>,
    pub asked: AtomicU64,
    boot: AtomicU64,
}

impl Played {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            accounts: Mutex::default(),
            told: Mutex::default(),
            mood: Mutex::new(Mood::Well),
            asked: AtomicU64::new(0),
            boot: AtomicU64::new(0),
        })
    }

    pub fn accounts(&self) -> usize {
        self.accounts.lock().len()
    }

    pub fn is(&self, mood: Mood) {
        *self.mood.lock() = mood;
    }

    fn act(&self, plan: &Plan) -> Result<Vec<String>, Failure> {
        let mood = *self.mood.lock();
        self.asked.fetch_add(1, Ordering::SeqCst);
        if mood == Mood::Down {
            return Err(Failure::new(Done::Nothing, "connection refused"));
        }
        match &plan.action {
            Action::Make { account, .. } => {
                let fresh = self.accounts.lock().insert(account.clone());
                if mood == Mood::Taken || !fresh {
                    return Err(Failure::new(Done::There, "the name is taken"));
                }
            }
            Action::Run { statements } => {
                *self.told.lock() = statements.iter().map(|text| text.to_string()).collect();
            }
            Action::Check => {}
            Action::Drop { .. } if mood == Mood::Stubborn => {
                return Err(Failure::new(Done::Refused, "it owns objects"));
            }
            Action::Drop { account, .. } => {
                self.accounts.lock().remove(account);
            }
            Action::List { .. } => return Ok(self.accounts.lock().iter().cloned().collect()),
        }
        match mood {
            Mood::Mute => Err(Failure::new(Done::Unknown, "no answer in time")),
            _ => Ok(Vec::new()),
        }
    }
}

impl Targets for Played {
    fn run<'t>(&'t self, plan: &'t Plan, _: &'t Bounds) -> BoxFuture<'t, Result<Vec<String>, Failure>> {
        async move { self.act(plan) }.boxed()
    }

    fn boot_time(&self) -> Duration {
        Duration::from_millis(self.boot.load(Ordering::SeqCst))
    }
}

pub struct Scene {
    pub node: Node,
    pub target: Arc<Played>,
}

impl Scene {
    pub async fn new() -> Self {
        Self::with(Settings::default()).await
    }

    pub async fn with(settings: Settings) -> Self {
        let target = Played::new();
        let node = Node::unsealed_at(settings, target.clone()).await;
        let scene = Self { node, target };
        scene.has_a_database("").await;
        scene
    }

    /// Makes a mount in a namespace; empty: in the root.
    pub async fn has_a_database(&self, namespace: &str) {
        let at = |path: &str| match namespace {
            "" => path.to_owned(),
            namespace => format!("{namespace}/{path}"),
        };
        self.must(&at("sys/mounts/database"), json!({"type": "database"}))
            .await;
        let config = json!({
            "plugin_name": "postgresql-database-plugin", "allowed_roles": "*", "username": "root",
            "connection_url": "postgresql://{{username}}:{{password}}@h/db", "password": "p",
        });
        self.must(&at("database/config/db"), config).await;
        let role = json!({
            "db_name": "db", "creation_statements": ["CREATE {{name}}"], "default_ttl": "1h", "max_ttl": "3h",
        });
        self.must(&at("database/roles/app"), role).await;
    }

    pub async fn must(&self, path: &str, data: Value) -> Value {
        self.node.call(Verb::Write, path, data).await.unwrap()
    }

    pub async fn issue(&self) -> Value {
        self.node.call(Verb::Read, PATH, Value::Null).await.unwrap()
    }

    pub async fn leases(&self) -> Vec<String> {
        let path = format!("sys/leases/lookup/{PATH}");
        match self.node.call(Verb::List, &path, Value::Null).await {
            Ok(answer) => serde_json::from_value(answer["data"]["keys"].clone()).unwrap(),
            Err(Error::NotFound { .. }) => Vec::new(),
            Err(error) => panic!("{error}"),
        }
    }

    pub async fn look_up(&self, id: &Value) -> Result<Value, Error> {
        let asked = json!({"lease_id": id});
        let found = self.node.call(Verb::Write, "sys/leases/lookup", asked).await;
        found.map(|found| found["data"].clone())
    }

    /// Lets time pass on all clocks, and the leader do what is due.
    pub async fn pass(&self, millis: u64) -> usize {
        self.node.clock.advance(millis);
        self.target.boot.fetch_add(millis, Ordering::SeqCst);
        self.node.expire().await;
        self.node.core.tend_leases_once().await.unwrap()
    }
}
