//! The shapes clients see, as the real `bao` 2.7.2 answers them.
use crate::support::{body, get, leader, send, start, start_with, status};
use conclave_core::Health;
use conclave_server::http::Settings;

#[tokio::test]
async fn envelopes() {
    let server = start(Settings::default(), false).await;
    let rows = [
        (
            "gone",
            404,
            r#"{"request_id":"id-1","lease_id":"","renewable":false,"lease_duration":0,"data":{"data":null},"wrap_info":null,"warnings":null,"auth":null}"#,
        ),
        (
            "mounts",
            200,
            r#"{"secret/":{"type":"kv"},"request_id":"id-1","lease_id":"","renewable":false,"lease_duration":0,"data":{"secret/":{"type":"kv"}},"wrap_info":null,"warnings":null,"auth":null}"#,
        ),
        (
            "error/warned",
            404,
            r#"{"request_id":"","lease_id":"","renewable":false,"lease_duration":0,"data":null,"wrap_info":null,"warnings":["look elsewhere"],"auth":null}"#,
        ),
        (
            "error/denied",
            403,
            r#"{"errors":["1 error occurred:\n\t* permission denied\n\n"]}"#,
        ),
        (
            "error/unauthenticated",
            403,
            r#"{"errors":["permission denied"]}"#,
        ),
        ("error/sealed", 503, r#"{"errors":["Vault is sealed"]}"#),
        (
            "error/operation",
            405,
            r#"{"errors":["1 error occurred:\n\t* unsupported operation\n\n"]}"#,
        ),
        ("error/notfound", 404, r#"{"errors":[]}"#),
        (
            "nothing",
            404,
            r#"{"errors":["no handler for route \"nothing\". route entry not found."]}"#,
        ),
    ];
    for (path, want, text) in rows {
        let answer = get(&server, &format!("/v1/{path}"), "").await;
        assert_eq!(
            (status(&answer), body(&answer).trim_end()),
            (want, text),
            "{path}"
        );
        assert!(answer.contains("content-type: application/json\r\n"), "{answer}");
    }
    let answer = get(&server, "/v1/empty", "").await;
    assert_eq!((status(&answer), body(&answer)), (204, ""));
    let answer = get(&server, "/v1/error/contention", "").await;
    assert!(
        status(&answer) == 503 && answer.contains("retry-after: 1\r\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_request_reaches_core_whole() {
    let server = start(Settings::default(), false).await;
    let headers =
        "X-Vault-Token: s.abc\r\nX-Vault-Namespace: team/\r\nX-Vault-Wrap-TTL: 5m\r\nIdempotency-Key: k1\r\n";
    let answer = send(
        &server,
        "POST",
        "/v1/echo?ignored=1",
        headers,
        br#"{"data":{"a":"b"}}"#,
    )
    .await;
    let value: serde_json::Value = serde_json::from_str(body(&answer)).unwrap();
    let want = serde_json::json!({
        "verb": "Write", "path": "echo", "namespace": "team/", "token": "s.abc", "data": {"data": {"a": "b"}},
        "wrap_ttl": 300_000, "remote": "127.0.0.1", "idempotency_key": "k1",
    });
    assert_eq!(value["data"], want);
    assert!(answer.contains("x-vault-namespace: team/\r\n"), "{answer}");
    let answer = get(&server, "/v1/echo?version=3&version=4", "").await;
    let value: serde_json::Value = serde_json::from_str(body(&answer)).unwrap();
    assert_eq!(value["data"]["data"], serde_json::json!({"version": ["3", "4"]}));
}

#[tokio::test]
async fn an_upload_becomes_a_file_and_is_removed() {
    let server = start(
        Settings {
            max_body: 1000,
            ..Settings::default()
        },
        false,
    )
    .await;
    let bytes = vec![7u8; 3_000_000];
    let path = "/v1/sys/storage/raft/snapshot";
    let answer = send(&server, "POST", path, "", &bytes).await;
    assert_eq!(
        status(&answer),
        403,
        "nothing is kept for a client that is not admitted"
    );
    let answer = send(&server, "POST", path, "X-Vault-Token: root\r\n", &bytes).await;
    assert!(body(&answer).contains("\"bytes\":3000000"), "{answer}");
}

#[tokio::test]
async fn health_answers_with_the_codes_that_were_asked_for() {
    let follower = Health {
        standby: true,
        ..leader()
    };
    let lost = Health {
        has_leader: false,
        standby: true,
        ..leader()
    };
    let sealed = Health {
        sealed: true,
        ..leader()
    };
    let new = Health {
        initialized: false,
        sealed: true,
        has_leader: false,
        ..leader()
    };
    let rows = [
        (leader(), "", 200),
        (follower.clone(), "", 200),
        (follower.clone(), "?standbycode=429", 429),
        (follower.clone(), "?standbycode=429&standbyok=true", 200),
        (follower, "?perfstandbyok=true&drsecondarycode=200", 200),
        (lost, "?standbyok=true", 503),
        (sealed.clone(), "", 503),
        (sealed.clone(), "?sealedcode=204", 204),
        (sealed, "?sealedcode=1", 400),
        (new.clone(), "", 501),
        (new, "?uninitcode=200", 200),
    ];
    for (health, query, want) in rows {
        let server = start_with(Settings::default(), false, health.clone()).await;
        let answer = get(&server, &format!("/v1/sys/health{query}"), "").await;
        assert_eq!(status(&answer), want, "{health:?} {query}: {answer}");
        let head = send(&server, "HEAD", &format!("/v1/sys/health{query}"), "", b"").await;
        assert_eq!((status(&head), body(&head)), (want, ""));
    }
}

#[tokio::test]
async fn metrics_need_a_token_unless_opened() {
    let server = start(Settings::default(), false).await;
    assert_eq!(
        status(&get(&server, "/v1/sys/metrics?format=prometheus", "").await),
        403
    );
    assert_eq!(
        status(&get(&server, "/v1/sys/metrics?format=xml", "X-Vault-Token: root\r\n").await),
        400
    );
    get(
        &server,
        "/v1/secret/data/hidden-name",
        "X-Vault-Token: hidden-token\r\n",
    )
    .await;
    let answer = get(
        &server,
        "/v1/sys/metrics?format=prometheus",
        "X-Vault-Token: root\r\n",
    )
    .await;
    assert_eq!(status(&answer), 200);
    assert!(
        answer.contains("content-type: text/plain; version=0.0.4"),
        "{answer}"
    );
    for line in [
        r#"conclave_http_request_duration_seconds_count{method="GET",mount_type="secret"} 1"#,
        r#"conclave_http_requests_total{code="404",method="GET"} 1"#,
    ] {
        assert!(answer.contains(line), "{line} in {answer}");
    }
    assert!(!answer.contains("hidden"), "{answer}");
    let open = start(
        Settings {
            open_metrics: true,
            ..Settings::default()
        },
        false,
    )
    .await;
    assert_eq!(status(&get(&open, "/v1/sys/metrics", "").await), 200);
}
