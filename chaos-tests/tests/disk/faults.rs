//! Disks that fail, fill up or are slow: the node stops with one clear line or goes on.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Cluster, FAILOVER, IN_LOG, IN_STATE, Node, SOON, Slot, THRESHOLD, Writers, eventually};
use crate::tmpfs::{MIB, Tmpfs};

/// Input/output error, as the kernel numbers it.
const EIO: u64 = 5;
/// No space left on device.
const ENOSPC: u64 = 28;
/// A fault that does not pass.
const STICKY: u64 = u64::MAX;
/// How much longer each sync of a slow disk takes.
const SLOW: Duration = Duration::from_secs(2);
/// The same for each write.
const SLUGGISH: Duration = Duration::from_millis(5);

/// What goes wrong with whose files, and for how often.
struct Fault {
    name: &'static str,
    error: (Slot, u64),
    left: (Slot, u64),
    place: u64,
}

const FAULTS: [Fault; 5] = [
    Fault {
        name: "one sync of the log fails",
        error: (Slot::SyncError, EIO),
        left: (Slot::SyncFailures, 1),
        place: IN_LOG,
    },
    Fault {
        name: "no sync of the log works any more",
        error: (Slot::SyncError, EIO),
        left: (Slot::SyncFailures, STICKY),
        place: IN_LOG,
    },
    Fault {
        name: "a write of the log fails",
        error: (Slot::WriteError, EIO),
        left: (Slot::WriteFailures, 1),
        place: IN_LOG,
    },
    Fault {
        name: "no room for the log",
        error: (Slot::WriteError, ENOSPC),
        left: (Slot::WriteFailures, STICKY),
        place: IN_LOG,
    },
    Fault {
        name: "no room for the state",
        error: (Slot::WriteError, ENOSPC),
        left: (Slot::WriteFailures, STICKY),
        place: IN_STATE,
    },
];

/// A leader whose disk fails ends at once with one line that says why; the others go on; started again it catches up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_disk_fails() {
    let mut cluster = Cluster::prepared(3);
    for node in &mut cluster.nodes {
        node.put_on_disk();
        node.start().await;
    }
    cluster.form().await;
    let apis = cluster.apis();
    let writers = Writers::start(8, &apis, &mut cluster.seed);
    for fault in FAULTS {
        writers.go_on(8).await;
        let victim = cluster.leader().await;
        eprintln!("{}: {}", cluster.nodes[victim].name, fault.name);
        let disk = cluster.nodes[victim].disk();
        disk.set(Slot::Where, fault.place);
        disk.set(fault.error.0, fault.error.1);
        disk.set(fault.left.0, fault.left.1);
        let failed = Instant::now();
        stops_with_one_line(&mut cluster.nodes[victim]).await;
        assert!(cluster.nodes[victim].disk().get(Slot::Met) > 0, "no call failed");
        writers.go_on(8).await;
        assert!(
            failed.elapsed() < FAILOVER * 2,
            "no writes for {:?}",
            failed.elapsed()
        );
        cluster.nodes[victim].disk().is_well_again();
        comes_back(&mut cluster, victim).await;
    }
    let journal = writers.finish().await;
    for api in &apis {
        journal.is_found_by(api).await;
    }
    cluster.digests_agree().await;
    cluster.assert_alive();
}

/// A leader whose syncs take seconds: writes go on within the time of a failover and a few syncs, and all are there; so they do
/// where each write is slow and takes half.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_disk_is_slow() {
    let mut cluster = Cluster::prepared(3);
    for node in &mut cluster.nodes {
        node.put_on_disk();
        node.start().await;
    }
    cluster.form().await;
    let apis = cluster.apis();
    let writers = Writers::start(8, &apis, &mut cluster.seed);
    writers.go_on(8).await;
    let slow = cluster.leader().await;
    let disk = cluster.nodes[slow].disk();
    disk.set(Slot::SyncDelay, u64::try_from(SLOW.as_millis()).expect("seconds"));
    // Each writer at least twice: none hangs.
    writers.go_on_within(16, FAILOVER + SLOW * 3).await;
    assert!(cluster.nodes[slow].disk().get(Slot::Met) > 0, "no sync was slow");
    cluster.nodes[slow].disk().is_well_again();
    writers.go_on(16).await;
    takes_part_of_each_write(&mut cluster, slow, &writers).await;
    let journal = writers.finish().await;
    for api in &apis {
        journal.is_found_by(api).await;
    }
    cluster.digests_agree().await;
    cluster.assert_alive();
}

/// Each write takes a while, and takes half of what it is given: the node writes the rest and loses nothing by it.
async fn takes_part_of_each_write(cluster: &mut Cluster, at: usize, writers: &Writers) {
    let disk = cluster.nodes[at].disk();
    disk.set(
        Slot::WriteDelay,
        u64::try_from(SLUGGISH.as_millis()).expect("little"),
    );
    disk.set(Slot::ShortWrites, STICKY);
    writers.go_on_within(16, FAILOVER + SLOW * 3).await;
    let left = cluster.nodes[at].disk().get(Slot::ShortWrites);
    assert!(left < STICKY, "no write was short");
    cluster.nodes[at].kill();
    cluster.nodes[at].disk().is_well_again();
    comes_back(cluster, at).await;
}

/// A disk that fills up: first the node takes no writes and leads no more, then it replicates into what is left, then it
/// stops; with room again it catches up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_disk_is_full() {
    let mut cluster = Cluster::prepared(3);
    let small = cluster.seed.below(3);
    let disk = match Tmpfs::mount(&cluster.nodes[small].data(), 256 * MIB) {
        Ok(disk) => disk,
        Err(why) => {
            eprintln!("not run: a small file system is needed, and mounting one needs root: {why}");
            return;
        }
    };
    cluster.nodes[small].configure_storage("min_free = \"64MiB\"");
    for node in &mut cluster.nodes {
        node.start().await;
    }
    cluster.form().await;
    leads(&cluster, small).await;

    disk.leave(48 * MIB);
    refuses_writes(&cluster, small).await;
    let others: Vec<_> = cluster.others(small).iter().map(|at| cluster.api(*at)).collect();
    let writers = Writers::start(4, &others, &mut cluster.seed);
    writers.go_on(32).await;
    // It replicates and serves reads all the same.
    others[0]
        .must("POST", "secret/data/seen", json!({"data": {"a": 7}}))
        .await;
    let seen = cluster.api(small).get("secret/data/seen").await;
    assert_eq!(seen.body["data"]["data"]["a"], 7, "{}", seen.text());

    disk.leave(MIB / 4);
    fill_up(&mut cluster, small).await;
    stops_with_one_line(&mut cluster.nodes[small]).await;
    writers.go_on(16).await;
    disk.leave_all();
    comes_back(&mut cluster, small).await;
    takes_writes(&cluster, small).await;
    let journal = writers.finish().await;
    for api in cluster.apis() {
        journal.is_found_by(&api).await;
    }
    cluster.digests_agree().await;
    cluster.assert_alive();
}

async fn leads(cluster: &Cluster, wanted: usize) {
    eventually("the node with the small disk leads", SOON, async || {
        let leader = cluster.leader().await;
        if leader != wanted {
            // Whoever it goes to is asked again.
            let _ = cluster.api(leader).call("PUT", "sys/step-down", None).await;
            return Err(leader);
        }
        Ok(())
    })
    .await;
}

/// Waits until this node, which led, names itself in refusals, says so elsewhere, and another leads.
async fn refuses_writes(cluster: &Cluster, at: usize) {
    let api = cluster.api(at);
    let refusal = eventually("it refuses writes", SOON, async || {
        let write = json!({"data": {"a": 1}});
        match api.call("POST", "secret/data/refused", Some(write)).await {
            Ok(reply) if reply.status == 503 => Ok(reply.text()),
            other => Err(other),
        }
    })
    .await;
    eprintln!("{refusal}");
    let name = &cluster.nodes[at].name;
    assert!(
        refusal.contains(name) && refusal.contains("min_free (64 MiB)"),
        "{refusal}"
    );
    eventually("another leads", SOON, async || {
        let leader = cluster.leader().await;
        if leader == at {
            Err("it leads still")
        } else {
            Ok(())
        }
    })
    .await;
    let health = api.get("sys/health").await;
    assert_eq!(
        (health.status, &health.body["disk_low"]),
        (200, &json!(true)),
        "it serves reads"
    );
    let numbers = cluster.nodes[at].metrics().await;
    assert!(numbers.contains("conclave_disk_low 1"), "{numbers}");
}

/// Writes through another node until the disk of this one is really full.
async fn fill_up(cluster: &mut Cluster, at: usize) {
    const MOST: usize = 200;
    let through = cluster.api(cluster.others(at)[0]);
    let big = json!({"data": {"value": cluster.seed.text(200_000)}});
    for _ in 0..MOST {
        if cluster.nodes[at].has_ended().is_some() {
            return;
        }
        through.must("POST", "secret/data/big", big.clone()).await;
    }
    panic!("a disk with 0.25 MiB free took {MOST} writes of 0.2 MB");
}

async fn takes_writes(cluster: &Cluster, at: usize) {
    let api = cluster.api(at);
    eventually("it takes writes again", SOON, async || {
        let write = json!({"data": {"a": 1}});
        match api.call("POST", "secret/data/taken", Some(write)).await {
            Ok(reply) if reply.is_good() => Ok(()),
            other => Err(other),
        }
    })
    .await;
}

/// Waits for the end of a node whose disk has failed: not in order, and with one line that says why.
async fn stops_with_one_line(node: &mut Node) {
    let before = node.said().matches(STOPS).count();
    let status = node.ended().await;
    assert!(!status.success(), "{} ends as if all were well", node.name);
    let said = node.said();
    let lines: Vec<&str> = said.lines().filter(|line| line.contains(STOPS)).collect();
    assert!(!said.contains("panicked"), "{} panics", node.name);
    // It may have been said before this waited for it, but only once for each end.
    assert!(
        lines.len() == before.max(1) || lines.len() == before + 1,
        "{lines:#?}"
    );
    eprintln!("{status}: {}", lines.last().expect("a line"));
}

/// How the line begins with which a node stops.
const STOPS: &str = "this node stops: ";

async fn comes_back(cluster: &mut Cluster, at: usize) {
    cluster.nodes[at].start().await;
    cluster.give_shares(&[at; THRESHOLD]).await;
    cluster.all_unsealed(&[at]).await;
}
