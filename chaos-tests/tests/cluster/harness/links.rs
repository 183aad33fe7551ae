//! The network between nodes, and from clients to nodes: every connection goes through here and can be delayed, held up in one
//! direction or both, slowed down, broken, or left half open, by link and at any time. It carries bytes and does not know what
//! they say: nodes speak TLS to each other through it.
//!
//! Nodes announce a door of this network instead of their own address. Who calls there is told by where the call comes from:
//! each node's connections leave from an address of loopback of its own (`Node::comes_from`).

mod wire;

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{Cluster, Node, Seed, ports};
use wire::{Cut, Wire};

/// One side of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum End {
    /// A node, by its index in the cluster.
    Node(usize),
    /// Whoever calls the nodes' API.
    Clients,
}

/// How bytes travel in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Manner {
    /// Nothing arrives until this is over; then what was sent does, as TCP sends it again.
    pub held: bool,
    /// How much later everything arrives ...
    pub delay: Duration,
    /// ... and a random time up to this on top; the order stays.
    pub jitter: Duration,
    /// Bytes a second; 0 is no bound.
    pub rate: u64,
}

impl Manner {
    /// Nothing arrives.
    pub const HELD: Self = Self {
        held: true,
        delay: Duration::ZERO,
        jitter: Duration::ZERO,
        rate: 0,
    };

    /// Arrives after `delay` and up to as much again.
    pub fn late(delay: Duration) -> Self {
        Self {
            delay,
            jitter: delay,
            ..Self::default()
        }
    }

    /// This many bytes a second.
    pub fn narrow(rate: u64) -> Self {
        Self {
            rate,
            ..Self::default()
        }
    }
}

/// What the network did to what it carried.
#[derive(Debug, Default)]
pub struct Counts {
    /// Connections carried.
    pub connections: AtomicU64,
    /// Bytes that arrived.
    pub bytes: AtomicU64,
    /// Pieces that were held up, late or slowed down.
    pub hindered: AtomicU64,
    /// Connections that were broken or left half open.
    pub cut: AtomicU64,
    /// Calls from nobody knows where. They are refused, and the run proves nothing.
    pub strangers: AtomicU64,
}

/// A direction.
type Way = (End, End);

/// The network of one cluster. Gone with all its connections when it is dropped.
pub struct Links {
    shared: Arc<Shared>,
    doors: Vec<JoinHandle<()>>,
}

struct Shared {
    counts: Counts,
    ways: Mutex<HashMap<Way, watch::Sender<Manner>>>,
    /// Live connections: who opened it, to whom, and how to cut it.
    wires: Mutex<HashMap<u64, (Way, watch::Sender<Cut>)>>,
    seed: Mutex<Seed>,
}

impl Links {
    /// Stands between the nodes of a cluster, none of which was started yet, and before their API. Clients of these nodes are
    /// those that [`Links::door`] tells of; `node.api` stays the direct way.
    pub fn between(cluster: &mut Cluster) -> Self {
        let shared = Arc::new(Shared {
            counts: Counts::default(),
            ways: Mutex::default(),
            wires: Mutex::default(),
            seed: Mutex::new(cluster.seed.split()),
        });
        let mut links = Self {
            shared,
            doors: Vec::new(),
        };
        for (at, node) in cluster.nodes.iter_mut().enumerate() {
            links.before(at, node);
        }
        links
    }

    fn before(&mut self, at: usize, node: &mut Node) {
        node.comes_from(source(at));
        let port = ports::free(1)[0];
        let real = node.announce(&format!("127.0.0.1:{port}"));
        self.open(port, real, at, None);
    }

    /// Opens a door for clients to a node; its URL.
    pub fn door(&mut self, at: usize, node: &Node) -> String {
        let port = ports::free(1)[0];
        let real = node.url.trim_start_matches("https://").to_owned();
        self.open(port, real, at, Some(End::Clients));
        format!("https://127.0.0.1:{port}")
    }

    fn open(&mut self, port: u16, real: String, to: usize, caller: Option<End>) {
        // From a port that was just found free to one that listens: nobody else takes ports of this range.
        let listener = std::net::TcpListener::bind(("127.0.0.1", port)).expect("a free port");
        listener.set_nonblocking(true).expect("a socket");
        let listener = TcpListener::from_std(listener).expect("a socket");
        let shared = Arc::clone(&self.shared);
        self.doors.push(tokio::spawn(async move {
            while let Ok((stream, from)) = listener.accept().await {
                let Some(caller) = caller.or_else(|| node_at(from)) else {
                    shared.counts.strangers.fetch_add(1, Ordering::Relaxed);
                    continue;
                };
                let wire = Wire::new(Arc::clone(&shared), (caller, End::Node(to)), real.clone());
                tokio::spawn(wire.carry(stream));
            }
        }));
    }

    /// Lets bytes from one to another travel like this from now on, whoever opened the connection.
    pub fn set(&self, from: End, to: End, manner: Manner) {
        self.shared.way((from, to)).send_replace(manner);
    }

    /// As `set`, in both directions.
    pub fn set_both(&self, one: End, other: End, manner: Manner) {
        self.set(one, other, manner);
        self.set(other, one, manner);
    }

    /// Everything travels freely again.
    pub fn heal(&self) {
        for way in self.shared.ways.lock().expect("no panic in here").values() {
            way.send_replace(Manner::default());
        }
    }

    /// Breaks all connections between two.
    pub fn reset(&self, one: End, other: End) {
        self.cut(one, other, |_| Cut::Both);
    }

    /// Ends all connections between two for `gone`; the other side is never told, and nobody hears what it sends.
    pub fn half_open(&self, gone: End, other: End) {
        self.cut(gone, other, |(caller, _)| {
            if caller == gone { Cut::Caller } else { Cut::Called }
        });
    }

    fn cut(&self, one: End, other: End, how: impl Fn(Way) -> Cut) {
        for (way, cut) in self.shared.wires.lock().expect("no panic in here").values() {
            if *way == (one, other) || *way == (other, one) {
                cut.send_replace(how(*way));
            }
        }
    }

    /// What it did until now.
    pub fn counts(&self) -> &Counts {
        &self.shared.counts
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        for door in &self.doors {
            door.abort();
        }
    }
}

impl Shared {
    fn way(&self, way: Way) -> watch::Sender<Manner> {
        let mut ways = self.ways.lock().expect("no panic in here");
        ways.entry(way)
            .or_insert_with(|| watch::Sender::new(Manner::default()))
            .clone()
    }
}

/// Where a node's connections come from.
fn source(at: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 1, u8::try_from(at + 1).expect("few nodes"))
}

/// Whose connections come from there.
fn node_at(from: SocketAddr) -> Option<End> {
    let SocketAddr::V4(from) = from else {
        return None;
    };
    let [127, 0, 1, number] = from.ip().octets() else {
        return None;
    };
    Some(End::Node(usize::from(number).checked_sub(1)?))
}
