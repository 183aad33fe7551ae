//! What a node keeps after much was written over and over, and after many tokens have come and gone: not much more than
//! what is live.

use std::collections::{BTreeMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::JoinSet;

use crate::harness::{Api, Cluster, Outcome, SOON, Seed, eventually};

/// Part of the full load that a run makes: 1 is what is promised, less only shows that the run works.
const SCALE_VARIABLE: &str = "CONCLAVE_CHAOS_SCALE";
const SCALE: f64 = 0.02;
const PUTS: f64 = 200_000.0;
const TOKENS: f64 = 100_000.0;
const KEYS: u64 = 1000;
const MAX_VERSIONS: u64 = 10;
/// Bytes of a secret's value.
const VALUE: usize = 256;
/// Life of a token.
const TTL: &str = "30s";
/// Requests under way at once.
const CONNECTIONS: u64 = 48;
/// Times live data that a directory may hold ...
const FACTOR: u64 = 3;
/// ... and bytes beyond that, whatever is live.
const SLACK: u64 = 128 << 20;
/// How long that may take.
const PATIENCE: Duration = Duration::from_secs(600);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_growth() {
    let mut cluster = Cluster::formed().await;
    let limits = json!({"max_versions": MAX_VERSIONS});
    cluster.api(0).must("POST", "secret/config", limits).await;
    let value = cluster.seed.text(VALUE);
    let put = json!({"data": {"value": value}});
    let puts = scaled(PUTS);
    let put_at = move |number: u64| (format!("secret/data/grown/{}", number % KEYS), put.clone());
    repeat("puts", puts, &cluster.apis(), &mut cluster.seed, put_at).await;
    show(&cluster, "after the puts");
    let wish = json!({"ttl": TTL, "policies": ["default"]});
    let token_at = move |_| ("auth/token/create".to_owned(), wish.clone());
    repeat(
        "tokens",
        scaled(TOKENS),
        &cluster.apis(),
        &mut cluster.seed,
        token_at,
    )
    .await;
    show(&cluster, "after the tokens");

    let live = puts.min(KEYS * MAX_VERSIONS) * VALUE as u64;
    let limit = FACTOR * live + SLACK;
    let since = Instant::now();
    eventually("every token has expired", PATIENCE, async || {
        expired_on_leader(&cluster, scaled(TOKENS)).await
    })
    .await;
    show(&cluster, "after the tokens have expired");
    eventually(
        "directories are small",
        PATIENCE.saturating_sub(since.elapsed()),
        async || {
            let sizes: Vec<u64> = cluster.nodes.iter().map(|node| total(node.folder())).collect();
            if sizes.iter().all(|size| *size <= limit) {
                Ok(())
            } else {
                Err(format!("{sizes:?}, allowed are {limit}"))
            }
        },
    )
    .await;
    show(
        &cluster,
        &format!("after {:?}, of {limit} allowed with {live} live", since.elapsed()),
    );
    cluster.digests_agree().await;
    cluster.assert_alive();
}

fn scaled(full: f64) -> u64 {
    let scale = std::env::var(SCALE_VARIABLE).map_or(SCALE, |text| text.parse().expect("a number"));
    // A small positive number: neither sign nor digits are lost.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let count = (full * scale) as u64;
    count.max(KEYS)
}

/// `count` acknowledged writes over all nodes.
async fn repeat(
    what: &str,
    count: u64,
    apis: &[Api],
    seed: &mut Seed,
    request: impl Fn(u64) -> (String, serde_json::Value) + Clone + Send + Sync + 'static,
) {
    let next = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let mut workers = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (next, request) = (Arc::clone(&next), request.clone());
        let api = apis[seed.below(apis.len())].clone();
        workers.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return;
                }
                let (path, body) = request(number);
                taken(&api, &path, body).await;
            }
        });
    }
    while let Some(ended) = workers.join_next().await {
        ended.expect("a worker whose writes are all taken");
    }
    eprintln!("{count} {what} in {:?}", started.elapsed());
}

/// Writes until that is taken: there may be no leader for longer than a node waits for one.
async fn taken(api: &Api, path: &str, body: serde_json::Value) {
    let deadline = Instant::now() + SOON;
    loop {
        match api.write(path, body.clone()).await {
            Outcome::Acknowledged(_) => return,
            other => assert!(Instant::now() < deadline, "{other:?}"),
        }
    }
}

/// Whether the leaders of this run have ended this many tokens.
async fn expired_on_leader(cluster: &Cluster, tokens: u64) -> Result<(), String> {
    let mut ended = 0;
    for node in &cluster.nodes {
        let metrics = node.metrics().await;
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix("conclave_expired_total "));
        ended += line.and_then(|count| count.parse::<u64>().ok()).unwrap_or(0);
    }
    if ended >= tokens {
        Ok(())
    } else {
        Err(format!("{ended} of {tokens}"))
    }
}

/// Bytes on disk of a folder, files with several names once, as `du` counts.
fn total(folder: &Path) -> u64 {
    sizes(folder).values().sum()
}

/// The same by folder.
fn sizes(folder: &Path) -> BTreeMap<String, u64> {
    let mut seen = HashSet::new();
    let mut sizes = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        // A running database removes files and folders meanwhile.
        for entry in std::fs::read_dir(&at).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.path().symlink_metadata() else {
                continue;
            };
            if metadata.is_dir() {
                folders.push(entry.path());
            } else if seen.insert(metadata.ino()) {
                let name = at.strip_prefix(folder).unwrap_or(&at).display().to_string();
                let kind = entry
                    .path()
                    .extension()
                    .map_or(String::new(), |kind| kind.display().to_string());
                *sizes.entry(format!("{name}/*.{kind}")).or_default() += metadata.blocks() * 512;
            }
        }
    }
    sizes
}

fn show(cluster: &Cluster, when: &str) {
    for node in &cluster.nodes {
        let sizes = sizes(node.folder());
        let all: u64 = sizes.values().sum();
        let great: Vec<String> = sizes
            .iter()
            .filter(|(_, size)| **size > 1 << 20)
            .map(|(name, size)| format!("{name} {} MiB", size >> 20))
            .collect();
        eprintln!(
            "{when}: {} holds {} MiB: {}",
            node.name,
            all >> 20,
            great.join(", ")
        );
    }
}
