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
use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use conclave_core::{Body, Error, Request, Verb};
use conclave_raft::{Key, Op};
use support::played::{Mood, PATH, SECOND, Scene};

#[tokio::test]
async fn an_account_lives_as_long_as_its_lease() {
    let scene = Scene::new().await;
    let issued = scene.issue().await;
    let id = issued["lease_id"].clone();
    assert!(
        id.as_str().unwrap().starts_with("database/creds/app/"),
        "{issued}"
    );
    // A little less than asked, so that what was handed out together does not end together.
    let life = issued["lease_duration"].as_u64().unwrap();
    assert!((3585..=3600).contains(&life), "{life}");
    assert_eq!(issued["renewable"], true);
    let name = issued["data"]["username"].as_str().unwrap();
    assert!(
        name.starts_with("v-root-app-") && scene.target.accounts.lock().contains(name),
        "{name}"
    );
    assert_eq!(issued["data"]["password"].as_str().unwrap().len(), 20);

    scene.pass(3000 * SECOND).await;
    let left = scene.look_up(&id).await.unwrap()["ttl"].as_u64().unwrap();
    assert!((life - 3000..=life - 2999).contains(&left), "{left}");
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
async fn what_is_handed_out_together_does_not_end_together() {
    let scene = Scene::new().await;
    let mut lives = BTreeSet::new();
    for _ in 0..20 {
        lives.insert(scene.issue().await["lease_duration"].as_u64().unwrap());
    }
    // Twenty alike of sixteen that are as likely: never.
    assert!(lives.len() > 1, "{lives:?}");
    assert!(lives.iter().all(|life| (3585..=3600).contains(life)), "{lives:?}");
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
    assert!(asked < 4 + 10, "{asked} calls to a target that is down");
    let stuck = scene
        .node
        .call(Verb::Read, "sys/leases/count", json!({"type": "irrevocable"}))
        .await;
    assert_eq!(stuck.unwrap()["data"]["lease_count"], 20, "all are told of");
    scene.target.is(Mood::Well);
    for _ in 0..4 {
        scene.pass(60 * SECOND).await;
    }
    assert_eq!((scene.leases().await.len(), scene.target.accounts()), (0, 0));
}

/// More than are tried at once, of which some were never tried: the rest is given up without a question for each.
#[tokio::test]
async fn all_that_is_forced_at_a_silent_target_is_given_up_after_one_question() {
    let scene = Scene::new().await;
    for _ in 0..70 {
        scene.issue().await;
    }
    let queue = scene.node.target_queue();
    scene.target.is(Mood::Down);
    scene.must("sys/leases/revoke-prefix/database", Value::Null).await;
    scene.pass(SECOND).await;
    assert_eq!(scene.leases().await.len(), 70);
    scene.must("sys/leases/revoke-force/database", Value::Null).await;
    let before = scene.target.asked.load(Ordering::SeqCst);
    for _ in 0..4 {
        scene.pass(30 * SECOND).await;
    }
    assert_eq!(scene.leases().await.len(), 0);
    assert_eq!(scene.node.waiting(queue), 0);
    assert_eq!(scene.target.asked.load(Ordering::SeqCst) - before, 1);
    assert_eq!(scene.target.accounts(), 70, "given up as told");
}

/// What nobody forces is not given up with it, wherever in the queue it stands.
#[tokio::test]
async fn what_is_not_forced_stays_beside_what_is() {
    let scene = Scene::new().await;
    let role = json!({"db_name": "db", "creation_statements": ["CREATE {{name}}"], "default_ttl": "1h"});
    scene.must("database/roles/other", role).await;
    for _ in 0..35 {
        scene.issue().await;
        let other = scene.node.call(Verb::Read, "database/creds/other", Value::Null);
        other.await.unwrap();
    }
    let queue = scene.node.target_queue();
    scene.target.is(Mood::Down);
    scene
        .must("sys/leases/revoke-prefix/database/creds/other", Value::Null)
        .await;
    scene.pass(SECOND).await;
    scene
        .must("sys/leases/revoke-force/database/creds/app", Value::Null)
        .await;
    for _ in 0..4 {
        scene.pass(30 * SECOND).await;
    }
    assert_eq!(scene.leases().await.len(), 0);
    assert_eq!(scene.node.waiting(queue), 35);
    scene.target.is(Mood::Well);
    for _ in 0..2 {
        scene.pass(60 * SECOND).await;
    }
    assert_eq!(scene.node.waiting(queue), 0);
    assert_eq!(scene.target.accounts(), 35, "those given up");
}

/// How many revocations do not get on: as listed, as counted, and by the gauge.
async fn held_up(scene: &Scene) -> (usize, u64, f64) {
    let read = |path: &'static str| {
        let asked = json!({"type": "irrevocable"});
        scene.node.call(Verb::Read, path, asked)
    };
    let listed = read("sys/leases").await.unwrap();
    let listed = listed["data"]["leases"].as_array().unwrap().len();
    let counted = read("sys/leases/count").await.unwrap();
    let counted = counted["data"]["lease_count"].as_u64().unwrap();
    scene.node.core.count_leases().await.unwrap();
    (listed, counted, scene.node.number("conclave_leases_stuck"))
}

#[tokio::test]
async fn what_waits_for_a_silent_target_is_told_of_before_it_was_tried() {
    let scene = Scene::new().await;
    for _ in 0..70 {
        scene.issue().await;
    }
    scene.target.is(Mood::Down);
    // They end by themselves: of those that were not tried yet no row says so.
    scene.pass(3600 * SECOND).await;
    assert_eq!(held_up(&scene).await, (70, 70, 70.0));
    let told = scene
        .node
        .call(Verb::Read, "sys/leases", json!({"type": "irrevocable"}))
        .await;
    let told = told.unwrap()["data"]["leases"].clone();
    let told = told.as_array().unwrap();
    let untried = told.iter().filter(|lease| lease["attempts"] == 0).count();
    assert_eq!(untried, 6);
    assert!(told.iter().all(|lease| lease["error"] == "connection refused"));
    assert_eq!(scene.node.number("conclave_targets_left_alone"), 1.0);

    // What is forced at it goes; nothing is due there any more, so nobody can tell whether it is silent still.
    scene.must("sys/leases/revoke-force/database", Value::Null).await;
    for _ in 0..10 {
        scene.pass(30 * SECOND).await;
    }
    assert_eq!(held_up(&scene).await, (0, 0, 0.0));
    assert_eq!(scene.node.number("conclave_targets_left_alone"), 0.0);
}

/// Those whose turn has not come at a target that answers are under way.
#[tokio::test]
async fn what_waits_for_its_turn_is_not_told_of() {
    let scene = Scene::new().await;
    for _ in 0..70 {
        scene.issue().await;
    }
    scene.target.is(Mood::Stubborn);
    scene.must("sys/leases/revoke-prefix/database", Value::Null).await;
    scene.pass(0).await;
    assert_eq!(held_up(&scene).await, (64, 64, 64.0));
    assert_eq!(scene.node.number("conclave_leases_due"), 6.0);
    assert_eq!(scene.node.number("conclave_targets_left_alone"), 0.0);
}

#[tokio::test]
async fn a_lease_that_cannot_be_read_holds_up_no_other() {
    let mut scene = Scene::new().await;
    for _ in 0..5 {
        scene.issue().await;
    }
    let queue = scene.node.target_queue();
    scene.node.spoil(queue).await;
    scene.node = scene.node.restarted().await;
    scene.node.unseal().await;
    assert_eq!(scene.pass(3600 * SECOND).await, 4);
    assert_eq!(
        (scene.node.waiting(queue), scene.target.accounts()),
        (1, 1),
        "it stays, and is told of in the log"
    );
    // Nor does it keep anybody from being told of the others.
    scene.target.is(Mood::Stubborn);
    let id = scene.issue().await["lease_id"].clone();
    scene.must("sys/leases/revoke", json!({"lease_id": id})).await;
    scene.pass(0).await;
    let told = scene
        .node
        .call(Verb::Read, "sys/leases", json!({"type": "irrevocable"}))
        .await;
    let told = told.unwrap();
    assert_eq!(told["data"]["leases"][0]["lease_id"], id);
    assert_eq!(
        told["warnings"],
        json!(["1 that is due cannot be read: the leader's log says why"])
    );
    assert_eq!(held_up(&scene).await, (1, 2, 2.0));
    assert_eq!(scene.node.number("conclave_leases_due"), 1.0);
    assert_eq!(
        scene.node.number("conclave_rotation_overdue"),
        0.0,
        "nobody has a credential to rotate"
    );
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
    let name = scene.target.accounts.lock().first().unwrap().clone();
    scene.target.is(Mood::Well);
    scene.pass(0).await;
    assert_eq!(scene.target.accounts(), 0, "swept at once");
    // What may still have been on its way then is dropped too: it arrives right after the sweep before.
    for pause in [60, 600, 3600] {
        scene.target.accounts.lock().insert(name.clone());
        let asked = || scene.target.asked.load(Ordering::SeqCst);
        let before = asked();
        scene.pass(pause * SECOND - 1).await;
        assert_eq!(
            (asked(), scene.target.accounts()),
            (before, 1),
            "before {pause} s"
        );
        scene.pass(1).await;
        assert_eq!(
            (asked(), scene.target.accounts()),
            (before + 1, 0),
            "after {pause} s"
        );
    }
    let before = scene.target.asked.load(Ordering::SeqCst);
    scene.pass(86_400 * SECOND).await;
    assert_eq!(scene.target.asked.load(Ordering::SeqCst), before, "then no more");
}

#[tokio::test]
async fn an_account_that_was_there_before_is_never_dropped() {
    let scene = Scene::new().await;
    scene.target.is(Mood::Taken);
    let failed = scene.node.call(Verb::Read, PATH, Value::Null).await.unwrap_err();
    assert!(
        matches!(&failed, Error::Target(text) if text == "the name is taken"),
        "{failed}"
    );
    scene.target.is(Mood::Well);
    assert!(scene.leases().await.is_empty());
    let before = scene.target.asked.load(Ordering::SeqCst);
    for pause in [0, 60, 600, 3600] {
        scene.pass(pause * SECOND).await;
    }
    assert_eq!(
        scene.target.asked.load(Ordering::SeqCst),
        before,
        "nothing is swept"
    );
    assert_eq!(scene.target.accounts(), 1, "it is somebody else's");
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
    let rotated = async {
        while read().await["password"] == second["password"] {
            tokio::task::yield_now().await;
        }
    };
    let rotated = tokio::time::timeout(std::time::Duration::from_secs(60), rotated).await;
    assert!(rotated.is_ok(), "nobody rotates it");
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

/// What a number says, for each of its labels.
fn told(scene: &Scene, name: &str) -> Vec<f64> {
    let families = scene.node.registry.gather();
    let family = families.iter().find(|family| family.name() == name);
    let family = family.unwrap_or_else(|| panic!("{name} is not told"));
    let all = family.get_metric().iter();
    all.map(|metric| metric.get_gauge().get_value() + metric.get_counter().get_value())
        .collect()
}

#[tokio::test]
async fn what_goes_wrong_with_leases_is_counted_from_nothing_on() {
    let scene = Scene::new().await;
    scene.issue().await;
    scene.node.core.count_leases().await.unwrap();
    // Whoever asks how much was added sees nothing of a number that begins at 1.
    assert_eq!(told(&scene, "conclave_lease_orphans_total"), [0.0]);
    assert_eq!(told(&scene, "conclave_lease_revocations_total"), [0.0; 2]);
}

#[tokio::test]
async fn rotations_that_nobody_has_begun_are_counted() {
    let scene = Scene::new().await;
    let role = json!({"db_name": "db", "username": "svc", "rotation_period": "1h"});
    for name in ["one", "two"] {
        scene
            .must(&format!("database/static-roles/{name}"), role.clone())
            .await;
    }
    // A token ends at the same time: it is due as well, and no rotation.
    scene.node.token(json!({"ttl": "1h"})).await;
    let due = async || {
        scene.node.core.count_leases().await.unwrap();
        told(&scene, "conclave_rotation_due")
    };
    assert_eq!(due().await, [0.0]);
    scene.node.clock.advance(3600 * SECOND);
    assert_eq!(due().await, [2.0]);
    let begun = async {
        while due().await != [0.0] {
            scene.node.expire().await;
            tokio::task::yield_now().await;
        }
    };
    let begun = tokio::time::timeout(std::time::Duration::from_secs(60), begun).await;
    assert!(begun.is_ok(), "nobody begins");
}

/// Lets rotations go on until one of the numbers says so many.
async fn expire_until(scene: &Scene, name: &str, number: f64) {
    let said = async {
        while scene.node.number(name) != number {
            scene.node.expire().await;
            tokio::task::yield_now().await;
        }
    };
    let said = tokio::time::timeout(std::time::Duration::from_secs(60), said).await;
    assert!(said.is_ok(), "{name} never says {number}");
}

#[tokio::test]
async fn a_rotation_that_fails_is_overdue_until_it_is_done() {
    let scene = Scene::new().await;
    let role = json!({"db_name": "db", "username": "svc", "rotation_period": "1h"});
    scene.must("database/static-roles/svc", role).await;
    scene.target.is(Mood::Down);
    scene.node.clock.advance(3600 * SECOND);
    expire_until(&scene, "conclave_rotation_overdue", 1.0).await;
    scene.target.is(Mood::Well);
    scene.node.clock.advance(60 * SECOND);
    expire_until(&scene, "conclave_rotation_overdue", 0.0).await;
}

#[tokio::test]
async fn a_rotation_that_cannot_even_be_begun_is_overdue() {
    let mut scene = Scene::new().await;
    let role = json!({"db_name": "db", "username": "svc", "rotation_period": "1h"});
    scene.must("database/static-roles/svc", role).await;
    assert_eq!(scene.node.waiting(1), 1);
    scene.node.spoil(1).await;
    scene.node = scene.node.restarted().await;
    scene.node.unseal().await;
    scene.node.clock.advance(3600 * SECOND);
    expire_until(&scene, "conclave_rotation_overdue", 1.0).await;
}

/// What cannot be counted keeps nobody from being told of the rest.
#[tokio::test]
async fn rotations_are_counted_where_leases_cannot_be() {
    let mut scene = Scene::new().await;
    let role = json!({"db_name": "db", "username": "svc", "rotation_period": "1h"});
    scene.must("database/static-roles/svc", role).await;
    // An entry of a target's queue that is no key of any row.
    let damaged = Op::DuePut {
        queue: 1 << 63,
        deadline: 1,
        key: Key::from_static(b"?"),
    };
    scene.node.apply(damaged).await;
    scene.node = scene.node.restarted().await;
    scene.node.unseal().await;
    scene.node.clock.advance(3600 * SECOND);
    scene.node.core.count_leases().await.unwrap_err();
    assert_eq!(scene.node.number("conclave_rotation_due"), 1.0);
}

/// A rotation whose answer was lost may have been taken. That the database is not reached the next time says nothing of that.
#[tokio::test]
async fn a_password_that_may_have_been_taken_is_told_until_that_is_known() {
    let scene = Scene::new().await;
    let role = json!({"db_name": "db", "username": "svc", "rotation_period": "1h"});
    scene.must("database/static-roles/svc", role).await;
    let rotate = || {
        scene
            .node
            .call(Verb::Write, "database/rotate-role/svc", Value::Null)
    };
    scene.target.is(Mood::Mute);
    assert!(rotate().await.is_err());
    let told = scene.target.told.lock().clone();
    scene.target.is(Mood::Down);
    assert!(rotate().await.is_err());
    let path = "database/static-creds/svc";
    let read = scene.node.call(Verb::Read, path, Value::Null).await.unwrap();
    assert_eq!(
        read["warnings"],
        json!(["a rotation of this password is under way"]),
        "it may open the account no more"
    );
    scene.target.is(Mood::Well);
    rotate().await.unwrap();
    assert_eq!(*scene.target.told.lock(), told);
    let read = scene.node.call(Verb::Read, path, Value::Null).await.unwrap();
    assert_eq!(read["warnings"], json!([]));
    let password = read["data"]["password"].as_str().unwrap();
    assert!(told.iter().any(|statement| statement.contains(password)));
    // What was certainly not taken the first time is forgotten.
    scene.target.is(Mood::Down);
    assert!(rotate().await.is_err());
    let read = scene.node.call(Verb::Read, path, Value::Null).await.unwrap();
    assert_eq!(
        (&read["warnings"], &read["data"]["password"]),
        (&json!([]), &json!(password))
    );
}

#[tokio::test]
async fn a_copy_of_a_cluster_that_is_restored_paused_touches_no_target() {
    let scene = Scene::new().await;
    let id = scene.issue().await["lease_id"].clone();
    let mut save = Request::new(Verb::Read, "sys/storage/raft/snapshot");
    save.token = Some(scene.node.root.clone().into());
    let saved = scene.node.core.handle(save).await.unwrap();
    let Body::File { file, .. } = saved.body else {
        panic!("no file")
    };
    let mut restore = Request::new(Verb::Write, "sys/storage/raft/snapshot");
    restore.token = Some(scene.node.root.clone().into());
    restore.upload = Some(file.path().to_owned());
    restore.data = json!({"pause_effects": "true"}).as_object().cloned().unwrap();
    scene.node.core.handle(restore).await.unwrap();

    let paused = scene.node.call(Verb::Read, "sys/effects", Value::Null).await;
    assert_eq!(paused.unwrap()["data"]["paused"], true);
    let asked = scene.target.asked.load(Ordering::SeqCst);
    assert_eq!(scene.pass(4 * 3600 * SECOND).await, 0, "it is due, and stays");
    assert!(scene.look_up(&id).await.is_ok());
    let refused = scene.node.call(Verb::Read, PATH, Value::Null).await.unwrap_err();
    assert!(refused.to_string().contains("paused"), "{refused}");
    assert_eq!(
        scene.target.asked.load(Ordering::SeqCst),
        asked,
        "the target hears of nothing"
    );
    assert_eq!(scene.target.accounts(), 1);

    let wrong = scene.node.call(Verb::Write, "sys/effects", json!({})).await;
    assert_eq!(
        wrong.unwrap_err().to_string(),
        "paused is required: true or false"
    );
    scene.must("sys/effects", json!({"paused": false})).await;
    assert_eq!((scene.pass(60 * SECOND).await, scene.target.accounts()), (1, 0));
    assert!(scene.look_up(&id).await.is_err());
    // And by an operator, without a restore.
    scene.must("sys/effects", json!({"paused": true})).await;
    let refused = scene.node.call(Verb::Read, PATH, Value::Null).await.unwrap_err();
    assert!(refused.to_string().contains("paused"), "{refused}");
}
