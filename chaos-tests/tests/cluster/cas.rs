//! A chain of check-and-set writes through followers, under kills of the leader: versions count acknowledged writes.

use std::time::Instant;

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::harness::{Api, Cluster, Outcome, SOON, Seed};

const KILLS: usize = 5;
/// Links that must be added to the chain before the next kill.
const LINKS: u64 = 15;
/// The most versions a key may keep.
const MAX_LINKS: usize = 4000;
const PATH: &str = "secret/data/chain";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_cas() {
    let mut cluster = Cluster::formed().await;
    // One version is one link: none may be forgotten.
    let kept = json!({"max_versions": MAX_LINKS});
    cluster.api(0).must("POST", "secret/metadata/chain", kept).await;
    let (progress, watched) = tokio::sync::watch::channel(0u64);
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let chain = Chain {
        apis: cluster.apis(),
        seed: cluster.seed.split(),
        links: Vec::new(),
        unknown: 0,
        progress,
        stopped,
    };
    let chain: JoinHandle<Chain> = tokio::spawn(chain.run());
    let reaches = async |count: u64| {
        let mut watched = watched.clone();
        let reached = tokio::time::timeout(SOON, watched.wait_for(|links| *links >= count)).await;
        assert!(
            reached.is_ok_and(|seen| seen.is_ok()),
            "the chain stands still at {}",
            *watched.borrow()
        );
    };
    reaches(LINKS).await;
    for kill in 0..KILLS {
        let leader = cluster.leader().await;
        eprintln!("kill {kill}: {} leads", cluster.nodes[leader].name);
        cluster.nodes[leader].kill();
        let at = *watched.borrow();
        reaches(at + LINKS).await;
        cluster.nodes[leader].start().await;
        let through = cluster.seed.below(3);
        cluster.give_shares(&[leader, through, leader]).await;
        cluster.all_unsealed(&[0, 1, 2]).await;
        let at = *watched.borrow();
        reaches(at + LINKS).await;
    }
    stop.send(true).expect("a chain that listens");
    let chain = chain.await.expect("a chain that does not break");
    eprintln!(
        "{} links, {} outcomes were unknown at first",
        chain.links.len(),
        chain.unknown
    );
    check(&cluster, &chain).await;
    cluster.digests_agree().await;
    cluster.assert_alive();
}

async fn check(cluster: &Cluster, chain: &Chain) {
    let metadata = cluster.api(0).get("secret/metadata/chain").await;
    assert_eq!(
        metadata.body["data"]["current_version"],
        chain.links.len(),
        "versions = acknowledged writes"
    );
    for (at, link) in chain.links.iter().enumerate() {
        let path = format!("{PATH}?version={}", at + 1);
        let read = cluster.api(at % 3).get(&path).await;
        assert_eq!(read.body["data"]["data"]["link"], **link, "version {}", at + 1);
    }
}

struct Chain {
    apis: Vec<Api>,
    seed: Seed,
    /// The value of each version, in order.
    links: Vec<String>,
    /// Writes whose outcome had to be looked up.
    unknown: u64,
    progress: tokio::sync::watch::Sender<u64>,
    stopped: tokio::sync::watch::Receiver<bool>,
}

impl Chain {
    async fn run(mut self) -> Self {
        while !*self.stopped.borrow() && self.links.len() < MAX_LINKS {
            let link = self.seed.text(24);
            self.add(&link).await;
            self.links.push(link);
            self.progress.send_replace(self.links.len() as u64);
        }
        self
    }

    /// Adds one link, through followers where there is one, until it is certainly there.
    async fn add(&mut self, link: &str) {
        let version = self.links.len() as u64;
        let body = json!({"options": {"cas": version}, "data": {"link": link}});
        let mut doubtful = false;
        loop {
            let through = self.follower().await;
            match self.apis[through].write(PATH, body.clone()).await {
                Outcome::Acknowledged(written) => {
                    assert_eq!(written["version"], version + 1);
                    return;
                }
                Outcome::NotDone(why) if why.starts_with("400") => {
                    assert!(
                        doubtful,
                        "nobody else adds links, and no attempt was in doubt: {why}"
                    );
                    assert_eq!(
                        self.newest().await,
                        json!(link),
                        "the link that is there is another"
                    );
                    return;
                }
                Outcome::NotDone(_) => {}
                Outcome::Unknown(_) => {
                    doubtful = true;
                    self.unknown += 1;
                    if self.newest().await == json!(link) {
                        return;
                    }
                }
            }
        }
    }

    /// What the newest version holds, from the first node that can tell.
    async fn newest(&mut self) -> Value {
        let deadline = Instant::now() + SOON;
        while Instant::now() < deadline {
            let at = self.follower().await;
            if let Ok(reply) = self.apis[at].call("GET", PATH, None).await
                && matches!(reply.status, 200 | 404)
            {
                return reply.body["data"]["data"]["link"].clone();
            }
        }
        panic!("no node reads the chain");
    }

    /// A node that serves and does not lead; any node if none is found now.
    async fn follower(&mut self) -> usize {
        let order = self.seed.shuffled(&[0, 1, 2]);
        for at in &order {
            if let Ok(reply) = self.apis[*at].call("GET", "sys/health", None).await
                && reply.status == 200
                && reply.body["standby"] == true
            {
                return *at;
            }
        }
        order[0]
    }
}
