//! What core needs from the transports to hand records on: somebody who takes lines to a target. Core knows no sockets.

use std::io;

use futures::FutureExt;
use futures::future::BoxFuture;

use crate::audit::target::Target;

/// Opens ways to targets.
pub trait Couriers: Send + Sync + 'static {
    /// A way to this target.
    fn connect<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, io::Result<Box<dyn Courier>>>;
}

/// A way that is open.
pub trait Courier: Send {
    /// Hands lines on, in order, each without its end. When this succeeds the target has them, as far as its protocol tells;
    /// when it fails the way is given up, and what was on it is sent again on the next one.
    fn send<'a>(&'a mut self, lines: &'a [&'a [u8]]) -> BoxFuture<'a, io::Result<()>>;
}

/// There are no ways to anywhere.
pub struct NoCouriers;

impl Couriers for NoCouriers {
    fn connect<'a>(&'a self, _: &'a Target) -> BoxFuture<'a, io::Result<Box<dyn Courier>>> {
        async { Err(io::Error::other("this node reaches nothing outside")) }.boxed()
    }
}
