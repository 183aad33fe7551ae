//! What the door needs of a stream to another node's desk. The stream itself is the transport's. This file must not
//! know gRPC.

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::door::desk::ReplyTo;

/// What is sent over a link.
#[derive(Debug)]
pub enum Frame {
    /// Commands with their sequences, in order.
    Propose {
        /// The term they are fenced to.
        term: u64,
        /// Counts frames of this node in this term.
        frame: u64,
        /// Sequence and encoded command.
        commands: Vec<(u64, Bytes)>,
    },
    /// A read index is wanted.
    Read {
        /// Which request.
        id: u64,
        /// Whether many reads wait for it.
        crowd: bool,
    },
    /// The leader's clock is wanted.
    Ping,
}

/// Opens links.
pub trait Links: Send + Sync + 'static {
    /// Opens a stream to `leader`'s desk. Answers go to `to`: `Ready` when it is open, `Closed` when it breaks or
    /// cannot be opened. It ends when the returned sender is dropped.
    fn open(&self, leader: u64, term: u64, to: ReplyTo) -> mpsc::UnboundedSender<Frame>;
}
