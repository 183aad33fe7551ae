//! Room on this node's disk. When it grows short the node takes no more writes from clients and gives leadership away, so
//! that what is left serves to replicate what the others take. Who measures it is no business of this file.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use conclave_raft::Change;

use crate::core::Core;
use crate::error::Error;

/// Room must be this much above the bound, in percent of it, before writes are taken again: not on and off at the edge.
const MARGIN_PERCENT: u64 = 10;
const MIB: u64 = 1 << 20;

/// What is known of the room.
#[derive(Debug, Default)]
pub(crate) struct Room {
    /// Bytes free when it was measured last.
    free: AtomicU64,
    /// Bytes below which writes are refused; 0 never.
    min_free: AtomicU64,
    measured: AtomicBool,
    low: AtomicBool,
}

impl Room {
    /// Whether too little is left.
    pub fn is_low(&self) -> bool {
        self.low.load(Ordering::Acquire)
    }

    /// Bytes free, once somebody measured.
    pub fn free(&self) -> Option<u64> {
        let measured = self.measured.load(Ordering::Acquire);
        measured.then(|| self.free.load(Ordering::Acquire))
    }

    /// Takes a measurement over; whether it changed the verdict.
    fn measured(&self, free: u64, min_free: u64) -> bool {
        self.free.store(free, Ordering::Release);
        self.min_free.store(min_free, Ordering::Release);
        self.measured.store(true, Ordering::Release);
        let was = self.is_low();
        let bound = match was {
            true => min_free.saturating_add(min_free / 100 * MARGIN_PERCENT),
            false => min_free,
        };
        self.low.store(free < bound, Ordering::Release);
        was != (free < bound)
    }
}

impl Core {
    /// Tells how many bytes are free where this node keeps its data, and below how many it takes no writes (0: it always
    /// does). To be told again and again: each time a leader without room tries to find a successor.
    pub async fn measured_room(&self, free: u64, min_free: u64) {
        let changed = self.room.measured(free, min_free);
        let low = self.room.is_low();
        if changed && low {
            tracing::error!(
                free_bytes = free,
                min_free_bytes = min_free,
                "too little room on the disk: this node takes no writes and will not lead until there is more"
            );
        } else if changed {
            tracing::info!(
                free_bytes = free,
                "there is room on the disk again: this node takes writes"
            );
        }
        let Ok(replica) = self.seal.replica() else { return };
        if changed {
            replica.set_eligible(self.may_lead());
        }
        if !low || !replica.status().borrow().is_leader {
            return;
        }
        match replica.change(Change::Transfer { to: None }).await {
            Ok(()) => tracing::info!("leadership was handed over for want of room on the disk"),
            // Somebody must lead: all the others may be as short of room, or there is none.
            Err(error) => tracing::debug!(%error, "leadership stays although there is too little room"),
        }
    }

    /// Whether this node is fit to lead: it holds keys and has room to write.
    pub(crate) fn may_lead(&self) -> bool {
        !self.seal.is_sealed() && !self.room.is_low()
    }

    /// An error that names this node if it has no room for a client's write.
    pub(crate) fn has_room(&self) -> Result<(), Error> {
        if !self.room.is_low() {
            return Ok(());
        }
        let name = self.launcher.record().name;
        let free = self.room.free.load(Ordering::Acquire) / MIB;
        let min_free = self.room.min_free.load(Ordering::Acquire) / MIB;
        Err(Error::Overloaded(format!(
            "node {name:?} takes no writes: {free} MiB are free on its disk, less than min_free ({min_free} MiB); \
             ask another node"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_does_not_flicker_at_the_edge() {
        let room = Room::default();
        assert_eq!((room.is_low(), room.free()), (false, None));
        assert!(!room.measured(1000 * MIB, 500 * MIB));
        assert!(room.measured(499 * MIB, 500 * MIB) && room.is_low());
        assert!(
            !room.measured(540 * MIB, 500 * MIB),
            "above the bound, within the margin"
        );
        assert!(room.is_low());
        assert!(room.measured(551 * MIB, 500 * MIB) && !room.is_low());
        assert_eq!(room.free(), Some(551 * MIB));
        assert!(!room.measured(0, 0) && !room.is_low(), "0 switches it off");
    }
}
