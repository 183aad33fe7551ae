//! Nodes in three zones: how they become a cluster, who leads, whether they agree.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Api, Node, Place, SOON, Seed, conclave, eventually};

/// Shares of the root key.
pub const SHARES: usize = 5;
/// How many of them open it.
pub const THRESHOLD: usize = 3;
/// Set to keep the files of a run.
const KEEP: &str = "CONCLAVE_CHAOS_KEEP";
const ZONES: [&str; 3] = ["a", "b", "c"];

/// A cluster. Its processes and files are gone when it is dropped.
pub struct Cluster {
    pub nodes: Vec<Node>,
    /// Unseal shares in base64.
    pub shares: Vec<String>,
    /// The first root token.
    pub root: String,
    /// Randomness of the scenario.
    pub seed: Seed,
    files: TempDir,
}

impl Cluster {
    /// Three nodes that run and belong to no cluster.
    pub async fn fresh() -> Self {
        let mut cluster = Self::prepared(3);
        for node in &mut cluster.nodes {
            node.start().await;
        }
        cluster
    }

    /// Nodes that were never started.
    pub fn prepared(count: usize) -> Self {
        Self::seeded(count, Seed::of_this_run())
    }

    /// The same with this randomness.
    pub fn seeded(count: usize, seed: Seed) -> Self {
        Self::placed((0..count).map(|_| Place::here()), seed)
    }

    /// Nodes at these places that were never started, with this randomness.
    pub fn placed(places: impl Iterator<Item = Place>, seed: Seed) -> Self {
        // Below the target directory: the system's temporary files may lie in memory.
        let mut files = TempDir::with_prefix_in("chaos-", env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        if std::env::var_os(KEEP).is_some() {
            files.disable_cleanup(true);
            eprintln!("files: {}", files.path().display());
        }
        let tls = files.path().join("tls");
        let made = Command::new(conclave())
            .args(["operator", "tls", "create-ca", "-dir"])
            .arg(&tls)
            .output()
            .expect("conclave runs");
        assert!(
            made.status.success(),
            "no authority: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        let mut cluster = Self {
            nodes: Vec::new(),
            shares: Vec::new(),
            root: String::new(),
            seed,
            files,
        };
        for ((number, place), zone) in places.enumerate().zip(ZONES.iter().cycle()) {
            cluster.add_at(&format!("node{}", number + 1), zone, place);
        }
        cluster
    }

    /// Three unsealed voters with kv-v2 at `secret/`.
    pub async fn formed() -> Self {
        let mut cluster = Self::fresh().await;
        cluster.form().await;
        cluster
    }

    /// Makes all nodes, which run, unsealed voters of one cluster with kv-v2 at `secret/`.
    pub async fn form(&mut self) {
        self.init().await;
        self.give_shares(&[0; THRESHOLD]).await;
        self.all_unsealed(&[0]).await;
        let joiners: Vec<usize> = (1..self.nodes.len()).collect();
        for joiner in &joiners {
            self.join(*joiner, 0).await;
        }
        if let (Some(first), Some(last)) = (joiners.first(), joiners.last()) {
            self.give_shares(&[*first, *last, *first]).await;
        }
        self.all_unsealed(&self.running()).await;
        self.voters(self.nodes.len()).await;
        let mount = json!({"type": "kv", "options": {"version": "2"}});
        self.api(0).must("POST", "sys/mounts/secret", mount).await;
    }

    /// One more node, not started; its index.
    pub fn add(&mut self, name: &str, zone: &str) -> usize {
        self.add_at(name, zone, Place::here())
    }

    fn add_at(&mut self, name: &str, zone: &str, place: Place) -> usize {
        let node = Node::prepare(self.files.path(), &self.tls(), name, zone, place);
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// Founds the cluster on the first node.
    pub async fn init(&mut self) {
        let split = json!({"secret_shares": SHARES, "secret_threshold": THRESHOLD});
        let born = self.nodes[0].api.must("PUT", "sys/init", split).await;
        let shares = born["keys_base64"].as_array().expect("shares").iter();
        self.shares = shares
            .map(|share| share.as_str().expect("a share").to_owned())
            .collect();
        self.root = born["root_token"].as_str().expect("a root token").to_owned();
    }

    /// Lets a node join by a single-use token that another gives out.
    pub async fn join(&self, joiner: usize, through: usize) {
        let wish = json!({"ttl": "5m", "uses": 1});
        let given = self
            .api(through)
            .must("POST", "sys/storage/raft/join-token", wish)
            .await;
        self.join_with(joiner, through, given["join_token"].as_str().expect("a token"))
            .await;
    }

    /// Lets a node join by this token.
    pub async fn join_with(&self, joiner: usize, through: usize, token: &str) {
        let ca = std::fs::read_to_string(self.tls().join("ca.pem")).expect("the authority");
        let target = json!({
            "leader_api_addr": self.nodes[through].url,
            "leader_ca_cert": ca,
            "join_token": token,
        });
        let joined = self.nodes[joiner]
            .api
            .must("POST", "sys/storage/raft/join", target)
            .await;
        assert_eq!(joined["joined"], true, "{joined}");
        let api = self.nodes[joiner].api.clone();
        eventually("the joiner hears of the cluster", SOON, async || {
            let status = api.get("sys/seal-status").await.body;
            if status["initialized"] == true {
                Ok(())
            } else {
                Err(status)
            }
        })
        .await;
    }

    /// Gives different shares in a random order, each through the node named.
    pub async fn give_shares(&mut self, through: &[usize]) {
        let shares = self.seed.shuffled(&self.shares);
        for (share, node) in shares.iter().zip(through) {
            self.nodes[*node]
                .api
                .must("PUT", "sys/unseal", json!({"key": share}))
                .await;
        }
    }

    /// Waits until these nodes hold no keys.
    pub async fn all_sealed(&self, nodes: &[usize]) {
        eventually("all are sealed", SOON, async || {
            for node in nodes.iter().map(|at| &self.nodes[*at]) {
                if !node.is_sealed().await {
                    return Err(&node.name);
                }
            }
            Ok(())
        })
        .await;
    }

    /// Waits until these nodes are unsealed.
    pub async fn all_unsealed(&self, nodes: &[usize]) {
        eventually("all are unsealed", SOON, async || {
            let mut sealed = Vec::new();
            for node in nodes.iter().map(|at| &self.nodes[*at]) {
                if node.is_sealed().await {
                    sealed.push(&node.name);
                }
            }
            if sealed.is_empty() { Ok(()) } else { Err(sealed) }
        })
        .await;
    }

    /// Waits until every node that runs lists this many voters; the configuration as one of them tells it.
    pub async fn voters(&self, count: usize) -> Vec<Value> {
        eventually(&format!("{count} voters"), SOON, async || {
            let mut servers = Vec::new();
            for at in self.running() {
                servers = self.servers(at).await?;
                if servers.iter().filter(|server| server["voter"] == true).count() != count {
                    return Err(format!("{}: {servers:?}", self.nodes[at].name));
                }
            }
            Ok(servers)
        })
        .await
    }

    /// The members as a node lists them.
    pub async fn servers(&self, at: usize) -> Result<Vec<Value>, String> {
        let reply = self
            .api(at)
            .call("GET", "sys/storage/raft/configuration", None)
            .await;
        let reply = reply.map_err(|lost| format!("{lost:?}"))?;
        let servers = reply.body["data"]["config"]["servers"].as_array().cloned();
        servers.ok_or_else(|| reply.text())
    }

    /// Waits until all nodes that run name the same leader; its index. `patience` bounds the wait.
    pub async fn leader_within(&self, patience: Duration) -> usize {
        eventually("all agree on a leader", patience, async || {
            let mut named = Vec::new();
            for at in self.running() {
                named.push(self.names_leader(at).await);
            }
            let leads = |at: usize| named.iter().all(|name| *name == self.nodes[at].url);
            self.running().into_iter().find(|at| leads(*at)).ok_or(named)
        })
        .await
    }

    /// Waits until all nodes that run name the same leader; its index.
    pub async fn leader(&self) -> usize {
        self.leader_within(SOON).await
    }

    /// Waits until all nodes that run name the same leader, and that is not this one; its index.
    pub async fn another_leader(&self, than: usize) -> usize {
        eventually("another leads", SOON, async || match self.leader().await {
            leader if leader == than => Err(leader),
            leader => Ok(leader),
        })
        .await
    }

    async fn names_leader(&self, at: usize) -> String {
        let leader = self.nodes[at].api.get("sys/leader").await.body;
        leader["leader_address"].as_str().unwrap_or_default().to_owned()
    }

    /// Waits until all nodes that run have applied the same revision; then their digests must be equal.
    pub async fn digests_agree(&self) -> (u64, String) {
        let found = eventually("all have applied the same revision", SOON, async || {
            let running = self.running();
            let digests = join_all(running.iter().map(|at| self.nodes[*at].digest())).await;
            let digests = digests.into_iter().collect::<Result<Vec<_>, _>>()?;
            let first = digests.first().ok_or("nobody runs")?.0;
            let same = digests.iter().all(|(revision, _)| *revision == first);
            if same {
                Ok(digests)
            } else {
                Err(format!("{digests:?}"))
            }
        })
        .await;
        assert!(
            found.iter().all(|digest| *digest == found[0]),
            "diverged: {found:?}"
        );
        found[0].clone()
    }

    /// Indexes of the nodes that run.
    pub fn running(&self) -> Vec<usize> {
        (0..self.nodes.len())
            .filter(|at| self.nodes[*at].runs())
            .collect()
    }

    /// Indexes of the nodes that run, but one.
    pub fn others(&self, than: usize) -> Vec<usize> {
        self.running().into_iter().filter(|at| *at != than).collect()
    }

    /// A node's API with the root token.
    pub fn api(&self, at: usize) -> Api {
        self.nodes[at].api.with_token(&self.root)
    }

    /// All nodes' APIs with the root token.
    pub fn apis(&self) -> Vec<Api> {
        (0..self.nodes.len()).map(|at| self.api(at)).collect()
    }

    /// Fails if a process ended by itself.
    pub fn assert_alive(&mut self) {
        for node in &mut self.nodes {
            node.assert_alive();
        }
    }

    /// The authority's certificate, for clients.
    pub fn ca(&self) -> std::path::PathBuf {
        self.tls().join("ca.pem")
    }

    /// Where a scenario may put files of its own.
    pub fn files(&self) -> &Path {
        self.files.path()
    }

    /// The directory of the authority, `ca.pem`, and all certificates.
    pub fn tls(&self) -> std::path::PathBuf {
        self.files.path().join("tls")
    }
}
