//! What the transports need of core: somebody who answers requests. Tests put a script in its place.

use std::sync::Arc;

use futures::future::BoxFuture;

use conclave_core::{Browsers, Error, Request, Response};

/// Answers requests.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request. The future borrows the handler alone.
    fn handle(&self, request: Request) -> BoxFuture<'_, Result<Response, Error>>;
    /// Whether a request that carries a file may be listened to, before its body is taken in. Whoever is admitted is
    /// still to be authorised by `handle`.
    fn admits<'h>(&'h self, request: &'h Request) -> BoxFuture<'h, Result<(), Error>> {
        let _ = request;
        Box::pin(std::future::ready(Ok(())))
    }
    /// What pages in browsers are told; nothing while the node is sealed.
    fn browsers(&self) -> Option<Arc<Browsers>> {
        None
    }
    /// Brings numbers that are read rather than counted up to date, before they are shown.
    fn observe(&self);
}
