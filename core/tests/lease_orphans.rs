//! Accounts that a target has and nobody has a lease of, and leases whose mount is gone: what must go goes, what must stay stays.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod support;

use std::cell::Cell;

use serde_json::{Value, json};

use conclave_core::{Error, Verb};
use support::played::{Mood, SECOND, Scene};

const HOUR: u64 = 3600 * SECOND;

impl Scene {
    fn make(&self, name: &str) {
        self.target.accounts.lock().insert(name.to_owned());
    }

    async fn reconcile(&self, dry_run: bool) -> Value {
        let asked = json!({"mount": "database", "dry_run": dry_run});
        let mut told = self.must("sys/leases/reconcile", asked).await;
        told["data"]["targets"][0].take()
    }
}

#[tokio::test]
async fn what_has_no_lease_is_dropped_when_somebody_asks() {
    let scene = Scene::new().await;
    let issued = scene.issue().await;
    let name = issued["data"]["username"].as_str().unwrap().to_owned();
    scene.make("v-lost");
    // The account that makes accounts is nobody's orphan.
    scene.make("root");
    let told = scene.reconcile(true).await;
    assert_eq!(
        (
            &told["listed"],
            &told["certain"],
            &told["orphans"],
            &told["dropped"]
        ),
        (&json!(3), &json!(true), &json!(["v-lost"]), &json!(0)),
        "{told}"
    );
    assert_eq!((scene.pass(SECOND).await, scene.target.accounts()), (0, 3));

    assert_eq!(scene.reconcile(false).await["dropped"], 1);
    assert_eq!(
        scene.reconcile(false).await["orphans"],
        json!([]),
        "it has a lease now"
    );
    assert_eq!((scene.pass(SECOND).await, scene.target.accounts()), (1, 2));
    assert!(
        scene.target.accounts.lock().contains(&name),
        "a live lease's stays"
    );
    assert_eq!(scene.reconcile(false).await["orphans"], json!([]));
}

#[tokio::test]
async fn an_orphan_that_cannot_be_dropped_stays_visible() {
    let scene = Scene::new().await;
    scene.make("v-lost");
    scene.target.is(Mood::Stubborn);
    assert_eq!(scene.reconcile(false).await["dropped"], 1);
    for _ in 0..5 {
        scene.pass(60 * SECOND).await;
    }
    let stuck = scene
        .node
        .call(Verb::Read, "sys/leases", json!({"type": "irrevocable"}))
        .await
        .unwrap();
    let told = &stuck["data"]["leases"][0];
    assert_eq!(told["error"], "it owns objects");
    assert!(
        told["lease_id"]
            .as_str()
            .unwrap()
            .starts_with("database/orphans/db/"),
        "{told}"
    );
    scene.target.is(Mood::Well);
    assert_eq!((scene.pass(60 * SECOND).await, scene.target.accounts()), (1, 0));
}

/// The hour is the life of a lease: whoever leads when it is over drops the account.
#[tokio::test]
async fn what_the_job_finds_is_left_an_hour_unless_somebody_asks() {
    let scene = Scene::new().await;
    let id = scene.issue().await["lease_id"].clone();
    scene
        .must("sys/leases/renew", json!({"lease_id": id, "increment": "3h"}))
        .await;
    let listed = async || {
        let path = "sys/leases/lookup/database/orphans/db";
        let listed = scene.node.call(Verb::List, path, Value::Null).await;
        listed.map_or(0, |listed| listed["data"]["keys"].as_array().map_or(0, Vec::len))
    };
    scene.make("v-lost");
    assert_eq!(scene.node.core.reconcile_all().await.unwrap(), 1);
    assert_eq!(scene.pass(59 * 60 * SECOND).await, 0);
    assert_eq!(
        (listed().await, scene.target.accounts()),
        (1, 2),
        "it can be seen"
    );
    assert_eq!(scene.node.core.reconcile_all().await.unwrap(), 0, "it is known");
    assert_eq!((scene.pass(61 * SECOND).await, scene.target.accounts()), (1, 1));
    assert_eq!(listed().await, 0);

    scene.make("v-other");
    assert_eq!(scene.node.core.reconcile_all().await.unwrap(), 1);
    let told = scene.reconcile(true).await;
    assert_eq!(
        (&told["orphans"], &told["dropped"]),
        (&json!(["v-other"]), &json!(0)),
        "{told}"
    );
    assert_eq!(scene.reconcile(false).await["dropped"], 1);
    assert_eq!((scene.pass(SECOND).await, scene.target.accounts()), (1, 1));
    scene.target.is(Mood::Down);
    assert_eq!(
        scene.node.core.reconcile_all().await.unwrap(),
        0,
        "nobody answers"
    );
    assert!(scene.look_up(&id).await.is_ok(), "a live lease's stays");
}

#[tokio::test]
async fn accounts_that_only_look_like_ours_are_told_of() {
    let scene = Scene::new().await;
    // A connection without a mark, as one of a database that keeps none.
    let asked = json!({"mount": "nosuch"});
    let refused = scene.node.call(Verb::Write, "sys/leases/reconcile", asked).await;
    assert_eq!(
        refused.unwrap_err().to_string(),
        "no secrets engine is mounted at \"nosuch/\""
    );
    scene.must("sys/mounts/kv", json!({"type": "kv"})).await;
    let told = scene.must("sys/leases/reconcile", json!({"mount": "kv/"})).await;
    assert_eq!(told["data"]["targets"], json!([]));
    assert_eq!(told["warnings"].as_array().unwrap().len(), 1);
}

/// The connection's row has a deadline while a rotation of its password is open. It must not go with the mount: leases of the
/// mount are still to be revoked by it.
#[tokio::test]
async fn a_mount_disabled_amid_a_rotation_keeps_the_way_to_its_target() {
    let scene = Scene::new().await;
    scene.issue().await;
    scene.target.is(Mood::Mute);
    let rotate = scene
        .node
        .call(Verb::Write, "database/rotate-root/db", Value::Null)
        .await;
    assert!(rotate.is_err(), "its answer was lost: both passwords are kept");
    scene.target.is(Mood::Down);
    scene
        .node
        .call(Verb::Delete, "sys/mounts/database", Value::Null)
        .await
        .unwrap();
    for _ in 0..4 {
        scene.pass(HOUR).await;
    }
    assert_eq!((scene.leases().await.len(), scene.target.accounts()), (1, 1));
    scene.target.is(Mood::Well);
    scene.pass(60 * SECOND).await;
    assert_eq!((scene.leases().await.len(), scene.target.accounts()), (0, 0));
}

/// An account was made and its lease was not; what is left of it cannot be dropped. It is told of, and can be given up.
#[tokio::test]
async fn an_intent_that_cannot_be_swept_is_told_of_and_can_be_forced() {
    let scene = Scene::new().await;
    scene.target.is(Mood::Mute);
    scene
        .node
        .call(Verb::Read, support::played::PATH, Value::Null)
        .await
        .unwrap_err();
    scene.target.is(Mood::Stubborn);
    scene.pass(60 * SECOND).await;
    let count = |told: Value| told["data"]["lease_count"].clone();
    let asked = json!({"type": "irrevocable"});
    let stuck = scene
        .node
        .call(Verb::Read, "sys/leases/count", asked.clone())
        .await;
    assert_eq!(count(stuck.unwrap()), 1);
    scene.must("sys/leases/revoke-force/database", Value::Null).await;
    scene.pass(SECOND).await;
    scene.pass(60 * SECOND).await;
    let stuck = scene.node.call(Verb::Read, "sys/leases/count", asked).await;
    assert_eq!(count(stuck.unwrap()), 0);
    assert_eq!(scene.target.accounts(), 1, "given up as told");
}

/// An intent that nobody could be asked about yet, as the target was silent already, is no less forced.
#[tokio::test]
async fn an_intent_that_waits_for_a_silent_target_can_be_forced() {
    let scene = Scene::new().await;
    scene.issue().await;
    scene.target.is(Mood::Down);
    scene.must("sys/leases/revoke-prefix/database", Value::Null).await;
    scene.pass(SECOND).await;
    scene.target.is(Mood::Mute);
    let made = scene.node.call(Verb::Read, support::played::PATH, Value::Null);
    made.await.unwrap_err();
    scene.target.is(Mood::Down);
    let queue = scene.node.target_queue();
    assert_eq!(scene.node.waiting(queue), 2, "a lease and an intent");
    scene.must("sys/leases/revoke-force/database", Value::Null).await;
    scene.pass(30 * SECOND).await;
    assert_eq!(scene.node.waiting(queue), 0);
    assert_eq!(scene.target.accounts(), 2, "given up as told");
}

/// It was dropped; what is dropped again later is what may have been on its way.
#[tokio::test]
async fn an_account_that_was_dropped_holds_no_place_of_a_quota() {
    let scene = Scene::new().await;
    let rule = json!({"path": "database/", "max_leases": 1});
    scene.must("sys/quotas/lease-count/few", rule).await;
    let counted = async || {
        let read = scene
            .node
            .call(Verb::Read, "sys/quotas/lease-count/few", Value::Null);
        read.await.unwrap()["data"]["counter"].clone()
    };
    let make = || scene.node.call(Verb::Read, support::played::PATH, Value::Null);
    scene.target.is(Mood::Mute);
    make().await.unwrap_err();
    scene.target.is(Mood::Stubborn);
    scene.pass(0).await;
    assert_eq!(counted().await, 1, "it is still there");
    assert!(matches!(make().await, Err(Error::LeasesExceeded(_))));
    scene.target.is(Mood::Well);
    scene.pass(SECOND).await;
    assert_eq!((counted().await, scene.target.accounts()), (json!(0), 0));
    make().await.unwrap();
    let before = scene.target.asked.load(std::sync::atomic::Ordering::SeqCst);
    for pause in [60, 600, 2900] {
        scene.pass(pause * SECOND).await;
        assert_eq!(counted().await, 1, "the other is counted once");
    }
    let asked = scene.target.asked.load(std::sync::atomic::Ordering::SeqCst) - before;
    assert_eq!(asked, 2, "it is dropped again");
}

impl Scene {
    /// What a request answers while the leader does what is due.
    async fn tended(&self, path: &str, data: Value) -> Result<Value, Error> {
        let done = Cell::new(false);
        let asked = async {
            let told = self.node.call(Verb::Write, path, data).await;
            done.set(true);
            told
        };
        let tending = async {
            while !done.get() {
                self.pass(0).await;
                tokio::task::yield_now().await;
            }
        };
        tokio::join!(asked, tending).0
    }
}

/// Whoever has mended the cause and asks again is told what comes of it now.
#[tokio::test]
async fn an_error_from_before_is_not_the_answer() {
    let scene = Scene::new().await;
    let one = json!({"lease_id": scene.issue().await["lease_id"], "sync": true});
    scene.issue().await;
    let (path, beneath) = ("sys/leases/revoke", "sys/leases/revoke-prefix/database");
    let refused = "failed to revoke: it owns objects; it is tried again";
    for (path, data) in [(path, one), (beneath, json!({"sync": true}))] {
        scene.target.is(Mood::Stubborn);
        for _ in 0..2 {
            let told = scene.tended(path, data.clone()).await.unwrap_err();
            assert_eq!(told.to_string(), refused);
            scene.node.clock.advance(500);
        }
        scene.target.is(Mood::Well);
        scene.tended(path, data).await.unwrap();
    }
    assert_eq!((scene.leases().await.len(), scene.target.accounts()), (0, 0));
}

/// Nothing is begun there, so there is nothing to wait for, and nothing to be told.
#[tokio::test]
async fn a_lease_of_another_namespace_is_neither_waited_for_nor_told_of() {
    let scene = Scene::new().await;
    scene.must("sys/namespaces/team", Value::Null).await;
    let root = scene.node.root.clone();
    let within = async |verb, path: &str, data| {
        let told = support::ask(&scene.node, "team", &root, (verb, path), data).await;
        told.unwrap()
    };
    within(Verb::Write, "sys/mounts/database", json!({"type": "database"})).await;
    let config = json!({
        "plugin_name": "postgresql-database-plugin", "allowed_roles": "*", "username": "root",
        "connection_url": "postgresql://{{username}}:{{password}}@h/db", "password": "p",
    });
    within(Verb::Write, "database/config/db", config).await;
    let role = json!({"db_name": "db", "creation_statements": ["CREATE {{name}}"]});
    within(Verb::Write, "database/roles/app", role).await;
    let issued = within(Verb::Read, support::played::PATH, Value::Null).await;
    let id = issued["lease_id"].clone();
    let asked = json!({"lease_id": id, "sync": true});
    scene.must("sys/leases/revoke", asked.clone()).await;
    let found = within(Verb::Write, "sys/leases/lookup", json!({"lease_id": id})).await;
    assert!(found["data"]["ttl"].as_u64().unwrap() > 0, "{found}");
    // Nor is what its own are told of it told here.
    scene.target.is(Mood::Stubborn);
    within(Verb::Write, "sys/leases/revoke", json!({"lease_id": id})).await;
    scene.pass(0).await;
    scene.must("sys/leases/revoke", asked).await;
}

#[tokio::test]
async fn what_cannot_be_revoked_is_listed_as_far_as_is_asked() {
    let scene = Scene::new().await;
    scene.issue().await;
    scene.issue().await;
    scene.target.is(Mood::Stubborn);
    scene.must("sys/leases/revoke-prefix/database", Value::Null).await;
    scene.pass(SECOND).await;
    let listed = async |asked: Value| {
        let told = scene.node.call(Verb::Read, "sys/leases", asked).await;
        told.map(|told| told["data"]["leases"].as_array().unwrap().len())
    };
    for (asked, count) in [
        (json!({"type": "irrevocable"}), 2),
        (json!({"type": "irrevocable", "limit": "none"}), 2),
        (json!({"type": "irrevocable", "limit": "1"}), 1),
        (json!({"type": "irrevocable", "limit": 1}), 1),
    ] {
        assert_eq!(listed(asked.clone()).await.unwrap(), count, "{asked}");
    }
    for limit in [json!(-1), json!(0), json!("some")] {
        let refused = listed(json!({"type": "irrevocable", "limit": limit})).await;
        let text = refused.unwrap_err().to_string();
        assert_eq!(text, "limit must be 'none' or a positive integer", "{limit}");
    }
    for asked in [json!({}), json!({"type": "other"})] {
        let other = listed(asked.clone()).await;
        assert!(matches!(other, Err(Error::NotFound { .. })), "{asked}: {other:?}");
    }
}

#[tokio::test]
async fn leases_are_counted_beneath_a_prefix() {
    let scene = Scene::new().await;
    for _ in 0..3 {
        scene.issue().await;
    }
    let count = async |prefix: &str| {
        let asked = json!({"prefix": prefix});
        let told = scene
            .node
            .call(Verb::Read, "sys/leases/count", asked)
            .await
            .unwrap();
        assert!(
            told["data"]["prefix"].is_string(),
            "whoever asks knows that it was heard"
        );
        told["data"]["lease_count"].as_u64().unwrap()
    };
    assert_eq!(count("database/creds/app").await, 3);
    assert_eq!(count("database/").await, 3);
    assert_eq!(count("database/creds/ap").await, 0);
    let ask = async |asked: Value| scene.node.call(Verb::Read, "sys/leases/count", asked).await;
    let all = ask(json!({"prefix": ""})).await.unwrap();
    let mounts = scene.node.call(Verb::Read, "sys/mounts", Value::Null).await;
    let accessor = mounts.unwrap()["data"]["database/"]["accessor"].clone();
    assert_eq!(all["data"]["counts"][accessor.as_str().unwrap()], 3);
    for asked in [Value::Null, json!({"type": ""}), json!({"type": "other"})] {
        let other = ask(asked.clone()).await;
        assert!(matches!(other, Err(Error::NotFound { .. })), "{asked}: {other:?}");
    }
}

#[tokio::test]
async fn renewals_by_any_increment_stay_within_the_longest_life() {
    let scene = Scene::new().await;
    let id = scene.issue().await["lease_id"].clone();
    let renew = async |increment: &Value| {
        let asked = json!({"lease_id": id, "increment": increment});
        scene.node.call(Verb::Write, "sys/leases/renew", asked).await
    };
    for (increment, given) in [
        (json!("999999h"), 10_800),
        (json!("9223372036s"), 10_800),
        (json!(9_223_372_036_u64), 10_800),
        (json!("2h"), 7_200),
        (json!(0), 3_600),
        (json!("1s"), 1),
    ] {
        let told = renew(&increment).await.unwrap();
        assert_eq!(told["lease_duration"], given, "{increment}: {told}");
    }
    for (increment, why) in [
        (json!(i64::MAX), "invalid duration"),
        (json!("9223372037s"), "invalid duration"),
        (json!(-5), "cannot provide negative value"),
        (json!("-1h"), "cannot provide negative value"),
        (json!("soon"), "invalid duration"),
        (json!([1]), "could not parse duration"),
    ] {
        let refused = renew(&increment).await.unwrap_err();
        assert!(matches!(refused, Error::Invalid(_)), "{increment}: {refused:?}");
        let text = refused.to_string();
        assert!(
            text.contains("\"increment\"") && text.contains(why),
            "{increment}: {text}"
        );
    }
    // What was refused changed nothing: the last that was granted holds.
    assert_eq!(scene.look_up(&id).await.unwrap()["ttl"], 1);
    assert_eq!(scene.target.accounts(), 1);
}
