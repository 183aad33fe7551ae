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

/// Two nodes over the same rows: the reads of the first can be held.
async fn two() -> (Node, Arc<Held>, Arc<Node>, Node) {
    let node = Node::unsealed().await;
    let replica: Arc<dyn Replica> =
        Arc::new(LocalReplica::open(node.store.clone(), node.clock.clone()).unwrap());
    let held = Held::over(replica.clone());
    let late: Arc<dyn Replica> = held.clone();
    let (slow, other) = (Arc::new(node_on(&node, &late)), node_on(&node, &replica));
    for node in [&*slow, &other] {
        node.core.resume().await.unwrap();
        node.unseal().await;
    }
    (node, held, slow, other)
}

#[tokio::test]
async fn what_is_hung_on_one_that_ends_in_this_moment_ends_with_it() {
    for thing in [Thing::Child, Thing::Cubbyhole] {
        let (_node, held, slow, other) = two().await;
        other.expire().await;
        let before = rows(&other);
        let token = token(&other).await;
        held.hold_after(0);
        let (asked, shown) = (slow.clone(), token.clone());
        let ending = tokio::spawn(async move {
            let shown = json!({ "token": shown });
            asked.call(Verb::Write, "auth/token/revoke", shown).await
        });
        held.is_held().await;
        // Whoever ends it has seen it bare.
        hang(&other, thing, &token).await.unwrap();
        held.release();
        ending.await.unwrap().unwrap();
        other.expire().await;
        assert_eq!(rows(&other), before, "{thing:?} stays for ever");
    }
}

#[tokio::test]
async fn nothing_is_hung_on_one_that_has_ended_in_this_moment() {
    let (_node, held, slow, other) = two().await;
    other.expire().await;
    let before = rows(&other);
    let token = token(&other).await;
    held.hold_after(0);
    let (asked, shown) = (slow.clone(), token.clone());
    let hanging = tokio::spawn(async move { hang(&asked, Thing::Child, &shown).await });
    held.is_held().await;
    let ended = json!({ "token": token });
    other.call(Verb::Write, "auth/token/revoke", ended).await.unwrap();
    held.release();
    let refused = hanging.await.unwrap();
    let is_refused = matches!(
        refused,
        Err(Error::Denied {
            unauthenticated: true
        })
    );
    assert!(is_refused, "{refused:?}");
    other.expire().await;
    assert_eq!(rows(&other), before);
}
