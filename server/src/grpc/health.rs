//! grpc.health.v1: whether this node serves, asked of the node itself each time, so that the answer is never stale.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tonic::server::NamedService;
use tonic::{Request, Response, Status};
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use conclave_proto::v1;

use super::{Ready, status};

/// How often a watched node is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// Watchers at a time.
const MAX_WATCHERS: usize = 256;

/// The service.
pub fn server(ready: Ready, stop: CancellationToken) -> HealthServer<Service> {
    HealthServer::new(Service {
        ready,
        stop,
        room: Arc::new(Semaphore::new(MAX_WATCHERS)),
    })
}

/// Answers about the node (the empty name) and about each service.
pub struct Service {
    ready: Ready,
    stop: CancellationToken,
    room: Arc<Semaphore>,
}

/// Whose health is asked for.
#[derive(Clone, Copy)]
enum Whose {
    /// What needs keys and a leader.
    Node,
    /// `Sys` answers sealed nodes too: that is what it is for.
    Sys,
}

impl Whose {
    fn of(name: &str) -> Option<Self> {
        use v1::{kv_server, logical_server, policy_server, sys_server, token_server};
        match name {
            "" => Some(Self::Node),
            <sys_server::SysServer<()> as NamedService>::NAME => Some(Self::Sys),
            <kv_server::KvServer<()> as NamedService>::NAME
            | <logical_server::LogicalServer<()> as NamedService>::NAME
            | <policy_server::PolicyServer<()> as NamedService>::NAME
            | <token_server::TokenServer<()> as NamedService>::NAME => Some(Self::Node),
            _ => None,
        }
    }

    fn state(self, ready: &Ready) -> ServingStatus {
        match self {
            Self::Sys => ServingStatus::Serving,
            Self::Node if ready() => ServingStatus::Serving,
            Self::Node => ServingStatus::NotServing,
        }
    }
}

fn response(state: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse {
        status: match state {
            ServingStatus::Unknown => 0,
            ServingStatus::Serving => 1,
            ServingStatus::NotServing => 2,
        },
    }
}

/// What the protocol says of a watched service nobody knows: SERVICE_UNKNOWN.
const SERVICE_UNKNOWN: HealthCheckResponse = HealthCheckResponse { status: 3 };

#[tonic::async_trait]
impl Health for Service {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let whose = Whose::of(&request.get_ref().service);
        let whose = whose.ok_or_else(|| status::not_found("no such service"))?;
        Ok(Response::new(response(whose.state(&self.ready))))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let room = Arc::clone(&self.room).try_acquire_owned();
        let room = room.map_err(|_| status::busy())?;
        let whose = Whose::of(&request.get_ref().service);
        let states = changes(whose, self.ready.clone(), room);
        let stop = self.stop.clone();
        Ok(Response::new(Box::pin(states.take_until(stop.cancelled_owned()))))
    }
}

/// The state now, then each change of it.
fn changes(
    whose: Option<Whose>,
    ready: Ready,
    room: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<HealthCheckResponse, Status>> + Send {
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    stream::unfold(
        (looks, None, ready, room),
        move |(mut looks, told, ready, room)| async move {
            loop {
                looks.tick().await;
                let now = whose.map_or(SERVICE_UNKNOWN, |whose| response(whose.state(&ready)));
                if told != Some(now) {
                    return Some((Ok(now), (looks, Some(now), ready, room)));
                }
            }
        },
    )
}
