//! Loss of power: after it, everything acknowledged is there and no vote was taken back, whichever write it came in place
//! of. Under each node lies a disk that keeps what was synced and nothing else.

use std::collections::BTreeMap;

use serde_json::json;

use crate::harness::{Api, Cluster, LOSE_ALL, LOSE_SOME, Node, Outcome, SOON, Slot, Writers, eventually};

/// How many writes of a life of a node are tried as its last: a number, or `all`.
const POINTS: &str = "CONCLAVE_CHAOS_POINTS";
/// What is tried by default.
const FEW: u64 = 40;
/// Client writes in the short life of one node.
const PUTS: usize = 24;
/// Clients of that life.
const CLIENTS: usize = 4;
/// Newcomers that lose power.
const JOINS: usize = 5;
/// Store writes of a start and a join, and some more.
const JOIN_WRITES: usize = 150;
/// Store writes within which a node under writers loses power.
const WITHIN: usize = 150;

/// One node alone: whatever it acknowledged is on its own disk or nowhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_power_of_one() {
    let mut cluster = on_disks(1).await;
    let mut known = Known::default();
    let begin = cluster.nodes[0].disk().get(Slot::Writes);
    cluster.nodes[0].kill();
    live(&mut cluster, 0, &mut known).await;
    let whole = cluster.nodes[0].disk().get(Slot::Writes) - begin;
    cluster.nodes[0].kill();
    let points = points(&mut cluster, whole);
    eprintln!("a life of {whole} store writes, cut short at {points:?}");
    let mut undone = 0;
    for (round, point) in points.iter().enumerate() {
        let loss = [LOSE_ALL, LOSE_SOME][round % 2];
        let seed = cluster.seed.next();
        cluster.nodes[0].disk().lose_power(*point, loss, seed);
        live(&mut cluster, round + 1, &mut known).await;
        end_of_life(&mut cluster.nodes[0]).await;
        undone += cluster.nodes[0].disk().is_well_again();
        revive(&mut cluster, 0).await;
        known
            .is_found_by(&cluster.api(0), &format!("lost at {point}"))
            .await;
        votes_stand(&cluster.nodes[0]);
        cluster.nodes[0].kill();
    }
    assert!(
        undone > 0,
        "power was lost and nothing with it: the disk is not under the node"
    );
    eprintln!(
        "{} writes acknowledged, {undone} effects undone",
        known.acknowledged
    );
}

/// Three nodes under writers: each loses power alone, then all at once, with everything or some of what was not synced.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_power_of_three() {
    let mut cluster = on_disks(3).await;
    let apis = cluster.apis();
    let writers = Writers::start(8, &apis, &mut cluster.seed);
    writers.go_on(16).await;
    for victim in cluster.seed.shuffled(&[0, 1, 2]) {
        let (after, seed) = (cluster.seed.below(WITHIN) as u64 + 1, cluster.seed.next());
        let loss = [LOSE_ALL, LOSE_SOME][cluster.seed.below(2)];
        eprintln!(
            "{} loses power at its {after}th write",
            cluster.nodes[victim].name
        );
        cluster.nodes[victim].disk().lose_power(after, loss, seed);
        cluster.nodes[victim].ended().await;
        writers.go_on(8).await;
        cluster.nodes[victim].disk().is_well_again();
        revive(&mut cluster, victim).await;
        votes_stand(&cluster.nodes[victim]);
        writers.go_on(8).await;
    }
    let mut journal = writers.finish().await;
    for loss in [LOSE_ALL, LOSE_SOME] {
        let writers = Writers::start(8, &apis, &mut cluster.seed);
        writers.go_on(32).await;
        for at in 0..3 {
            let seed = cluster.seed.next();
            cluster.nodes[at].disk().lose_power_now(loss, seed);
        }
        for node in &mut cluster.nodes {
            node.ended().await;
        }
        journal.join(writers.finish().await);
        for node in &mut cluster.nodes {
            node.disk().is_well_again();
            node.start().await;
            votes_stand(node);
        }
        cluster.give_shares(&[0, 1, 2]).await;
        cluster.all_unsealed(&[0, 1, 2]).await;
        for api in &apis {
            journal.is_found_by(api).await;
        }
    }
    cluster.digests_agree().await;
    cluster.assert_alive();
}

/// A newcomer loses power anywhere between its first start and its first vote: it goes on with the join it remembers, or asks
/// again, and ends as a voter that holds everything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_power_while_joining() {
    let mut cluster = Cluster::prepared(1);
    cluster.nodes[0].start().await;
    cluster.form().await;
    let written = json!({"data": {"before": "the join"}});
    cluster.api(0).must("POST", "secret/data/old", written).await;
    let step = JOIN_WRITES / JOINS;
    for round in 0..JOINS {
        let point = (round * step + cluster.seed.below(step) + 1) as u64;
        let loss = [LOSE_ALL, LOSE_SOME][cluster.seed.below(2)];
        let seed = cluster.seed.next();
        let joiner = cluster.add(&format!("joiner{round}"), "b");
        cluster.nodes[joiner].put_on_disk();
        cluster.nodes[joiner].disk().lose_power(point, loss, seed);
        cluster.nodes[joiner].begin();
        joins_as_far_as_it_gets(&mut cluster, joiner).await;
        end_of_life(&mut cluster.nodes[joiner]).await;
        cluster.nodes[joiner].disk().is_well_again();

        cluster.nodes[joiner].start().await;
        eprintln!("lost at {point}");
        joins_as_far_as_it_gets(&mut cluster, joiner).await;
        cluster.give_shares(&[joiner; crate::harness::THRESHOLD]).await;
        cluster.all_unsealed(&[joiner]).await;
        cluster.voters(2).await;
        cluster.digests_agree().await;
        let seen = cluster.api(joiner).get("secret/data/old").await;
        assert_eq!(seen.body["data"]["data"]["before"], "the join", "{}", seen.text());
        leaves(&cluster, joiner).await;
        cluster.nodes[joiner].kill();
    }
}

async fn leaves(cluster: &Cluster, at: usize) {
    let name = json!({"server_id": cluster.nodes[at].name});
    let leader = cluster.api(0);
    leader.must("POST", "sys/storage/raft/remove-peer", name).await;
    eventually("one member is left", SOON, async || {
        let servers = cluster.servers(0).await?;
        if servers.len() == 1 {
            Ok(())
        } else {
            Err(format!("{servers:?}"))
        }
    })
    .await;
}

/// Lets a newcomer join, until it has, or has lost power.
async fn joins_as_far_as_it_gets(cluster: &mut Cluster, joiner: usize) {
    let api = cluster.nodes[joiner].api.clone();
    let wish = json!({"ttl": "5m", "uses": 1});
    let given = cluster
        .api(0)
        .must("POST", "sys/storage/raft/join-token", wish)
        .await;
    let target = json!({
        "leader_api_addr": cluster.nodes[0].url,
        "leader_ca_cert": std::fs::read_to_string(cluster.ca()).expect("the authority"),
        "join_token": given["join_token"],
    });
    let node = &mut cluster.nodes[joiner];
    eventually("it has joined or is gone", SOON, async || {
        if node.has_ended().is_some() {
            return Ok(());
        }
        // It may remember a join, and hear of the cluster any moment.
        let status = api.call("GET", "sys/seal-status", None).await;
        if status.is_ok_and(|status| status.body["initialized"] == true) {
            return Ok(());
        }
        let joined = api
            .call("POST", "sys/storage/raft/join", Some(target.clone()))
            .await;
        Err::<(), _>(joined.map(|reply| reply.text()))
    })
    .await;
}

/// The checks above can fail: a disk that answers syncs and does nothing loses acknowledged writes, and they notice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_power_with_a_lying_disk() {
    let mut cluster = on_disks(1).await;
    let api = cluster.api(0);
    let writers = Writers::start(4, std::slice::from_ref(&api), &mut cluster.seed);
    writers.go_on(16).await;
    let honest = writers.finish().await;
    cluster.nodes[0].disk().set(Slot::IgnoreSync, 1);
    let writers = Writers::start(4, std::slice::from_ref(&api), &mut cluster.seed);
    writers.go_on(16).await;
    cluster.nodes[0].disk().lose_power_now(LOSE_ALL, 0);
    let betrayed = writers.finish().await;
    cluster.nodes[0].ended().await;
    assert!(cluster.nodes[0].disk().get(Slot::Met) > 0, "no sync was ignored");
    cluster.nodes[0].disk().is_well_again();
    // The mark of the log lied too, and is as old as the log: nothing but the clients' journal can tell.
    revive(&mut cluster, 0).await;
    honest.is_found_by(&api).await;
    let wrong = betrayed.wrong_at(&api).await;
    assert!(!wrong.is_empty(), "a disk that kept nothing lost nothing");
    eprintln!(
        "noticed: {} of {} are gone",
        wrong.len(),
        betrayed.acknowledged.len()
    );
}

async fn on_disks(count: usize) -> Cluster {
    let mut cluster = Cluster::prepared(count);
    for node in &mut cluster.nodes {
        node.put_on_disk();
        node.start().await;
    }
    cluster.form().await;
    cluster
}

fn points(cluster: &mut Cluster, whole: u64) -> Vec<u64> {
    let wanted = match std::env::var(POINTS).as_deref() {
        Ok("all") => whole,
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{POINTS}={text} is no number")),
        Err(_) => FEW,
    };
    let step = (whole / wanted.clamp(1, whole)).max(1);
    let first = cluster.seed.below(usize::try_from(step).expect("a step")) as u64 + 1;
    (first..=whole)
        .step_by(usize::try_from(step).expect("a step"))
        .collect()
}

/// What clients of one node were told.
#[derive(Default)]
struct Known {
    /// By path: values that it may hold; whether it must be there.
    paths: BTreeMap<String, (String, bool)>,
    acknowledged: usize,
}

impl Known {
    async fn is_found_by(&self, api: &Api, when: &str) {
        for (path, (value, required)) in &self.paths {
            let reply = api.get(path).await;
            match reply.status {
                200 => assert_eq!(reply.body["data"]["data"]["value"], **value, "{path}, {when}"),
                404 => assert!(!required, "{path} was acknowledged and is gone, {when}"),
                _ => panic!("{path}, {when}: {}", reply.text()),
            }
        }
    }
}

/// Starts the node, opens it and writes, as far as it gets before it loses power.
async fn live(cluster: &mut Cluster, life: usize, known: &mut Known) {
    cluster.nodes[0].begin();
    let api = cluster.api(0);
    if !until_open(cluster).await {
        return;
    }
    for number in (0..PUTS).step_by(CLIENTS) {
        let puts = (number..number + CLIENTS).map(|number| {
            let (api, path) = (api.clone(), format!("secret/data/life-{life}/{number}"));
            let value = format!("{life}.{number}");
            async move {
                let outcome = api.write(&path, json!({"data": {"value": value}})).await;
                (path, value, outcome)
            }
        });
        for (path, value, outcome) in futures::future::join_all(puts).await {
            let required = matches!(outcome, Outcome::Acknowledged(_));
            known.acknowledged += usize::from(required);
            if !matches!(outcome, Outcome::NotDone(_)) {
                known.paths.insert(path, (value, required));
            }
        }
    }
}

/// Waits until the node answers, gives it its shares, waits until it leads; false if it ended before.
async fn until_open(cluster: &mut Cluster) -> bool {
    let shares = cluster.seed.shuffled(&cluster.shares);
    let api = cluster.api(0);
    let mut given = 0;
    let node = &mut cluster.nodes[0];
    eventually("the node is open or gone", SOON, async || {
        if node.has_ended().is_some() {
            return Ok(false);
        }
        let health = api.call("GET", "sys/health", None).await;
        match health.map(|health| (health.status, health.body["sealed"] == true)) {
            Ok((200, false)) => Ok(true),
            Ok((_, true)) if given < crate::harness::THRESHOLD => {
                let share = json!({"key": shares[given]});
                given += usize::from(api.call("PUT", "sys/unseal", Some(share)).await.is_ok());
                Err("is sealed".to_owned())
            }
            seen => Err(format!("{seen:?}")),
        }
    })
    .await
}

/// A life that was shorter or quieter than the first one may not have reached its last write: then it is lost now.
async fn end_of_life(node: &mut Node) {
    if node.has_ended().is_none() {
        node.disk().set(Slot::LoseNow, 1);
    }
    node.ended().await;
}

/// Starts a node after its disk lost power, and opens it.
async fn revive(cluster: &mut Cluster, at: usize) {
    cluster.nodes[at].start().await;
    cluster.give_shares(&[at; crate::harness::THRESHOLD]).await;
    cluster.all_unsealed(&[at]).await;
    let api = cluster.api(at);
    eventually("it serves", SOON, async || {
        let health = api.get("sys/health").await;
        if health.status == 200 {
            Ok(())
        } else {
            Err(health.text())
        }
    })
    .await;
}

/// A vote that was saved is never taken back: each start opens with the last one or a later one, and in one term a node
/// votes for one node.
fn votes_stand(node: &Node) {
    let said = node.said();
    let mut last = 0;
    let mut votes = BTreeMap::new();
    let mut starts = 0;
    for line in said.lines() {
        let opened = line.contains("the Raft log is open");
        if !opened && !line.contains("a vote is saved") {
            continue;
        }
        let (term, voted_for) = (number(line, "term="), number(line, "voted_for="));
        starts += usize::from(opened);
        assert!(term >= last, "{}: after a vote in term {last}: {line}", node.name);
        last = term;
        // A vote that a quorum granted is its leader's word, not this node's choice.
        if line.contains("committed=false") {
            let known = *votes.entry(term).or_insert(voted_for);
            assert_eq!(known, voted_for, "{}: two votes in one term: {line}", node.name);
        }
    }
    assert!(starts > 1 && last > 0, "{} tells nothing of its votes", node.name);
}

fn number(line: &str, name: &str) -> u64 {
    let text = line.split(name).nth(1).unwrap_or_default();
    let digits = text
        .split(|c: char| !c.is_ascii_digit())
        .next()
        .unwrap_or_default();
    digits.parse().unwrap_or_else(|_| panic!("no {name} in {line}"))
}
