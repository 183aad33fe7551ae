//! The answering end of node-to-node calls. Every call is checked: right cluster, right node, and a sender who is the
//! member it claims to be. This file must not know how streams are secured.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use conclave_proto::internal as wire;
use conclave_proto::internal::node_server::{Node, NodeServer};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, stream};
use openraft::raft::{StreamAppendError, StreamAppendResult};
use openraft::storage::Snapshot;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::codegen::http;
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status, Streaming};
use tower::util::MapResponseLayer;

use crate::codec::{CLUSTER_VERSION, MAX_BATCH_COMMANDS, decode_command};
use crate::command::Op;
use crate::door::desk::{self, Item, Raft, Reply, ReplyTo};
use crate::door::door::Leadership;
use crate::door::proof::{Question, Word};
use crate::door::sessions::Sessions;
use crate::log::LogStore;
use crate::log::types::{TypeConfig, Vote, position};
use crate::mutant;
use crate::net::lanes::{CLUSTER, FROM, SET_BACK, START, TO};
use crate::net::peers::Start;
use crate::net::{
    CONNECTION_WINDOW, Incoming, MAX_MESSAGE, PeerIdentity, Peers, STREAM_WINDOW, convert, snapshot,
};
use crate::node::clock::ClusterClock;
use crate::node::offload::Offload;
use crate::node::snapshots::Snapshots;
use crate::replica::{PeerCall, PeerHandler};

/// Streams of one connection at a time.
const MAX_STREAMS: u32 = 256;
/// Unanswered requests of one door stream at a time; a door keeps at most 16 frames, a read and a ping under way.
const MAX_OWED: usize = 64;

/// What the calls work on.
pub struct Host {
    /// The Raft core of the moment.
    pub raft: Arc<ArcSwap<Raft>>,
    /// Who may call.
    pub peers: Arc<Peers>,
    /// Where received snapshots go.
    pub snapshots: Arc<Snapshots>,
    /// The log, to say how far it reaches.
    pub log: LogStore,
    /// This node's desk.
    pub desk: mpsc::UnboundedSender<desk::Request>,
    /// Door streams of other nodes.
    pub sessions: Sessions,
    /// Whose messages are for the layers above.
    pub handler: Arc<dyn PeerHandler>,
    /// The clock that answers carry.
    pub clock: Arc<ClusterClock>,
    /// Where received snapshots are written.
    pub offload: Arc<dyn Offload>,
    /// Who leads.
    pub leadership: watch::Receiver<Leadership>,
    /// This start of the node.
    pub incarnation: u64,
}

impl Host {
    /// The answer to what a leader sent for the log.
    fn appended(&self, result: &StreamAppendResult<TypeConfig>) -> wire::AppendResponse {
        if !matches!(result, Err(StreamAppendError::HigherVote(_))) {
            self.clock.follows();
        }
        convert::appended_out(result)
    }
}

/// Serves calls on these streams until the future is dropped, which breaks all connections.
pub async fn serve(
    host: Arc<Host>,
    incoming: BoxStream<'static, io::Result<Incoming>>,
) -> Result<(), tonic::transport::Error> {
    let end = CancellationToken::new();
    let _connections = end.clone().drop_guard();
    let incoming = incoming.map(move |accepted| accepted.map(|stream| stream.until(&end)));
    let service = NodeServer::from_arc(Arc::new(Service { host }))
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(MAX_MESSAGE);
    tonic::transport::Server::builder()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(MAX_STREAMS)
        .layer(MapResponseLayer::new(without_date))
        .add_service(service)
        .serve_with_incoming(incoming)
        .await
}

/// The HTTP layer dates answers that have no date. Nodes tell the time by another clock, and nothing that one sends may
/// depend on the machine's.
fn without_date<B>(mut answer: http::Response<B>) -> http::Response<B> {
    let headers = answer.headers_mut();
    headers.insert(http::header::DATE, http::HeaderValue::from_static(""));
    answer
}

struct Service {
    host: Arc<Host>,
}

impl Service {
    /// The node that sends a call.
    fn sender<T>(&self, request: &Request<T>) -> Result<u64, Status> {
        self.caller(request).map(|caller| caller.node)
    }

    /// The authenticated sender of a call.
    fn caller<T>(&self, request: &Request<T>) -> Result<Caller, Status> {
        let peers = &self.host.peers;
        let text = |key| request.metadata().get(key).and_then(|value| value.to_str().ok());
        let number = |key| text(key).and_then(|value| value.parse::<u64>().ok());
        if text(CLUSTER) != Some(peers.cluster()) {
            return Err(Status::permission_denied("another cluster"));
        }
        if number(TO) != Some(peers.node()) {
            return Err(Status::permission_denied("another node"));
        }
        let (node, identity) = (
            number(FROM).ok_or_else(|| Status::permission_denied("no sender"))?,
            identity_of(request),
        );
        if node == peers.node() || !peers.may_speak_as(node, identity) {
            return Err(Status::permission_denied("not a member"));
        }
        let start = text(START).and_then(Start::from_text);
        let start = start.ok_or_else(|| Status::permission_denied("no start"))?;
        match peers.is_set_back(node, start) {
            true => Err(Status::failed_precondition(SET_BACK)),
            false => Ok(Caller {
                node,
                identity,
                start,
            }),
        }
    }

    /// An answer that depends on this node's disk carries its start.
    fn signed<T>(&self, answer: T) -> Response<T> {
        let mut response = Response::new(answer);
        if let Ok(start) = MetadataValue::try_from(self.host.peers.start().to_text()) {
            response.metadata_mut().insert(START, start);
        }
        response
    }

    fn raft(&self) -> Arc<Raft> {
        self.host.raft.load_full()
    }
}

/// Who sends on a stream.
#[derive(Clone, Copy)]
struct Caller {
    node: u64,
    identity: PeerIdentity,
    start: Start,
}

impl Caller {
    /// Whether what comes on its stream still counts. Since it was opened the node may have been removed, and the register
    /// may name a later start of it: then its disk was set back, and it hears so when it opens another stream.
    fn counts(&self, peers: &Peers) -> bool {
        peers.may_speak_as(self.node, self.identity) && !peers.is_set_back(self.node, self.start)
    }
}

/// Whom the transport found at the other end.
fn identity_of<T>(request: &Request<T>) -> PeerIdentity {
    request
        .extensions()
        .get::<PeerIdentity>()
        .copied()
        .unwrap_or_default()
}

/// Nobody may speak as a leader or candidate it is not.
fn own(vote: &Vote, from: u64) -> Result<(), Status> {
    match vote.leader_id.voted_for == from {
        true => Ok(()),
        false => Err(Status::permission_denied("a vote of another node")),
    }
}

fn bad(error: crate::Error) -> Status {
    Status::invalid_argument(error.to_string())
}

fn stopped(error: impl std::fmt::Display) -> Status {
    Status::unavailable(error.to_string())
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Node for Service {
    type AppendStream = Answers<wire::AppendResponse>;
    type DoorStream = Answers<wire::DoorReply>;

    async fn append(
        &self,
        request: Request<Streaming<wire::AppendRequest>>,
    ) -> Result<Response<Self::AppendStream>, Status> {
        let caller = self.caller(&request)?;
        let host = Arc::clone(&self.host);
        // The first request that cannot be read ends the stream; the sender repeats what was not answered. So does one
        // of a sender that counts no more.
        let requests = stream::unfold(
            (request.into_inner(), host),
            move |(mut requests, host)| async move {
                let read = requests.message().await.ok()??;
                let mut read = convert::append_in(read).ok()?;
                own(&read.vote, caller.node).ok()?;
                if mutant::is("unchecked-previous") && !read.entries.is_empty() {
                    read.prev_log_id = host.log.stands_at(read.prev_log_id);
                }
                caller.counts(&host.peers).then_some((read, (requests, host)))
            },
        );
        let host = Arc::clone(&self.host);
        let answers = self
            .raft()
            .stream_append(requests)
            .map(move |answer| match answer {
                Ok(result) => Ok(host.appended(&result)),
                Err(fatal) => Err(stopped(fatal)),
            });
        Ok(Response::new(answers.boxed()))
    }

    async fn heartbeat(
        &self,
        request: Request<wire::AppendRequest>,
    ) -> Result<Response<wire::AppendResponse>, Status> {
        let from = self.sender(&request)?;
        let request = convert::append_in(request.into_inner()).map_err(bad)?;
        own(&request.vote, from)?;
        let previous = request.prev_log_id;
        let last = request.entries.last().map(|entry| entry.log_id).or(previous);
        let answer = self.raft().append_entries(request).await.map_err(stopped)?;
        let result: StreamAppendResult<TypeConfig> = answer.into_stream_result(previous, last);
        Ok(Response::new(self.host.appended(&result)))
    }

    async fn vote(
        &self,
        request: Request<wire::VoteRequest>,
    ) -> Result<Response<wire::VoteResponse>, Status> {
        let from = self.sender(&request)?;
        let request = convert::vote_request_in(request.into_inner()).map_err(bad)?;
        own(&request.vote, from)?;
        let answer = self.raft().vote(request).await.map_err(stopped)?;
        Ok(self.signed(convert::vote_response_out(&answer)))
    }

    async fn pre_vote(
        &self,
        request: Request<wire::VoteRequest>,
    ) -> Result<Response<wire::VoteResponse>, Status> {
        let from = self.sender(&request)?;
        let request = convert::vote_request_in(request.into_inner()).map_err(bad)?;
        own(&request.vote, from)?;
        let answer = self.raft().pre_vote(request).await.map_err(stopped)?;
        Ok(self.signed(convert::vote_response_out(&answer)))
    }

    async fn snapshot(
        &self,
        request: Request<Streaming<wire::SnapshotFrame>>,
    ) -> Result<Response<wire::SnapshotResponse>, Status> {
        let from = self.sender(&request)?;
        let received = snapshot::receive(
            request.into_inner(),
            &self.host.snapshots,
            self.host.offload.as_ref(),
        )
        .await
        .map_err(bad)?;
        own(&received.vote, from)?;
        let snapshot = Snapshot {
            meta: received.meta,
            snapshot: received.checkpoint,
        };
        let installed = self.raft().install_full_snapshot(received.vote, snapshot).await;
        let vote = convert::vote_out(&installed.map_err(stopped)?.vote);
        Ok(Response::new(wire::SnapshotResponse { vote: Some(vote) }))
    }

    async fn transfer_leader(
        &self,
        request: Request<wire::TransferLeaderRequest>,
    ) -> Result<Response<wire::TransferLeaderResponse>, Status> {
        use wire::transfer_leader_response::Refusal;
        let from = self.sender(&request)?;
        let request = convert::transfer_in(request.into_inner()).map_err(bad)?;
        own(request.from_leader(), from)?;
        if *request.to_node_id() == self.host.peers.node() && !self.host.handler.willing_to_lead() {
            let refusal = Some(Refusal::Unwilling(true));
            return Ok(Response::new(wire::TransferLeaderResponse { refusal }));
        }
        let answer = self
            .raft()
            .handle_transfer_leader(request)
            .await
            .map_err(stopped)?;
        Ok(Response::new(convert::transferred_out(&answer)))
    }

    async fn door(
        &self,
        request: Request<Streaming<wire::DoorRequest>>,
    ) -> Result<Response<Self::DoorStream>, Status> {
        let caller = self.caller(&request)?;
        let (replies, answers) = mpsc::unbounded_channel();
        let owed = Arc::new(AtomicUsize::new(0));
        let asked = Arc::new(AtomicUsize::new(0));
        let visitor = Visitor {
            host: Arc::clone(&self.host),
            caller,
            to: ReplyTo { link: 0, replies },
            owed: Arc::clone(&owed),
            asked: Arc::clone(&asked),
        };
        tokio::spawn(visitor.serve(request.into_inner()));
        let host = Arc::clone(&self.host);
        let answers = UnboundedReceiverStream::new(answers)
            .take_while(|(_, reply)| std::future::ready(*reply != Reply::Closed))
            .map(move |(_, reply)| {
                match reply {
                    Reply::Taken { .. } | Reply::Index { .. } => {
                        owed.fetch_sub(1, Ordering::Relaxed);
                    }
                    Reply::Confirm { .. } => {
                        asked.fetch_add(1, Ordering::Relaxed);
                    }
                    _ => {}
                }
                Ok(reply_out(reply, now_if_leading(&host)))
            });
        Ok(Response::new(answers.boxed()))
    }

    async fn probe(
        &self,
        request: Request<wire::ProbeRequest>,
    ) -> Result<Response<wire::ProbeResponse>, Status> {
        self.sender(&request)?;
        let host = &self.host;
        Ok(Response::new(wire::ProbeResponse {
            willing: host.handler.willing_to_lead(),
            last_log: position(host.log.last().as_ref()),
            wall: host.clock.wall(),
            incarnation: host.incarnation,
            supports: u32::from(CLUSTER_VERSION),
            members: host
                .peers
                .all()
                .into_iter()
                .map(|(id, record)| convert::member_out(id, record))
                .collect(),
        }))
    }

    async fn peer(
        &self,
        request: Request<wire::PeerRequest>,
    ) -> Result<Response<wire::PeerResponse>, Status> {
        let from = self.sender(&request)?;
        let request = request.into_inner();
        let kind = u16::try_from(request.kind).map_err(|_| Status::invalid_argument("unknown kind"))?;
        let call = PeerCall {
            kind,
            payload: request.payload,
        };
        let answer = self.host.handler.handle(from, call).await;
        let payload = answer.map_err(|e| Status::failed_precondition(e.to_string()))?;
        Ok(Response::new(wire::PeerResponse { payload }))
    }
}

fn now_if_leading(host: &Host) -> u64 {
    let seen = *host.leadership.borrow();
    if leads(host, seen.term) {
        host.clock.now()
    } else {
        0
    }
}

/// Whether this start of this node leads in `term`. A node that led and was restarted does not lead that term again.
fn leads(host: &Host, term: u64) -> bool {
    let seen = *host.leadership.borrow();
    seen.term == term && seen.leader == Some(host.peers.node())
}

/// One door stream of another node.
struct Visitor {
    host: Arc<Host>,
    caller: Caller,
    to: ReplyTo,
    /// Requests taken and not yet answered.
    owed: Arc<AtomicUsize>,
    /// Questions put to the node and not yet answered.
    asked: Arc<AtomicUsize>,
}

impl Visitor {
    async fn serve(self, mut requests: Streaming<wire::DoorRequest>) {
        let mut session = None;
        while let Ok(Some(request)) = requests.message().await {
            let counts = self.caller.counts(&self.host.peers);
            let Some(request) = request.request.filter(|_| counts) else {
                break;
            };
            if self.take(request, &mut session).is_none() {
                break;
            }
        }
        self.to.send(Reply::Closed);
    }

    /// Takes one request; `None` ends the stream.
    fn take(&self, request: wire::door_request::Request, session: &mut Option<u64>) -> Option<()> {
        use wire::door_request::Request;
        // A node sends little before it is answered; more is a fault, and must not fill this node's memory.
        let asks = !matches!(request, Request::Hello(_) | Request::Word(_));
        if asks && self.owed.fetch_add(1, Ordering::Relaxed) >= MAX_OWED {
            return None;
        }
        match request {
            Request::Hello(hello) => {
                // Who does not lead that term cannot say which frames were taken in it: perhaps it did lead, took some,
                // and was restarted since. Its answer would be that none was, and the commands would be sent again.
                if !leads(&self.host, hello.term) {
                    return None;
                }
                let sessions = &self.host.sessions;
                let (id, accepted) = sessions.open(self.caller.node, hello.incarnation, hello.term);
                *session = Some(id);
                self.to.send(Reply::Ready { accepted });
                let (node, stream) = (self.caller.node, self.to.clone());
                self.host.desk.send(desk::Request::Opened { node, stream }).ok()?;
            }
            Request::Propose(frame) => self.propose(frame, (*session)?)?,
            Request::Read(read) => {
                let question = Question {
                    id: read.id,
                    from: self.to.clone(),
                    word: Some(self.word(read.term)),
                    crowd: read.crowd,
                };
                self.host.desk.send(desk::Request::Read(question)).ok()?;
            }
            Request::Ping(_) => self.to.send(Reply::Taken { frame: 0 }),
            Request::Word(word) => {
                let once = |asked: usize| asked.checked_sub(1);
                self.asked
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, once)
                    .ok()?;
                let (id, word) = (word.id, self.word(word.term));
                self.host.desk.send(desk::Request::Word { id, word }).ok()?;
            }
        }
        Some(())
    }

    fn word(&self, term: u64) -> Word {
        let node = self.caller.node;
        Word { node, term }
    }

    fn propose(&self, frame: wire::DoorPropose, session: u64) -> Option<()> {
        // Decoded here, for a command that cannot be read would stop every node that applies it; and so would a version that
        // this build does not know.
        let stops = |op: &Op| matches!(op, Op::RaiseVersion { version } if *version > CLUSTER_VERSION);
        let own = |command: &wire::DoorCommand| {
            decode_command(&command.command).is_ok_and(|read| {
                let origin = (read.origin.node, read.origin.sequence);
                origin == (self.caller.node, command.sequence) && !read.ops.iter().any(stops)
            })
        };
        let fits = !frame.commands.is_empty() && frame.commands.len() <= MAX_BATCH_COMMANDS;
        if !fits || !frame.commands.iter().all(own) {
            return None;
        }
        let last = frame.commands.len() - 1;
        let items = frame.commands.into_iter().enumerate().map(|(at, command)| Item {
            term: frame.term,
            sequence: command.sequence,
            command: command.command,
            frame: (at == last).then_some(frame.frame),
            from: self.to.clone(),
        });
        let items: Vec<Item> = items.collect();
        let taken = self
            .host
            .sessions
            .accept(self.caller.node, session, frame.term, frame.frame, || {
                self.host.desk.send(desk::Request::Commands(items)).ok();
            });
        taken.then_some(())
    }
}

fn reply_out(reply: Reply, now: u64) -> wire::DoorReply {
    use wire::door_reply::Reply as Wire;
    let reply = match reply {
        Reply::Ready { accepted } => Some(Wire::Welcome(wire::DoorWelcome { accepted })),
        Reply::Taken { frame } => Some(Wire::Accepted(wire::DoorAccepted { frame })),
        Reply::Rejected { term, sequences } => Some(Wire::Rejected(wire::DoorRejected { term, sequences })),
        Reply::Index { id, position } => Some(Wire::ReadIndex(wire::DoorReadIndex {
            id,
            position: position.unwrap_or(0),
        })),
        Reply::Confirm { id } => Some(Wire::Confirm(id)),
        Reply::Closed => None,
    };
    wire::DoorReply { reply, now }
}
