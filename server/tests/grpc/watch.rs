//! Watches by the SDK and by HTTP: what they tell, and how they end with the server.

use conclave_client::{Conclave, Error, EventKind};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::support::{PATIENCE, ROOT, plain};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happens_to_keys_is_told_by_grpc_and_by_http_alike() {
    let server = plain().await;
    let conclave = Conclave::connect([server.api_addr.clone()]).token(ROOT);
    let conclave = conclave.build().unwrap();
    let kv = conclave.kv("secret");
    let mut watch = kv.watch("app/", 0).await.unwrap();
    let start = watch.revision();
    let mut lines = follow(&server.api_addr, &format!("secret/app/?after={start}")).await;
    kv.put("app/50% off", &json!({"x": 1})).await.unwrap();
    kv.put("other", &json!({"x": 1})).await.unwrap();
    kv.put("app/50% off", &json!({"x": 2})).await.unwrap();
    kv.destroy("app/50% off", &[1, 2]).await.unwrap();
    kv.delete_metadata("app/50% off").await.unwrap();
    let mut told = Vec::new();
    while told.len() < 4 {
        let heard = timeout(PATIENCE, watch.next()).await.unwrap().unwrap();
        assert_eq!(heard.revision, watch.revision());
        told.extend(heard.events);
    }
    let kinds: Vec<_> = told
        .iter()
        .map(|event| (event.kind, event.versions.clone()))
        .collect();
    assert_eq!(
        kinds,
        [
            (EventKind::Written, vec![1]),
            (EventKind::Written, vec![2]),
            (EventKind::Destroyed, vec![1, 2]),
            (EventKind::Removed, vec![]),
        ]
    );
    let mut by_http = Vec::new();
    while by_http.len() < 4 {
        let object = lines.next().await.expect("a line");
        by_http.extend(object["events"].as_array().unwrap().clone());
    }
    for (event, object) in told.iter().zip(by_http) {
        assert_eq!(
            (event.mount.as_str(), event.path.as_str()),
            ("secret/", "app/50% off")
        );
        let expected = json!({
            "revision": event.revision,
            "event": event.kind.name(),
            "mount": event.mount,
            "path": event.path,
            "versions": event.versions,
        });
        assert_eq!(object, expected);
    }
    let ahead = kv.watch("app/", watch.revision() + 1_000).await.err();
    assert!(matches!(ahead, Some(Error::Invalid(_))), "{ahead:?}");
    let stranger = conclave.with_token("s.wrong").unwrap();
    let refused = stranger.kv("secret").watch("app/", 0).await.err();
    assert_eq!(refused, Some(Error::Unauthenticated));
    // Sealed, it says so in its last line; to the SDK that may pass.
    conclave.sys().seal().await.unwrap();
    let last = loop {
        match lines.next().await {
            Some(object) if object["events"].is_array() => {}
            last => break last,
        }
    };
    assert_eq!(last, Some(json!({"errors": ["Vault is sealed"]})));
    assert_eq!(lines.next().await, None);
    assert_eq!(watch.next().await.err(), Some(Error::Sealed));
    server.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stops_does_not_wait_for_its_watches() {
    let server = plain().await;
    let conclave = Conclave::connect([server.api_addr.clone()]).token(ROOT);
    let conclave = conclave
        .deadline(std::time::Duration::from_secs(1))
        .build()
        .unwrap();
    let mut watch = conclave.kv("secret").watch("", 0).await.unwrap();
    let waiting = tokio::spawn(async move { watch.next().await });
    timeout(PATIENCE, server.server.stop()).await.expect("it stops");
    let ended = timeout(PATIENCE, waiting).await.expect("the watch ends").unwrap();
    assert!(matches!(ended, Err(Error::Unavailable(_))), "{ended:?}");
}

/// Lines of a watch by HTTP.
struct Lines(BufReader<TcpStream>);

async fn follow(address: &str, path: &str) -> Lines {
    let host = address.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(host).await.unwrap();
    let head = format!("GET /v1/sys/watch/{path} HTTP/1.0\r\nHost: {host}\r\nX-Vault-Token: {ROOT}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut lines = Lines(BufReader::new(stream));
    assert!(lines.line().await.unwrap().contains(" 200 "));
    while lines.line().await.is_some_and(|line| !line.trim().is_empty()) {}
    lines
}

impl Lines {
    async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = timeout(PATIENCE, self.0.read_line(&mut line)).await;
        let read = read.expect("a line in time").unwrap();
        (read > 0).then_some(line)
    }

    async fn next(&mut self) -> Option<Value> {
        let line = self.line().await?;
        Some(serde_json::from_str(&line).unwrap())
    }
}
