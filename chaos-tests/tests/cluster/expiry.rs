//! Tokens whose time is over: refused by every node at once, then removed by whoever leads, though leaders die meanwhile.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt, stream};
use serde_json::json;

use crate::harness::{Api, Cluster, eventually};

/// Tokens that end together.
const TOKENS: usize = 2_000;
/// Each so many is renewed and stays.
const RENEWED: usize = 100;
/// Requests under way at a time.
const CLIENTS: usize = 48;
/// From the first token to the end of all, in seconds; what a debug build on a loaded machine takes to make them, and more.
const TTL: u64 = 40;
/// For the removal of all of them, a leader's death included.
const REMOVAL: Duration = Duration::from_secs(90);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_tokens_end() {
    let mut cluster = Cluster::formed().await;
    let born = Instant::now();
    let tokens = created(&cluster, born).await;
    let (ending, kept) = renewed(&cluster, tokens).await;
    let before = accessors(&cluster.api(0)).await;
    assert_eq!(before, TOKENS + 1, "all are there, and root");

    // The first are gone: the job is at work, and now loses its leader.
    let watched = cluster.api(1);
    eventually(
        "the first are removed",
        REMOVAL + Duration::from_secs(TTL),
        async || match accessors(&watched).await {
            left if left < before => Ok(left),
            left => Err(left),
        },
    )
    .await;
    let led = cluster.leader().await;
    cluster.nodes[led].kill();
    let survivors: Vec<Api> = cluster.running().into_iter().map(|at| cluster.api(at)).collect();
    let all_over = born + Duration::from_secs(TTL + 5);
    eventually("time passes", REMOVAL + Duration::from_secs(TTL), async || {
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

/// Tokens made through all nodes; each ends `TTL` after `born`.
async fn created(cluster: &Cluster, born: Instant) -> Vec<String> {
    let apis = Arc::new(cluster.apis());
    let made = stream::iter(0..TOKENS).map(|number| {
        let apis = Arc::clone(&apis);
        async move {
            let left = TTL.saturating_sub(born.elapsed().as_secs());
            assert!(left > TTL / 3, "making tokens takes too long for this test");
            let wish =
                json!({"ttl": format!("{left}s"), "policies": ["default"], "no_parent": number % 2 == 0});
            let reply = apis[number % apis.len()]
                .call("POST", "auth/token/create", Some(wish))
                .await;
            let reply = reply.map_err(|lost| format!("{lost:?}"))?;
            let token = reply.body["auth"]["client_token"].as_str();
            token.map(str::to_owned).ok_or_else(|| reply.text())
        }
    });
    let made: Result<Vec<String>, String> = made.buffered(CLIENTS).try_collect().await;
    made.expect("every token is made")
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
