//! A client in another language through a follower: Python's grpcio over TLS, with classes made from `proto/` by the tools
//! its users have.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::harness::{Cluster, packages};

/// What the client is made of, pinned: a release of theirs must not break a build of ours.
const PACKAGES: [&str; 2] = ["grpcio==1.85.1", "grpcio-tools==1.85.1"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_grpcio() {
    let mut cluster = Cluster::formed().await;
    let leader = cluster.leader().await;
    let [follower, sealed] = cluster.others(leader)[..] else {
        panic!("two followers");
    };
    let wish = json!({"policies": ["default"], "ttl": "10m"});
    let created = cluster
        .api(leader)
        .call("POST", "auth/token/create", Some(wish))
        .await
        .expect("an answer");
    let powerless = created.body["auth"]["client_token"]
        .as_str()
        .expect("a token")
        .to_owned();
    let reply = cluster
        .api(sealed)
        .call("PUT", "sys/seal", None)
        .await
        .expect("an answer");
    assert!(reply.is_good(), "{}", reply.text());

    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let address = |at: usize| cluster.nodes[at].url.trim_start_matches("https://").to_owned();
    let (follower, sealed) = (address(follower), address(sealed));
    let (ca, root) = (cluster.ca(), cluster.root.clone());
    let ran = tokio::task::spawn_blocking(move || {
        Command::new(packages::python("python-grpc", &PACKAGES))
            .arg(here.join("tests/cluster/grpcio.py"))
            .args([&follower, &sealed])
            .arg(ca)
            .arg(here.join("../proto/proto"))
            .args([&root, &powerless])
            .output()
            .expect("Python runs")
    });
    let ran = ran.await.expect("a script that ends");
    let told = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    assert!(ran.status.success(), "{}{}", told(&ran.stdout), told(&ran.stderr));
    assert_eq!(told(&ran.stdout), "ok");
    cluster.assert_alive();
}
