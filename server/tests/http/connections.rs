//! What a client can get wrong about a connection: too slow, too many, the wrong protocol; and how connections end.
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::{PATIENCE, Server, body, exchange, get, read_all, read_one, send, start, status};
use bytes::Bytes;
use conclave_server::Networks;
use conclave_server::http::{Forwarding, Settings, Timeouts, Trust};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const SHORT: Duration = Duration::from_millis(60);

/// All time-outs long, but those `change` makes short.
fn settings(change: impl FnOnce(&mut Timeouts)) -> Settings {
    let mut timeouts = Timeouts {
        handshake: PATIENCE * 9,
        header: PATIENCE * 9,
        body: PATIENCE * 9,
        idle: PATIENCE * 9,
        write: PATIENCE * 9,
        request: PATIENCE * 9,
    };
    change(&mut timeouts);
    Settings {
        timeouts,
        ..Settings::default()
    }
}

async fn connect(server: &Server) -> TcpStream {
    TcpStream::connect(server.address).await.unwrap()
}

async fn tls(server: &Server, alpn: &[&str]) -> TlsStream<TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(server.ca.as_ref().unwrap()).unwrap())
        .unwrap();
    let mut config = rustls::ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, connect(server).await)
        .await
        .unwrap()
}

#[tokio::test]
async fn slow_heads_end() {
    let server = start(settings(|t| t.header = SHORT), false).await;
    let mut silent = connect(&server).await;
    let mut dripping = connect(&server).await;
    dripping
        .write_all(b"GET /v1/echo HTTP/1.1\r\nHost: x\r\nX-A: ")
        .await
        .unwrap();
    // A byte now and then must not keep it alive.
    let dripped = async {
        let mut ended = std::pin::pin!(read_all(&mut silent));
        loop {
            tokio::select! {
                text = ended.as_mut() => return text,
                // why: the pace of the attack; the test ends when the server closes.
                () = tokio::time::sleep(SHORT / 6) => { let _ = dripping.write_all(b"a").await; }
            }
        }
    };
    assert_eq!(dripped.await, "", "a client that says nothing is dropped");
    assert_eq!(read_all(&mut dripping).await, "");
}

#[tokio::test]
async fn a_handshake_that_does_not_get_on_ends() {
    let server = start(settings(|t| t.handshake = SHORT), true).await;
    let mut silent = connect(&server).await;
    let mut half = connect(&server).await;
    half.write_all(b"\x16\x03\x01").await.unwrap();
    assert_eq!(read_all(&mut silent).await, "");
    assert_eq!(read_all(&mut half).await, "");
}

#[tokio::test]
async fn a_slow_body_is_answered_and_ends() {
    let server = start(settings(|t| t.body = SHORT), false).await;
    let answer = exchange(
        &server,
        b"POST /v1/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{",
    )
    .await;
    assert_eq!(status(&answer), 408, "{answer}");
    assert!(answer.contains("connection: close"));
}

#[tokio::test]
async fn a_body_that_drips_ends_with_its_request() {
    let server = start(settings(|t| t.request = SHORT * 2), false).await;
    let mut stream = connect(&server).await;
    stream
        .write_all(b"POST /v1/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
        .await
        .unwrap();
    let (mut read, mut write) = stream.into_split();
    let drip = tokio::spawn(async move {
        while write.write_all(b" ").await.is_ok() {
            tokio::task::yield_now().await
        }
    });
    assert_eq!(status(&read_all(&mut read).await), 408);
    drip.abort();
}

#[tokio::test]
async fn idle_connections_are_closed_and_busy_ones_are_not() {
    let server = start(settings(|t| t.idle = SHORT), false).await;
    let mut busy = connect(&server).await;
    busy.write_all(b"GET /v1/slow HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let mut idle = connect(&server).await;
    idle.write_all(b"GET /v1/empty HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(status(&read_all(&mut idle).await), 204, "answered, then closed");
    server.script.release.notify_one();
    assert_eq!(
        status(&read_one(&mut busy).await),
        204,
        "the other one was waiting for us"
    );
}

#[tokio::test]
async fn an_idle_http2_connection_is_told_and_closed() {
    let server = start(settings(|t| t.idle = SHORT), true).await;
    let io = TokioIo::new(tls(&server, &["h2"]).await);
    let (mut client, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    let request = http::Request::get("https://localhost/v1/empty")
        .body(Full::<Bytes>::default())
        .unwrap();
    assert_eq!(client.send_request(request).await.unwrap().status(), 204);
    tokio::time::timeout(PATIENCE, connection)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn a_client_that_does_not_read_is_dropped() {
    let server = start(settings(|t| t.write = SHORT), false).await;
    let mut stream = connect(&server).await;
    stream
        .write_all(b"GET /v1/large HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    // The server drops it once its buffers are full; what they held can still be read, then the end.
    let closed = async {
        loop {
            // why: a poll's pause; what is waited for is the server's end of the connection.
            tokio::time::sleep(SHORT).await;
            if stream.write_all(b"x").await.is_err() {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, closed).await.unwrap();
}

#[tokio::test]
async fn connections_are_capped_in_all_and_by_address() {
    for settings in [
        Settings {
            max_connections: 2,
            ..Settings::default()
        },
        Settings {
            max_per_address: 2,
            ..Settings::default()
        },
    ] {
        let server = start(settings, false).await;
        let mut held = Vec::new();
        for _ in 0..2 {
            let mut stream = connect(&server).await;
            stream
                .write_all(b"GET /v1/empty HTTP/1.1\r\nHost: x\r\n\r\n")
                .await
                .unwrap();
            assert_eq!(status(&read_one(&mut stream).await), 204);
            held.push(stream);
        }
        let mut third = connect(&server).await;
        assert_eq!(read_all(&mut third).await, "", "one too many is closed at once");
        held.pop();
        // The place is free once the server saw the end.
        let again = async {
            loop {
                if status(&get(&server, "/v1/empty", "").await) == 204 {
                    return;
                }
            }
        };
        tokio::time::timeout(PATIENCE, again).await.unwrap();
    }
}

#[tokio::test]
async fn tls_serves_both_protocols_and_tells_plain_clients() {
    let server = start(Settings::default(), true).await;
    let answer = get(&server, "/v1/echo", "").await;
    assert!(
        answer.contains("Client sent an HTTP request to an HTTPS server."),
        "{answer}"
    );

    let mut stream = tls(&server, &["http/1.1"]).await;
    stream
        .write_all(b"GET /v1/echo HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let answer = read_one(&mut stream).await;
    assert!(
        status(&answer) == 200 && answer.contains("strict-transport-security: "),
        "{answer}"
    );

    let stream = tls(&server, &["h2", "http/1.1"]).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let body = Full::new(Bytes::from_static(br#"{"a":1}"#));
    let request = http::Request::put("https://localhost/v1/echo")
        .header("x-vault-token", "t")
        .body(body)
        .unwrap();
    let response = client.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["cache-control"], "no-store");
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(value["data"]["data"]["a"], 1);
    // A refusal that would close an HTTP/1 connection ends one stream only.
    let request = http::Request::get("https://localhost/v1/echo")
        .header("x-vault-token", "t")
        .header("authorization", "Bearer u")
        .body(Full::default())
        .unwrap();
    assert_eq!(client.send_request(request).await.unwrap().status(), 400);
    let request = http::Request::get("https://localhost/v1/empty")
        .body(Full::default())
        .unwrap();
    assert_eq!(client.send_request(request).await.unwrap().status(), 204);
}

#[tokio::test]
async fn http2_works_without_tls_by_prior_knowledge() {
    let server = start(Settings::default(), false).await;
    let io = TokioIo::new(connect(&server).await);
    let (mut client, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
        .await
        .unwrap();
    tokio::spawn(connection);
    let request = http::Request::get("http://localhost/v1/empty")
        .body(Full::<Bytes>::default())
        .unwrap();
    assert_eq!(client.send_request(request).await.unwrap().status(), 204);
}

/// Clients take an answer that comes before their body is read for a broken stream.
#[tokio::test]
async fn http2_refusals_come_after_the_body_and_answers_to_head_have_none() {
    let server = start(Settings::default(), false).await;
    let io = TokioIo::new(connect(&server).await);
    let (mut client, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
        .await
        .unwrap();
    tokio::spawn(connection);
    let sent = Arc::new(AtomicBool::new(false));
    let done = Arc::clone(&sent);
    let pieces = futures::stream::unfold(0, move |number| {
        let done = Arc::clone(&done);
        async move {
            // why: without a pause the body is sent before any answer could come.
            tokio::time::sleep(SHORT).await;
            done.store(number == 3, Ordering::SeqCst);
            let piece = Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"{}")));
            (number < 3).then_some((piece, number + 1))
        }
    });
    let request = http::Request::patch("http://localhost/v1/echo")
        .body(StreamBody::new(pieces).boxed_unsync())
        .unwrap();
    assert_eq!(client.send_request(request).await.unwrap().status(), 415);
    assert!(sent.load(Ordering::SeqCst), "the refusal overtook the body");
    let request = http::Request::head("http://localhost/v1/sys/health")
        .body(Full::<Bytes>::default().boxed_unsync())
        .unwrap();
    let response = client.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(
        response
            .into_body()
            .collect()
            .await
            .unwrap()
            .to_bytes()
            .is_empty()
    );
}

#[tokio::test]
async fn stopping_waits_for_requests_under_way() {
    let server = start(Settings::default(), false).await;
    let mut busy = connect(&server).await;
    busy.write_all(b"POST /v1/slow HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        .await
        .unwrap();
    let mut idle = connect(&server).await;
    idle.write_all(b"GET /v1/empty HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    read_one(&mut idle).await;
    server.script.entered.notified().await;
    server.stop.cancel();
    assert_eq!(read_all(&mut idle).await, "", "nothing is under way here");
    assert!(!server.task.is_finished());
    server.script.release.notify_one();
    assert_eq!(status(&read_all(&mut busy).await), 204);
    let finished = async {
        while !server.task.is_finished() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, finished).await.unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn a_seal_ends_connections_once_what_is_under_way_is_answered() {
    let server = start(Settings::default(), false).await;
    let mut busy = connect(&server).await;
    busy.write_all(b"POST /v1/slow HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        .await
        .unwrap();
    let mut idle = connect(&server).await;
    idle.write_all(b"GET /v1/empty HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    read_one(&mut idle).await;
    server.script.entered.notified().await;
    server.seals.send_modify(|times| *times += 1);
    assert_eq!(read_all(&mut idle).await, "", "nothing is under way here");
    server.script.release.notify_one();
    assert_eq!(status(&read_all(&mut busy).await), 204);

    // The next ones are served as before.
    let mut stream = connect(&server).await;
    for _ in 0..2 {
        stream
            .write_all(b"GET /v1/empty HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .unwrap();
        assert_eq!(status(&read_one(&mut stream).await), 204);
    }
}

#[tokio::test]
async fn a_write_goes_on_when_its_client_goes_away() {
    let server = start(Settings::default(), false).await;
    let mut stream = connect(&server).await;
    stream
        .write_all(b"PUT /v1/slow HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        .await
        .unwrap();
    server.script.entered.notified().await;
    drop(stream);
    // The server has seen the end of the connection once it takes another one in its place.
    assert_eq!(status(&get(&server, "/v1/empty", "").await), 204);
    server.script.release.notify_one();
    tokio::time::timeout(PATIENCE, server.script.done.notified())
        .await
        .expect("the write was done to its end");
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_answered() {
    let server = start(settings(|t| t.request = SHORT), false).await;
    let answer = get(&server, "/v1/slow", "").await;
    assert_eq!(status(&answer), 504, "{answer}");
    let answer = send(&server, "PUT", "/v1/slow", "", b"").await;
    assert!(
        status(&answer) == 504 && body(&answer).contains("may or may not"),
        "{answer}"
    );
}

#[tokio::test]
async fn proxies_speak_for_clients_only_when_listed() {
    let local = Networks::parse(&["127.0.0.0/8"]).unwrap();
    let other = Networks::parse(&["10.0.0.0/8"]).unwrap();
    let header = "PROXY TCP4 203.0.113.9 10.0.0.1 1234 443\r\n";
    let request = "GET /v1/echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";

    let trusted = start(
        Settings {
            proxy: Trust::Only(local.clone()),
            ..Settings::default()
        },
        false,
    )
    .await;
    let answer = exchange(&trusted, format!("{header}{request}\r\n").as_bytes()).await;
    assert!(answer.contains("\"remote\":\"203.0.113.9\""), "{answer}");
    let stranger = start(
        Settings {
            proxy: Trust::Only(other.clone()),
            ..Settings::default()
        },
        false,
    )
    .await;
    assert_eq!(
        exchange(&stranger, format!("{header}{request}\r\n").as_bytes()).await,
        ""
    );
    let ignored = start(
        Settings {
            proxy: Trust::Listed(other.clone()),
            ..Settings::default()
        },
        false,
    )
    .await;
    assert_eq!(
        status(&exchange(&ignored, format!("{header}{request}\r\n").as_bytes()).await),
        400
    );
}

#[tokio::test]
async fn forwarded_addresses_count_only_from_listed_proxies() {
    let local = Networks::parse(&["127.0.0.0/8"]).unwrap();
    let other = Networks::parse(&["10.0.0.0/8"]).unwrap();
    let forwarding = Forwarding {
        authorized: local,
        ..Forwarding::default()
    };
    let trusted = start(
        Settings {
            forwarding,
            ..Settings::default()
        },
        false,
    )
    .await;
    let answer = get(
        &trusted,
        "/v1/echo",
        "X-Forwarded-For: 198.51.100.1, 203.0.113.9\r\n",
    )
    .await;
    assert!(answer.contains("\"remote\":\"203.0.113.9\""), "{answer}");
    assert_eq!(status(&get(&trusted, "/v1/echo", "").await), 400);
    let forwarding = Forwarding {
        authorized: other,
        ..Forwarding::default()
    };
    let stranger = start(
        Settings {
            forwarding,
            ..Settings::default()
        },
        false,
    )
    .await;
    assert_eq!(
        status(&get(&stranger, "/v1/echo", "X-Forwarded-For: 203.0.113.9\r\n").await),
        400
    );
}

#[tokio::test]
async fn two_requests_in_one_packet_are_both_answered() {
    let server = start(Settings::default(), false).await;
    let mut stream = connect(&server).await;
    let two = b"GET /v1/empty HTTP/1.1\r\nHost: x\r\n\r\nGET /v1/echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(two).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert_eq!(text.matches("HTTP/1.1 ").count(), 2, "{text}");
}
