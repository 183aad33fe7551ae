//! A burst of records, with a target that is gone and one that takes connections and never reads: requests are answered
//! all the same, each on record; what waits is bounded, and what fits comes out whole once somebody takes it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, UnixListener, UnixSocket};
use tokio::task::JoinSet;

use super::verify;
use crate::harness::{AUDIT, Api, Cluster, SOON, eventually, ports};

/// Megabytes of records in a burst; more by the variable.
const BURST: usize = 6;
const BURST_VARIABLE: &str = "CONCLAVE_AUDIT_BURST_MB";
/// Clients at once.
const CLIENTS: usize = 4;
/// Members of a secret, each a hash in the records.
const MEMBERS: usize = 400;
/// Bytes that the spool of a target may hold.
const SPOOL: u64 = 1 << 20;
/// How much a node may grow, in KiB, whatever waits.
const GROWTH: u64 = 128 << 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_audit_burst() {
    let megabytes = std::env::var(BURST_VARIABLE).map_or(BURST, |text| text.parse().expect("a number"));
    let mut cluster = Cluster::prepared(1);
    let kept = cluster.files().join(AUDIT);
    fs::create_dir_all(&kept).expect("a folder");
    let file = kept.join("own.log");
    let gone = ports::free(1)[0];
    let deaf = cluster.files().join("deaf.sock");
    let listener = never_read(&deaf);
    cluster.nodes[0].configure(&format!(
        "audit \"file\" \"own\" {{\n options {{ file_path = \"{}\" }}\n}}
         audit \"socket\" \"gone\" {{\n options {{ address = \"127.0.0.1:{gone}\" spool_bytes = \"{SPOOL}\" }}\n}}
         audit \"socket\" \"deaf\" {{\n options {{ address = \"{}\" socket_type = \"unix\" spool_bytes = \"{SPOOL}\" write_timeout = \"300ms\" }}\n}}",
        file.display(),
        deaf.display()
    ));
    cluster.nodes[0].start().await;
    cluster.form().await;
    let api = Arc::new(cluster.api(0));
    api.must("POST", "secret/data/first", secret()).await;
    let before = resident(&cluster, "VmRSS");

    let mut asked = 0;
    while fs::metadata(&file).expect("the file").len() < (megabytes as u64) << 20 {
        asked += CLIENTS;
        all_answered(&api, asked).await;
        let status = api.get("sys/audit-status").await.body["data"]["devices"].clone();
        for device in ["gone/", "deaf/"] {
            let waiting = status[device]["spooled_bytes"].as_u64().expect("a number");
            assert!(waiting <= SPOOL, "{status}");
        }
    }
    let grown = resident(&cluster, "VmHWM").saturating_sub(before);
    eprintln!("{megabytes} MB of records of {asked} writes; the node grew by {grown} KiB at most");
    assert!(grown < GROWTH, "{grown} KiB");
    assert_on_record(&file, asked);
    targets_are_told_of(&cluster, &api).await;

    // Somebody takes what waits: all that was taken into the spool, and how much was not.
    let out = cluster.files().join("gone.log");
    let taker = TcpListener::bind(("127.0.0.1", gone)).await.expect("the port");
    let taken = tokio::spawn(take(taker, out.clone()));
    eventually("the spool is empty", SOON, async || {
        let status = api.get("sys/audit-status").await.body["data"]["devices"]["gone/"].clone();
        match status["healthy"] == true && status["spooled_bytes"].as_u64() < Some(SPOOL / 2) {
            true => Ok(()),
            false => Err(status),
        }
    })
    .await;
    api.must("POST", "secret/data/last", secret()).await;
    super::wait_for(&out, "secret/data/last").await;
    let text = fs::read_to_string(&out).expect("what was taken");
    assert!(text.contains("\"type\":\"refused\""), "what is missing is told");
    verify(&["-collected", &out.display().to_string()]).expect("what was taken is whole");
    verify(&[&file.display().to_string()]).expect("the file is whole");
    taken.abort();
    drop(listener);
    cluster.assert_alive();
}

/// A socket on which connections wait in the queue: nobody reads from one, and there is room for two. What their buffers
/// take is little beside a burst.
fn never_read(path: &Path) -> UnixListener {
    let socket = UnixSocket::new_stream().expect("a socket");
    socket.bind(path).expect("a name");
    socket.listen(1).expect("a queue")
}

/// A secret whose records are long.
fn secret() -> Value {
    let members = (0..MEMBERS).map(|at| (format!("member-{at:04}"), json!(format!("value {at}"))));
    json!({"data": Map::from_iter(members)})
}

/// Clients write at once, the last as this number; each is answered well.
async fn all_answered(api: &Arc<Api>, upto: usize) {
    let mut clients = JoinSet::new();
    for at in upto - CLIENTS..upto {
        let api = api.clone();
        clients.spawn(async move {
            let path = format!("secret/data/burst-{at}");
            api.must("POST", &path, secret()).await;
        });
    }
    while let Some(client) = clients.join_next().await {
        client.expect("an answer");
    }
}

/// No answer without its two records. The file is read once: it may be large.
fn assert_on_record(file: &Path, asked: usize) {
    const PATH: &str = "\"path\":\"secret/data/burst-";
    let lines = BufReader::new(fs::File::open(file).expect("the file")).lines();
    let mut records = vec![0; asked];
    for line in lines {
        let line = line.expect("text");
        let number = line.split_once(PATH).and_then(|(_, rest)| rest.split_once('"'));
        if let Some((number, _)) = number {
            records[number.parse::<usize>().expect("a number")] += 1;
        }
    }
    let other = records.iter().position(|count| *count != 2);
    assert_eq!(other, None, "{records:?}");
}

/// Health, status and metrics say that one is gone and one does not read.
async fn targets_are_told_of(cluster: &Cluster, api: &Api) {
    eventually("both targets are told of", SOON, async || {
        let status = api.get("sys/audit-status").await.body["data"]["devices"].clone();
        match status["gone/"]["healthy"] == false && status["deaf/"]["healthy"] == false {
            true => Ok(()),
            false => Err(status),
        }
    })
    .await;
    let health = cluster.nodes[0].api.get("sys/health").await;
    assert_eq!(health.body["audit_devices"], "degraded", "{}", health.text());
    let numbers = cluster.nodes[0].metrics().await;
    assert!(numbers.contains("conclave_audit_devices_failing 2"), "{numbers}");
    assert!(!numbers.contains("conclave_audit_write_failures_total 0"));
}

/// Takes everything from everybody into a file.
async fn take(listener: TcpListener, out: std::path::PathBuf) {
    let file = fs::File::create(out).expect("a file");
    while let Ok((mut stream, _)) = listener.accept().await {
        let mut piece = vec![0; 64 << 10];
        while let Ok(length @ 1..) = stream.read(&mut piece).await {
            std::io::Write::write_all(&mut &file, &piece[..length]).expect("written");
        }
    }
}

/// KiB of memory that a node has, by this name of the kernel's.
fn resident(cluster: &Cluster, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", cluster.nodes[0].pid()));
    let status = status.expect("the process");
    let line = status
        .lines()
        .find(|line| line.starts_with(name))
        .expect("a number");
    let number = line.split_whitespace().nth(1).expect("a number");
    number.parse().expect("a number")
}
