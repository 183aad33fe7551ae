//! Connections kept open for the next plan, by how their server is reached, and no more of them at once than the target may
//! have. What nobody used for a while is closed: an old password's connections too. Knows no protocol.

use std::future::Future;
use std::sync::{Arc, Weak};
use std::time::Duration;

use conclave_engine_api::{Bounds, Done, Failure, Hidden, Target};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::within;

/// Servers whose connections are kept; those beyond are forgotten, all at once.
const MAX_SERVERS: usize = 256;
/// How long a connection is kept that nobody uses. A login costs a server more than what it is then asked for.
const IDLE: Duration = Duration::from_secs(60);

/// Connections to all servers of one kind.
pub struct Pool<C> {
    /// By how a server is reached, credentials included: a changed password makes new connections.
    servers: Mutex<Vec<(Target, Arc<Server<C>>)>>,
}

/// Connections to one server.
pub struct Server<C> {
    /// As many plans at once as the target may have connections.
    turns: Arc<Semaphore>,
    idle: Mutex<Idle<C>>,
}

/// Connections that nobody uses.
struct Idle<C> {
    /// Each with the time since when; the last one used is the last.
    since: Vec<(Instant, C)>,
    /// Whether somebody looks after them.
    is_tended: bool,
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
        // Who still uses a connection to what was there before keeps it until it is done.
        servers.retain(|(known, _)| !is_reached_anew(known, target));
        if servers.len() >= MAX_SERVERS {
            servers.clear();
        }
        let server = Arc::new(Server {
            turns: Arc::new(Semaphore::new(target.max_connections.max(1) as usize)),
            idle: Mutex::new(Idle {
                since: Vec::new(),
                is_tended: false,
            }),
        });
        servers.push((target.clone(), server.clone()));
        server
    }
}

/// Whether the one is the other, to be reached anew.
fn is_reached_anew(known: &Target, target: &Target) -> bool {
    let again = || Target {
        epoch: target.epoch.clone(),
        ..known.clone()
    };
    known.epoch != target.epoch && again() == *target
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
        self.idle.lock().since.pop().map(|(_, connection)| connection)
    }

    /// Closes what was not used for a while. Whether anything is left.
    fn tend(&self) -> bool {
        let now = Instant::now();
        let mut idle = self.idle.lock();
        idle.since.retain(|(since, _)| now.duration_since(*since) < IDLE);
        idle.is_tended = !idle.since.is_empty();
        idle.is_tended
    }
}

impl<C: Send + 'static> Server<C> {
    /// Keeps a connection for the next plan. There are never more than turns.
    pub fn keep(self: &Arc<Self>, connection: C) {
        let mut idle = self.idle.lock();
        idle.since.push((Instant::now(), connection));
        if !std::mem::replace(&mut idle.is_tended, true) {
            tokio::spawn(tend(Arc::downgrade(self)));
        }
    }
}

/// Looks after the idle connections of a server until there are none, or nobody has the server.
async fn tend<C>(server: Weak<Server<C>>) {
    loop {
        tokio::time::sleep(IDLE).await;
        if !server.upgrade().is_some_and(|server| server.tend()) {
            return;
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

#[cfg(test)]
mod tests {
    use conclave_engine_api::{Driver, TargetTls};

    use super::*;

    fn target() -> Target {
        Target {
            name: "t".to_owned(),
            driver: Driver::Redis,
            fallback: None,
            url: Hidden::new("redis://localhost".to_owned()),
            tls: TargetTls::default(),
            max_connections: 16,
            epoch: String::new(),
        }
    }

    #[tokio::test]
    async fn what_is_to_be_reached_anew_leaves_the_connections_from_before() {
        let (before, pool) = (target(), Pool::default());
        let other = Target {
            name: "other".to_owned(),
            ..target()
        };
        let kept: Vec<Arc<u8>> = (0..3).map(Arc::new).collect();
        let in_use = pool.server(&before);
        in_use.keep(kept[0].clone());
        in_use.keep(kept[1].clone());
        let used = in_use.idle().unwrap();
        pool.server(&other).keep(kept[2].clone());
        let anew = Target {
            epoch: "1".to_owned(),
            ..target()
        };
        assert!(pool.server(&anew).idle().is_none());
        assert!(pool.server(&other).idle().is_some());
        // Whoever still has one gives it back to nobody.
        in_use.keep(used);
        drop(in_use);
        assert!(kept.iter().all(|connection| Arc::strong_count(connection) == 1));
        assert!(pool.server(&anew).idle().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_uses_is_closed_after_a_while() {
        let (target, pool) = (target(), Pool::default());
        let server = pool.server(&target);
        let kept: Vec<Arc<u8>> = (0..16).map(Arc::new).collect();
        for connection in &kept {
            server.keep(connection.clone());
        }
        // One of them is in use all the time, the others never again.
        for _ in 0..8 {
            let used = server.idle().unwrap();
            assert_eq!(*used, 15);
            // why: the clock is paused, and idle time is what is tested.
            tokio::time::sleep(IDLE / 4).await;
            server.keep(used);
        }
        let open = |connection: &&Arc<u8>| Arc::strong_count(connection) > 1;
        assert_eq!(kept.iter().filter(open).count(), 1);
        // why: as above.
        tokio::time::sleep(IDLE * 2).await;
        assert_eq!(kept.iter().filter(open).count(), 0);
        assert!(server.idle().is_none());
        // It begins anew.
        server.keep(kept[0].clone());
        // why: as above.
        tokio::time::sleep(IDLE * 2).await;
        assert!(server.idle().is_none());
    }
}
