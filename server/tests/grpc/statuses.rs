//! Which failure has which status, through the whole server; and what holds for every call whatever it asks.

use std::sync::Arc;

use bytes::Bytes;
use conclave_core::{Body, Error, Request, Response};
use conclave_proto::v1;
use conclave_server::{Handler, grpc};
use futures::future::BoxFuture;
use http_body_util::Full;
use prost::Message;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};
use tower::ServiceExt;

use super::support::{PATIENCE, ROOT, channel, plain, powerless, reason, root, with};

fn put(mount: &str, data: impl Into<Bytes>, cas: Option<u64>) -> v1::KvPutRequest {
    v1::KvPutRequest {
        mount: mount.to_owned(),
        path: "a".to_owned(),
        data: data.into(),
        cas,
    }
}

fn get(path: &str) -> v1::KvGetRequest {
    v1::KvGetRequest {
        mount: "secret".to_owned(),
        path: path.to_owned(),
        version: 0,
    }
}

fn of_size(bytes: usize) -> Vec<u8> {
    format!(r#"{{"a":"{}"}}"#, "x".repeat(bytes)).into_bytes()
}

fn said(status: Status) -> (Code, String) {
    (status.code(), reason(&status).to_owned())
}

fn is(code: Code, reason: &str) -> (Code, String) {
    (code, format!("REASON_{reason}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_failure_has_its_status() {
    let server = plain().await;
    let channel = channel(&server).await;
    let powerless = powerless(&channel).await;
    let mut kv = v1::kv_client::KvClient::new(channel.clone());
    kv.put(root(put("secret", "{}", None))).await.unwrap();

    let wrong = [("x-conclave-token", "s.wrong")];
    let denied = [("x-conclave-token", powerless.as_str())];
    let both = [("x-conclave-token", ROOT), ("authorization", "Bearer other")];
    let other = [("x-conclave-token", ROOT), ("x-conclave-namespace", "team")];
    for (metadata, expected) in [
        (&[][..], is(Code::Unauthenticated, "UNAUTHENTICATED")),
        (&wrong, is(Code::Unauthenticated, "UNAUTHENTICATED")),
        (&denied, is(Code::PermissionDenied, "DENIED")),
        (&both, is(Code::InvalidArgument, "INVALID")),
        (&other, is(Code::NotFound, "NO_MOUNT")),
    ] {
        let refused = kv.get(with(get("a"), metadata)).await.err().unwrap();
        assert_eq!(said(refused), expected, "{metadata:?}");
    }
    for (message, expected) in [
        (
            put("secret", "{}", Some(9)),
            is(Code::FailedPrecondition, "CAS_MISMATCH"),
        ),
        (
            put("secret", of_size(2 << 20), None),
            is(Code::ResourceExhausted, "TOO_LARGE"),
        ),
        (
            put("secret", of_size(5 << 20), None),
            is(Code::ResourceExhausted, "TOO_LARGE"),
        ),
        (put("none", "{}", None), is(Code::NotFound, "NO_MOUNT")),
        (put("", "{}", None), is(Code::InvalidArgument, "INVALID")),
        (put("secret", "[]", None), is(Code::InvalidArgument, "INVALID")),
        (
            put("secret", r#"{"a":1,"a":2}"#, None),
            is(Code::InvalidArgument, "INVALID"),
        ),
        (put("../sys", "{}", None), is(Code::InvalidArgument, "INVALID")),
    ] {
        let what = format!("{} {} bytes", message.mount, message.data.len());
        let refused = kv.put(root(message)).await.err().unwrap();
        assert_eq!(said(refused), expected, "{what}");
    }
    let missing = kv.get(root(get("none"))).await.err().unwrap();
    assert_eq!(said(missing), is(Code::NotFound, "NOT_FOUND"));
    let mut settings = v1::KvPutMetadataRequest::default();
    (settings.mount, settings.path) = ("secret".to_owned(), "a".to_owned());
    (settings.metadata_cas, settings.max_versions) = (Some(9), Some(1));
    let refused = kv.put_metadata(root(settings)).await.err().unwrap();
    assert_eq!(said(refused), is(Code::FailedPrecondition, "CAS_MISMATCH"));
    server.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sealed_node_is_unavailable_and_says_why() {
    let server = plain().await;
    let mut sys = v1::sys_client::SysClient::new(channel(&server).await);
    sys.seal(root(v1::SealRequest::default())).await.unwrap();
    // A seal ends connections.
    let channel = channel(&server).await;
    let mut sys = v1::sys_client::SysClient::new(channel.clone());
    let mut kv = v1::kv_client::KvClient::new(channel);
    let refused = kv.get(root(get("a"))).await.err().unwrap();
    assert_eq!(said(refused), is(Code::Unavailable, "SEALED"));
    assert!(
        sys.health(v1::HealthRequest {})
            .await
            .unwrap()
            .into_inner()
            .sealed
    );
    assert!(
        sys.seal_status(v1::SealStatusRequest {})
            .await
            .unwrap()
            .into_inner()
            .sealed
    );
    let again = sys
        .init(v1::InitRequest {
            shares: 1,
            threshold: 1,
        })
        .await
        .err()
        .unwrap();
    assert_eq!(again.code(), Code::InvalidArgument, "a second init is refused");
    let empty = sys.unseal(v1::UnsealRequest { what: None }).await.err().unwrap();
    assert_eq!(said(empty), is(Code::InvalidArgument, "INVALID"));
    server.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_sent_twice_under_one_key_is_done_once() {
    let server = plain().await;
    let mut kv = v1::kv_client::KvClient::new(channel(&server).await);
    let keyed = [
        ("x-conclave-token", ROOT),
        ("idempotency-key", "0123456789abcdef"),
    ];
    for _ in 0..2 {
        let put = kv.put(with(put("secret", "{}", Some(0)), &keyed)).await.unwrap();
        assert_eq!(put.into_inner().version.unwrap().version, 1);
    }
    let other = kv
        .put(with(put("secret", r#"{"b":1}"#, Some(0)), &keyed))
        .await
        .err()
        .unwrap();
    assert_eq!(
        other.code(),
        Code::InvalidArgument,
        "another body under the same key"
    );
    server.server.stop().await;
}

/// Answers nothing before it is told to.
#[derive(Default)]
struct Slow {
    entered: Notify,
    release: Notify,
    done: Notify,
}

impl Handler for Slow {
    fn handle(&self, _: Request) -> BoxFuture<'_, Result<Response, Error>> {
        Box::pin(async move {
            self.entered.notify_one();
            self.release.notified().await;
            self.done.notify_one();
            Ok(Response {
                request_id: "id".to_owned(),
                revision: None,
                body: Body::Empty,
            })
        })
    }

    fn observe(&self) {}
}

#[tokio::test]
async fn a_write_is_done_to_its_end_though_its_callers_time_is_over() {
    let slow = Arc::new(Slow::default());
    let routes = grpc::routes(slow.clone(), Arc::new(|| true), CancellationToken::new()).unwrap();
    let message = put("secret", "{}", None).encode_to_vec();
    let mut frame = vec![0];
    frame.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
    frame.extend_from_slice(&message);
    let request = http::Request::post("/conclave.v1.Kv/Put")
        .header("content-type", "application/grpc")
        .header("grpc-timeout", "20m")
        .body(Full::new(Bytes::from(frame)))
        .unwrap();
    let answered = tokio::spawn(routes.oneshot(request));
    tokio::time::timeout(PATIENCE, slow.entered.notified())
        .await
        .unwrap();
    let answered = tokio::time::timeout(PATIENCE, answered).await.unwrap();
    let status = Status::from_header_map(answered.unwrap().unwrap().headers()).unwrap();
    assert_eq!(said(status), is(Code::DeadlineExceeded, "OVERDUE"));
    slow.release.notify_one();
    tokio::time::timeout(PATIENCE, slow.done.notified())
        .await
        .unwrap();
}
