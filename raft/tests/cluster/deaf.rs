//! A leader whose connections stand and carry what it says, and that hears no answer: it must give up by itself, for nothing
//! breaks, and those who hear it elect nobody else.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use conclave_proto::internal as wire;
use conclave_proto::internal::node_server::{Node, NodeServer};
use futures::{Stream, stream};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, Streaming};

use crate::harness::{Cluster, Kind, eventually};

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Hears everything and says nothing.
#[derive(Default)]
struct Mute {
    heartbeats: AtomicU64,
    elections: AtomicU64,
}

struct Heard(Arc<Mute>);

fn nothing<T: Send + 'static>() -> Result<Response<Answers<T>>, Status> {
    Ok(Response::new(Box::pin(stream::pending())))
}

#[tonic::async_trait]
impl Node for Heard {
    type AppendStream = Answers<wire::AppendResponse>;
    type DoorStream = Answers<wire::DoorReply>;

    async fn append(
        &self,
        _: Request<Streaming<wire::AppendRequest>>,
    ) -> Result<Response<Self::AppendStream>, Status> {
        nothing()
    }

    async fn heartbeat(
        &self,
        _: Request<wire::AppendRequest>,
    ) -> Result<Response<wire::AppendResponse>, Status> {
        self.0.heartbeats.fetch_add(1, Ordering::SeqCst);
        std::future::pending().await
    }

    async fn vote(&self, _: Request<wire::VoteRequest>) -> Result<Response<wire::VoteResponse>, Status> {
        std::future::pending().await
    }

    async fn pre_vote(&self, _: Request<wire::VoteRequest>) -> Result<Response<wire::VoteResponse>, Status> {
        self.0.elections.fetch_add(1, Ordering::SeqCst);
        std::future::pending().await
    }

    async fn snapshot(
        &self,
        _: Request<Streaming<wire::SnapshotFrame>>,
    ) -> Result<Response<wire::SnapshotResponse>, Status> {
        std::future::pending().await
    }

    async fn transfer_leader(
        &self,
        _: Request<wire::TransferLeaderRequest>,
    ) -> Result<Response<wire::TransferLeaderResponse>, Status> {
        std::future::pending().await
    }

    async fn door(
        &self,
        _: Request<Streaming<wire::DoorRequest>>,
    ) -> Result<Response<Self::DoorStream>, Status> {
        nothing()
    }

    async fn probe(&self, _: Request<wire::ProbeRequest>) -> Result<Response<wire::ProbeResponse>, Status> {
        std::future::pending().await
    }

    async fn peer(&self, _: Request<wire::PeerRequest>) -> Result<Response<wire::PeerResponse>, Status> {
        std::future::pending().await
    }
}

async fn serve(address: String, mute: Arc<Mute>) {
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let server = tonic::transport::Server::builder().add_service(NodeServer::new(Heard(mute)));
    let served = server.serve_with_incoming(TcpListenerStream::new(listener));
    served.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_heard_and_hears_nobody_leads_no_more() {
    let mut cluster = Cluster::form(Kind::MemoryPlain, 2).await;
    let deaf = cluster.leader().await;
    cluster.members[deaf].put("before", b"1").await.unwrap();
    let other = 1 - deaf;
    cluster.members[other].kill().await;
    let address = cluster.members[other].record.cluster_addr.clone();
    let mute = Arc::new(Mute::default());
    // On threads of its own: with them its connections end.
    let threads = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    threads.spawn(serve(address, Arc::clone(&mute)));
    eventually("the leader is heard", || {
        mute.heartbeats.load(Ordering::SeqCst) > 0
    })
    .await;
    // Who leads does not ask whether it may.
    eventually("it stands for election", || {
        mute.elections.load(Ordering::SeqCst) > 0
    })
    .await;
    tokio::task::spawn_blocking(move || drop(threads)).await.unwrap();
    cluster.members[other].start().await;
    let leader = cluster.leader().await;
    cluster.members[leader].put("after", b"1").await.unwrap();
    cluster.agree().await;
    assert!(
        cluster
            .members
            .iter()
            .all(|member| member.fatal.lock().is_empty())
    );
}
