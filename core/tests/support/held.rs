//! A replica that holds one of its reads back: its view is taken, and handed out only when the test says so, as happens to a
//! request that waits long for its turn. Or one of its commands, as happens on a slow network.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::sync::watch;

use conclave_raft::{
    Change, Command, Error, Millis, Origin, Outcome, PeerCall, Replica, View, replica::Status,
};

/// No read is held.
const NONE: usize = usize::MAX;

/// The replica.
pub struct Held {
    inner: Arc<dyn Replica>,
    /// How many reads pass before the one that is held.
    pass: AtomicUsize,
    /// Whether the next command is held.
    command: AtomicBool,
    held: watch::Sender<bool>,
    go: watch::Sender<bool>,
}

impl Held {
    pub fn over(inner: Arc<dyn Replica>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            pass: AtomicUsize::new(NONE),
            command: AtomicBool::new(false),
            held: watch::Sender::new(false),
            go: watch::Sender::new(false),
        })
    }

    /// From now on, the read after `pass` others is held.
    pub fn hold_after(&self, pass: usize) {
        self.pass.store(pass, Ordering::SeqCst);
    }

    /// From now on, the next command is held.
    pub fn hold_command(&self) {
        self.command.store(true, Ordering::SeqCst);
    }

    /// Until a read or a command is held.
    pub async fn is_held(&self) {
        let mut held = self.held.subscribe();
        held.wait_for(|held| *held).await.expect("the replica is there");
    }

    /// Hands the held view out, or the command on.
    pub fn release(&self) {
        self.go.send_replace(true);
    }

    async fn wait(&self) {
        self.held.send_replace(true);
        let mut go = self.go.subscribe();
        go.wait_for(|go| *go).await.expect("the replica is there");
    }

    /// Whether the read that begins now is the one.
    fn is_the_one(&self) -> bool {
        let counted = self
            .pass
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |pass| match pass {
                NONE => None,
                0 => Some(NONE),
                more => Some(more - 1),
            });
        counted == Ok(0)
    }
}

impl Replica for Held {
    fn node_id(&self) -> u64 {
        self.inner.node_id()
    }

    fn next_origin(&self) -> Origin {
        self.inner.next_origin()
    }

    fn view(&self) -> Result<Arc<View>, Error> {
        self.inner.view()
    }

    fn read(&self) -> BoxFuture<'_, Result<Arc<View>, Error>> {
        Box::pin(async move {
            let is_the_one = self.is_the_one();
            let view = self.inner.read().await;
            if is_the_one {
                self.wait().await;
            }
            view
        })
    }

    fn propose(&self, command: Command) -> BoxFuture<'_, Result<Outcome, Error>> {
        Box::pin(async move {
            if self.command.swap(false, Ordering::SeqCst) {
                self.wait().await;
            }
            self.inner.propose(command).await
        })
    }

    fn now(&self) -> Millis {
        self.inner.now()
    }

    fn status(&self) -> watch::Receiver<Status> {
        self.inner.status()
    }

    fn call_peer(&self, node: u64, call: PeerCall) -> BoxFuture<'_, Result<Bytes, Error>> {
        self.inner.call_peer(node, call)
    }

    fn change(&self, change: Change) -> BoxFuture<'_, Result<(), Error>> {
        self.inner.change(change)
    }
}
