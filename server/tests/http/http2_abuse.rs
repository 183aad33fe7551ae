//! HTTP/2 floods, frame by frame (RFC 9113): the connection that sends one ends, others go on.

use conclave_server::http::Settings;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::{Server, get, read_all, start, status};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// `GET http://x/v1/slow` in HPACK, without its tables.
const SLOW: &[u8] = b"\x82\x86\x04\x08/v1/slow\x01\x01x";
/// `POST http://x/v1/echo` in the same way, with a token, so that its body is read.
const ECHO: &[u8] = b"\x83\x86\x04\x08/v1/echo\x01\x01x\x00\x0dx-vault-token\x01t";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Sends the preface and `frames`; returns once the server has ended the connection and still serves others.
async fn ends(server: &Server, frames: Vec<u8>) {
    let stream = TcpStream::connect(server.address).await.unwrap();
    let (mut read, mut write) = stream.into_split();
    let sending = tokio::spawn(async move {
        let _ = write.write_all(PREFACE).await;
        let _ = write.write_all(&frame(SETTINGS, 0, 0, b"")).await;
        let _ = write.write_all(&frames).await;
        // Kept open: it is the server that must end it.
        write
    });
    read_all(&mut read).await;
    sending.abort();
    assert_eq!(status(&get(server, "/v1/empty", "").await), 204);
}

#[tokio::test]
async fn rapid_resets_end_the_connection() {
    let server = start(Settings::default(), false).await;
    let mut frames = Vec::new();
    for stream in (1..20_000).step_by(2) {
        frames.extend(frame(HEADERS, END_STREAM | END_HEADERS, stream, SLOW));
        frames.extend(frame(RST_STREAM, 0, stream, &8u32.to_be_bytes()));
    }
    ends(&server, frames).await;
}

#[tokio::test]
async fn endless_headers_end_the_connection() {
    let server = start(Settings::default(), false).await;
    let mut frames = frame(HEADERS, END_STREAM, 1, SLOW);
    // Literal headers without indexing, never finished.
    let more = b"\x00\x01a\x7f\x00".repeat(1000);
    for _ in 0..2_000 {
        frames.extend(frame(CONTINUATION, 0, 1, &more));
    }
    ends(&server, frames).await;
}

/// Empty frames cost the sender no credit, and a body of them never ends.
#[tokio::test]
async fn a_flood_of_empty_frames_ends_the_connection() {
    let server = start(Settings::default(), false).await;
    let mut frames = frame(HEADERS, END_HEADERS, 1, ECHO);
    frames.extend(frame(DATA, 0, 1, b"").repeat(100_000));
    ends(&server, frames).await;
}

#[tokio::test]
async fn frames_out_of_order_end_the_connection() {
    let server = start(Settings::default(), false).await;
    for frames in [
        frame(DATA, 0, 1, b"x"),
        frame(CONTINUATION, END_HEADERS, 1, SLOW),
        frame(HEADERS, END_STREAM | END_HEADERS, 2, SLOW),
        frame(SETTINGS, 0, 0, b"odd"),
    ] {
        ends(&server, frames).await;
    }
}
