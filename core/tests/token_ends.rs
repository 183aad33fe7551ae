//! How a token ends on which nothing hangs, how one on which something does, and what becomes of a thing that is hung on a token
//! in the very moment in which it ends.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod support;

use std::sync::Arc;

use serde_json::{Value, json};

use conclave_core::{Error, Round, Verb};
use conclave_raft::Replica;
use conclave_raft::local::LocalReplica;
use support::held::Held;
use support::played::{PATH, Scene};
use support::shared::node_on;
use support::{Node, ask};

/// The queue of the expiry job.
const EXPIRY_QUEUE: u64 = 1;
const HOUR: u64 = 3_600_000;

/// A token that may do everything, for an hour.
async fn token(node: &Node) -> String {
    node.token(json!({"ttl": "1h", "policies": ["root"], "no_parent": true}))
        .await
}

/// Something that hangs on a token.
#[derive(Debug, Clone, Copy)]
enum Thing {
    Child,
    Cubbyhole,
    Lease,
}

async fn hang(node: &Node, thing: Thing, token: &str) -> Result<Value, Error> {
    let (verb, path, data) = match thing {
        Thing::Child => (
            Verb::Write,
            "auth/token/create",
            json!({"ttl": "10h", "policies": ["root"]}),
        ),
        Thing::Cubbyhole => (Verb::Write, "cubbyhole/mine", json!({"k": "v"})),
        Thing::Lease => (Verb::Read, PATH, Value::Null),
    };
    node.call_as(token, verb, path, data).await
}

/// How many rows there are, of whatever table.
fn rows(node: &Node) -> u64 {
    let replica = LocalReplica::open(node.store.clone(), node.clock.clone()).unwrap();
    let view = replica.view().unwrap();
    view.rows().count(&[], &[0xff; 64]).unwrap()
}

#[tokio::test]
async fn one_on_which_nothing_hangs_ends_in_one_command() {
    let node = Node::unsealed().await;
    node.expire().await;
    let (before, waiting) = (rows(&node), node.waiting(EXPIRY_QUEUE));
    for _ in 0..3 {
        token(&node).await;
    }
    assert_eq!(node.waiting(EXPIRY_QUEUE), waiting + 3);
    node.clock.advance(HOUR);
    assert_eq!(node.core.expire_once().await.unwrap(), Round::Full);
    assert_eq!(node.waiting(EXPIRY_QUEUE), waiting, "nothing is left to close");
    assert_eq!(node.core.expire_once().await.unwrap(), Round::Drained);
    assert_eq!(rows(&node), before);
}

#[tokio::test]
async fn one_that_shows_a_wrapped_answer_takes_it_along() {
    let node = Node::unsealed().await;
    node.expire().await;
    let before = rows(&node);
    let mut request = conclave_core::Request::new(Verb::Write, "sys/wrapping/wrap");
    request.token = Some(node.root.clone().into());
    request.wrap_ttl = Some(HOUR);
    request.data = json!({"k": "v"}).as_object().cloned().unwrap();
    node.core.handle(request).await.unwrap();
    assert!(rows(&node) > before);
    node.clock.advance(HOUR);
    node.expire().await;
    assert_eq!(rows(&node), before);
}

#[tokio::test]
async fn what_hangs_on_one_goes_in_the_round_after() {
    for thing in [Thing::Child, Thing::Cubbyhole, Thing::Lease] {
        let scene = Scene::new().await;
        let node = &scene.node;
        scene.pass(0).await;
        let (before, waiting) = (rows(node), node.waiting(EXPIRY_QUEUE));
        let token = token(node).await;
        hang(node, thing, &token).await.unwrap();
        // A second one finds the row as it has to be.
        hang(node, thing, &token).await.unwrap();
        node.clock.advance(HOUR);
        assert_eq!(node.core.expire_once().await.unwrap(), Round::Full);
        assert!(
            node.waiting(EXPIRY_QUEUE) > waiting,
            "{thing:?}: what is to be closed stays"
        );
        scene.pass(0).await;
        scene.pass(4 * HOUR).await;
        assert_eq!(scene.target.accounts(), 0);
        assert_eq!(rows(node), before, "{thing:?}");
    }
}

#[tokio::test]
async fn what_was_hung_on_one_in_another_namespace_goes_too() {
    let node = Node::unsealed().await;
    node.call(Verb::Write, "sys/namespaces/team", Value::Null)
        .await
        .unwrap();
    let (before, token) = (rows(&node), token(&node).await);
    let kept = ask(
        &node,
        "team",
        &token,
        (Verb::Write, "cubbyhole/mine"),
        json!({"k": "v"}),
    );
    kept.await.unwrap();
    assert!(rows(&node) > before);
    node.clock.advance(HOUR);
    node.expire().await;
    assert_eq!(rows(&node), before);
}

/// Two nodes over the same rows and the same target: the scene's, and a slow one whose commands can be held.
async fn two() -> (Scene, Arc<Held>, Arc<Node>) {
    let scene = Scene::new().await;
    let node = &scene.node;
    let replica: Arc<dyn Replica> =
        Arc::new(LocalReplica::open(node.store.clone(), node.clock.clone()).unwrap());
    let held = Held::over(replica.clone());
    let late: Arc<dyn Replica> = held.clone();
    let (slow, other) = (Arc::new(node_on(node, &late)), node_on(node, &replica));
    for node in [&*slow, &other] {
        node.core.resume().await.unwrap();
        node.unseal().await;
    }
    let scene = Scene { node: other, ..scene };
    scene.pass(0).await;
    (scene, held, slow)
}

/// Every thing, hung on a token as the first one and as the second.
fn all_ways() -> impl Iterator<Item = (Thing, bool)> {
    let things = [Thing::Child, Thing::Cubbyhole, Thing::Lease];
    things
        .into_iter()
        .flat_map(|thing| [(thing, false), (thing, true)])
}

/// A token; if it `bears` something already, that of a kind.
async fn token_with(node: &Node, (thing, bears): (Thing, bool)) -> String {
    let token = token(node).await;
    if bears {
        hang(node, thing, &token).await.unwrap();
    }
    token
}

/// Whether nobody has an account any more, long before leases end by themselves, and there are as many rows as `before` once all
/// that ends has ended.
async fn assert_gone(scene: &Scene, before: u64, way: (Thing, bool)) {
    scene.pass(0).await;
    assert_eq!(scene.target.accounts(), 0, "{way:?}");
    scene.pass(4 * HOUR).await;
    assert_eq!(rows(&scene.node), before, "{way:?} stays for ever");
}

#[tokio::test]
async fn what_is_hung_on_one_that_ends_in_this_moment_ends_with_it() {
    for way in all_ways() {
        let (scene, held, slow) = two().await;
        let before = rows(&scene.node);
        let token = token_with(&scene.node, way).await;
        held.hold_command();
        let (asked, shown) = (slow.clone(), token.clone());
        let ending = tokio::spawn(async move {
            let shown = json!({ "token": shown });
            asked.call(Verb::Write, "auth/token/revoke", shown).await
        });
        held.is_held().await;
        // Whoever ends it has decided without this.
        hang(&scene.node, way.0, &token).await.unwrap();
        held.release();
        ending.await.unwrap().unwrap();
        assert_gone(&scene, before, way).await;
    }
}

#[tokio::test]
async fn nothing_is_hung_on_one_that_has_ended_in_this_moment() {
    for way in all_ways() {
        let (scene, held, slow) = two().await;
        let before = rows(&scene.node);
        let token = token_with(&scene.node, way).await;
        held.hold_command();
        let (asked, shown) = (slow.clone(), token.clone());
        let hanging = tokio::spawn(async move { hang(&asked, way.0, &shown).await });
        held.is_held().await;
        let ended = json!({ "token": token });
        scene.must("auth/token/revoke", ended).await;
        held.release();
        let refused = hanging.await.unwrap();
        let is_refused = matches!(
            refused,
            Err(Error::Denied {
                unauthenticated: true
            })
        );
        assert!(is_refused, "{way:?}: {refused:?}");
        assert_gone(&scene, before, way).await;
    }
}

#[tokio::test]
async fn a_renewal_in_this_moment_keeps_up_nobody_but_who_hangs_the_first_thing() {
    for way in all_ways() {
        let (scene, held, slow) = two().await;
        let token = token_with(&scene.node, way).await;
        held.hold_command();
        let (asked, shown) = (slow.clone(), token.clone());
        let hanging = tokio::spawn(async move { hang(&asked, way.0, &shown).await });
        held.is_held().await;
        scene.must("auth/token/renew", json!({ "token": token })).await;
        held.release();
        hanging.await.unwrap().unwrap();
        let decided_again = slow.number("conclave_commit_conflicts_total");
        assert_eq!(decided_again, if way.1 { 0.0 } else { 1.0 }, "{way:?}");
    }
}
