//! The HTTP client against small servers that answer what a test tells them: failover, retries, redirects, limits.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use conclave_client::http::{Client, Error, Fields, Json, Preview, Request};

/// A request as a server saw it.
#[derive(Clone)]
struct Seen {
    line: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl Seen {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_str())
    }
}

/// What a server does with the next connection.
enum Act {
    /// Answers with status, headers (each with its line end) and body.
    Answer(u16, &'static str, String),
    /// Reads the request and closes without an answer.
    Drop,
}

fn ok(body: &str) -> Act {
    Act::Answer(200, "", body.to_owned())
}

struct Server {
    address: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    /// A server that acts as told, one connection at a time, and then stops listening.
    fn new(acts: Vec<Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        std::thread::spawn(move || {
            for act in acts {
                let Ok((stream, _)) = listener.accept() else {
                    return;
                };
                log.lock().unwrap().push(serve(stream, act));
            }
        });
        Self { address, seen }
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

fn serve(mut stream: TcpStream, act: Act) -> Seen {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).unwrap();
        let Some((name, value)) = header.trim().split_once(": ") else {
            break;
        };
        headers.push((name.to_owned(), value.to_owned()));
    }
    let length = headers
        .iter()
        .find(|(n, _)| n.eq_ignore_ascii_case("content-length"));
    let mut body = vec![0; length.map_or(0, |(_, v)| v.parse().unwrap())];
    reader.read_exact(&mut body).unwrap();
    if let Act::Answer(status, headers, body) = act {
        let head = format!(
            "HTTP/1.1 {status} X\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body.as_bytes()).unwrap();
    }
    Seen {
        line: line.trim().to_owned(),
        headers,
        body: String::from_utf8(body).unwrap(),
    }
}

/// An address where nobody listens.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

fn client(addresses: &[&str], retries: usize) -> Client {
    Client::builder()
        .address(&addresses.join(", "))
        .token("t0k")
        .namespace("ns1/")
        .timeout(Duration::from_secs(10))
        .max_retries(retries)
        .retry_wait(Duration::from_millis(1))
        .build()
        .unwrap()
}

fn data() -> Fields {
    [("a", "1")].into_iter().collect()
}

#[tokio::test]
async fn sends_the_headers_that_servers_know() {
    let server = Server::new(vec![ok(r#"{"request_id":"x","data":{"keys":["a"]}}"#), ok("")]);
    let client = client(&[&server.address], 0);
    let listed = client.list("secret/metadata/", None).await.unwrap().unwrap();
    assert!(listed.field("keys").and_then(Json::as_array).unwrap().len() == 1);
    client.write("secret/data/a b", Some(data())).await.unwrap();
    let seen = server.seen();
    assert_eq!(seen[0].line, "GET /v1/secret/metadata?list=true HTTP/1.1");
    assert_eq!(seen[0].header("X-Vault-Request"), Some("true"));
    assert_eq!(seen[0].header("X-Vault-Token"), Some("t0k"));
    assert_eq!(seen[0].header("X-Vault-Namespace"), Some("ns1/"));
    assert_eq!(seen[0].header("Idempotency-Key"), None);
    assert_eq!(seen[1].line, "PUT /v1/secret/data/a%20b HTTP/1.1");
    assert_eq!(seen[1].body, r#"{"a":"1"}"#);
    assert_eq!(seen[1].header("Idempotency-Key").unwrap().len(), 32);
}

#[tokio::test]
async fn a_server_that_is_down_is_passed_over_even_for_writes() {
    let server = Server::new(vec![ok(""), ok("")]);
    let client = client(&[&nobody(), &server.address], 0);
    client.write("a", Some(data())).await.unwrap().ok().unwrap();
    client.write("b", Some(data())).await.unwrap().ok().unwrap();
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn a_read_goes_to_the_next_server_when_one_is_sealed_or_breaks_off() {
    let sealed = Server::new(vec![Act::Answer(
        503,
        "",
        r#"{"errors":["Vault is sealed"]}"#.into(),
    )]);
    let broken = Server::new(vec![Act::Drop]);
    let good = Server::new(vec![ok(r#"{"data":{"x":"1"}}"#)]);
    let client = client(&[&sealed.address, &broken.address, &good.address], 0);
    let secret = client.read("a", &[]).await.unwrap().unwrap();
    assert_eq!(secret.field("x").and_then(Json::as_str), Some("1"));
}

#[tokio::test]
async fn a_write_that_may_have_arrived_is_not_repeated_for_an_unknown_server() {
    let broken = Server::new(vec![Act::Drop]);
    let other = Server::new(vec![ok("")]);
    let client = client(&[&broken.address, &other.address], 3);
    let error = client.write("a", Some(data())).await.map(|_| ()).unwrap_err();
    assert!(!error.never_sent());
    assert_eq!(error.to_string(), format!("Put \"{}/v1/a\": EOF", broken.address));
    assert!(other.seen().is_empty());
}

#[tokio::test]
async fn a_write_is_repeated_under_the_same_key_for_our_own_server() {
    let first = Server::new(vec![
        Act::Answer(200, "x-conclave-version: 0.1.0\r\n", "{}".into()),
        Act::Drop,
    ]);
    let second = Server::new(vec![ok("")]);
    let client = client(&[&first.address, &second.address], 0);
    client.read("a", &[]).await.unwrap();
    assert!(client.knows_conclave());
    client.write("a", Some(data())).await.unwrap().ok().unwrap();
    let (lost, repeated) = (first.seen()[1].clone(), second.seen()[0].clone());
    assert_eq!(lost.header("Idempotency-Key"), repeated.header("Idempotency-Key"));
    assert_eq!(lost.body, repeated.body);
}

#[tokio::test]
async fn statuses_are_retried_as_the_go_client_does() {
    for (status, tries) in [
        (412, 3),
        (500, 3),
        (503, 3),
        (429, 3),
        (501, 1),
        (400, 1),
        (403, 1),
    ] {
        let acts = (0..3)
            .map(|_| Act::Answer(status, "", r#"{"errors":["e"]}"#.into()))
            .collect();
        let server = Server::new(acts);
        let error = client(&[&server.address], 2)
            .request("GET", "a", &[], None)
            .await
            .map(|_| ())
            .unwrap_err();
        assert_eq!(error.code(), Some(status));
        assert_eq!(server.seen().len(), tries, "status {status}");
    }
}

#[tokio::test]
async fn errors_read_as_bao_prints_them() {
    let server = Server::new(vec![
        Act::Answer(
            400,
            "x-vault-namespace: ns1/\r\n",
            r#"{"errors":["one","two"]}"#.into(),
        ),
        Act::Answer(502, "", "<html>".into()),
    ]);
    let client = client(&[&server.address], 0);
    let url = format!("{}/v1/a", server.address);
    let first = client
        .request("GET", "a", &[], None)
        .await
        .map(|_| ())
        .unwrap_err()
        .to_string();
    assert_eq!(
        first,
        format!(
            "Error making API request.\n\nNamespace: ns1/\nURL: GET {url}\nCode: 400. Errors:\n\n* one* two"
        )
    );
    let second = client
        .request("GET", "a", &[], None)
        .await
        .map(|_| ())
        .unwrap_err()
        .to_string();
    assert_eq!(
        second,
        format!("Error making API request.\n\nURL: GET {url}\nCode: 502. Raw Message:\n\n<html>")
    );
    let down = nobody();
    let client = self::client(&[&down], 0);
    let third = client
        .request("DELETE", "a", &[], None)
        .await
        .map(|_| ())
        .unwrap_err();
    assert!(third.never_sent());
    let socket = down.trim_start_matches("http://");
    assert_eq!(
        third.to_string(),
        format!("Delete \"{down}/v1/a\": dial tcp {socket}: connect: connection refused")
    );
}

#[tokio::test]
async fn redirects_carry_method_body_and_headers() {
    let leader = Server::new(vec![ok("")]);
    let location: &'static str = format!("location: {}/v1/a\r\n", leader.address).leak();
    let standby = Server::new(vec![Act::Answer(307, location, String::new())]);
    client(&[&standby.address], 0)
        .write("a", Some(data()))
        .await
        .unwrap()
        .ok()
        .unwrap();
    let (first, second) = (standby.seen()[0].clone(), leader.seen()[0].clone());
    assert_eq!(second.line, "PUT /v1/a HTTP/1.1");
    assert_eq!(second.body, first.body);
    assert_eq!(second.header("X-Vault-Token"), Some("t0k"));
    assert_eq!(second.header("Idempotency-Key"), first.header("Idempotency-Key"));
}

#[tokio::test]
async fn redirects_end() {
    let location: &'static str = "location: /v1/a\r\n";
    let server = Server::new(
        (0..10)
            .map(|_| Act::Answer(307, location, String::new()))
            .collect(),
    );
    let error = client(&[&server.address], 0)
        .request("GET", "a", &[], None)
        .await
        .map(|_| ())
        .unwrap_err();
    assert!(matches!(error, Error::Redirect(_)), "{error}");
    assert!(server.seen().len() < 10);
}

#[tokio::test]
async fn a_404_is_nothing_or_an_answer_with_data() {
    let server = Server::new(vec![
        Act::Answer(404, "", r#"{"errors":[]}"#.into()),
        Act::Answer(
            404,
            "",
            r#"{"data":{"metadata":{"version":1}},"warnings":null}"#.into(),
        ),
        Act::Answer(404, "", r#"{"warnings":["no such engine"]}"#.into()),
    ]);
    let client = client(&[&server.address], 0);
    assert!(client.read("a", &[]).await.unwrap().is_none());
    assert!(
        client
            .read("a", &[])
            .await
            .unwrap()
            .unwrap()
            .field("metadata")
            .is_some()
    );
    let answer = client.delete("a", &[]).await.unwrap();
    assert_eq!(answer.secret.unwrap().warnings.unwrap(), ["no such engine"]);
    assert_eq!(answer.error.unwrap().code(), Some(404));
}

#[tokio::test]
async fn a_slow_server_is_given_up_on() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let client = Client::builder()
        .address(&address)
        .timeout(Duration::from_millis(50))
        .max_retries(0)
        .build()
        .unwrap();
    let error = client.read("a", &[]).await.map(|_| ()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("Get \"{address}/v1/a\": context deadline exceeded")
    );
}

#[tokio::test]
async fn shows_requests_without_the_token() {
    let client = Client::builder()
        .address("http://127.0.0.1:8200")
        .token("s.secret")
        .preview(Some(Preview::Curl), "conclave")
        .build()
        .unwrap();
    let Err(Error::Preview(shown)) = client.write("a/it's", Some(data())).await.map(|_| ()) else {
        panic!("sent")
    };
    assert_eq!(
        shown,
        "curl -X PUT -H \"X-Vault-Request: true\" -H \"X-Vault-Token: $(conclave print token)\" -d '{\"a\":\"1\"}' \
         \"http://127.0.0.1:8200/v1/a/it%27s\""
    );
}

#[tokio::test]
async fn refuses_a_token_that_would_split_headers() {
    let client = Client::builder()
        .address("http://127.0.0.1:1")
        .token("a\nb")
        .build()
        .unwrap();
    let error = client
        .send_raw(&Request::new("GET", "a"))
        .await
        .map(|_| ())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "configured Vault token contains non-printable characters and cannot be used"
    );
}
