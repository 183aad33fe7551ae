//! One connection through the network: two directions, each in its own manner, until it ends or is cut.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::{Counts, Manner, Shared, Way};
use crate::harness::Seed;

/// Bytes read at a time.
const PIECE: usize = 16 << 10;
/// Pieces under way in one direction; more wait with the sender.
const UNDER_WAY: usize = 64;

/// How a connection is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// It is not.
    No,
    /// Broken for both.
    Both,
    /// Gone for who opened it; the other is never told.
    Caller,
    /// Gone for who was called; the other is never told.
    Called,
}

/// A connection.
pub struct Wire {
    shared: Arc<Shared>,
    number: u64,
    real: String,
    there: watch::Receiver<Manner>,
    back: watch::Receiver<Manner>,
    cut: watch::Receiver<Cut>,
}

impl Wire {
    pub fn new(shared: Arc<Shared>, way: Way, real: String) -> Self {
        static NUMBERS: AtomicU64 = AtomicU64::new(0);
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let (cut, cut_here) = watch::channel(Cut::No);
        let (from, to) = way;
        let there = shared.way((from, to)).subscribe();
        let back = shared.way((to, from)).subscribe();
        shared
            .wires
            .lock()
            .expect("no panic in here")
            .insert(number, (way, cut));
        shared.counts.connections.fetch_add(1, Ordering::Relaxed);
        Self {
            shared,
            number,
            real,
            there,
            back,
            cut: cut_here,
        }
    }

    /// Carries it to its end.
    pub async fn carry(mut self, mut caller: TcpStream) {
        let mut cut = self.cut.clone();
        let cut = async move {
            // It cannot be gone: this connection holds on to the other side until it ends.
            let found = cut.wait_for(|cut| *cut != Cut::No).await;
            found.map_or(Cut::Both, |found| *found)
        };
        tokio::pin!(cut);
        let called = tokio::select! {
            called = self.reach() => called,
            _ = &mut cut => Err(io::ErrorKind::ConnectionReset.into()),
        };
        let Ok(mut called) = called else {
            // As a closed port answers.
            let _ = caller.set_zero_linger();
            return;
        };
        let how = tokio::select! {
            () = self.join(&mut caller, &mut called) => None,
            how = &mut cut => Some(how),
        };
        let Some(how) = how else {
            return;
        };
        self.shared.counts.cut.fetch_add(1, Ordering::Relaxed);
        let (gone, left) = match how {
            Cut::Caller => (caller, Some(called)),
            Cut::Called => (called, Some(caller)),
            Cut::No | Cut::Both => {
                let _ = caller.set_zero_linger();
                (called, None)
            }
        };
        let _ = gone.set_zero_linger();
        drop(gone);
        if let Some(mut left) = left {
            // It speaks into the void until it gives up.
            let _ = tokio::io::copy(&mut left, &mut tokio::io::sink()).await;
        }
    }

    /// Calls who is called: while one direction is held up no connection comes about.
    async fn reach(&mut self) -> io::Result<TcpStream> {
        for way in [&mut self.there, &mut self.back] {
            if way.borrow().held {
                self.shared.counts.hindered.fetch_add(1, Ordering::Relaxed);
            }
            free(way).await;
        }
        let stream = TcpStream::connect(&self.real).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    async fn join(&self, caller: &mut TcpStream, called: &mut TcpStream) {
        let _ = caller.set_nodelay(true);
        let seed = || self.shared.seed.lock().expect("no panic in here").split();
        let (mut there, mut back) = (self.there.clone(), self.back.clone());
        let joined = {
            let (caller_reads, caller_writes) = caller.split();
            let (called_reads, called_writes) = called.split();
            let counts = &self.shared.counts;
            tokio::try_join!(
                pass(caller_reads, called_writes, there.clone(), seed(), counts),
                pass(called_reads, caller_writes, back.clone(), seed(), counts),
            )
        };
        if joined.is_err() {
            // Broken by one side. The other hears of that when something can reach it.
            free(&mut there).await;
            free(&mut back).await;
            let _ = caller.set_zero_linger();
            let _ = called.set_zero_linger();
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if let Ok(mut wires) = self.shared.wires.lock() {
            wires.remove(&self.number);
        }
    }
}

/// Waits until bytes may travel.
async fn free(way: &mut watch::Receiver<Manner>) {
    // Without a sender nobody can hold anything up any more.
    let _ = way.wait_for(|manner| !manner.held).await;
}

/// What travels in one direction.
enum Piece {
    Bytes(Vec<u8>),
    End,
}

/// Passes on what one side says, in the manner of the moment, up to its end.
async fn pass(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut way: watch::Receiver<Manner>,
    mut seed: Seed,
    counts: &Counts,
) -> io::Result<()> {
    let (queue, mut queued) = mpsc::channel::<(Instant, Piece)>(UNDER_WAY);
    let manner = way.clone();
    let reads = async move {
        let mut last = Instant::now();
        loop {
            let mut bytes = vec![0; PIECE];
            let read = from.read(&mut bytes).await?;
            bytes.truncate(read);
            last = last.max(arrival(*manner.borrow(), &mut seed, counts));
            let piece = if read == 0 {
                Piece::End
            } else {
                Piece::Bytes(bytes)
            };
            if queue.send((last, piece)).await.is_err() || read == 0 {
                return Ok::<(), io::Error>(());
            }
        }
    };
    let writes = async {
        while let Some((due, piece)) = queued.recv().await {
            // why: the network's own delay
            tokio::time::sleep_until(due).await;
            if way.borrow().held {
                counts.hindered.fetch_add(1, Ordering::Relaxed);
                free(&mut way).await;
            }
            let Piece::Bytes(bytes) = piece else {
                return to.shutdown().await;
            };
            let rate = way.borrow().rate;
            if rate > 0 {
                counts.hindered.fetch_add(1, Ordering::Relaxed);
                // why: the network's own slowness
                tokio::time::sleep(Duration::from_secs_f64(bytes.len() as f64 / rate as f64)).await;
            }
            to.write_all(&bytes).await?;
            counts.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
        Ok(())
    };
    tokio::try_join!(reads, writes).map(|_| ())
}

/// When a piece that is sent now arrives.
fn arrival(manner: Manner, seed: &mut Seed, counts: &Counts) -> Instant {
    let now = Instant::now();
    if manner.delay.is_zero() {
        return now;
    }
    counts.hindered.fetch_add(1, Ordering::Relaxed);
    let jitter = usize::try_from(manner.jitter.as_micros()).unwrap_or(usize::MAX);
    now + manner.delay + Duration::from_micros(seed.below(jitter.max(1)) as u64)
}
