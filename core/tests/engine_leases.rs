//! Leases of accounts at a target that this test plays: made behind an intent, ended by time, token, prefix and mount, tried
//! again for ever, never given up unless somebody forces it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod support;

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
use support::Node;

const PATH: &str = "database/creds/app";
const SECOND: u64 = 1_000;

/// How the target behaves.
#[derive(Clone, Copy, PartialEq)]
enum Mood {
    Well,
    /// Nobody is there.
    Down,
    /// It refuses to drop.
    Stubborn,
    /// It does what it is asked and its answer gets lost.
    Mute,
}

struct Played {
    accounts: Mutex<BTreeSet<String>>,
    mood: Mutex<Mood>,
    asked: AtomicU64,
    boot: AtomicU64,
}

impl Played {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            accounts: Mutex::default(),
            mood: Mutex::new(Mood::Well),
            asked: AtomicU64::new(0),
            boot: AtomicU64::new(0),
        })
    }

    fn accounts(&self) -> usize {
        self.accounts.lock().len()
    }

    fn is(&self, mood: Mood) {
        *self.mood.lock() = mood;
    }

    fn act(&self, plan: &Plan) -> Result<Vec<String>, Failure> {
        let mood = *self.mood.lock();
        self.asked.fetch_add(1, Ordering::SeqCst);
        if mood == Mood::Down {
            return Err(Failure::new(Done::Nothing, "connection refused"));
        }
        match &plan.action {
            Action::Run { statements } => {
                for name in statements.iter().filter_map(|text| text.strip_prefix("CREATE ")) {
                    self.accounts.lock().insert(name.to_owned());
                }
            }
            Action::Drop { .. } if mood == Mood::Stubborn => {
                return Err(Failure::new(Done::Refused, "it owns objects"));
            }
            Action::Drop { account, .. } => {
                self.accounts.lock().remove(account);
            }
            Action::Check | Action::List { .. } => {}
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

struct Scene {
    node: Node,
    target: Arc<Played>,
}

impl Scene {
    async fn new() -> Self {
        let target = Played::new();
        let node = Node::unsealed_at(Settings::default(), target.clone()).await;
        let scene = Self { node, target };
        scene
            .must("sys/mounts/database", json!({"type": "database"}))
            .await;
        let config = json!({
            "plugin_name": "postgresql-database-plugin", "allowed_roles": "*", "username": "root",
            "connection_url": "postgresql://{{username}}:{{password}}@h/db", "password": "p",
        });
        scene.must("database/config/db", config).await;
        let role = json!({
            "db_name": "db", "creation_statements": ["CREATE {{name}}"], "default_ttl": "1h", "max_ttl": "3h",
        });
        scene.must("database/roles/app", role).await;
        scene
    }

    async fn must(&self, path: &str, data: Value) -> Value {
        self.node.call(Verb::Write, path, data).await.unwrap()
    }

    async fn issue(&self) -> Value {
        self.node.call(Verb::Read, PATH, Value::Null).await.unwrap()
    }

    async fn leases(&self) -> Vec<String> {
        let path = format!("sys/leases/lookup/{PATH}");
        match self.node.call(Verb::List, &path, Value::Null).await {
            Ok(answer) => serde_json::from_value(answer["data"]["keys"].clone()).unwrap(),
            Err(Error::NotFound { .. }) => Vec::new(),
            Err(error) => panic!("{error}"),
        }
    }

    async fn look_up(&self, id: &Value) -> Result<Value, Error> {
        let asked = json!({"lease_id": id});
        let found = self.node.call(Verb::Write, "sys/leases/lookup", asked).await;
        found.map(|found| found["data"].clone())
    }

    /// Lets time pass on all clocks, and the leader do what is due.
    async fn pass(&self, millis: u64) -> usize {
        self.node.clock.advance(millis);
        self.target.boot.fetch_add(millis, Ordering::SeqCst);
        self.node.expire().await;
        self.node.core.tend_leases_once().await.unwrap()
    }
}

#[tokio::test]
async fn an_account_lives_as_long_as_its_lease() {
    let scene = Scene::new().await;
    let issued = scene.issue().await;
    let id = issued["lease_id"].clone();
    assert!(
        id.as_str().unwrap().starts_with("database/creds/app/"),
        "{issued}"
    );
    assert_eq!(
        (&issued["lease_duration"], &issued["renewable"]),
        (&json!(3600), &json!(true))
    );
    let name = issued["data"]["username"].as_str().unwrap();
    assert!(
        name.starts_with("v-root-app-") && scene.target.accounts.lock().contains(name),
        "{name}"
    );
    assert_eq!(issued["data"]["password"].as_str().unwrap().len(), 20);

    scene.pass(3000 * SECOND).await;
    assert_eq!(scene.look_up(&id).await.unwrap()["ttl"], 600);
    let renewed = scene
        .must("sys/leases/renew", json!({"lease_id": id, "increment": "2h"}))
        .await;
    assert_eq!(
        (&renewed["lease_id"], &renewed["lease_duration"]),
        (&id, &json!(7200))
    );
    assert_eq!(scene.pass(7100 * SECOND).await, 0, "it was renewed");
    let renewed = scene
        .must("sys/leases/renew", json!({"lease_id": id, "increment": "2h"}))
        .await;
    assert_eq!(renewed["lease_duration"], 700, "never beyond max_ttl");
    assert!(!renewed["warnings"].as_array().unwrap().is_empty());
    assert_eq!((scene.pass(699 * SECOND).await, scene.target.accounts()), (0, 1));
    assert_eq!((scene.pass(2 * SECOND).await, scene.target.accounts()), (1, 0));
    assert!(scene.look_up(&id).await.is_err() && scene.leases().await.is_empty());
    let late = json!({"lease_id": id});
    let late = scene.node.call(Verb::Write, "sys/leases/renew", late).await;
    assert_eq!(late.unwrap_err().to_string(), "lease not found");
}

#[tokio::test]
async fn a_lease_ends_by_its_id_and_its_token() {
    let scene = Scene::new().await;
    let (one, two) = (scene.issue().await, scene.issue().await);
    scene
        .must("sys/leases/revoke", json!({"lease_id": one["lease_id"]}))
        .await;
    assert_eq!(
        scene.look_up(&one["lease_id"]).await.unwrap()["ttl"],
        0,
        "it ends"
    );
    let late = json!({"lease_id": one["lease_id"]});
    assert!(
        scene
            .node
            .call(Verb::Write, "sys/leases/renew", late)
            .await
            .is_err(),
        "no way back"
    );
    assert_eq!((scene.pass(0).await, scene.target.accounts()), (1, 1));

    let parent = scene.node.token(json!({"ttl": "1h", "policies": ["root"]})).await;
    let child = scene
        .node
        .call_as(
            &parent,
            Verb::Write,
            "auth/token/create",
            json!({"ttl": "30m", "policies": ["root"]}),
        )
        .await;
    let child = child.unwrap()["auth"]["client_token"]
        .as_str()
        .unwrap()
        .to_owned();
    for token in [&parent, &child] {
        scene
            .node
            .call_as(token, Verb::Read, PATH, Value::Null)
            .await
            .unwrap();
    }
    assert_eq!(scene.target.accounts(), 3);
    scene.must("auth/token/revoke", json!({"token": parent})).await;
    scene.pass(0).await;
    assert_eq!(scene.target.accounts(), 1, "the whole tree of the token");
    assert!(scene.look_up(&two["lease_id"]).await.is_ok());
}

#[tokio::test]
async fn leases_end_by_their_prefix_and_with_their_mount() {
    let scene = Scene::new().await;
    for _ in 0..6 {
        scene.issue().await;
    }
    scene
        .must("sys/leases/revoke-prefix/database/creds/ap", Value::Null)
        .await;
    assert_eq!(
        (scene.pass(0).await, scene.leases().await.len()),
        (0, 6),
        "prefixes end at a slash"
    );
    scene
        .must("sys/leases/revoke-prefix/database/creds/app", Value::Null)
        .await;
    assert_eq!((scene.pass(0).await, scene.target.accounts()), (6, 0));

    scene.issue().await;
    scene.target.is(Mood::Down);
    scene
        .node
        .call(Verb::Delete, "sys/mounts/database", Value::Null)
        .await
        .unwrap();
    scene.pass(SECOND).await;
    assert_eq!(
        (scene.leases().await.len(), scene.target.accounts()),
        (1, 1),
        "visible though the mount is gone"
    );
    scene.target.is(Mood::Well);
    scene.pass(60 * SECOND).await;
    assert_eq!((scene.leases().await.len(), scene.target.accounts()), (0, 0));
}

#[tokio::test]
async fn what_a_target_does_not_do_is_tried_for_ever() {
    let scene = Scene::new().await;
    let id = scene.issue().await["lease_id"].clone();
    scene.target.is(Mood::Stubborn);
    scene.must("sys/leases/revoke", json!({"lease_id": id})).await;
    for _ in 0..40 {
        scene.pass(60 * SECOND).await;
    }
    let stuck = scene
        .node
        .call(Verb::Read, "sys/leases", json!({"type": "irrevocable"}))
        .await
        .unwrap();
    assert_eq!(stuck["data"]["lease_count"], 1);
    let told = &stuck["data"]["leases"][0];
    assert_eq!(
        (&told["lease_id"], &told["error"]),
        (&id, &json!("it owns objects"))
    );
    assert!(told["attempts"].as_u64().unwrap() >= 40, "{told}");
    let count = scene
        .node
        .call(Verb::Read, "sys/leases/count", json!({"type": "irrevocable"}))
        .await
        .unwrap();
    assert_eq!(count["data"]["lease_count"], 1);
    let before = scene.target.asked.load(Ordering::SeqCst);
    assert_eq!(scene.pass(SECOND).await, 0);
    assert_eq!(
        scene.target.asked.load(Ordering::SeqCst),
        before,
        "not before its time"
    );
    scene.target.is(Mood::Well);
    assert_eq!((scene.pass(60 * SECOND).await, scene.target.accounts()), (1, 0));

    scene.issue().await;
    scene.target.is(Mood::Stubborn);
    scene.must("sys/leases/revoke-force/database", Value::Null).await;
    scene.pass(0).await;
    assert_eq!(
        (scene.leases().await.len(), scene.target.accounts()),
        (0, 1),
        "given up as told"
    );
}

#[tokio::test]
async fn a_silent_target_is_left_alone_and_its_leases_stay_due() {
    let scene = Scene::new().await;
    for _ in 0..20 {
        scene.issue().await;
    }
    scene.target.is(Mood::Down);
    let before = scene.target.asked.load(Ordering::SeqCst);
    scene.must("sys/leases/revoke-prefix/database", Value::Null).await;
    for _ in 0..100 {
        scene.pass(SECOND).await;
    }
    let asked = scene.target.asked.load(Ordering::SeqCst) - before;
    assert!(asked < 20 + 10, "{asked} calls to a target that is down");
    scene.target.is(Mood::Well);
    for _ in 0..4 {
        scene.pass(60 * SECOND).await;
    }
    assert_eq!((scene.leases().await.len(), scene.target.accounts()), (0, 0));
}

#[tokio::test]
async fn an_effect_that_fails_leaves_no_lease_and_no_account() {
    let scene = Scene::new().await;
    scene.target.is(Mood::Down);
    let failed = scene.node.call(Verb::Read, PATH, Value::Null).await.unwrap_err();
    assert!(
        matches!(&failed, Error::Target(text) if text == "connection refused"),
        "{failed}"
    );
    assert!(scene.leases().await.is_empty());

    scene.target.is(Mood::Mute);
    scene.node.call(Verb::Read, PATH, Value::Null).await.unwrap_err();
    assert_eq!(
        (scene.leases().await.len(), scene.target.accounts()),
        (0, 1),
        "made, and nobody was told"
    );
    scene.target.is(Mood::Well);
    scene.pass(0).await;
    assert_eq!(scene.target.accounts(), 0, "swept at once");
    // What may still have been on its way then is dropped too.
    for pause in [60, 600, 3600] {
        scene.target.accounts.lock().insert("nobody".to_owned());
        let before = scene.target.asked.load(Ordering::SeqCst);
        scene.pass(pause * SECOND).await;
        assert_eq!(
            scene.target.asked.load(Ordering::SeqCst),
            before + 1,
            "after {pause} s"
        );
    }
    let before = scene.target.asked.load(Ordering::SeqCst);
    scene.pass(86_400 * SECOND).await;
    assert_eq!(scene.target.asked.load(Ordering::SeqCst), before, "then no more");
}

#[tokio::test]
async fn a_token_that_ends_meanwhile_gets_nothing() {
    let scene = Scene::new().await;
    let batch = json!({"type": "batch", "policies": ["reader"], "ttl": "10m", "no_parent": true});
    let policy = json!({"policy": "path \"database/creds/*\" { capabilities = [\"read\"] }"});
    scene.must("sys/policies/acl/reader", policy).await;
    let batch = scene.node.token(batch).await;
    let issued = scene
        .node
        .call_as(&batch, Verb::Read, PATH, Value::Null)
        .await
        .unwrap();
    assert_eq!(
        issued["lease_duration"], 600,
        "not longer than a token that cannot be ended"
    );
    scene.pass(601 * SECOND).await;
    assert_eq!(scene.target.accounts(), 0);
}

#[tokio::test]
async fn static_roles_change_their_passwords_by_themselves() {
    let scene = Scene::new().await;
    let role = json!({"db_name": "db", "username": "svc", "rotation_period": "1h"});
    scene.must("database/static-roles/svc", role).await;
    let read = || async {
        let read = scene
            .node
            .call(Verb::Read, "database/static-creds/svc", Value::Null)
            .await;
        read.unwrap()["data"].clone()
    };
    let first = read().await;
    assert_eq!((&first["username"], &first["ttl"]), (&json!("svc"), &json!(3600)));
    scene.must("database/rotate-role/svc", Value::Null).await;
    let second = read().await;
    assert_ne!(first["password"], second["password"]);
    // Nobody answers: the password that is known to work stays, and the same new one is told until it is taken.
    scene.target.is(Mood::Mute);
    assert!(
        scene
            .node
            .call(Verb::Write, "database/rotate-role/svc", Value::Null)
            .await
            .is_err()
    );
    assert_eq!(read().await["password"], second["password"]);
    scene.target.is(Mood::Well);
    scene.pass(30 * SECOND).await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_ne!(read().await["password"], second["password"]);
    scene
        .node
        .call(Verb::Delete, "database/static-roles/svc", Value::Null)
        .await
        .unwrap();
    let gone = scene
        .node
        .call(Verb::Read, "database/static-creds/svc", Value::Null)
        .await;
    assert!(gone.is_err());
}
