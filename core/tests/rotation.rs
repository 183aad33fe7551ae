//! The data key's rotation to its end: new writes by the new key alone, old rows sealed anew, old keys gone, whatever
//! happens meanwhile.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::sync::watch;

use conclave_core::{Body, Error, Request, Rewrapped, Verb};
use conclave_raft::local::LocalReplica;
use conclave_raft::state::{Changes, Store};
use conclave_raft::{Command, Op, Outcome, Replica, Row, View};
use support::Node;
use support::hooked::Hooked;
use support::sealed::{done, make, unseal};
use support::shared::node_on;

const SEAL_TABLE: u8 = 0x10;
const DATA_TABLE: u8 = 0x16;

async fn write(node: &Node, name: &str, value: &str) {
    let path = format!("secret/data/{name}");
    node.call(Verb::Write, &path, json!({"data": {"k": value}}))
        .await
        .unwrap();
}

async fn read(node: &Node, name: &str) -> Option<String> {
    let path = format!("secret/data/{name}");
    match node.call(Verb::Read, &path, Value::Null).await {
        Ok(read) => Some(read["data"]["data"]["k"].as_str().unwrap().to_owned()),
        Err(Error::NotFound { .. }) => None,
        Err(error) => panic!("{path}: {error}"),
    }
}

async fn rotate(node: &Node) {
    node.call(Verb::Write, "sys/rotate", Value::Null).await.unwrap();
}

async fn key_status(node: &Node) -> Value {
    node.call(Verb::Read, "sys/key-status", Value::Null)
        .await
        .unwrap()["data"]
        .clone()
}

/// All rows but the counts and marks of replication itself.
fn rows(store: &Arc<dyn Store>) -> BTreeMap<Bytes, Row> {
    let mut rows = BTreeMap::new();
    store
        .snapshot()
        .unwrap()
        .scan(&[], None, &mut |key, row| {
            rows.insert(Bytes::copy_from_slice(key), row);
            Ok(true)
        })
        .unwrap();
    rows
}

fn terms(store: &Arc<dyn Store>) -> BTreeMap<u32, usize> {
    let mut terms = BTreeMap::new();
    for row in rows(store).values().filter(|row| row.term > 0) {
        *terms.entry(row.term).or_default() += 1;
    }
    terms
}

fn is_named(key: &[u8], name: &str) -> bool {
    key.get(1) == Some(&SEAL_TABLE) && key.ends_with(name.as_bytes())
}

/// Rounds until nothing is left; how many.
async fn rewrap(node: &Node) -> usize {
    for round in 1..1000 {
        if node.core.rewrap_once().await.unwrap() == Rewrapped::Nothing {
            return round;
        }
    }
    panic!("the rewrap never ends");
}

async fn on_one_store() -> (Node, Arc<dyn Replica>) {
    let node = Node::unsealed().await;
    let replica: Arc<dyn Replica> =
        Arc::new(LocalReplica::open(node.store.clone(), node.clock.clone()).unwrap());
    (node, replica)
}

async fn unsealed_on(like: &Node, replica: &Arc<dyn Replica>) -> Node {
    let node = node_on(like, replica);
    node.core.resume().await.unwrap();
    node.unseal().await;
    node
}

#[tokio::test]
async fn rows_of_the_old_key_are_sealed_anew_and_the_key_goes() {
    let node = Node::unsealed().await;
    for n in 0..600 {
        write(&node, &format!("s{n}"), &n.to_string()).await;
    }
    let status = key_status(&node).await;
    assert_eq!((&status["term"], &status["old_terms"]), (&json!(1), &Value::Null));
    assert_eq!(node.core.rewrap_once().await.unwrap(), Rewrapped::Nothing);
    rotate(&node).await;
    let before = rows(&node.store);
    let status = key_status(&node).await;
    assert_eq!((&status["term"], &status["old_terms"]), (&json!(2), &json!([1])));
    let from = node.store.snapshot().unwrap().applied().unwrap().0.revision;
    assert!(rewrap(&node).await > 3, "in batches");
    let status = key_status(&node).await;
    assert_eq!((&status["term"], &status["old_terms"]), (&json!(2), &Value::Null));
    assert_eq!(terms(&node.store).into_keys().collect::<Vec<_>>(), [2]);

    // Revisions, generations and deadlines stay, and nobody who watches hears of it.
    let after = rows(&node.store);
    let mut sealed_anew = 0;
    for (key, row) in &before {
        if row.term == 0 {
            continue;
        }
        let now = &after[key];
        assert_eq!(
            (now.revision, now.generation, now.deadline, now.kind),
            (row.revision, row.generation, row.deadline, row.kind)
        );
        assert_ne!(now.value, row.value);
        sealed_anew += 1;
    }
    assert!(sealed_anew > 1200, "data and metadata of each secret");
    let snapshot = node.store.snapshot().unwrap();
    let applied = snapshot.applied().unwrap().0;
    let Changes::Sets(sets) = View::new(snapshot, applied).changes(from, 4096).unwrap() else {
        panic!("compacted")
    };
    for change in sets.iter().flat_map(|set| &set.changes) {
        assert_ne!(change.key[1], DATA_TABLE, "no watch event");
    }
    // The key is gone from the keyring: the same disk, opened again, reads everything.
    let node = node.restarted().await;
    node.unseal().await;
    for n in 0..600 {
        assert_eq!(read(&node, &format!("s{n}")).await.unwrap(), n.to_string());
    }
}

#[tokio::test]
async fn another_leader_goes_on_where_the_last_one_ended() {
    let (node, replica) = on_one_store().await;
    for n in 0..900 {
        write(&node, &format!("s{n}"), "v").await;
    }
    let (one, two) = (
        unsealed_on(&node, &replica).await,
        unsealed_on(&node, &replica).await,
    );
    rotate(&one).await;
    assert_eq!(one.core.rewrap_once().await.unwrap(), Rewrapped::More);
    let done = terms(&node.store)[&2];
    assert!(done > 100, "{done}");
    let cursor = |store| {
        let rows = rows(store);
        let row = rows.iter().find(|(key, _)| is_named(key, "rewrap")).unwrap();
        // format, term, flags and count come before it
        row.1.value[14..].to_vec()
    };
    let at = cursor(&node.store);
    assert!(!at.is_empty());
    drop(one);
    assert_eq!(two.core.rewrap_once().await.unwrap(), Rewrapped::More);
    assert!(cursor(&node.store) > at, "not from the beginning");
    rewrap(&two).await;
    assert_eq!(terms(&node.store).into_keys().collect::<Vec<_>>(), [2]);
    assert!(!rows(&node.store).keys().any(|key| is_named(key, "rewrap")));
}

#[tokio::test]
async fn a_row_that_does_not_open_keeps_its_key_and_stops_nobody() {
    let (node, replica) = on_one_store().await;
    let node = unsealed_on(&node, &replica).await;
    write(&node, "good", "v").await;
    let key = rows(&node.store)
        .into_keys()
        .find(|key| key[1] == DATA_TABLE)
        .unwrap();
    let mut other = key.to_vec();
    *other.last_mut().unwrap() ^= 1;
    let damaged = Op::Put {
        key: other.into(),
        kind: 0,
        term: 1,
        deadline: 0,
        new_generation: false,
        value: Bytes::from_static(b"no envelope"),
    };
    propose(replica.as_ref(), damaged).await;
    rotate(&node).await;
    let mut last = Rewrapped::More;
    for _ in 0..20 {
        last = node.core.rewrap_once().await.unwrap();
        if last != Rewrapped::More {
            break;
        }
    }
    assert_eq!(last, Rewrapped::Stuck);
    assert_eq!(terms(&node.store)[&1], 1, "all but the damaged one");
    assert_eq!(key_status(&node).await["old_terms"], json!([1]));
    assert_eq!(read(&node, "good").await.unwrap(), "v");
}

/// Puts a row that is neither sealed nor readable where a name in the clear stands.
async fn put_clear(replica: &dyn Replica, name: &str, value: &'static [u8]) {
    let mut key = vec![1, SEAL_TABLE];
    key.extend_from_slice(&[0; 10]);
    key.extend_from_slice(&u16::try_from(name.len()).unwrap().to_be_bytes());
    key.extend_from_slice(name.as_bytes());
    let row = Op::Put {
        key: key.into(),
        kind: 0,
        term: 0,
        deadline: 0,
        new_generation: false,
        value: Bytes::from_static(value),
    };
    propose(replica, row).await;
}

#[tokio::test]
async fn what_is_wrong_with_one_ring_holds_up_no_other() {
    let (node, replica) = on_one_store().await;
    let node = unsealed_on(&node, &replica).await;
    let names = ["a", "b", "c"];
    for name in names {
        let shares = make(&node, "", name).await;
        unseal(&node, "", name, &shares).await;
    }
    // What is known of the rewrap of the cluster's ring and of the first namespace's is nonsense.
    rotate(&node).await;
    for name in names {
        done(&node, name, Verb::Write, "sys/rotate/keyring", Value::Null).await;
    }
    put_clear(replica.as_ref(), "rewrap", b"nonsense").await;
    put_clear(replica.as_ref(), "rewrap-1", b"nonsense").await;
    let old = async |name: &str| {
        let status = done(&node, name, Verb::Read, "sys/key-status", Value::Null).await;
        status["data"]["old_terms"].clone()
    };
    let mut told = Vec::new();
    for _ in 0..100 {
        match node.core.rewrap_once().await {
            Ok(Rewrapped::Nothing) => break,
            Ok(_) => {}
            Err(error) => told.push(error.to_string()),
        }
    }
    assert_eq!([old("b").await, old("c").await], [Value::Null, Value::Null]);
    assert!(told.iter().all(|error| error.contains("rewrap")), "{told:?}");
    let families = node.registry.gather();
    let failed = families
        .iter()
        .find(|family| family.name() == "conclave_rewrap_failures_total");
    let failed = failed.expect("it is counted").get_metric()[0]
        .get_counter()
        .get_value();
    assert!(failed >= 2.0, "{failed}");
    // It is tried again.
    let key = |name: &str| {
        let rows = rows(&node.store);
        rows.into_keys().find(|key| is_named(key, name)).unwrap()
    };
    for name in ["rewrap", "rewrap-1"] {
        propose(replica.as_ref(), Op::Delete { key: key(name) }).await;
    }
    tokio::time::pause();
    tokio::time::advance(std::time::Duration::from_secs(60)).await;
    rewrap(&node).await;
    assert_eq!([old("").await, old("a").await], [Value::Null, Value::Null]);
}

async fn propose(replica: &dyn Replica, op: Op) {
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

#[tokio::test]
async fn what_was_sealed_with_the_old_key_is_refused_and_sealed_again() {
    let (node, replica) = on_one_store().await;
    let rotator = unsealed_on(&node, &replica).await;
    let armed = Arc::new(AtomicBool::new(false));
    let stale = Arc::new(AtomicUsize::new(0));
    let (held, mut is_held) = watch::channel(false);
    let (go, may_go) = watch::channel(false);
    let late: Arc<dyn Replica> = Arc::new(Hooked {
        inner: replica,
        before: {
            let armed = armed.clone();
            Box::new(move |command| {
                let holds = command.oldest_term > 0 && armed.swap(false, Ordering::SeqCst);
                let mut may_go = may_go.clone();
                if holds {
                    held.send_replace(true);
                }
                Box::pin(async move {
                    if holds {
                        may_go.wait_for(|go| *go).await.unwrap();
                    }
                    Ok(())
                })
            })
        },
        after: {
            let stale = stale.clone();
            Box::new(move |outcome| {
                if matches!(outcome, Ok(Outcome::StaleKey { min_term: 2 })) {
                    stale.fetch_add(1, Ordering::SeqCst);
                }
            })
        },
    });
    let writer = unsealed_on(&node, &late).await;
    armed.store(true, Ordering::SeqCst);
    let waits = tokio::spawn(async move {
        write(&writer, "late", "v").await;
        writer
    });
    is_held.wait_for(|held| *held).await.unwrap();
    rotate(&rotator).await;
    go.send_replace(true);
    let writer = waits.await.unwrap();
    assert_eq!(stale.load(Ordering::SeqCst), 1, "the rotation came first");
    assert_eq!(read(&writer, "late").await.unwrap(), "v");
    let written = node.store.snapshot().unwrap().applied().unwrap().0.revision;
    let sealed_last: Vec<u32> = rows(&node.store)
        .into_values()
        .filter(|row| row.revision == written && row.term > 0)
        .map(|row| row.term)
        .collect();
    assert!(!sealed_last.is_empty() && sealed_last.iter().all(|term| *term == 2));
}

#[tokio::test]
async fn a_snapshot_from_before_the_rewrap_still_restores() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::unsealed().await;
    write(&node, "kept", "one").await;
    let before = save(&node, &dir, "before").await;
    rotate(&node).await;
    write(&node, "kept", "two").await;
    let between = save(&node, &dir, "between").await;
    assert_eq!(node.core.rewrap_once().await.unwrap(), Rewrapped::More);
    let midway = save(&node, &dir, "midway").await;
    rewrap(&node).await;
    rotate(&node).await;
    rewrap(&node).await;
    for (file, value) in [(&before, "one"), (&between, "two"), (&midway, "two")] {
        let mut request = Request::new(Verb::Write, "sys/storage/raft/snapshot");
        request.token = Some(node.root.clone().into());
        request.upload = Some(file.clone());
        node.core.handle(request).await.unwrap();
        assert_eq!(read(&node, "kept").await.unwrap(), value);
        // And it goes on from there, to the end.
        rewrap(&node).await;
        rotate(&node).await;
        assert_eq!(read(&node, "kept").await.unwrap(), value);
        rewrap(&node).await;
        assert_eq!(terms(&node.store).len(), 1);
        assert_eq!(read(&node, "kept").await.unwrap(), value);
    }
}

async fn save(node: &Node, dir: &tempfile::TempDir, name: &str) -> std::path::PathBuf {
    let mut request = Request::new(Verb::Read, "sys/storage/raft/snapshot");
    request.token = Some(node.root.clone().into());
    let response = node.core.handle(request).await.unwrap();
    let Body::File { file, .. } = response.body else {
        panic!("no file")
    };
    let kept = dir.path().join(name);
    std::fs::copy(file.path(), &kept).unwrap();
    kept
}

#[tokio::test]
async fn the_new_root_key_is_on_offer_until_all_follow() {
    let node = Node::unsealed().await;
    write(&node, "kept", "v").await;
    let begun = node
        .call(
            Verb::Write,
            "sys/rotate/root/init",
            json!({"secret_shares": 1, "secret_threshold": 1}),
        )
        .await
        .unwrap();
    for share in &node.shares[..2] {
        let data = json!({"nonce": begun["data"]["nonce"], "key": share});
        node.call(Verb::Write, "sys/rotate/root/update", data)
            .await
            .unwrap();
    }
    let offered = || rows(&node.store).keys().any(|key| is_named(key, "handover"));
    assert!(offered());
    node.core.drop_handover_once().await.unwrap();
    assert!(!offered(), "there is nobody else");
    assert_eq!(read(&node, "kept").await.unwrap(), "v");
    rotate(&node).await;
    rewrap(&node).await;
    assert_eq!(read(&node, "kept").await.unwrap(), "v");
}

#[tokio::test]
async fn keys_are_rotated_by_age_and_by_use() {
    let (node, replica) = on_one_store().await;
    let node = unsealed_on(&node, &replica).await;
    let settings = async |path: &str| node.call(Verb::Read, path, Value::Null).await.unwrap()["data"].clone();
    let fresh = json!({"enabled": true, "max_operations": 3_865_470_566_u64, "interval": 0});
    assert_eq!(settings("sys/rotate/config").await, fresh);
    for (bad, said) in [
        (json!({"interval": "1h"}), "greater or equal to 24h0m0s"),
        (json!({"interval": "soon"}), "interval"),
        (json!({"max_operations": 5}), "must be in the range"),
        (json!({"max_operations": -1}), "must be in the range"),
        (
            json!({"max_operations": 3_865_470_567_u64}),
            "must be in the range",
        ),
        (json!({"enabled": "perhaps"}), "enabled"),
    ] {
        let error = node
            .call(Verb::Write, "sys/rotate/config", bad.clone())
            .await
            .unwrap_err();
        assert!(error.to_string().contains(said), "{bad}: {error}");
    }
    assert_eq!(settings("sys/rotate/keyring/config").await, fresh);
    let wanted = json!({"interval": "30h", "max_operations": 1_000_000});
    node.call(Verb::Write, "sys/rotate/config", wanted).await.unwrap();
    let kept = json!({"enabled": true, "max_operations": 1_000_000, "interval": "30h0m0s"});
    assert_eq!(settings("sys/rotate/config").await, kept);

    assert!(!node.core.rotate_if_due().await.unwrap());
    node.clock.advance(30 * 3_600_000);
    assert!(node.core.rotate_if_due().await.unwrap());
    assert!(!node.core.rotate_if_due().await.unwrap(), "it is young again");
    assert_eq!(key_status(&node).await["term"], 2);

    write(&node, "a", "b").await;
    node.core.report_encryptions().await.unwrap();
    let used = key_status(&node).await["encryptions"].as_u64().unwrap();
    assert!((2..100).contains(&used), "{used}");
    let key = rows(&node.store)
        .into_keys()
        .find(|key| is_named(key, "encryptions"))
        .unwrap();
    let many = Op::Add {
        key,
        delta: 1_000_000,
        floor: 0,
        ceiling: i64::MAX,
    };
    propose(replica.as_ref(), many).await;
    node.call(Verb::Write, "sys/rotate/config", json!({"enabled": false}))
        .await
        .unwrap();
    assert!(!node.core.rotate_if_due().await.unwrap(), "switched off");
    node.call(Verb::Write, "sys/rotate/config", json!({"enabled": true}))
        .await
        .unwrap();
    assert!(node.core.rotate_if_due().await.unwrap());
    let status = key_status(&node).await;
    assert_eq!((&status["term"], &status["encryptions"]), (&json!(3), &json!(0)));
}

/// What happens next to the two nodes of the model.
#[derive(Debug, Clone)]
enum Step {
    Write { node: usize, name: u8, value: u8 },
    Delete { node: usize, name: u8 },
    Rotate { node: usize },
    Rewrap { node: usize },
    Restart { node: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let node = 0..2usize;
    prop_oneof![
        6 => (node.clone(), 0..12u8, any::<u8>())
            .prop_map(|(node, name, value)| Step::Write { node, name, value }),
        2 => (node.clone(), 0..12u8).prop_map(|(node, name)| Step::Delete { node, name }),
        2 => node.clone().prop_map(|node| Step::Rotate { node }),
        4 => node.clone().prop_map(|node| Step::Rewrap { node }),
        1 => node.prop_map(|node| Step::Restart { node }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_interleaved_nothing_is_lost(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(model(steps));
    }
}

async fn model(steps: Vec<Step>) {
    let (node, replica) = on_one_store().await;
    let mut nodes = [
        unsealed_on(&node, &replica).await,
        unsealed_on(&node, &replica).await,
    ];
    let mut expected: BTreeMap<u8, u8> = BTreeMap::new();
    let mut rotations = 0;
    for step in steps {
        node.clock.advance(100);
        match step {
            Step::Write { node, name, value } => {
                write(&nodes[node], &name.to_string(), &value.to_string()).await;
                expected.insert(name, value);
            }
            Step::Delete { node, name } => {
                let path = format!("secret/metadata/{name}");
                nodes[node].call(Verb::Delete, &path, Value::Null).await.unwrap();
                expected.remove(&name);
            }
            Step::Rotate { node } => {
                rotate(&nodes[node]).await;
                rotations += 1;
            }
            Step::Rewrap { node } => {
                nodes[node].core.rewrap_once().await.unwrap();
            }
            Step::Restart { node: at } => nodes[at] = unsealed_on(&node, &replica).await,
        }
        let applied = node.store.snapshot().unwrap().applied().unwrap().0;
        assert_eq!(
            applied.min_term,
            if rotations == 0 { 0 } else { 1 + rotations },
            "the least term moves with the key"
        );
        for row in rows(&node.store)
            .values()
            .filter(|row| row.revision == applied.revision)
        {
            assert!(
                row.term == 0 || row.term >= applied.min_term,
                "sealed with a stale key"
            );
        }
    }
    rewrap(&nodes[0]).await;
    assert!(terms(&node.store).into_keys().eq([1 + rotations]));
    for reader in &nodes {
        assert_eq!(key_status(reader).await["old_terms"], Value::Null);
        for name in 0..12 {
            let found = read(reader, &name.to_string()).await;
            assert_eq!(found, expected.get(&name).map(u8::to_string), "{name}");
        }
    }
}
