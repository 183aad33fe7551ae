//! What the transports need of core: somebody who answers requests. Tests put a script in its place.

use futures::future::BoxFuture;

use conclave_core::{Error, Request, Response};

/// Answers requests.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request. The future borrows the handler alone.
    fn handle(&self, request: Request) -> BoxFuture<'_, Result<Response, Error>>;
    /// Brings numbers that are read rather than counted up to date, before they are shown.
    fn observe(&self);
}
