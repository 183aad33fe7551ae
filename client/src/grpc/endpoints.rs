//! The nodes a client knows, their connections, and what it remembers of their health. Knows no calls.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::time::Instant;

use super::Error;
use super::link::{Address, Link, dial};
use super::tls::Trust;
use crate::http::url;

/// How long a node that failed once is asked last; doubles with each failure ...
const SHUN: Duration = Duration::from_millis(250);
/// ... up to this.
const MAX_SHUN: Duration = Duration::from_secs(8);

/// The nodes, in order of preference.
pub struct Endpoints {
    list: Vec<Endpoint>,
    /// The node that answered last: it is asked first.
    preferred: AtomicUsize,
}

/// One node.
pub struct Endpoint {
    address: Address,
    live: Mutex<Option<Link>>,
    dialing: tokio::sync::Mutex<()>,
    /// Attempts to connect that ended.
    dialed: AtomicU64,
    health: Mutex<Health>,
}

#[derive(Default)]
struct Health {
    failures: u32,
    shunned_until: Option<Instant>,
    /// Why it could not be reached.
    reason: String,
}

impl Endpoints {
    /// Endpoints at URLs.
    ///
    /// # Errors
    /// [`Error::Config`] for a URL or trust that cannot be used.
    pub fn new(urls: &[String], trust: &Trust) -> Result<Self, Error> {
        let mut tls = None;
        let mut list = Vec::with_capacity(urls.len());
        for text in urls {
            let parsed = url::Address::parse(text).map_err(|error| Error::Config(error.to_string()))?;
            if parsed.scheme == "https" && tls.is_none() {
                tls = Some(trust.config()?);
            }
            let tls = tls.clone().filter(|_| parsed.scheme == "https");
            list.push(Endpoint::new(&parsed, tls, trust)?);
        }
        Ok(Self {
            list,
            preferred: AtomicUsize::new(0),
        })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// The node to ask next among those not yet in `tried`: the preferred one, then those after it, shunned ones last.
    /// Its number is added to `tried`.
    pub fn next(&self, tried: &mut Vec<usize>) -> Option<(usize, &Endpoint)> {
        let start = self.preferred.load(Ordering::Relaxed);
        let now = Instant::now();
        let order = (0..self.list.len()).map(|step| (start + step) % self.list.len());
        let left = order.filter(|at| !tried.contains(at));
        // Of equals, the first in order is taken.
        let at = left.min_by_key(|at| self.list.get(*at).and_then(|endpoint| endpoint.shunned(now)))?;
        tried.push(at);
        Some((at, self.list.get(at)?))
    }

    /// The node answered: it goes first from now on.
    pub fn answered(&self, at: usize) {
        self.preferred.store(at, Ordering::Relaxed);
        if let Some(endpoint) = self.list.get(at) {
            *lock(&endpoint.health) = Health::default();
        }
    }
}

impl Endpoint {
    fn new(parsed: &url::Address, tls: Option<Arc<ClientConfig>>, trust: &Trust) -> Result<Self, Error> {
        let text = parsed.text();
        let bad = |why: &str| Error::Config(format!("endpoint {text:?}: {why}"));
        if !parsed.base.is_empty() {
            return Err(bad("gRPC has no path in its address"));
        }
        let host = parsed.host_name().to_owned();
        let expected = trust.server_name.clone().unwrap_or_else(|| host.clone());
        let name =
            ServerName::try_from(expected).map_err(|_| bad("the host is no name and no IP address"))?;
        let address = Address {
            port: parsed.port(),
            origin: text.parse().map_err(|_| bad("not a URL"))?,
            tls: tls.map(|tls| (tls, name)),
            host,
        };
        Ok(Self {
            address,
            live: Mutex::default(),
            dialing: tokio::sync::Mutex::default(),
            dialed: AtomicU64::new(0),
            health: Mutex::default(),
        })
    }

    /// An open connection; callers that come together share one attempt to make it.
    ///
    /// # Errors
    /// Why it cannot be reached. Nothing was sent.
    pub async fn link(&self) -> Result<Link, String> {
        if let Some(link) = self.open() {
            return Ok(link);
        }
        let before = self.dialed.load(Ordering::Acquire);
        let _turn = self.dialing.lock().await;
        if let Some(link) = self.open() {
            return Ok(link);
        }
        if self.dialed.load(Ordering::Acquire) != before {
            // Whoever had the turn meanwhile failed: asking again at once would queue up time-outs.
            return Err(lock(&self.health).reason.clone());
        }
        let dialed = dial(&self.address).await;
        match &dialed {
            Ok(link) => *lock(&self.live) = Some(link.clone()),
            Err(reason) => lock(&self.health).reason.clone_from(reason),
        }
        self.dialed.fetch_add(1, Ordering::Release);
        dialed
    }

    /// The node failed: it is asked last for a while.
    pub fn failed(&self) {
        let mut health = lock(&self.health);
        let doubled = SHUN.saturating_mul(1 << health.failures.min(8));
        health.failures = health.failures.saturating_add(1);
        health.shunned_until = Some(Instant::now() + doubled.min(MAX_SHUN));
    }

    fn open(&self) -> Option<Link> {
        let mut live = lock(&self.live);
        if live.as_ref().is_some_and(Link::is_closed) {
            *live = None;
        }
        live.clone()
    }

    /// Until when it is shunned; `None`, which sorts first, if it is not.
    fn shunned(&self, now: Instant) -> Option<Instant> {
        lock(&self.health).shunned_until.filter(|until| *until > now)
    }
}

/// The data is whole at every step, so a panic elsewhere spoils nothing.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(urls: &[&str]) -> Result<Endpoints, Error> {
        let urls: Vec<String> = urls.iter().map(|&url| url.to_owned()).collect();
        Endpoints::new(&urls, &Trust::default())
    }

    fn order(endpoints: &Endpoints) -> Vec<usize> {
        let mut tried = Vec::new();
        while endpoints.next(&mut tried).is_some() {}
        tried
    }

    #[tokio::test(start_paused = true)]
    async fn who_answered_goes_first_and_who_failed_last_for_a_while() {
        let endpoints = endpoints(&["http://a:1", "http://b:2", "http://c:3"]).unwrap();
        assert_eq!(order(&endpoints), [0, 1, 2]);
        endpoints.answered(1);
        assert_eq!(order(&endpoints), [1, 2, 0]);
        endpoints.list[1].failed();
        assert_eq!(order(&endpoints), [2, 0, 1]);
        endpoints.list[2].failed();
        endpoints.list[2].failed();
        assert_eq!(order(&endpoints), [0, 1, 2], "who failed more often comes later");
        tokio::time::advance(SHUN).await;
        assert_eq!(order(&endpoints), [1, 0, 2]);
        tokio::time::advance(MAX_SHUN).await;
        assert_eq!(order(&endpoints), [1, 2, 0]);
    }

    #[test]
    fn urls_are_checked() {
        assert_eq!(
            endpoints(&["http://a", "http://[::1]:8200", "http://10.0.0.1:1"])
                .unwrap()
                .len(),
            3
        );
        for bad in ["a:8200", "ftp://a", "http://", "http://a/base", "http://a b"] {
            assert!(matches!(endpoints(&[bad]), Err(Error::Config(_))), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_node_that_refuses_is_told_apart_at_once() {
        // A port that was free a moment ago and that nobody listens on.
        let free = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let endpoints = endpoints(&[&format!("http://{free}")]).unwrap();
        let reason = endpoints.list[0].link().await.err().unwrap();
        assert!(reason.contains(&free.to_string()), "{reason}");
    }
}
