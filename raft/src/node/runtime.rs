//! What openraft runs on: Tokio, with randomness that is drawn from the start's own random id instead of the thread's
//! generator. So all randomness of a node comes in through its configuration, and a simulation of one seed runs twice
//! alike. This file must not know what the randomness is for.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::time::Duration;

use openraft::{AsyncRuntime, OptionalSend, TokioRuntime};
use rand_core::TryRng;

tokio::task_local! {
    /// Where the draws of the current task stand. A spawned task continues elsewhere than the one that spawned it.
    static STATE: Cell<u64>;
}

/// Runs `future`, and what it spawns through `Seeded`, with randomness drawn from `seed`.
pub fn with_seed<F: Future>(seed: u64, future: F) -> impl Future<Output = F::Output> {
    STATE.scope(Cell::new(seed), future)
}

/// One number from a start's random id and a counter, such that near ids give unrelated numbers.
pub fn seed_of(instance: [u8; 16], counter: u64) -> u64 {
    let id = u128::from_be_bytes(instance);
    let (high, low) = ((id >> 64) as u64, id as u64);
    [low, counter]
        .into_iter()
        .fold(mix(high), |seed, part| mix(seed ^ part))
}

/// SplitMix64 (Steele, Lea and Flood 2014): good enough for waiting times, not for secrets.
fn mix(state: u64) -> u64 {
    let mixed = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The next draw of the current task; of the operating system where no seed was given.
fn draw() -> u64 {
    let seeded = STATE.try_with(|state| {
        state.set(state.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
        mix(state.get())
    });
    seeded.unwrap_or_else(|_| RandomState::new().hash_one(0u8))
}

/// A generator that starts at a draw.
#[derive(Debug)]
pub struct Draws(u64);

impl TryRng for Draws {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok((self.try_next_u64()? >> 32) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        Ok(mix(self.0))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for chunk in bytes.chunks_mut(8) {
            let drawn = self.try_next_u64()?.to_le_bytes();
            chunk
                .iter_mut()
                .zip(drawn)
                .for_each(|(byte, drawn)| *byte = drawn);
        }
        Ok(())
    }
}

/// Tokio with randomness that can be seeded.
#[derive(Debug)]
pub struct Seeded(TokioRuntime);

impl AsyncRuntime for Seeded {
    type JoinError = <TokioRuntime as AsyncRuntime>::JoinError;
    type JoinHandle<T: OptionalSend + 'static> = <TokioRuntime as AsyncRuntime>::JoinHandle<T>;
    type Sleep = <TokioRuntime as AsyncRuntime>::Sleep;
    type Instant = <TokioRuntime as AsyncRuntime>::Instant;
    type TimeoutError = <TokioRuntime as AsyncRuntime>::TimeoutError;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = <TokioRuntime as AsyncRuntime>::Timeout<R, T>;
    type ThreadLocalRng = Draws;
    type Mpsc = <TokioRuntime as AsyncRuntime>::Mpsc;
    type Watch = <TokioRuntime as AsyncRuntime>::Watch;
    type Oneshot = <TokioRuntime as AsyncRuntime>::Oneshot;
    type Mutex<T: OptionalSend + 'static> = <TokioRuntime as AsyncRuntime>::Mutex<T>;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        match STATE.try_with(|_| ()) {
            Ok(()) => TokioRuntime::spawn(STATE.scope(Cell::new(draw()), future)),
            Err(_) => TokioRuntime::spawn(future),
        }
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        TokioRuntime::sleep(duration)
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        TokioRuntime::sleep_until(deadline)
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(
        duration: Duration,
        future: F,
    ) -> Self::Timeout<R, F> {
        TokioRuntime::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(
        deadline: Self::Instant,
        future: F,
    ) -> Self::Timeout<R, F> {
        TokioRuntime::timeout_at(deadline, future)
    }

    fn is_panic(join_error: &Self::JoinError) -> bool {
        TokioRuntime::is_panic(join_error)
    }

    fn thread_rng() -> Draws {
        Draws(draw())
    }

    fn new(threads: usize) -> Self {
        Self(TokioRuntime::new(threads))
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        self.0.block_on(future)
    }

    fn spawn_blocking<F, T>(work: F) -> impl Future<Output = Result<T, io::Error>> + Send
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        TokioRuntime::spawn_blocking(work)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn drawn() -> [u64; 3] {
        let spawned = Seeded::spawn(async { draw() });
        [
            draw(),
            spawned.await.unwrap(),
            Seeded::thread_rng().try_next_u64().unwrap(),
        ]
    }

    #[tokio::test]
    async fn one_seed_draws_alike_and_another_does_not() {
        let first = with_seed(7, drawn()).await;
        assert_eq!(first, with_seed(7, drawn()).await);
        assert_ne!(first, with_seed(8, drawn()).await);
        assert_ne!(first[0], first[1], "a spawned task draws on its own");
        assert_ne!(drawn().await, drawn().await, "without a seed nothing repeats");
    }

    #[test]
    fn near_ids_give_unrelated_seeds() {
        let id = |high: u64, low: u64| (u128::from(high) << 64 | u128::from(low)).to_be_bytes();
        assert_ne!(seed_of(id(1, 2), 0), seed_of(id(2, 1), 0));
        assert_ne!(seed_of(id(1, 2), 0), seed_of(id(1, 2), 1));
    }
}
