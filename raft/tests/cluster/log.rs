//! The log on disk: what survives a crash and what is refused.
#![cfg(feature = "rocksdb")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use conclave_raft::Error;
use conclave_raft::log::types::{LogEntry, LogPayload, Payload, TypeConfig, log_id, vote};
use conclave_raft::log::{LogStore, RocksLog};
use conclave_raft::node::{Offload, Threads};
use openraft::storage::{IOFlushed, RaftLogReader, RaftLogStorage};
use openraft::type_config::TypeConfigExt;

// Copied while open: as a power cut would leave it, without closing anything.
use crate::harness::copy_folder as copy;

fn open(dir: &Path) -> Result<LogStore, Error> {
    let fatal = Arc::new(|reason: &str| panic!("{reason}"));
    let offload: Arc<dyn Offload> = Arc::new(Threads);
    let log = LogStore::open(Arc::new(RocksLog::open(dir)?), fatal, &offload)?;
    log.verify()?;
    Ok(log)
}

async fn append(log: &mut LogStore, range: std::ops::Range<u64>) {
    let entries = range.map(|index| LogEntry {
        log_id: log_id(1, index),
        payload: LogPayload::Normal(Payload(vec![u8::try_from(index % 251).unwrap(); 300].into())),
    });
    let (done, wait) = TypeConfig::oneshot();
    log.append(entries.collect::<Vec<_>>(), IOFlushed::signal(done))
        .await
        .unwrap();
    wait.await.unwrap().unwrap();
}

fn wal(dir: &Path) -> PathBuf {
    let logs = fs::read_dir(dir.join("db"))
        .unwrap()
        .map(|found| found.unwrap().path());
    let mut logs: Vec<PathBuf> = logs
        .filter(|path| path.extension().is_some_and(|ext| ext == "log"))
        .collect();
    logs.sort();
    logs.pop().unwrap()
}

#[tokio::test]
async fn what_was_answered_survives_and_a_torn_tail_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(&dir.path().join("log")).unwrap();
    append(&mut log, 0..30).await;
    append(&mut log, 30..50).await;
    let crashed = dir.path().join("crashed");
    copy(&dir.path().join("log"), &crashed);
    let mut again = open(&crashed).unwrap();
    assert_eq!(again.last(), Some(log_id(1, 49)));
    assert_eq!(again.try_get_log_entries(10..13).await.unwrap().len(), 3);
    drop(again);

    // A write that the power cut interrupted.
    let torn = dir.path().join("torn");
    copy(&dir.path().join("log"), &torn);
    let path = wal(&torn);
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 100]).unwrap();
    let shorter = open(&torn).unwrap();
    assert_eq!(
        shorter.last(),
        Some(log_id(1, 29)),
        "the torn batch is gone as a whole"
    );
}

#[tokio::test]
async fn a_log_that_lost_its_middle_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("log");
    let mut log = open(&home).unwrap();
    for first in [0, 10, 20, 30, 40] {
        append(&mut log, first..first + 10).await;
    }
    drop(log);
    // The first sync of each start raises the mark.
    let mut log = open(&home).unwrap();
    append(&mut log, 50..60).await;
    let crashed = dir.path().join("crashed");
    copy(&home, &crashed);
    let path = wal(&crashed);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    fs::write(&path, bytes).unwrap();
    let refused = open(&crashed)
        .err()
        .expect("a log with a hole is refused")
        .to_string();
    assert!(refused.starts_with("corrupt Raft log: "), "{refused}");
}

#[tokio::test]
async fn a_log_that_lost_a_vote_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("log");
    let mut log = open(&home).unwrap();
    append(&mut log, 0..10).await;
    log.save_vote(&vote(5, 2, false)).await.unwrap();
    let crashed = dir.path().join("crashed");
    copy(&home, &crashed);
    assert_eq!(
        open(&crashed).unwrap().read_vote().await.unwrap(),
        Some(vote(5, 2, false))
    );

    // The vote's record is the last one: alone it would look like a torn end.
    let damaged = dir.path().join("damaged");
    copy(&home, &damaged);
    let path = wal(&damaged);
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 0xff;
    fs::write(&path, bytes).unwrap();
    let refused = open(&damaged).err().expect("a vote was given").to_string();
    assert!(refused.contains("a vote in term 5 was durable"), "{refused}");
}

#[tokio::test]
async fn a_cut_log_may_be_shorter_than_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path()).unwrap();
    append(&mut log, 0..50).await;
    log.truncate_after(Some(log_id(1, 9))).await.unwrap();
    append(&mut log, 10..12).await;
    drop(log);
    let mut log = open(dir.path()).unwrap();
    assert_eq!(log.last(), Some(log_id(1, 11)));
    log.purge(log_id(1, 5)).await.unwrap();
    assert_eq!(
        log.try_get_log_entries(..).await.unwrap().first().unwrap().log_id,
        log_id(1, 6)
    );
    log.purge(log_id(2, 100)).await.unwrap();
    append(&mut log, 101..103).await;
    drop(log);
    let mut log = open(dir.path()).unwrap();
    assert_eq!(log.purged(), Some(log_id(2, 100)));
    assert_eq!(log.try_get_log_entries(..).await.unwrap().len(), 2);
}
