//! Requests of more than one command, and a node that ends or is alone between them: nothing is done twice, nothing is said
//! to be undone that was done.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;

use conclave_core::{Error, Request, Verb};
use conclave_raft::local::LocalReplica;
use conclave_raft::{Command, Error as RaftError, Outcome, Replica};
use support::Node;
use support::hooked::Hooked;
use support::played::{PATH, Scene};
use support::shared::node_on;

/// The queue of the expiry job.
const EXPIRY_QUEUE: u64 = 1;
/// Never reached.
const NEVER: usize = usize::MAX;

/// Another node on the rows of `like`, whose commands do not get through once `left` of them have: they hang, and `reached`
/// tells so, or `fails` is their answer.
struct CutOff {
    node: Node,
    left: Arc<AtomicUsize>,
    reached: watch::Receiver<bool>,
}

impl CutOff {
    async fn of(like: &Node, fails: bool) -> Self {
        let left = Arc::new(AtomicUsize::new(NEVER));
        let (reaches, reached) = watch::channel(false);
        let counted = left.clone();
        let hooked: Arc<dyn Replica> = Arc::new(Hooked {
            inner: replica(like),
            before: Box::new(move |_| {
                let left = counted.load(Ordering::SeqCst);
                if left > 0 {
                    counted.store(left - 1, Ordering::SeqCst);
                    return Box::pin(async { Ok(()) });
                }
                reaches.send_replace(true);
                Box::pin(async move {
                    if !fails {
                        std::future::pending::<()>().await;
                    }
                    Err(RaftError::NoLeader)
                })
            }),
            after: Box::new(|_| {}),
        });
        let node = node_on(like, &hooked);
        node.core.resume().await.unwrap();
        node.unseal().await;
        Self { node, left, reached }
    }

    /// The node ends while this request waits for the command after `commands` more.
    async fn dies_during(mut self, request: Request, commands: usize) {
        self.left.store(commands, Ordering::SeqCst);
        let core = self.node.core.clone();
        let asking = tokio::spawn(async move { core.handle(request).await.is_ok() });
        self.reached.wait_for(|reached| *reached).await.unwrap();
        assert!(!asking.is_finished());
        asking.abort();
    }
}

fn replica(like: &Node) -> Arc<dyn Replica> {
    Arc::new(LocalReplica::open(like.store.clone(), like.clock.clone()).unwrap())
}

/// A node that starts on the same rows afterwards.
async fn after(like: &Node) -> Node {
    let node = node_on(like, &replica(like));
    node.core.resume().await.unwrap();
    node.unseal().await;
    node
}

fn put(token: &str, path: &str) -> Request {
    let mut request = Request::new(Verb::Write, path);
    request.token = Some(token.to_owned().into());
    request.data = json!({"data": {"k": "v"}}).as_object().unwrap().clone();
    request
}

#[tokio::test]
async fn a_use_that_was_paid_before_a_crash_is_neither_given_back_nor_paid_twice() {
    let node = Node::unsealed().await;
    let policy = json!({"policy": r#"path "secret/*" { capabilities = ["create", "read", "update"] }"#});
    node.call(Verb::Write, "sys/policies/acl/p", policy)
        .await
        .unwrap();
    let wish = json!({"policies": ["p"], "num_uses": 3, "ttl": "1h"});
    let made = node.call(Verb::Write, "auth/token/create", wish).await.unwrap();
    let token = made["auth"]["client_token"].as_str().unwrap().to_owned();

    // Paid is the first command, the change the second.
    let cut_off = CutOff::of(&node, false).await;
    cut_off.dies_during(put(&token, "secret/data/lost"), 1).await;
    let node = after(&node).await;
    let lost = node.call(Verb::Read, "secret/data/lost", Value::Null).await;
    assert!(matches!(lost, Err(Error::NotFound { .. })), "{lost:?}");

    // And one that ends before it has paid costs nothing.
    let cut_off = CutOff::of(&node, false).await;
    cut_off.dies_during(put(&token, "secret/data/lost"), 0).await;
    let node = after(&node).await;
    for left in [true, true, false] {
        let done = node.core.handle(put(&token, "secret/data/kept")).await;
        assert_eq!(done.is_ok(), left, "{:?}", done.err());
    }
}

/// How long the leader leaves a request that took a token's last use.
const GRACE: u64 = 10_000;

#[tokio::test]
async fn a_token_whose_node_died_with_its_last_use_ends_all_the_same() {
    let scene = Scene::new().await;
    let node = &scene.node;
    let wish = json!({"policies": ["root"], "num_uses": 3, "ttl": "1h"});
    let made = node.call(Verb::Write, "auth/token/create", wish).await.unwrap();
    let token = made["auth"]["client_token"].as_str().unwrap();
    let own = node.call_as(token, Verb::Write, "cubbyhole/own", json!({"k": "v"}));
    own.await.unwrap();
    let issued = node.call_as(token, Verb::Read, PATH, Value::Null).await.unwrap();
    let waiting = node.waiting(EXPIRY_QUEUE);

    // Paid is the first command, the change the second, the end of the token would be the third.
    let cut_off = CutOff::of(node, false).await;
    cut_off.dies_during(put(token, "secret/data/kept"), 2).await;
    let Scene { node, target } = scene;
    let node = node.restarted().await;
    node.unseal().await;
    let scene = Scene { node, target };
    let node = &scene.node;
    let kept = node.call(Verb::Read, "secret/data/kept", Value::Null).await;
    assert!(kept.is_ok(), "{kept:?}");
    scene.pass(GRACE - 1).await;
    assert_eq!(scene.target.accounts(), 1, "its request might go on");
    let over = node
        .call_as(token, Verb::Read, "cubbyhole/own", Value::Null)
        .await;
    assert!(matches!(over, Err(Error::Denied { .. })), "{over:?}");
    scene.pass(1).await;
    let asked = json!({"accessor": made["auth"]["accessor"]});
    let gone = node.call(Verb::Write, "auth/token/lookup-accessor", asked).await;
    assert!(matches!(gone, Err(Error::Listed(_))), "{gone:?}");
    assert!(scene.look_up(&issued["lease_id"]).await.is_err());
    assert_eq!(scene.target.accounts(), 0);
    // Neither the token's row nor what stood for its end.
    assert_eq!(node.waiting(EXPIRY_QUEUE), waiting - 1);
}

#[tokio::test]
async fn an_act_whose_answer_could_not_be_wrapped_is_not_said_to_be_undone() {
    let node = Node::unsealed().await;
    let cut_off = CutOff::of(&node, true).await;
    let mut begin = Request::new(Verb::Write, "sys/rotate/root/init");
    begin.token = Some(node.root.clone().into());
    begin.data = json!({"secret_shares": 3, "secret_threshold": 2})
        .as_object()
        .unwrap()
        .clone();
    begin.wrap_ttl = Some(60_000);
    // The act is no command; that its answer lies in a cubbyhole is one.
    cut_off.left.store(0, Ordering::SeqCst);
    let said = cut_off.node.core.handle(begin).await;
    assert!(matches!(said, Err(Error::OutcomeUnknown)), "{:?}", said.err());
    let status = cut_off
        .node
        .call(Verb::Read, "sys/rotate/root/init", Value::Null)
        .await;
    assert_eq!(status.unwrap()["data"]["started"], true);

    // What is no change may be asked again.
    let mut look = Request::new(Verb::Read, "sys/rotate/root/init");
    look.token = Some(node.root.clone().into());
    look.wrap_ttl = Some(60_000);
    let said = cut_off.node.core.handle(look).await;
    assert!(matches!(said, Err(Error::NoLeader(_))), "{:?}", said.err());
}

/// What share holders do for new shares.
const INIT: &str = "sys/rotate/root/init";
const UPDATE: &str = "sys/rotate/root/update";
/// What they do for a root token.
const ATTEMPT: (&str, &str) = (
    "sys/generate-root-token/attempt",
    "sys/generate-root-token/update",
);

/// A node whose commands, once it is told so, are kept and answered as if nobody knew what became of them.
struct Losing {
    node: Node,
    inner: Arc<dyn Replica>,
    loses: Arc<AtomicBool>,
    kept: Arc<Mutex<Vec<Command>>>,
}

impl Losing {
    async fn of(like: &Node) -> Self {
        let inner = replica(like);
        let loses = Arc::new(AtomicBool::new(false));
        let kept: Arc<Mutex<Vec<Command>>> = Arc::default();
        let (armed, keeps) = (loses.clone(), kept.clone());
        let hooked: Arc<dyn Replica> = Arc::new(Hooked {
            inner: inner.clone(),
            before: Box::new(move |command| {
                let is_lost = armed.load(Ordering::SeqCst);
                if is_lost {
                    keeps.lock().push(command.clone());
                }
                Box::pin(async move {
                    match is_lost {
                        true => Err(RaftError::OutcomeUnknown),
                        false => Ok(()),
                    }
                })
            }),
            after: Box::new(|_| {}),
        });
        let node = node_on(like, &hooked);
        node.core.resume().await.unwrap();
        node.unseal().await;
        Self {
            node,
            inner,
            loses,
            kept,
        }
    }

    async fn give(&self, path: &str, nonce: &str, share: usize) -> Result<Value, Error> {
        let body = json!({"nonce": nonce, "key": self.node.shares[share]});
        let given = self.node.call(Verb::Write, path, body).await;
        given.map(|given| given["data"].clone())
    }

    /// Begins a ceremony and gives the present shares; of the last step nobody knows what became. What beginning was answered.
    async fn lose(&self, (init, update): (&str, &str), wanted: Value) -> Value {
        let begun = self.node.call(Verb::Write, init, wanted).await.unwrap()["data"].clone();
        let nonce = begun["nonce"].as_str().unwrap();
        self.give(update, nonce, 0).await.unwrap();
        self.loses.store(true, Ordering::SeqCst);
        let unknown = self.give(update, nonce, 1).await;
        assert!(matches!(unknown, Err(Error::OutcomeUnknown)), "{unknown:?}");
        self.loses.store(false, Ordering::SeqCst);
        begun
    }

    /// New shares: one for the present ones. The nonce.
    async fn rotate(&self) -> String {
        let wanted = json!({"secret_shares": 1, "secret_threshold": 1});
        let begun = self.lose((INIT, UPDATE), wanted).await;
        begun["nonce"].as_str().unwrap().to_owned()
    }

    async fn cancel(&self, init: &str) -> Result<Value, Error> {
        self.node.call(Verb::Delete, init, Value::Null).await
    }

    /// The first command that was lost arrives after all. Whether it is applied.
    async fn arrives(&self) -> bool {
        let command = std::mem::take(&mut *self.kept.lock()).remove(0);
        let outcome = self.inner.propose(command).await.unwrap();
        matches!(outcome, Outcome::Applied { .. })
    }
}

#[tokio::test]
async fn new_shares_that_are_cancelled_never_take_effect_and_those_that_have_are_not_cancelled() {
    let node = Node::unsealed().await;
    let losing = Losing::of(&node).await;
    losing.rotate().await;
    losing.cancel(INIT).await.unwrap();
    assert!(!losing.arrives().await, "nobody would be told the new share");

    let nonce = losing.rotate().await;
    assert!(losing.arrives().await);
    let refused = losing.cancel(INIT).await.unwrap_err().to_string();
    assert!(refused.contains("in effect"), "{refused}");
    let made = losing.give(UPDATE, &nonce, 0).await.unwrap();
    losing.cancel(INIT).await.expect("it is over");
    let mut opened = node_on(&node, &losing.inner);
    opened.core.resume().await.unwrap();
    opened.shares = vec![made["keys"][0].as_str().unwrap().to_owned()];
    opened.unseal().await;
    assert!(opened.call(Verb::Read, "sys/mounts", Value::Null).await.is_ok());
}

/// How many tokens there are.
async fn tokens(node: &Node) -> usize {
    let listed = node.call(Verb::List, "auth/token/accessors", Value::Null).await;
    listed.unwrap()["data"]["keys"].as_array().unwrap().len()
}

#[tokio::test]
async fn a_root_token_that_is_cancelled_is_never_made_and_one_that_was_is_told_of() {
    let node = Node::unsealed().await;
    let losing = Losing::of(&node).await;
    let before = tokens(&losing.node).await;
    losing.lose(ATTEMPT, json!({})).await;
    losing.cancel(ATTEMPT.0).await.unwrap();
    assert!(!losing.arrives().await, "nobody would know the token");
    assert_eq!(tokens(&losing.node).await, before);

    let begun = losing.lose(ATTEMPT, json!({})).await;
    assert!(losing.arrives().await);
    assert_eq!(tokens(&losing.node).await, before + 1);
    let refused = losing.cancel(ATTEMPT.0).await.unwrap_err().to_string();
    assert!(refused.contains("is made already"), "{refused}");
    let nonce = begun["nonce"].as_str().unwrap();
    let made = losing.give(ATTEMPT.1, nonce, 0).await.unwrap();
    let data = json!({"encoded_token": made["encoded_token"], "otp": begun["otp"]});
    let token = losing
        .node
        .call(Verb::Write, "sys/decode-token", data)
        .await
        .unwrap()["data"]["token"]
        .clone();
    let token = token.as_str().unwrap();
    losing
        .node
        .call_as(token, Verb::Read, "sys/mounts", Value::Null)
        .await
        .unwrap();
    losing.cancel(ATTEMPT.0).await.expect("it is over");
    assert_eq!(tokens(&losing.node).await, before + 1);
}
