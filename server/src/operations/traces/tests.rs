//! One trace from how it comes in to its application, as it leaves this process, and what must not be in it.

use tracing::{Instrument, trace_span};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use conclave_raft::meter::TRACES;

use super::super::trace_context::Traced;
use super::collect::Word;
use super::*;

const CANARY: &str = "canary-7f3a";

fn headers(flags: &str) -> http::HeaderMap {
    let text = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}");
    let mut headers = http::HeaderMap::new();
    headers.insert("traceparent", text.parse().unwrap());
    headers
}

/// A request with all its steps, and fields that nobody asked for.
async fn request(flags: &str) {
    let entry = Traced::of(&headers(flags), 1).span("http", "GET");
    async {
        let core = trace_span!(target: TRACES, "core.request", operation = "read", mount_type = tracing::field::Empty, path = CANARY);
        async {
            tracing::Span::current().record("mount_type", "kv");
            let propose = trace_span!(target: TRACES, "raft.propose", token = CANARY);
            drop(trace_span!(target: TRACES, parent: &propose, "raft.apply", term = 3_u64, index = 9_u64, took_nanos = 5_000_u64, note = ?CANARY));
            tracing::info!(CANARY, "a line of the log");
        }
        .instrument(core)
        .await;
    }
    .instrument(entry.clone())
    .await;
    entry.record("status", 503_u64);
}

fn taken(receiver: &mut mpsc::Receiver<Ended>) -> Vec<Ended> {
    std::iter::from_fn(|| receiver.try_recv().ok()).collect()
}

#[tokio::test]
async fn a_trace_has_its_steps_in_order_and_only_what_may_be_said() {
    let (layer, mut receiver) = start();
    let _here = tracing_subscriber::registry().with(layer).set_default();
    request("01").await;
    let spans = taken(&mut receiver);
    let names: Vec<_> = spans.iter().map(|span| span.name).collect();
    assert_eq!(names, ["raft.apply", "raft.propose", "core.request", "request"]);
    for pair in spans.windows(2) {
        assert_eq!(pair[0].parent, pair[1].span);
        assert_eq!(pair[0].trace, 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        assert!(pair[1].began <= pair[0].ended && pair[0].ended <= pair[1].ended);
    }
    let (apply, entry) = (&spans[0], &spans[3]);
    assert_eq!(entry.parent, 0x00f0_67aa_0ba9_02b7);
    assert!(entry.is_entry && !apply.is_entry);
    assert!(apply.ended - apply.began >= 5_000);
    assert_eq!(
        apply.said,
        [("term", Word::Number(3)), ("index", Word::Number(9))]
    );
    assert_eq!(spans[1].said, []);
    let told = format!("{spans:?}");
    assert!(told.contains("\"kv\"") && told.contains("503"), "{told}");
    assert!(!told.contains(CANARY), "{told}");
}

#[tokio::test]
async fn what_is_not_sampled_and_what_belongs_to_no_request_is_not_taken() {
    let (layer, mut receiver) = start();
    let _here = tracing_subscriber::registry().with(layer).set_default();
    request("00").await;
    drop(trace_span!(target: TRACES, "raft.propose"));
    assert_eq!(taken(&mut receiver), []);
}

#[tokio::test]
async fn messages_reach_a_collector_again_after_it_was_away() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let collector = Collector {
        host: "127.0.0.1".to_owned(),
        port: listener.local_addr().unwrap().port(),
        path: "/v1/traces".to_owned(),
        ..Collector::default()
    };
    let mut way = post::Way::new(collector);
    let taking = tokio::spawn(async move {
        // Each is closed after its answer, as a collector that was started again has done.
        let mut heads = Vec::new();
        for answer in ["503 no", "503 no", "200 OK", "200 OK"] {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut seen = Vec::new();
            while !seen.ends_with(b"MESSAGE") {
                assert!(stream.read_buf(&mut seen).await.unwrap() > 0);
            }
            let answer = format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
            heads.push(String::from_utf8(seen).unwrap());
        }
        heads
    });
    let message = bytes::Bytes::from_static(b"MESSAGE");
    let refused = way.post(message.clone()).await.unwrap_err().to_string();
    assert!(refused.contains("503"), "{refused}");
    way.post(message.clone()).await.unwrap();
    way.post(message).await.unwrap();
    let heads = taking.await.unwrap();
    assert!(
        heads[0].starts_with("POST /v1/traces HTTP/1.1\r\n"),
        "{}",
        heads[0]
    );
    assert!(heads[0].contains("application/x-protobuf"));
}

#[tokio::test]
async fn a_collector_behind_tls_is_told_if_its_certificate_is_good() {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let dir = tempfile::tempdir().unwrap();
    let (ours, others) = (dir.path().join("ours"), dir.path().join("others"));
    for authority in [&ours, &others] {
        std::fs::create_dir(authority).unwrap();
        crate::tls::create_ca(authority).unwrap();
    }
    let issued = crate::tls::create_cert(&ours, dir.path(), "collector", &["127.0.0.1".to_owned()]).unwrap();
    let pem = |path: &std::path::Path| std::fs::read_to_string(path.join("ca.pem")).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_file(&issued.certificate).unwrap()],
            PrivateKeyDer::from_pem_file(&issued.key).unwrap(),
        )
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let collector = |ca_cert: String| Collector {
        host: "127.0.0.1".to_owned(),
        port: listener.local_addr().unwrap().port(),
        tls: true,
        path: "/v1/traces".to_owned(),
        ca_cert,
    };
    let (mut stranger, mut way) = (
        post::Way::new(collector(pem(&others))),
        post::Way::new(collector(pem(&ours))),
    );
    let taking = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            // Who does not trust the certificate hangs up.
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut seen = Vec::new();
            while !seen.ends_with(b"MESSAGE") && stream.read_buf(&mut seen).await.unwrap_or(0) > 0 {}
            if seen.ends_with(b"MESSAGE") {
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                stream.write_all(answer).await.unwrap();
                return String::from_utf8(seen).unwrap();
            }
        }
    });
    let message = bytes::Bytes::from_static(b"MESSAGE");
    let refused = stranger.post(message.clone()).await.unwrap_err().to_string();
    assert!(refused.contains("certificate"), "{refused}");
    way.post(message).await.unwrap();
    assert!(taking.await.unwrap().starts_with("POST /v1/traces "));
}
