//! What arrives on the node port from strangers, and from a member that lies: refused, without a trace in the log.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use conclave_proto::internal as wire;
use conclave_proto::internal::node_client::NodeClient;
use conclave_raft::codec::encode_command;
use conclave_raft::net::{TlsTransport, Transport};
use conclave_raft::{NodeRecord, Op, Replica};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Request, Status};

use crate::harness::{Cluster, Kind, LIMIT, Member, put};

/// Who the rogue is and whom it calls.
const ROGUE: usize = 1;
const TARGET: usize = 0;

/// Three members, the second of which has been replaced by the test: it holds that member's key.
async fn betrayed() -> (Cluster, Rogue) {
    let mut cluster = Cluster::form(Kind::RocksTls, 3).await;
    let incarnation = cluster.members[ROGUE].replica().incarnation();
    cluster.members[ROGUE].wait_registered(incarnation).await;
    cluster.members[ROGUE].kill().await;
    let leader = &cluster.members[TARGET];
    leader.wait("a leader", |status| status.leader.is_some()).await;
    let rogue = Rogue::of(&cluster.members[ROGUE], &leader.record).await;
    (cluster, rogue)
}

struct Rogue {
    transport: Arc<TlsTransport>,
    target: NodeRecord,
    metadata: Vec<(&'static str, String)>,
}

impl Rogue {
    async fn of(member: &Member, target: &NodeRecord) -> Self {
        let address = "127.0.0.1:0".parse().unwrap();
        let transport = TlsTransport::bind(address, member.node_key()).await.unwrap();
        let later_start = format!("{}.{:032x}", u32::MAX, 77);
        let metadata = vec![
            ("conclave-cluster", "09".repeat(16)),
            ("conclave-from", member.id.to_string()),
            ("conclave-to", "1".to_owned()),
            ("conclave-start", later_start),
        ];
        Self {
            transport: Arc::new(transport),
            target: target.clone(),
            metadata,
        }
    }

    fn client(&self) -> NodeClient<Channel> {
        let (transport, target) = (Arc::clone(&self.transport), self.target.clone());
        let connect = tower::service_fn(move |_: Uri| {
            let connecting = transport.connect(&target);
            async move { connecting.await.map(TokioIo::new) }
        });
        NodeClient::new(Endpoint::from_static("http://node.conclave").connect_with_connector_lazy(connect))
    }

    /// A request as this member sends it, but for one piece of metadata.
    fn with<T>(&self, key: &str, value: Option<&str>, message: T) -> Request<T> {
        let mut request = Request::new(message);
        for (known, own) in &self.metadata {
            let value = if *known == key { value } else { Some(own.as_str()) };
            if let Some(value) = value {
                request.metadata_mut().insert(*known, value.parse().unwrap());
            }
        }
        request
    }

    fn request<T>(&self, message: T) -> Request<T> {
        self.with("", None, message)
    }
}

fn vote(term: u64, node: u64) -> wire::VoteRequest {
    wire::VoteRequest {
        vote: Some(wire::Vote {
            term,
            node,
            committed: false,
        }),
        last_log_id: None,
        leadership_transfer: false,
    }
}

fn refused<T>(answer: Result<T, Status>) -> (Code, String) {
    match answer {
        Ok(_) => panic!("it was taken"),
        Err(status) => (status.code(), status.message().to_owned()),
    }
}

/// How far ahead the terms are that the rogue speaks of: no elections of a loaded machine get there.
const FAR: u64 = 1_000_000;

/// Whoever leads after all that takes a write, and nobody heard of the rogue's term.
async fn nothing_happened(cluster: &Cluster, term: u64, key: &str) {
    cluster.members[TARGET].put_in_time(key).await;
    let status = cluster.members[TARGET].replica().status().borrow().clone();
    assert!(status.term < term + FAR, "{} after {term}", status.term);
    assert!(cluster.members[TARGET].fatal.lock().is_empty());
    assert!(cluster.members[2].fatal.lock().is_empty());
}

fn term_of(cluster: &Cluster) -> u64 {
    cluster.members[TARGET].replica().status().borrow().term
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_taken_from_the_member_that_sends_them_alone() {
    let (cluster, rogue) = betrayed().await;
    let term = term_of(&cluster);
    let mut client = rogue.client();
    let other_cluster = "0a".repeat(16);
    let far = term + FAR;
    for (key, value, why) in [
        (
            "conclave-cluster",
            Some(other_cluster.as_str()),
            "another cluster",
        ),
        ("conclave-cluster", None, "another cluster"),
        ("conclave-to", Some("3"), "another node"),
        ("conclave-to", Some("1x"), "another node"),
        ("conclave-from", None, "no sender"),
        ("conclave-from", Some("-2"), "no sender"),
        ("conclave-from", Some("3"), "not a member"),
        ("conclave-from", Some("1"), "not a member"),
        ("conclave-from", Some("18446744073709551615"), "not a member"),
        ("conclave-start", None, "no start"),
        ("conclave-start", Some("9"), "no start"),
    ] {
        let answer = client.vote(rogue.with(key, value, vote(far, 2))).await;
        assert_eq!(
            refused(answer),
            (Code::PermissionDenied, why.to_owned()),
            "{key} {value:?}"
        );
    }
    let old = rogue.with(
        "conclave-start",
        Some("0.00000000000000000000000000000001"),
        vote(far, 2),
    );
    let (code, why) = refused(client.vote(old).await);
    assert_eq!(code, Code::FailedPrecondition);
    assert!(why.contains("rejoin under a new id"), "{why}");
    let (code, why) = refused(client.vote(rogue.request(vote(far, 3))).await);
    assert_eq!(
        (code, why.as_str()),
        (Code::PermissionDenied, "a vote of another node")
    );
    nothing_happened(&cluster, term, "after-strangers").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_do_not_decode_are_refused() {
    let (cluster, rogue) = betrayed().await;
    let term = term_of(&cluster);
    let mut client = rogue.client();
    let missing = wire::VoteRequest::default();
    assert_eq!(
        refused(client.vote(rogue.request(missing)).await).0,
        Code::InvalidArgument
    );
    let entry = |kind, payload: &'static [u8]| wire::AppendRequest {
        vote: vote(term + FAR, 2).vote,
        previous: None,
        entries: vec![wire::Entry {
            term: term + FAR,
            index: 1,
            kind,
            payload: Bytes::from_static(payload),
        }],
        leader_commit: None,
    };
    for bad in [entry(9, b""), entry(2, b"no membership")] {
        assert_eq!(
            refused(client.heartbeat(rogue.request(bad)).await).0,
            Code::InvalidArgument
        );
    }
    let unknown = wire::PeerRequest {
        kind: 70_000,
        payload: Bytes::new(),
    };
    assert_eq!(
        refused(client.peer(rogue.request(unknown)).await).0,
        Code::InvalidArgument
    );
    let outside = wire::snapshot_frame::Frame::File(wire::SnapshotFile {
        path: "../outside".to_owned(),
        length: 1,
    });
    let frames = tokio_stream::iter([wire::SnapshotFrame { frame: Some(outside) }]);
    assert_eq!(
        refused(client.snapshot(rogue.request(frames)).await).0,
        Code::InvalidArgument
    );
    nothing_happened(&cluster, term, "after-nonsense").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_does_not_decode_reaches_no_log() {
    let (cluster, rogue) = betrayed().await;
    let term = term_of(&cluster);
    let mut client = rogue.client();
    let command = cluster.members[TARGET].command(vec![put("k", b"v")], vec![]);
    let raise = cluster.members[TARGET].command(vec![Op::RaiseVersion { version: 1 }], vec![]);
    let [command, mut raise] = [command, raise].map(|command| {
        let mut command = encode_command(&command).unwrap().to_vec();
        // Its origin is the rogue's own: format u16, then node u64, incarnation, sequence.
        command[2..10].copy_from_slice(&2u64.to_be_bytes());
        command[18..26].copy_from_slice(&1u64.to_be_bytes());
        command
    });
    // A version that this build does not know, at which it would have to stop.
    let end = raise.len() - 2;
    raise[end..].copy_from_slice(&u16::MAX.to_be_bytes());
    let cut = Bytes::copy_from_slice(&command[..command.len() - 1]);
    let longer = Bytes::from([&command[..], b"more"].concat());
    let newer = Bytes::from([&[0xff, 0xff], &command[2..]].concat());
    let raise = Bytes::from(raise);
    for (frame, bad) in [(1, cut), (2, longer), (3, newer), (4, raise)] {
        let (requests, queue) = mpsc::channel(4);
        let hello = wire::door_request::Request::Hello(wire::DoorHello {
            incarnation: u64::from(u32::MAX),
            term,
        });
        let propose = wire::door_request::Request::Propose(wire::DoorPropose {
            term,
            frame,
            commands: vec![wire::DoorCommand {
                sequence: 1,
                command: bad,
            }],
        });
        for request in [hello, propose] {
            let request = Some(request);
            requests.send(wire::DoorRequest { request }).await.unwrap();
        }
        let stream = rogue.request(ReceiverStream::new(queue));
        let mut answers = client.door(stream).await.unwrap().into_inner();
        let welcome = answers.message().await.unwrap().unwrap().reply;
        assert!(
            matches!(welcome, Some(wire::door_reply::Reply::Welcome(_))),
            "{welcome:?}"
        );
        // Nothing is taken; the stream ends.
        assert!(matches!(answers.message().await, Ok(None) | Err(_)));
    }
    nothing_happened(&cluster, term, "after-poison").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn noise_ends_its_own_connection_only() {
    let (cluster, rogue) = betrayed().await;
    let term = term_of(&cluster);
    let noise = [0x5a; 4096];
    // A stranger, before any handshake.
    let address = cluster.members[TARGET].record.cluster_addr.clone();
    let plain = tokio::net::TcpStream::connect(&address).await.unwrap();
    // The member's key, but no HTTP/2 beneath; and a connection preface that frames of nonsense follow.
    let inside = rogue.transport.connect(&rogue.target).await.unwrap();
    let framed = rogue.transport.connect(&rogue.target).await.unwrap();
    let preface = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &noise[..]].concat();
    tokio::join!(ends(plain, &noise), ends(inside, &noise), ends(framed, &preface));
    nothing_happened(&cluster, term, "after-noise").await;
}

/// Writes and reads until the other side closes.
async fn ends(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin, bytes: &[u8]) {
    stream.write_all(bytes).await.ok();
    stream.flush().await.ok();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
    assert!(read.is_ok(), "the connection stays open");
}

/// The register may name a later start after a stream of an earlier one was opened: a disk that was set back and comes up at
/// once is faster than the news. Such a stream must not be served for ever, or the node never learns that it must stop.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_a_start_that_was_overtaken_ends() {
    let (mut cluster, rogue) = betrayed().await;
    let term = term_of(&cluster);
    let mut client = rogue.client();
    let overtaken = format!("2.{:032x}", 77);
    let start = ("conclave-start", Some(overtaken.as_str()));
    let (requests, queue) = mpsc::channel(4);
    let send = async |request| {
        let request = Some(request);
        requests.send(wire::DoorRequest { request }).await.is_ok()
    };
    let hello = wire::door_request::Request::Hello(wire::DoorHello { incarnation: 2, term });
    assert!(send(hello).await);
    let stream = rogue.with(start.0, start.1, ReceiverStream::new(queue));
    let mut answers = client.door(stream).await.unwrap().into_inner();
    let welcome = answers.message().await.unwrap().unwrap().reply;
    assert!(
        matches!(welcome, Some(wire::door_reply::Reply::Welcome(_))),
        "{welcome:?}"
    );
    cluster.members[ROGUE].start().await;
    let incarnation = cluster.members[ROGUE].replica().incarnation();
    assert_eq!(incarnation, 2, "the same number, and another start");
    cluster.members[ROGUE].wait_registered(incarnation).await;
    let ended = async {
        while send(wire::door_request::Request::Ping(true)).await {
            if !matches!(answers.message().await, Ok(Some(_))) {
                return;
            }
            // why: the other side hears of the register when it looks; a follower asks no more often.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let ended = tokio::time::timeout(LIMIT, ended).await;
    assert!(ended.is_ok(), "it is served on");
    let late = rogue.with(start.0, start.1, vote(term + FAR, 2));
    let (code, why) = refused(client.vote(late).await);
    assert_eq!(code, Code::FailedPrecondition);
    assert!(why.contains("rejoin under a new id"), "{why}");
    nothing_happened(&cluster, term, "after-overtaken").await;
}
