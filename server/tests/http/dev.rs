//! The development server whole: what `server -dev` gives is usable over the socket, by token and not without.

use conclave_server::dev::{DevOptions, DevServer};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::{body, read_all, status};

pub async fn ask(dev: &DevServer, method: &str, path: &str, token: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(dev.server.addresses[0]).await.unwrap();
    let request = format!(
        "{method} /v1/{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Vault-Token: {token}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    read_all(&mut stream).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_development_server_is_ready_for_secrets() {
    let dev = DevServer::start(DevOptions {
        listen_address: "127.0.0.1:0".to_owned(),
        root_token: Some("root".to_owned()),
        tls: false,
        ..DevOptions::default()
    })
    .await
    .unwrap();
    assert!(dev.banner().contains("Root Token: root") && dev.banner().contains(&dev.unseal_key[..]));

    let written = ask(
        &dev,
        "POST",
        "secret/data/cellar",
        "root",
        r#"{"data":{"n":1.50}}"#,
    )
    .await;
    assert_eq!(status(&written), 200, "{written}");
    let read = ask(&dev, "GET", "secret/data/cellar", "root", "").await;
    assert!(body(&read).contains(r#""data":{"n":1.50}"#), "{read}");
    assert_eq!(
        status(&ask(&dev, "GET", "secret/data/cellar", "wrong", "").await),
        403
    );
    assert_eq!(status(&ask(&dev, "GET", "secret/data/cellar", "", "").await), 403);
    for path in [
        "secret/../sys/seal",
        "secret/data/%2e%2e/x",
        "secret/data/a%2fb",
        "secret//data/cellar",
        "secret/data/a%00",
    ] {
        assert_eq!(status(&ask(&dev, "GET", path, "root", "").await), 400, "{path}");
    }

    let numbers = ask(&dev, "GET", "sys/metrics?format=prometheus", "root", "").await;
    assert!(
        status(&numbers) == 200 && body(&numbers).contains("\nconclave_sealed 0\n"),
        "{numbers}"
    );
    assert!(!numbers.contains("cellar"), "no path is a label");
    // What every dashboard begins with.
    for name in [
        "conclave_build_info",
        "conclave_unseal_progress",
        "conclave_raft_is_leader",
        "conclave_raft_term",
        "conclave_raft_last_log_index",
        "conclave_raft_applied_index",
        "conclave_raft_voters",
        "conclave_raft_replication_lag_entries",
        "conclave_raft_commit_duration_seconds",
        "conclave_http_request_duration_seconds",
        "conclave_requests_in_flight",
        "conclave_lease_expiry_lag_seconds",
        "conclave_leases",
        "conclave_state_diverged",
        "conclave_auth_attempts_total",
        "conclave_denied_requests_total",
        "conclave_secret_reads_total",
        "conclave_snapshot_last_success_timestamp_seconds",
        "conclave_audit_devices",
    ] {
        assert!(numbers.contains(&format!("# TYPE {name} ")), "{name}: {numbers}");
    }
    assert_eq!(
        status(&ask(&dev, "GET", "sys/metrics?format=prometheus", "wrong", "").await),
        403
    );

    let address = dev.server.addresses[0];
    dev.server.stop().await;
    assert!(TcpStream::connect(address).await.is_err());
}
