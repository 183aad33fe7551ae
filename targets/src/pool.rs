//! Connections kept open for the next plan, by how their server is reached, and no more of them at once than the target may
//! have. Knows no protocol.

use std::future::Future;
use std::sync::Arc;

use conclave_engine_api::{Bounds, Done, Failure, Hidden, Target};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::within;

/// Servers whose connections are kept; those beyond are forgotten, all at once.
const MAX_SERVERS: usize = 256;
/// Connections kept idle to one server.
const MAX_IDLE: usize = 4;

/// Connections to all servers of one kind.
pub struct Pool<C> {
    /// By how a server is reached, credentials included: a changed password makes new connections.
    servers: Mutex<Vec<(Target, Arc<Server<C>>)>>,
}

/// Connections to one server.
pub struct Server<C> {
    /// As many plans at once as the target may have connections.
    turns: Arc<Semaphore>,
    idle: Mutex<Vec<C>>,
}

impl<C> Default for Pool<C> {
    fn default() -> Self {
        Self {
            servers: Mutex::default(),
        }
    }
}

impl<C> Pool<C> {
    /// The connections to a target.
    pub fn server(&self, target: &Target) -> Arc<Server<C>> {
        let mut servers = self.servers.lock();
        if let Some((_, server)) = servers.iter().find(|(known, _)| known == target) {
            return server.clone();
        }
        if servers.len() >= MAX_SERVERS {
            servers.clear();
        }
        let server = Arc::new(Server {
            turns: Arc::new(Semaphore::new(target.max_connections.max(1) as usize)),
            idle: Mutex::default(),
        });
        servers.push((target.clone(), server.clone()));
        server
    }
}

impl<C> Server<C> {
    /// Waits until one more connection may be in use; it may be as long as what this returns is held.
    ///
    /// # Errors
    /// The bounds came first.
    pub async fn turn(&self, bounds: &Bounds) -> Result<OwnedSemaphorePermit, Failure> {
        let turn = within(bounds, Done::Nothing, self.turns.clone().acquire_owned()).await?;
        turn.map_err(|_| Failure::new(Done::Nothing, "the target is closed"))
    }

    /// A connection that nobody uses.
    pub fn idle(&self) -> Option<C> {
        self.idle.lock().pop()
    }

    /// Keeps a connection for the next plan.
    pub fn keep(&self, connection: C) {
        let mut idle = self.idle.lock();
        if idle.len() < MAX_IDLE {
            idle.push(connection);
        }
    }
}

/// A new connection; with the credentials that may have come since, if those that are known are refused.
///
/// # Errors
/// What `connect` says of the last credentials tried.
pub async fn connect<C, F>(target: &Target, connect: impl Fn(Hidden) -> F) -> Result<C, Failure>
where
    F: Future<Output = Result<C, Failure>>,
{
    match (connect(target.url.clone()).await, &target.fallback) {
        (Err(failure), Some(fallback)) if failure.done == Done::Denied => connect(fallback.clone()).await,
        (connected, _) => connected,
    }
}
