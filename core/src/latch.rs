//! Turns for requests that fight over the same path on one node. A request that conflicted takes its turn, and so do the
//! next ones on its path; without a fight nobody waits, and a fight that is over is forgotten.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::{Mutex, MutexGuard};

/// Number of latches; paths share them by hash.
const STRIPES: usize = 512;
/// Requests that take turns after a conflict. Writers of one key conflict again whenever this runs out, so it must not be
/// small; requests that do not conflict by their path wait for nothing that long, so it must not be large.
const TURNS: u32 = 64;

/// Latches of a node.
pub struct Latches {
    stripes: Vec<Stripe>,
    hasher: RandomState,
}

#[derive(Default)]
struct Stripe {
    turn: Mutex<()>,
    /// How many requests still take turns.
    turns: AtomicU32,
}

impl Default for Latches {
    fn default() -> Self {
        Self {
            stripes: (0..STRIPES).map(|_| Stripe::default()).collect(),
            hasher: RandomState::new(),
        }
    }
}

impl Latches {
    /// Waits for this path's turn if there was a conflict lately; otherwise returns at once without taking it.
    pub async fn wait_if_fought(&self, path: &str) -> Option<MutexGuard<'_, ()>> {
        let stripe = self.stripe(path)?;
        let one_less = |turns: u32| turns.checked_sub(1);
        stripe
            .turns
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less)
            .ok()?;
        Some(stripe.turn.lock().await)
    }

    /// Takes this path's turn after a conflict.
    pub async fn take(&self, path: &str) -> Option<MutexGuard<'_, ()>> {
        let stripe = self.stripe(path)?;
        stripe.turns.store(TURNS, Ordering::Relaxed);
        Some(stripe.turn.lock().await)
    }

    fn stripe(&self, path: &str) -> Option<&Stripe> {
        let hash = usize::try_from(self.hasher.hash_one(path) % STRIPES as u64).ok()?;
        self.stripes.get(hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn who_does_not_fight_never_waits() {
        let latches = Arc::new(Latches::default());
        let asking = (0..8).map(|_| {
            let latches = latches.clone();
            tokio::spawn(async move {
                for _ in 0..20_000 {
                    assert!(latches.wait_if_fought("auth/token/create").await.is_none());
                }
            })
        });
        for task in asking.collect::<Vec<_>>() {
            task.await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_fight_gives_turns_and_is_forgotten() {
        let latches = Latches::default();
        drop(latches.take("secret/data/a").await);
        for _ in 0..TURNS {
            assert!(latches.wait_if_fought("secret/data/a").await.is_some());
        }
        assert!(latches.wait_if_fought("secret/data/a").await.is_none());
    }
}
