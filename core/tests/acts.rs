//! What a node does by itself and cannot put on record: noted with the deed, recorded later by whoever leads, once and under the
//! same id, and a bound on how much may wait.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};

use conclave_core::audit::Declared;
use conclave_core::{Error, Round, Settings};
use conclave_raft::Replica;
use conclave_raft::local::LocalReplica;
use support::Node;
use support::played::{SECOND, Scene};
use support::shared::node_on;

/// Where notes lie: the second byte of their keys.
const TABLE: u8 = 0x39;
/// The queue of what is due.
const EXPIRY: u64 = 1;

/// A directory for audit files that can be taken away.
struct Shelf(tempfile::TempDir);

impl Shelf {
    fn new() -> Self {
        let shelf = Self(tempfile::tempdir().unwrap());
        shelf.put_back();
        shelf
    }

    fn logs(&self) -> PathBuf {
        self.0.path().join("logs")
    }

    /// No device takes anything from now on; what is there is gone.
    fn take_away(&self) {
        std::fs::remove_dir_all(self.logs()).unwrap();
    }

    fn put_back(&self) {
        std::fs::create_dir(self.logs()).unwrap();
    }

    /// A node with one device.
    fn settings(&self, file: &str, acts_waiting: usize) -> Settings {
        let path = self.logs().join(file);
        Settings {
            audit_directories: vec![self.logs()],
            acts_waiting,
            audit_devices: vec![Declared {
                path: "main/".to_owned(),
                kind: "file".to_owned(),
                description: String::new(),
                options: [("file_path".to_owned(), path.to_string_lossy().into_owned())].into(),
            }],
            ..Settings::default()
        }
    }

    fn acts(&self, file: &str) -> Vec<Value> {
        acts(&self.logs().join(file))
    }
}

fn acts(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let records = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    records.filter(|record| record["type"] == "act").collect()
}

/// Rows of notes that are there.
fn notes(node: &Node) -> usize {
    let mut count = 0;
    let rows = node.store.snapshot().unwrap();
    rows.scan(&[1, TABLE], Some(&[1, TABLE + 1]), &mut |_, _| {
        count += 1;
        Ok(true)
    })
    .unwrap();
    count
}

fn gauge(node: &Node) -> f64 {
    let families = node.registry.gather();
    let found = families
        .iter()
        .find(|family| family.name() == "conclave_audit_acts_waiting");
    found.unwrap().get_metric()[0].get_gauge().get_value()
}

async fn ends_in(node: &Node, seconds: u64) {
    node.token(json!({"ttl": format!("{seconds}s"), "policies": ["default"]}))
        .await;
}

#[tokio::test]
async fn what_no_device_took_is_recorded_once_by_the_next_that_leads() {
    let shelf = Shelf::new();
    let first = Node::unsealed().await;
    let replica = LocalReplica::open(first.store.clone(), first.clock.clone()).unwrap();
    let replica: Arc<dyn Replica> = Arc::new(replica);
    let node = on(&first, &replica, shelf.settings("one.log", 10)).await;
    ends_in(&node, 60).await;
    node.clock.advance(61 * SECOND);
    shelf.take_away();
    assert_eq!(node.core.expire_once().await.unwrap(), Round::Full, "it ended");
    node.core.tend_acts().await.unwrap();
    assert_eq!((notes(&node), gauge(&node)), (1, 1.0), "and waits");
    node.clock.advance(60 * SECOND);

    // The process dies, and another leads, with a device of its own.
    shelf.put_back();
    let next = on(&first, &replica, shelf.settings("two.log", 10)).await;
    next.core.tend_acts().await.unwrap();
    let done = shelf.acts("two.log");
    assert_eq!(done.len(), 1, "{done:?}");
    let request = &done[0]["request"];
    assert_eq!(request["path"], "auth/token/expire");
    assert_eq!(
        (&request["data"]["node"], &request["operation"]),
        (&json!(1), &json!("delete"))
    );
    assert!(
        request["data"]["accessor"]
            .as_str()
            .unwrap()
            .starts_with("hmac-sha256:")
    );
    assert_eq!(
        done[0]["time"], "2026-01-01T00:01:01Z",
        "of the deed, not of the record"
    );
    assert_eq!(notes(&node), 0);
    next.core.tend_acts().await.unwrap();
    // The one before was alive after all, and finds that it is done.
    node.core.tend_acts().await.unwrap();
    assert_eq!((shelf.acts("one.log").len(), shelf.acts("two.log").len()), (0, 1));
    assert_eq!(gauge(&node), 0.0);
}

#[tokio::test]
async fn a_record_that_is_written_twice_has_the_same_id() {
    let shelf = Shelf::new();
    let node = Node::unsealed_with(shelf.settings("one.log", 10)).await;
    for _ in 0..3 {
        ends_in(&node, 60).await;
    }
    node.clock.advance(61 * SECOND);
    node.core.expire_once().await.unwrap();
    assert_eq!(shelf.acts("one.log").len(), 3, "at once");
    assert_eq!(notes(&node), 1, "the note goes later, with others");
    // It dies before it does.
    let replica = LocalReplica::open(node.store.clone(), node.clock.clone()).unwrap();
    let replica: Arc<dyn Replica> = Arc::new(replica);
    let next = on(&node, &replica, shelf.settings("two.log", 10)).await;
    next.core.tend_acts().await.unwrap();
    assert_eq!(notes(&node), 0);
    let ids = |file: &str| {
        let acts = shelf.acts(file).into_iter();
        acts.map(|act| act["request"]["id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let (one, two) = (ids("one.log"), ids("two.log"));
    assert_eq!(one, two);
    assert!(one[0] != one[1] && one[1] != one[2], "{one:?}");
    assert_eq!(shelf.acts("one.log")[2]["time"], shelf.acts("two.log")[2]["time"]);
}

#[tokio::test]
async fn jobs_stop_while_too_much_waits_and_go_on() {
    let shelf = Shelf::new();
    let node = Node::unsealed_with(shelf.settings("one.log", 2)).await;
    for seconds in [60, 120, 180] {
        ends_in(&node, seconds).await;
    }
    shelf.take_away();
    for _ in 0..2 {
        node.clock.advance(61 * SECOND);
        assert_eq!(node.core.expire_once().await.unwrap(), Round::Full);
    }
    node.clock.advance(61 * SECOND);
    let stopped = node.core.expire_once().await;
    assert!(matches!(stopped, Err(Error::AuditRefused)), "{stopped:?}");
    // The third: nothing hung on the others.
    assert_eq!((node.waiting(EXPIRY), notes(&node), gauge(&node)), (1, 2, 2.0));
    let stopped = node.core.rotate_if_due().await;
    assert!(matches!(stopped, Ok(false)), "nothing is due: {stopped:?}");
    node.core.tend_acts().await.unwrap();
    assert_eq!(notes(&node), 2, "still nobody takes them");
    shelf.put_back();
    node.core.tend_acts().await.unwrap();
    assert_eq!((notes(&node), gauge(&node)), (0, 0.0));
    node.expire().await;
    node.core.tend_acts().await.unwrap();
    assert_eq!((node.waiting(EXPIRY), shelf.acts("one.log").len()), (0, 3));
    let ids: std::collections::BTreeSet<String> = shelf
        .acts("one.log")
        .iter()
        .map(|act| act["request"]["id"].to_string())
        .collect();
    assert_eq!(ids.len(), 3);
}

#[tokio::test]
async fn an_account_goes_though_nobody_takes_the_record_and_its_lease_when_somebody_does() {
    let shelf = Shelf::new();
    // So few that it is too much at once.
    let scene = Scene::with(shelf.settings("one.log", 0)).await;
    scene.issue().await;
    scene.node.clock.advance(3601 * SECOND);
    scene.node.core.tend_leases_once().await.unwrap();
    assert_eq!(scene.target.accounts(), 0, "it is dropped in time");
    assert_eq!(scene.leases().await.len(), 1, "and stays visible");
    assert!(shelf.acts("one.log").is_empty());
    let mut node = scene.node;
    node.settings.acts_waiting = 10;
    let node = node.restarted().await;
    node.unseal().await;
    node.clock.advance(10 * SECOND);
    assert_eq!(node.core.tend_leases_once().await.unwrap(), 1);
    node.core.tend_acts().await.unwrap();
    let acts = shelf.acts("one.log");
    assert_eq!(acts.len(), 1, "{acts:?}");
    assert_eq!(acts[0]["request"]["path"], "database/creds/app");
    assert_eq!(acts[0]["request"]["data"]["complete"], true);
    assert_eq!(notes(&node), 0);
}

/// A process on the rows of a replica, with these settings.
async fn on(first: &Node, replica: &Arc<dyn Replica>, settings: Settings) -> Node {
    let mut like = node_on(first, replica);
    like.settings = settings;
    let node = node_on(&like, replica);
    node.core.resume().await.unwrap();
    node.unseal().await;
    node
}
