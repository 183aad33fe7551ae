//! Who waits for the disk: syncs for many, syncs that fail, and what becomes of those who asked.

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::FutureExt;
use tokio::task::yield_now;

use super::super::place::{Cut, Place};
use super::*;

/// A place that opens what it is told to, one after the other.
struct Played {
    opened: AtomicUsize,
    /// `None` is a file that takes every write and no sync.
    files: Vec<Option<std::path::PathBuf>>,
    peers: parking_lot::Mutex<Vec<UnixStream>>,
    /// A record with this in it is more than its thread can bear.
    deadly: &'static str,
}

impl Place for Played {
    fn open(&self) -> io::Result<File> {
        let at = self.opened.fetch_add(1, Ordering::SeqCst);
        let mut options = std::fs::OpenOptions::new();
        let Some(path) = &self.files[at] else {
            let (own, peer) = UnixStream::pair()?;
            self.peers.lock().push(peer);
            return Ok(File::from(OwnedFd::from(own)));
        };
        options.read(true).append(true).create(true).open(path)
    }

    fn is_full(&self, _: u64, _: u64, _: u64) -> bool {
        false
    }

    fn turn(&self, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn admit(&self, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn length(&self, open: &Metadata) -> u64 {
        open.len()
    }

    fn append(&self, mut open: &File, _: u64, bytes: &[u8]) -> Result<(), Cut> {
        let text = String::from_utf8_lossy(bytes);
        assert!(self.deadly.is_empty() || !text.contains(self.deadly), "{text}");
        let written = io::Write::write_all(&mut open, bytes);
        written.map_err(|error| Cut { torn: false, error })
    }
}

fn played(files: &[Option<&Path>], deadly: &'static str) -> Arc<Journal> {
    let place = Played {
        opened: AtomicUsize::new(0),
        files: files.iter().map(|path| path.map(Path::to_path_buf)).collect(),
        peers: parking_lot::Mutex::default(),
        deadly,
    };
    Arc::new(Journal::new(place, true, None))
}

async fn settle(journal: &Arc<Journal>, name: &str) -> io::Result<()> {
    journal.settle(&queue(journal, name)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_wait_for_one_sync_and_lines_stay_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let journal = Arc::new(journal(&path, dir.path(), true));
    let writers = (0..64).map(|n| {
        let journal = journal.clone();
        tokio::spawn(async move {
            let mut rounds = Vec::new();
            for at in 0..20 {
                let ticket = queue(&journal, &format!("{n}-{at}-{}", "x".repeat(n * 7)));
                assert!(!ticket.is_kept(), "nobody asked for its sync");
                journal.settle(&ticket).await.unwrap();
                assert!(ticket.is_kept());
                rounds.push(ticket);
            }
            rounds
        })
    });
    let mut tickets = Vec::new();
    for writer in writers.collect::<Vec<_>>() {
        tickets.extend(writer.await.unwrap());
    }
    let mut rounds: Vec<_> = tickets.iter().map(Ticket::round).collect();
    rounds.sort_unstable();
    rounds.dedup();
    assert!(rounds.len() <= tickets.len() / 2, "{} syncs", rounds.len());
    let written = names(&path);
    assert_eq!(written.len(), 64 * 20);
    for name in written {
        let mut parts = name.split('-');
        let n: usize = parts.next().unwrap().parse().unwrap();
        assert_eq!(parts.next_back().unwrap().len(), n * 7);
    }
}

#[tokio::test]
async fn what_a_failed_sync_covered_is_not_taken_later() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let journal = played(&[None, Some(&path)], "");
    let (one, two) = (queue(&journal, "one"), queue(&journal, "two"));
    journal.write(&one).unwrap();
    assert!(journal.settle(&two).await.is_err());
    // Another file is opened, and what the first one may have lost is lost.
    settle(&journal, "three").await.unwrap();
    assert!(journal.settle(&one).await.is_err() && journal.settle(&two).await.is_err());
    assert_eq!(names(&path), ["three"]);
}

#[tokio::test]
async fn a_file_that_could_not_be_synced_before_it_was_left_fails_those_who_wait() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let journal = played(&[None, Some(&path), Some(&path), Some(&path)], "");
    let one = queue(&journal, "one");
    journal.write(&one).unwrap();
    assert!(journal.reopen().is_err());
    // The next file takes every sync, which says nothing of the first one's records.
    write(&journal, "two").unwrap();
    assert!(journal.settle(&one).await.is_err());
    settle(&journal, "three").await.unwrap();
    assert_eq!(names(&path), ["two", "three"]);
}

#[tokio::test]
async fn who_goes_away_leaves_the_sync_to_others() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let journal = played(&[Some(&path)], "");
    let one = queue(&journal, "one");
    assert!(
        journal.settle(&one).now_or_never().is_none(),
        "it is not waited for"
    );
    settle(&journal, "two").await.unwrap();
    while !one.is_kept() {
        yield_now().await;
    }
    assert_eq!(names(&path), ["one", "two"]);
}

#[tokio::test]
async fn a_thread_that_comes_to_grief_leaves_nobody_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let journal = played(&[Some(&path)], "deadly");
    let error = settle(&journal, "deadly").await.unwrap_err();
    assert!(error.to_string().contains("broke off"), "{error}");
    // Who asks while the thread ends is told so, too; then another one begins.
    while settle(&journal, "harmless").await.is_err() {
        yield_now().await;
    }
    assert!(names(&path).iter().all(|name| name == "harmless"));
}
