//! Tokens whose time is over: refused by every node at once, then removed by whoever leads, though leaders die meanwhile; and
//! each end is on record, though the leader dies between the deed and the record.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};

use crate::harness::{AUDIT, Api, Cluster, SOON, eventually};

/// Tokens that end together: as many as are made in time, but not more ...
const TOKENS: usize = 2_000;
/// ... and not fewer.
const FEWEST: usize = 200;
/// So long they are made, in seconds.
const MAKING: u64 = 20;
/// Each so many is renewed and stays.
const RENEWED: usize = 100;
/// Requests under way at a time.
const CLIENTS: usize = 48;
/// From the first token to the first end, in seconds: some are renewed before that.
const TTL: u64 = 40;
/// Where a leader stops that has ended some.
const STEP: &str = "before-record";
/// For the removal of all of them, a leader's death included.
const REMOVAL: Duration = Duration::from_secs(90);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_tokens_end() {
    let mut cluster = Cluster::formed().await;
    let file = audited(&cluster).await;
    let born = Instant::now();
    let (tokens, all_over) = created(&cluster, born).await;
    let all = tokens.len() + 1;
    let (ending, kept) = renewed(&cluster, tokens).await;
    let before = accessors(&cluster.api(0)).await;
    assert_eq!(before, all, "all are there, and root");

    // The job is at work, whoever leads, and now loses its leader.
    for node in &cluster.nodes {
        node.arm(STEP);
    }
    let patience = REMOVAL + Duration::from_secs(TTL);
    let led = eventually("some are ended and about to be recorded", patience, async || {
        let mut nodes = 0..cluster.nodes.len();
        nodes
            .find(|at| cluster.nodes[*at].stands_at(STEP))
            .ok_or("nobody stands")
    })
    .await;
    let others = cluster.others(led);
    for at in &others {
        cluster.nodes[*at].disarm(STEP);
    }
    let watched = cluster.api(others[0]);
    eventually("the first are removed", SOON, async || {
        match accessors(&watched).await {
            left if left < all => Ok(()),
            left => Err(left),
        }
    })
    .await;
    cluster.nodes[led].kill();
    let survivors: Vec<Api> = others.into_iter().map(|at| cluster.api(at)).collect();
    eventually("time passes", patience, async || {
        if Instant::now() >= all_over {
            Ok(())
        } else {
            Err(())
        }
    })
    .await;
    // Dead at once, removed or not.
    for (at, token) in ending.iter().step_by(97).enumerate() {
        let asked = survivors[at % survivors.len()].with_token(token);
        assert_eq!(asked.get("auth/token/lookup-self").await.status, 403);
    }
    eventually("all are removed", REMOVAL, async || {
        match accessors(&survivors[0]).await {
            left if left == kept.len() + 1 => Ok(()),
            left => Err(left),
        }
    })
    .await;
    eventually("each end is on record", SOON, async || match recorded(&file) {
        ends if ends == ending.len() => Ok(()),
        ends => Err(ends),
    })
    .await;
    for token in &kept {
        for api in &survivors {
            assert_eq!(
                api.with_token(token).get("auth/token/lookup-self").await.status,
                200
            );
        }
    }
    cluster.assert_alive();
}

/// One file for the records of all nodes.
async fn audited(cluster: &Cluster) -> PathBuf {
    let directory = cluster.files().join(AUDIT);
    fs::create_dir_all(&directory).expect("a directory");
    let file = directory.join("ends.log");
    let device = json!({"type": "file", "options": {"file_path": file}});
    cluster.api(0).must("PUT", "sys/audit/ends", device).await;
    file
}

/// Of how many tokens the end is on record.
fn recorded(file: &Path) -> usize {
    let text = fs::read_to_string(file).expect("the file");
    let records = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let ends =
        records.filter(|record| record["type"] == "act" && record["request"]["path"] == "auth/token/expire");
    let accessors = ends.map(|end| end["request"]["data"]["accessor"].to_string());
    accessors.collect::<BTreeSet<_>>().len()
}

/// Tokens made through all nodes, none of which ends earlier than `TTL` after `born`; and when the last has ended.
async fn created(cluster: &Cluster, born: Instant) -> (Vec<String>, Instant) {
    let apis = Arc::new(cluster.apis());
    let in_time = |_: &usize| std::future::ready(born.elapsed().as_secs() < MAKING);
    let made = stream::iter(0..TOKENS).take_while(in_time).map(|number| {
        let apis = Arc::clone(&apis);
        async move {
            let left = TTL.saturating_sub(born.elapsed().as_secs());
            let wish =
                json!({"ttl": format!("{left}s"), "policies": ["default"], "no_parent": number % 2 == 0});
            let reply = apis[number % apis.len()]
                .call("POST", "auth/token/create", Some(wish))
                .await;
            let reply = reply.map_err(|lost| format!("{lost:?}"))?;
            // It began before it was answered; times are whole seconds.
            let ends = Instant::now() + Duration::from_secs(left + 1);
            let token = reply.body["auth"]["client_token"].as_str();
            let token = token.ok_or_else(|| reply.text())?;
            Ok::<_, String>((token.to_owned(), ends))
        }
    });
    let made: Result<Vec<(String, Instant)>, String> = made.buffered(CLIENTS).try_collect().await;
    let (tokens, ends): (Vec<_>, Vec<_>) = made.expect("every token is made").into_iter().unzip();
    eprintln!("{} tokens in {:?}", tokens.len(), born.elapsed());
    assert!(tokens.len() >= FEWEST, "only {} tokens", tokens.len());
    (tokens, ends.into_iter().max().expect("tokens"))
}

/// Renews some for an hour: those that end, and those that stay.
async fn renewed(cluster: &Cluster, tokens: Vec<String>) -> (Vec<String>, Vec<String>) {
    let mut ending = Vec::new();
    let mut kept = Vec::new();
    for (number, token) in tokens.into_iter().enumerate() {
        if number % RENEWED != 0 {
            ending.push(token);
            continue;
        }
        let api = cluster.api(number / RENEWED % 3);
        let renewal = json!({"token": token, "increment": "1h"});
        let renewed = api.must("POST", "auth/token/renew", renewal).await;
        let ttl = renewed["auth"]["lease_duration"].as_u64().expect("a duration");
        assert!(ttl > 3000, "{renewed}");
        kept.push(token);
    }
    (ending, kept)
}

async fn accessors(api: &Api) -> usize {
    let listed = api.call("LIST", "auth/token/accessors", None).await;
    let listed = listed.map(|reply| reply.body["data"]["keys"].as_array().map(Vec::len));
    listed.ok().flatten().unwrap_or(usize::MAX)
}
