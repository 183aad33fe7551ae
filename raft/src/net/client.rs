//! The calling end: what openraft and the door send to other nodes. This file must not know how calls are handled.

use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use conclave_proto::internal as wire;
use futures::{Stream, StreamExt, stream};
use openraft::OptionalSend;
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::type_config::alias::SnapshotOf;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;

use crate::command::NodeRecord;
use crate::door::desk::{Reply, ReplyTo};
use crate::door::link::{Frame, Links};
use crate::error::Error;
use crate::log::types::{TypeConfig, Vote};
use crate::net::{Lane, Lanes, convert, snapshot};
use crate::node::clock::ClusterClock;
use crate::node::snapshots::Checkpoint;
use crate::replica::PeerCall;

/// A message to a peer's handler is answered within this time or has failed.
const PEER_CALL: Duration = Duration::from_secs(5);
/// Messages of a door stream on their way to the connection.
const DOOR_QUEUE: usize = 64;

/// The way to all other nodes.
#[derive(Clone)]
pub struct Network {
    lanes: Arc<Lanes>,
    clock: Arc<ClusterClock>,
    incarnation: u64,
    /// A stream is set up within this time or has failed.
    setup: Duration,
}

impl Network {
    /// Speaks for this start of this node.
    pub fn new(lanes: Arc<Lanes>, clock: Arc<ClusterClock>, incarnation: u64, setup: Duration) -> Self {
        Self {
            lanes,
            clock,
            incarnation,
            setup,
        }
    }

    /// Sends a message to a peer's handler.
    ///
    /// # Errors
    /// `Error::Peer` when the peer cannot be reached, refuses, or does not answer in five seconds.
    pub async fn call(&self, node: u64, call: PeerCall) -> Result<Bytes, Error> {
        let mut client = self.lanes.client(node, Lane::Door)?;
        let request = wire::PeerRequest {
            kind: u32::from(call.kind),
            payload: call.payload,
        };
        let answer = timeout(PEER_CALL, client.peer(self.lanes.request(node, request))).await;
        let answer = answer.map_err(|_| peer(node, &"it does not answer"))?;
        Ok(answer.map_err(|e| peer(node, &e.message()))?.into_inner().payload)
    }

    /// Asks a node about itself.
    ///
    /// # Errors
    /// `Error::Peer` when it cannot be reached or does not answer within an election time-out.
    pub async fn probe(&self, node: u64) -> Result<wire::ProbeResponse, Error> {
        let mut client = self.lanes.client(node, Lane::Control)?;
        let request = self.lanes.request(node, wire::ProbeRequest {});
        let answer = timeout(self.setup, client.probe(request)).await;
        let answer = answer.map_err(|_| peer(node, &"it does not answer"))?;
        Ok(answer.map_err(|e| peer(node, &e.message()))?.into_inner())
    }

    fn target(&self, node: u64, lane: Lane) -> Target {
        Target {
            network: self.clone(),
            node,
            lane,
        }
    }
}

fn peer(node: u64, detail: &dyn Display) -> Error {
    Error::Peer {
        node,
        detail: detail.to_string(),
    }
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Target;

    async fn new_client(&mut self, target: u64, _node: &NodeRecord) -> Target {
        self.target(target, Lane::Append)
    }

    async fn new_heartbeat_client(&mut self, target: u64, _node: &NodeRecord) -> Target {
        self.target(target, Lane::Control)
    }

    async fn new_snapshot_client(&mut self, target: u64, _node: &NodeRecord) -> Target {
        self.target(target, Lane::Bulk)
    }
}

/// The way to one other node, for one kind of traffic.
pub struct Target {
    network: Network,
    node: u64,
    lane: Lane,
}

type Rpc<T> = Result<T, RPCError<TypeConfig>>;

#[allow(clippy::result_large_err, reason = "openraft chose the error and its size")]
fn appended(answer: Result<wire::AppendResponse, tonic::Status>) -> Rpc<StreamAppendResult<TypeConfig>> {
    convert::appended_in(answer.map_err(unreachable)?).map_err(unreachable)
}

/// Everything that keeps a node from answering makes openraft back off.
fn unreachable(error: impl Display) -> RPCError<TypeConfig> {
    RPCError::Unreachable(Unreachable::from_string(error))
}

impl Target {
    async fn heartbeat(
        &self,
        request: &AppendEntriesRequest<TypeConfig>,
        within: Duration,
    ) -> Rpc<StreamAppendResult<TypeConfig>> {
        let request = convert::append_out(request).map_err(unreachable)?;
        let mut client = self
            .network
            .lanes
            .client(self.node, Lane::Control)
            .map_err(unreachable)?;
        let request = self.network.lanes.request(self.node, request);
        let answer = timeout(within, client.heartbeat(request))
            .await
            .map_err(unreachable)?;
        convert::appended_in(answer.map_err(unreachable)?.into_inner()).map_err(unreachable)
    }

    async fn vote_call(&self, request: VoteRequest<TypeConfig>, pre: bool) -> Rpc<VoteResponse<TypeConfig>> {
        let mut client = self
            .network
            .lanes
            .client(self.node, Lane::Control)
            .map_err(unreachable)?;
        let request = self
            .network
            .lanes
            .request(self.node, convert::vote_request_out(&request));
        let answer = timeout(self.network.setup, async {
            match pre {
                true => client.pre_vote(request).await,
                false => client.vote(request).await,
            }
        });
        let answer = answer.await.map_err(unreachable)?.map_err(unreachable)?;
        convert::vote_response_in(answer.into_inner()).map_err(unreachable)
    }

    async fn send_snapshot(
        &self,
        vote: Vote,
        snapshot: SnapshotOf<TypeConfig, Checkpoint>,
        within: Duration,
    ) -> Result<SnapshotResponse<TypeConfig>, RPCError<TypeConfig>> {
        let mut client = self
            .network
            .lanes
            .client(self.node, Lane::Bulk)
            .map_err(unreachable)?;
        let frames = snapshot::send(&vote, &snapshot.meta, snapshot.snapshot).map_err(unreachable)?;
        let request = self.network.lanes.request(self.node, frames);
        let answer = timeout(within, client.snapshot(request))
            .await
            .map_err(unreachable)?;
        let answer = answer.map_err(unreachable)?.into_inner();
        Ok(SnapshotResponse::new(
            convert::vote_in(answer.vote).map_err(unreachable)?,
        ))
    }
}

impl RaftNetworkV2<TypeConfig> for Target {
    type SnapshotData = Checkpoint;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Rpc<AppendEntriesResponse<TypeConfig>> {
        Ok(self.heartbeat(&rpc, option.soft_ttl()).await?.into())
    }

    fn stream_append<'s, S>(
        &'s mut self,
        mut input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Rpc<BoxStream<'s, Rpc<StreamAppendResult<TypeConfig>>>>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        Box::pin(async move {
            if self.lane == Lane::Control {
                let Some(request) = input.next().await else {
                    return Ok(stream::empty().boxed());
                };
                let answer = self.heartbeat(&request, option.soft_ttl()).await;
                return Ok(stream::iter([answer]).boxed());
            }
            let mut client = self
                .network
                .lanes
                .client(self.node, Lane::Append)
                .map_err(unreachable)?;
            // A request that does not encode ends the stream; the unanswered entries are sent again.
            let requests = input.map(|request| convert::append_out(&request));
            let requests = requests.take_while(|encoded| std::future::ready(encoded.is_ok()));
            let requests = requests.filter_map(|encoded| std::future::ready(encoded.ok()));
            let request = self.network.lanes.request(self.node, requests);
            let answers = timeout(self.network.setup, client.append(request))
                .await
                .map_err(unreachable)?;
            let answers = answers.map_err(unreachable)?.into_inner();
            let results = answers.map(appended);
            Ok(results.boxed())
        })
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Rpc<VoteResponse<TypeConfig>> {
        self.vote_call(rpc, false).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Rpc<VoteResponse<TypeConfig>> {
        self.vote_call(rpc, true).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: SnapshotOf<TypeConfig, Checkpoint>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        tokio::select! {
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = self.send_snapshot(vote, snapshot, option.soft_ttl()) => sent.map_err(StreamingError::from),
        }
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Rpc<TransferLeaderResponse<TypeConfig>> {
        use openraft::raft::TransferLeaderError;
        use wire::transfer_leader_response::Refusal;
        let mut client = self
            .network
            .lanes
            .client(self.node, Lane::Control)
            .map_err(unreachable)?;
        let request = self.network.lanes.request(self.node, convert::transfer_out(&req));
        let answer = timeout(self.network.setup, client.transfer_leader(request))
            .await
            .map_err(unreachable)?;
        Ok(match answer.map_err(unreachable)?.into_inner().refusal {
            None => Ok(()),
            Some(Refusal::Unwilling(_)) => return Err(unreachable("it does not want to lead")),
            Some(Refusal::VoteChanged(vote)) => Err(TransferLeaderError::VoteChanged {
                expected: *req.from_leader(),
                actual: convert::vote_in(Some(vote)).map_err(unreachable)?,
            }),
            Some(Refusal::LogBehind(log)) => Err(TransferLeaderError::LogNotFlushed {
                expected: req.last_log_id().copied(),
                actual: log.log_id.map(convert::log_id_in),
            }),
        })
    }
}

impl Links for Network {
    fn open(&self, leader: u64, term: u64, to: ReplyTo) -> mpsc::UnboundedSender<Frame> {
        let (frames, waiting) = mpsc::unbounded_channel();
        let network = self.clone();
        tokio::spawn(async move {
            if let Err(error) = network.link(leader, term, &to, waiting).await {
                tracing::debug!(leader, %error, "the stream to the leader broke");
                to.send(Reply::Closed);
            }
        });
        frames
    }
}

impl Network {
    /// Carries one link until its door lets go of it (`Ok`) or it breaks.
    async fn link(
        &self,
        leader: u64,
        term: u64,
        to: &ReplyTo,
        mut frames: mpsc::UnboundedReceiver<Frame>,
    ) -> Result<(), Error> {
        let mut client = self.lanes.client(leader, Lane::Door)?;
        let (out, requests) = mpsc::channel(DOOR_QUEUE);
        let broken = |detail: &dyn Display| peer(leader, detail);
        let hello = wire::DoorHello {
            incarnation: self.incarnation,
            term,
        };
        let hello = door_request(wire::door_request::Request::Hello(hello));
        out.try_send(hello).map_err(|e| broken(&e))?;
        let request = self.lanes.request(leader, ReceiverStream::new(requests));
        let opened = timeout(self.setup, client.door(request))
            .await
            .map_err(|e| broken(&e))?;
        let mut replies = opened.map_err(|e| broken(&e.message()))?.into_inner();
        loop {
            tokio::select! {
                frame = frames.recv() => {
                    let Some(frame) = frame else { return Ok(()) };
                    out.send(frame_out(frame)).await.map_err(|e| broken(&e))?;
                }
                reply = replies.message() => {
                    let reply = reply.map_err(|e| broken(&e.message()))?;
                    let reply = reply.ok_or_else(|| broken(&"it ended the stream"))?;
                    self.clock.observe(reply.now);
                    if let Some(reply) = reply.reply {
                        to.send(reply_in(reply));
                    }
                }
            }
        }
    }
}

fn door_request(request: wire::door_request::Request) -> wire::DoorRequest {
    wire::DoorRequest {
        request: Some(request),
    }
}

fn frame_out(frame: Frame) -> wire::DoorRequest {
    use wire::door_request::Request;
    door_request(match frame {
        Frame::Propose {
            term,
            frame,
            commands,
        } => {
            let commands = commands
                .into_iter()
                .map(|(sequence, command)| wire::DoorCommand { sequence, command })
                .collect();
            Request::Propose(wire::DoorPropose {
                term,
                frame,
                commands,
            })
        }
        Frame::Read { id } => Request::Read(wire::DoorRead { id }),
        Frame::Ping => Request::Ping(true),
    })
}

fn reply_in(reply: wire::door_reply::Reply) -> Reply {
    use wire::door_reply::Reply as Wire;
    match reply {
        Wire::Welcome(welcome) => Reply::Ready {
            accepted: welcome.accepted,
        },
        Wire::Accepted(accepted) => Reply::Taken {
            frame: accepted.frame,
        },
        Wire::Rejected(rejected) => Reply::Rejected {
            term: rejected.term,
            sequences: rejected.sequences,
        },
        Wire::ReadIndex(index) => Reply::Index {
            id: index.id,
            position: (index.position != 0).then_some(index.position),
        },
    }
}
