//! What a supervisor's signals do: SIGTERM hands leadership over, SIGHUP takes up new certificates.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::watch;

use crate::harness::{Api, Cluster, FAILOVER, Outcome, SOON, conclave, eventually};
use crate::shell::must;

/// What a leader says that ends without a successor, so that the others have to wait for an election.
const NOT_HANDED_OVER: &str = "leadership is not handed over";

/// A node looks at its files every half minute anyway: within less it was told.
const LOOKED_AT: Duration = Duration::from_secs(25);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_leader_told_to_end_hands_over() {
    let mut cluster = Cluster::formed().await;
    for _ in 0..2 {
        let leader = cluster.leader().await;
        let through = cluster.others(leader)[0];
        let (stop, stopped) = watch::channel(false);
        let writer = tokio::spawn(write_on(cluster.api(through), stopped));
        some_writes(&cluster.api(through)).await;
        cluster.nodes[leader].stop().await;
        let said = cluster.nodes[leader].said();
        assert!(!said.contains(NOT_HANDED_OVER), "{said}");
        let next = cluster.leader().await;
        assert_ne!(next, leader);
        some_writes(&cluster.api(through)).await;
        stop.send(true).expect("a writer");
        let (writes, longest) = writer.await.expect("a writer that ends");
        eprintln!("{writes} writes, the longest took {longest:?}");
        assert!(longest < FAILOVER, "a write waited {longest:?}");
        let version =
            cluster.api(next).get("secret/data/paced").await.body["data"]["metadata"]["version"].as_u64();
        assert!(
            version >= Some(writes),
            "{writes} were acknowledged, the last version is {version:?}"
        );

        cluster.nodes[leader].start().await;
        cluster.give_shares(&[leader, leader, leader]).await;
        cluster.all_unsealed(&[0, 1, 2]).await;
    }
}

/// Waits until the writer has done more.
async fn some_writes(api: &Api) {
    let version = async || {
        let read = api.get("secret/data/paced").await;
        read.body["data"]["metadata"]["version"].as_u64().unwrap_or(0)
    };
    let before = version().await;
    eventually("the writer writes", SOON, async || {
        let now = version().await;
        if now > before + 10 { Ok(()) } else { Err(now) }
    })
    .await;
}

/// One write after the other on one key; how many, and the longest. None may fail.
async fn write_on(api: Api, stopped: watch::Receiver<bool>) -> (u64, Duration) {
    let mut writes = 0;
    let mut longest = Duration::ZERO;
    while !*stopped.borrow() {
        let start = Instant::now();
        match api
            .write("secret/data/paced", json!({"data": {"n": writes}}))
            .await
        {
            Outcome::Acknowledged(_) => writes += 1,
            other => panic!("after {writes} writes and {:?}: {other:?}", start.elapsed()),
        }
        longest = longest.max(start.elapsed());
    }
    (writes, longest)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_certificates_are_taken_up_on_hang_up() {
    let mut cluster = Cluster::prepared(1);
    cluster.nodes[0].start().await;
    cluster.init().await;
    cluster.give_shares(&[0, 0, 0]).await;
    cluster.all_unsealed(&[0]).await;
    let open = cluster.api(0);
    open.get("sys/mounts").await;

    // Another authority, and a certificate by it in place of the one in use.
    let other = cluster.files().join("other");
    must(
        Command::new(conclave())
            .args(["operator", "tls", "create-ca", "-dir"])
            .arg(&other),
    );
    let name = cluster.nodes[0].name.clone();
    let mut make = Command::new(conclave());
    make.args([
        "operator",
        "tls",
        "create-cert",
        "-san",
        "127.0.0.1",
        "-name",
        &name,
    ]);
    must(make.arg("-ca-dir").arg(&other).arg("-out").arg(cluster.tls()));
    let start = Instant::now();
    cluster.nodes[0].hang_up();

    let ca = std::fs::read(other.join("ca.pem")).expect("an authority");
    let url = cluster.nodes[0].url.clone();
    let fresh = || Api::new(&url, &ca).with_token(&cluster.root);
    let reply = eventually("the new certificate is shown", SOON, async || {
        fresh().call("GET", "sys/mounts", None).await
    })
    .await;
    assert_eq!(reply.status, 200, "still unsealed");
    // This was the signal.
    assert!(start.elapsed() < LOOKED_AT, "{:?}", start.elapsed());
    assert_eq!(open.get("sys/mounts").await.status, 200, "open connections go on");

    // A bad file never replaces a good one.
    let certificate = cluster.tls().join(format!("{name}.pem"));
    std::fs::write(&certificate, "no certificate").expect("a file");
    cluster.nodes[0].hang_up();
    eventually("the bad file is told of", SOON, async || {
        let said = cluster.nodes[0].said();
        if said.contains("the old one stays") {
            Ok(())
        } else {
            Err(())
        }
    })
    .await;
    assert_eq!(fresh().get("sys/mounts").await.status, 200);
    cluster.assert_alive();
}
