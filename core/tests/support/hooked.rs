//! A replica with something between it and its node: commands can be held back or be the moment for something else.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::sync::watch;

use conclave_raft::{
    Change, Command, Error, Millis, Origin, Outcome, PeerCall, Replica, View, replica::Status,
};

/// Called before a command is proposed; an error keeps it from being so.
pub type Before = Box<dyn Fn(&Command) -> BoxFuture<'static, Result<(), Error>> + Send + Sync>;
/// Called with what came of it.
pub type After = Box<dyn Fn(&Result<Outcome, Error>) + Send + Sync>;

/// The replica.
pub struct Hooked {
    pub inner: Arc<dyn Replica>,
    pub before: Before,
    pub after: After,
}

impl Replica for Hooked {
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
        self.inner.read()
    }

    fn propose(&self, command: Command) -> BoxFuture<'_, Result<Outcome, Error>> {
        Box::pin(async move {
            (self.before)(&command).await?;
            let outcome = self.inner.propose(command).await;
            (self.after)(&outcome);
            outcome
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
