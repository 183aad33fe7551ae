//! Tokens end when they end and not before: one that was revoked or is past its time opens nothing on any node, one that is
//! neither opens on all.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Cluster, SOON, eventually};

/// Life of the token that ends within the round.
const SHORT: Duration = Duration::from_secs(3);
/// Past its end by this much nothing excuses it: the cluster's clock may be that far behind.
const GRACE: Duration = Duration::from_secs(3);

/// Tokens of one round.
pub struct Tokens {
    lasting: String,
    revoked: String,
    short: String,
    made: Instant,
}

impl Tokens {
    /// Makes them, and revokes one.
    pub async fn made(cluster: &mut Cluster) -> Self {
        let through = cluster.seed.below(cluster.nodes.len());
        let (lasting, revoked, short) = (
            create(cluster, through, "24h").await,
            create(cluster, through, "24h").await,
            create(cluster, through, &format!("{}s", SHORT.as_secs())).await,
        );
        let made = Instant::now();
        let body = json!({"token": revoked});
        cluster.api(through).must("POST", "auth/token/revoke", body).await;
        Self {
            lasting,
            revoked,
            short,
            made,
        }
    }

    /// What each node says of them.
    pub async fn hold(self, cluster: &Cluster) {
        for at in cluster.running() {
            let name = &cluster.nodes[at].name;
            let status = status(cluster, at, &self.lasting).await;
            assert_eq!(status, 200, "TOKEN: {name} refuses one that lasts");
        }
        let ends = self.made + SHORT + GRACE;
        // why: the token's own life
        tokio::time::sleep_until(ends.into()).await;
        for at in cluster.running() {
            let name = &cluster.nodes[at].name;
            for (what, token) in [("was revoked", &self.revoked), ("is past its time", &self.short)] {
                let status = status(cluster, at, token).await;
                assert_eq!(status, 403, "TOKEN: {name} takes one that {what}");
            }
        }
    }
}

async fn create(cluster: &Cluster, through: usize, ttl: &str) -> String {
    let wish = json!({"ttl": ttl, "policies": ["default"]});
    let reply = cluster
        .api(through)
        .call("POST", "auth/token/create", Some(wish))
        .await;
    let body = reply.expect("an answer").body;
    let token: &Value = &body["auth"]["client_token"];
    token.as_str().unwrap_or_else(|| panic!("{body}")).to_owned()
}

/// What a node answers to somebody with this token; it may have to find a leader first.
async fn status(cluster: &Cluster, at: usize, token: &str) -> u16 {
    let api = cluster.nodes[at].api.with_token(token);
    eventually("a node knows a token or not", SOON, async || {
        match api.call("GET", "auth/token/lookup-self", None).await {
            Ok(reply) if reply.status != 503 => Ok(reply.status),
            other => Err(other),
        }
    })
    .await
}
