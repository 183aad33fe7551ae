//! What openraft sends to one other node. This file must not know how calls are handled.
#![allow(clippy::result_large_err, reason = "openraft chose its errors and their size")]

use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use conclave_proto::internal as wire;
use conclave_proto::internal::node_client::NodeClient;
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
use tokio::time::timeout;
use tonic::transport::Channel;

use crate::command::NodeRecord;
use crate::log::types::{TypeConfig, Vote};
use crate::net::client::Network;
use crate::net::{Lane, convert, snapshot};
use crate::node::snapshots::Checkpoint;

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Target;

    async fn new_client(&mut self, target: u64, _node: &NodeRecord) -> Target {
        Target::new(self, target, Lane::Append)
    }

    async fn new_heartbeat_client(&mut self, target: u64, _node: &NodeRecord) -> Target {
        Target::new(self, target, Lane::Control)
    }

    async fn new_snapshot_client(&mut self, target: u64, _node: &NodeRecord) -> Target {
        Target::new(self, target, Lane::Bulk)
    }
}

/// The way to one other node, for one kind of traffic.
pub struct Target {
    network: Network,
    node: u64,
    lane: Lane,
    /// Streams that could not be opened, one after the other.
    failures: u32,
}

/// Pause after the first stream that cannot be opened; each further one adds as much.
const PAUSE: Duration = Duration::from_millis(20);
/// Longest pause.
const MAX_PAUSE: Duration = Duration::from_millis(300);

type Rpc<T> = Result<T, RPCError<TypeConfig>>;

/// Everything that keeps a node from answering makes openraft back off.
fn unreachable(error: impl Display) -> RPCError<TypeConfig> {
    RPCError::Unreachable(Unreachable::from_string(error))
}

impl Target {
    fn new(network: &Network, node: u64, lane: Lane) -> Self {
        Self {
            network: network.clone(),
            node,
            lane,
            failures: 0,
        }
    }

    fn client(&self, lane: Lane) -> Rpc<NodeClient<Channel>> {
        self.network.lanes.client(self.node, lane).map_err(unreachable)
    }

    fn failed(&self, status: tonic::Status) -> RPCError<TypeConfig> {
        self.network.lanes.heed(&status);
        unreachable(status)
    }

    /// Reads an answer to an append request of `term`.
    fn appended(
        &self,
        term: u64,
        answer: Result<wire::AppendResponse, tonic::Status>,
    ) -> Rpc<StreamAppendResult<TypeConfig>> {
        let answer = answer.map_err(|status| self.failed(status))?;
        let result = convert::appended_in(answer).map_err(unreachable)?;
        match self.network.progress.check(self.node, term, &result) {
            true => Ok(result),
            false => Err(unreachable(
                "its log ends before what it acknowledged: its disk was set back",
            )),
        }
    }

    async fn open_stream<S>(
        &self,
        input: S,
        term: Arc<AtomicU64>,
    ) -> Rpc<tonic::Streaming<wire::AppendResponse>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        let mut client = self.client(Lane::Append)?;
        // A request that does not encode ends the stream; the unanswered entries are sent again.
        let requests = input.map(move |request| {
            term.store(request.vote.leader_id.term, Ordering::Release);
            convert::append_out(&request)
        });
        let requests = requests.take_while(|encoded| std::future::ready(encoded.is_ok()));
        let requests = requests.filter_map(|encoded| std::future::ready(encoded.ok()));
        let request = self.network.lanes.request(self.node, requests);
        let answers = timeout(self.network.setup, client.append(request)).await;
        let answers = answers.map_err(unreachable)?;
        Ok(answers.map_err(|status| self.failed(status))?.into_inner())
    }

    async fn heartbeat(
        &self,
        request: &AppendEntriesRequest<TypeConfig>,
        within: Duration,
    ) -> Rpc<StreamAppendResult<TypeConfig>> {
        let term = request.vote.leader_id.term;
        let request = convert::append_out(request).map_err(unreachable)?;
        let mut client = self.client(Lane::Control)?;
        let request = self.network.lanes.request(self.node, request);
        let answer = timeout(within, client.heartbeat(request))
            .await
            .map_err(unreachable)?;
        self.appended(term, answer.map(tonic::Response::into_inner))
    }

    async fn vote_call(&self, request: VoteRequest<TypeConfig>, pre: bool) -> Rpc<VoteResponse<TypeConfig>> {
        let mut client = self.client(Lane::Control)?;
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
        let answer = answer
            .await
            .map_err(unreachable)?
            .map_err(|status| self.failed(status))?;
        // A vote of a node whose disk was set back would not count what it has forgotten.
        if self.network.lanes.is_set_back(self.node, answer.metadata()) {
            return Err(unreachable("its disk was set back or cloned"));
        }
        convert::vote_response_in(answer.into_inner()).map_err(unreachable)
    }

    async fn send_snapshot(
        &self,
        vote: Vote,
        snapshot: SnapshotOf<TypeConfig, Checkpoint>,
        within: Duration,
    ) -> Result<SnapshotResponse<TypeConfig>, RPCError<TypeConfig>> {
        let mut client = self.client(Lane::Bulk)?;
        let frames = snapshot::send(
            &vote,
            &snapshot.meta,
            snapshot.snapshot,
            Arc::clone(&self.network.offload),
        )
        .map_err(unreachable)?;
        let request = self.network.lanes.request(self.node, frames);
        let answer = timeout(within, client.snapshot(request))
            .await
            .map_err(unreachable)?;
        let answer = answer.map_err(|status| self.failed(status))?.into_inner();
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
            // All requests of a stream are of one leader.
            let term = Arc::new(AtomicU64::new(0));
            let answers = match self.open_stream(input, Arc::clone(&term)).await {
                Ok(answers) => answers,
                Err(error) => {
                    // openraft's own pause is taken in `input`, which nobody reads without a stream.
                    self.failures += 1;
                    tokio::time::sleep(PAUSE.saturating_mul(self.failures).min(MAX_PAUSE)).await;
                    return Err(error);
                }
            };
            self.failures = 0;
            let target: &Self = self;
            let results = answers.map(move |answer| target.appended(term.load(Ordering::Acquire), answer));
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
        let mut client = self.client(Lane::Control)?;
        let request = self.network.lanes.request(self.node, convert::transfer_out(&req));
        let answer = timeout(self.network.setup, client.transfer_leader(request))
            .await
            .map_err(unreachable)?;
        Ok(
            match answer.map_err(|status| self.failed(status))?.into_inner().refusal {
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
            },
        )
    }
}
