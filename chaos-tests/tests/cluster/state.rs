//! Sixteen clients over all nodes while nodes are killed and frozen; then their histories must be explicable, what was
//! acknowledged must be there, and all nodes must hold the same.

mod clients;
mod faults;
mod key;
mod linear;
#[cfg(test)]
mod proofs;
mod report;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use serde_json::{Value, json};

use crate::harness::{Cluster, Tool};
use clients::{Called, Clients, History, KEPT, LOOSE, name};
use faults::Fault;
use key::{Call, Input, Key, Output};
use linear::Verdict;
use report::Report;

/// How long to go on, in minutes; every fault happens once however short that is.
const MINUTES_VARIABLE: &str = "CONCLAVE_CHAOS_MINUTES";
const MINUTES: f64 = 2.0;
/// Answers before, during and after a fault.
const ENOUGH: u64 = 120;
/// Versions that a key keeps: more than a round writes.
const MAX_VERSIONS: u64 = 2000;
/// Reads at a time when acknowledged writes are looked up.
const READERS: usize = 32;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_check_state() {
    let mut cluster = Cluster::formed().await;
    let all = json!({"max_versions": MAX_VERSIONS});
    cluster.api(0).must("POST", "secret/config", all).await;
    let until = Instant::now() + duration();
    let mut report = Report::default();
    let mut journal = Vec::new();
    let mut faults = Vec::new();
    for round in 0.. {
        if faults.is_empty() {
            if Instant::now() >= until {
                break;
            }
            faults = cluster.seed.shuffled(&Fault::ALL);
        }
        let fault = faults.pop().expect("it is not empty");
        journal.extend(one_round(&mut cluster, round, fault, &mut report).await);
    }
    report.show();
    report.must_be_enough();
    is_found_again(&mut cluster, &journal).await;
    all_tell_one_digest(&mut cluster).await;
    cluster.assert_alive();
}

fn duration() -> Duration {
    let minutes = std::env::var(MINUTES_VARIABLE).map_or(MINUTES, |text| text.parse().expect("minutes"));
    Duration::from_secs_f64(minutes * 60.0)
}

/// A write that was acknowledged: path, version, value.
type Acknowledged = (String, u64, u64);

/// New keys, one fault, and a check of all that was heard.
async fn one_round(
    cluster: &mut Cluster,
    round: usize,
    fault: Fault,
    report: &mut Report,
) -> Vec<Acknowledged> {
    let leader = cluster.leader().await;
    eprintln!(
        "round {round}: {fault:?} while {} leads",
        cluster.nodes[leader].name
    );
    let directory = format!("round-{round}");
    let apis = cluster.apis();
    let clients = Clients::start(directory.clone(), apis, leader, &mut cluster.seed);
    clients.go_on(ENOUGH).await;
    fault.happen(cluster, &clients, ENOUGH).await;
    report.fired(fault);
    clients.go_on(ENOUGH).await;
    let history = clients.finish().await;
    report.count(&history);
    versions_never_fall(&history);
    let acknowledged = kept_versions_are_given_once(&directory, &history);
    is_explicable(history, report);
    cluster.digests_agree().await;
    acknowledged
}

/// Who was told of a version of a key that is never deleted must never afterwards see an older one, on any node.
fn versions_never_fall(history: &History) {
    for key in 0..KEPT {
        let told = history.calls.iter().filter(|called| called.key == key);
        let told = told.filter_map(|called| match called.call.end {
            Some((end, Output::Written(version) | Output::Found { version, .. })) => {
                Some((end, version, called))
            }
            Some((end, Output::Missing)) => Some((end, 0, called)),
            _ => None,
        });
        let mut by_end: Vec<_> = told.collect();
        by_end.sort_by_key(|(end, ..)| *end);
        let mut by_call = by_end.clone();
        by_call.sort_by_key(|(.., called)| called.call.call);
        let (mut newest, mut ended) = (0, by_end.iter().peekable());
        for (_, version, called) in by_call {
            while let Some((_, known, _)) = ended.next_if(|(end, ..)| *end < called.call.call) {
                newest = newest.max(*known);
            }
            assert!(
                version >= newest,
                "NOT LINEARIZABLE: {} went back from version {newest} to {version} on node{}{}: {:?}",
                name(key),
                called.node + 1,
                if called.through_follower {
                    ", a follower"
                } else {
                    ""
                },
                called.call
            );
        }
    }
}

/// Acknowledged writes of the keys that are never deleted. Each has a version of its own.
fn kept_versions_are_given_once(directory: &str, history: &History) -> Vec<Acknowledged> {
    let mut given = BTreeMap::new();
    for called in history.calls.iter().filter(|called| called.key < KEPT) {
        if let (Input::Put { value, .. }, Some((_, Output::Written(version)))) =
            (called.call.input, called.call.end)
        {
            let path = format!("{directory}/{}", name(called.key));
            let other = given.insert((path, version), value);
            assert_eq!(
                other,
                None,
                "NOT LINEARIZABLE: version {version} of {} was given to {value} too",
                name(called.key)
            );
        }
    }
    given
        .into_iter()
        .map(|((path, version), value)| (path, version, value))
        .collect()
}

/// Each key's calls have an order in which every answer is right.
fn is_explicable(history: History, report: &mut Report) {
    let mut by_key: Vec<Vec<Called>> = (0..KEPT + LOOSE).map(|_| Vec::new()).collect();
    for called in history.calls {
        by_key[called.key].push(called);
    }
    for (key, called) in by_key.into_iter().enumerate() {
        let nodes: Vec<usize> = called.iter().map(|called| called.node).collect();
        let calls: Vec<Call> = called.into_iter().map(|called| called.call).collect();
        match linear::check::<Key>(&calls) {
            Verdict::Linearizable { steps } => report.checked(calls.len(), steps),
            Verdict::Undecided => panic!(
                "{} calls of {} were not decided: shorten the rounds",
                calls.len(),
                name(key)
            ),
            Verdict::Impossible { order, stuck } => {
                report::show_impossible(&calls, &nodes, &order, stuck);
                panic!(
                    "NOT LINEARIZABLE: no order of {} calls of {} explains the answers",
                    calls.len(),
                    name(key)
                );
            }
        }
    }
}

/// Every acknowledged write of the whole run, each read through any node.
async fn is_found_again(cluster: &mut Cluster, journal: &[Acknowledged]) {
    assert!(!journal.is_empty());
    let apis = cluster.apis();
    let mut seed = cluster.seed.split();
    let through: Vec<usize> = journal.iter().map(|_| seed.below(apis.len())).collect();
    let reads = stream::iter(journal.iter().zip(through)).map(|((path, version, value), node)| {
        let api = &apis[node];
        async move {
            let reply = api.get(&format!("secret/data/{path}?version={version}")).await;
            let found = &reply.body["data"]["data"]["value"];
            assert!(
                reply.status == 200 && *found == *value,
                "LOST: version {version} of {path} was acknowledged with {value}: {}",
                reply.text()
            );
        }
    });
    reads.buffer_unordered(READERS).collect::<Vec<()>>().await;
    eprintln!("journal: {} acknowledged writes are there", journal.len());
}

/// `conclave operator digest` of every node, one of them sealed: one revision, one digest.
async fn all_tell_one_digest(cluster: &mut Cluster) {
    let sealed = cluster.seed.below(3);
    cluster.nodes[sealed].kill();
    cluster.nodes[sealed].start().await;
    cluster.digests_agree().await;
    let mut told = Vec::new();
    for at in 0..3 {
        let operations = format!("-operations={}", cluster.nodes[at].operations);
        let tool = Tool::conclave(cluster, &[at]);
        let said = tool
            .must(&["operator", "digest", &operations, "-format=json"])
            .await;
        told.push(serde_json::from_str::<Value>(&said).expect("JSON"));
    }
    assert!(cluster.nodes[sealed].is_sealed().await, "nobody gave it shares");
    assert!(told.iter().all(|digest| *digest == told[0]), "DIVERGED: {told:?}");
    eprintln!("digest, node{} sealed: {}", sealed + 1, told[0]);
}
