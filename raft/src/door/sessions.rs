//! The leader's memory of the door streams of other nodes: which stream of a node is the current one, and how far its
//! frames were taken, so that a node that reconnects knows exactly what to send again. This file must not know gRPC.

use std::collections::HashMap;

use parking_lot::Mutex;

/// Door streams by node.
#[derive(Default)]
pub struct Sessions {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    next: u64,
    nodes: HashMap<u64, Session>,
}

#[derive(Default)]
struct Session {
    id: u64,
    incarnation: u64,
    term: u64,
    accepted: u64,
}

impl Sessions {
    /// A node opened a stream: returns the session's id, and the highest frame taken from this incarnation of the
    /// node in `term`. Older streams of the node are dead from here on.
    pub fn open(&self, node: u64, incarnation: u64, term: u64) -> (u64, u64) {
        let mut inner = self.inner.lock();
        inner.next += 1;
        let id = inner.next;
        let session = inner.nodes.entry(node).or_default();
        if session.incarnation != incarnation || session.term != term {
            *session = Session {
                id,
                incarnation,
                term,
                accepted: 0,
            };
        }
        session.id = id;
        (id, session.accepted)
    }

    /// Takes a frame with `take` if the session is current and the frame is the next one. `take` runs under the lock,
    /// so that frames keep their order and none is taken twice.
    pub fn accept(&self, node: u64, id: u64, term: u64, frame: u64, take: impl FnOnce()) -> bool {
        let mut inner = self.inner.lock();
        let Some(session) = inner.nodes.get_mut(&node) else {
            return false;
        };
        if session.id != id || session.term != term || frame != session.accepted + 1 {
            return false;
        }
        session.accepted = frame;
        take();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reconnecting_node_learns_how_far_its_frames_went() {
        let sessions = Sessions::default();
        let (first, accepted) = sessions.open(2, 1, 7);
        assert_eq!(accepted, 0);
        assert!(sessions.accept(2, first, 7, 1, || ()));
        assert!(!sessions.accept(2, first, 7, 3, || panic!("out of order")));
        let (second, accepted) = sessions.open(2, 1, 7);
        assert_eq!(accepted, 1);
        assert!(!sessions.accept(2, first, 7, 2, || panic!("a dead stream")));
        assert!(sessions.accept(2, second, 7, 2, || ()));
        let (_, accepted) = sessions.open(2, 1, 8);
        assert_eq!(accepted, 0, "another term counts anew");
        let (_, accepted) = sessions.open(2, 2, 8);
        assert_eq!(accepted, 0, "another incarnation counts anew");
    }
}
