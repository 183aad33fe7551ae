//! Loss of power under a spool of audit records whose target is gone: what was answered is on record, in one chain, and
//! comes out when somebody takes it.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;

use crate::harness::{AUDIT, Cluster, LOSE_ALL, LOSE_SOME, SOON, THRESHOLD, conclave, eventually, ports};

/// How often power is lost.
const LOSSES: usize = 6;
/// Store writes within which it is.
const WITHIN: usize = 120;
/// Clients at once.
const CLIENTS: usize = 8;
/// What a file of the spool holds is a sixteenth of this, so that some are left while records are written.
const SPOOL: u64 = 4 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_power_of_a_spool() {
    let mut cluster = Cluster::prepared(1);
    // The spool lies on the disk that loses power.
    let own = cluster.nodes[0].data().join(AUDIT);
    fs::create_dir_all(&own).expect("a folder");
    std::os::unix::fs::symlink(&own, cluster.files().join(AUDIT)).expect("a link");
    let port = ports::free(1)[0];
    cluster.nodes[0].configure(&format!(
        "audit \"socket\" \"gone\" {{\n options {{ address = \"127.0.0.1:{port}\" spool_bytes = \"{SPOOL}\" }}\n}}"
    ));
    cluster.nodes[0].put_on_disk();
    cluster.nodes[0].start().await;
    cluster.form().await;

    let mut answered = Vec::new();
    let mut undone = 0;
    for round in 0..LOSSES {
        let (after, seed) = (cluster.seed.below(WITHIN) as u64 + 1, cluster.seed.next());
        let loss = [LOSE_ALL, LOSE_SOME][round % 2];
        eprintln!("power is lost at the {after}th write");
        cluster.nodes[0].disk().lose_power(after, loss, seed);
        answered.extend(read_until_gone(&mut cluster, round).await);
        cluster.nodes[0].ended().await;
        undone += cluster.nodes[0].disk().is_well_again();
        cluster.nodes[0].start().await;
        cluster.give_shares(&[0; THRESHOLD]).await;
        cluster.all_unsealed(&[0]).await;
        answered.extend(served(&cluster, round).await);
    }
    assert!(undone > 0, "power was lost and nothing with it");
    assert!(answered.len() > LOSSES, "{} answers", answered.len());
    eprintln!("{} answers, {undone} effects undone", answered.len());

    let taken = cluster.files().join("taken.log");
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port");
    let out = fs::File::create(&taken).expect("a file");
    std::thread::spawn(move || take(&listener, &out));
    let api = cluster.api(0);
    eventually("the spool is empty", SOON, async || {
        let status = api.get("sys/audit-status").await.body["data"]["devices"]["gone/"].clone();
        // The records of this question wait at least.
        match status["healthy"] == true && status["spooled_bytes"].as_u64() < Some(64 << 10) {
            true => Ok(()),
            false => Err(status),
        }
    })
    .await;
    let last = "secret/data/last";
    assert_eq!(api.get(last).await.status, 404);
    eventually("the last record is taken", SOON, async || {
        let text = fs::read_to_string(&taken).expect("records");
        if text.contains(last) {
            Ok(())
        } else {
            Err(text.len())
        }
    })
    .await;
    let text = fs::read_to_string(&taken).expect("records");
    assert!(!text.contains('\0'), "what lies ahead of records was sent");
    for path in &answered {
        for kind in ["request", "response"] {
            let is = |line: &&str| {
                line.contains(&format!("\"type\":\"{kind}\"")) && line.contains(&format!("\"{path}\""))
            };
            assert!(text.lines().any(|line| is(&line)), "{kind} of {path} is lost");
        }
    }
    let ran = Command::new(conclave())
        .args(["audit", "verify", "-collected"])
        .arg(&taken)
        .output()
        .expect("conclave runs");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stdout));
    cluster.assert_alive();
}

/// Clients read until the node has lost power; the paths that were answered.
async fn read_until_gone(cluster: &mut Cluster, round: usize) -> Vec<String> {
    let api = cluster.api(0);
    let mut answered = Vec::new();
    for number in (0..).step_by(CLIENTS) {
        let reads = (number..number + CLIENTS).map(|number| {
            let (api, path) = (api.clone(), format!("secret/data/round-{round}/{number}"));
            async move {
                let reply = api.call("GET", &path, None).await;
                reply.is_ok_and(|reply| reply.status == 404).then_some(path)
            }
        });
        let replies = futures::future::join_all(reads).await;
        answered.extend(replies.into_iter().flatten());
        if cluster.nodes[0].has_ended().is_some() {
            return answered;
        }
    }
    answered
}

/// A path that was answered once the node served again.
async fn served(cluster: &Cluster, round: usize) -> Option<String> {
    let (api, path) = (cluster.api(0), format!("secret/data/after-{round}"));
    eventually("it serves", SOON, async || {
        match api.call("GET", &path, None).await {
            Ok(reply) if reply.status == 404 => Ok(()),
            other => Err(other.map(|reply| reply.status).ok()),
        }
    })
    .await;
    Some(path)
}

/// Takes what comes, connection by connection.
fn take(listener: &TcpListener, mut out: &fs::File) {
    let mut piece = vec![0; 64 << 10];
    while let Ok((mut stream, _)) = listener.accept() {
        while let Ok(length @ 1..) = stream.read(&mut piece) {
            out.write_all(&piece[..length]).expect("written");
        }
    }
}
