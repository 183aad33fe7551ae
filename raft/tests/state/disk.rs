//! What only the store on disk does: reopening, crashes at each step, damage, one process at a time.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use conclave_raft::state::{RocksStore, Store};
use conclave_raft::{Applied, Error};

use crate::rig::key;
use crate::stores::{applied, row, set, suite};

fn open(dir: &Path) -> Arc<dyn Store> {
    Arc::new(RocksStore::open(dir).unwrap())
}

/// Names in a store's directory that are databases.
fn databases(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut found: Vec<String> = entries.filter(|name| name.starts_with("state-")).collect();
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// A store with one row, closed, and a checkpoint of another.
fn old_and_new(root: &Path) -> (PathBuf, PathBuf) {
    let (dir, source, checkpoint) = (root.join("store"), root.join("source"), root.join("checkpoint"));
    open(&dir)
        .write(set(1, vec![("old", Some(row(1, b"1")))]))
        .unwrap();
    let source = open(&source);
    source
        .write(set(2, vec![("new", Some(row(2, &[2; 9000])))]))
        .unwrap();
    source.checkpoint(&checkpoint).unwrap();
    (dir, checkpoint)
}

fn is_old(store: &dyn Store) -> bool {
    let (old, new) = (
        store.get(&key("old")).unwrap().is_some(),
        store.get(&key("new")).unwrap().is_some(),
    );
    assert!(old != new, "half of each");
    assert_eq!(store.applied().unwrap().0, applied(if old { 1 } else { 2 }));
    old
}

#[test]
fn rocks_store() {
    let dir = tempfile::tempdir().unwrap();
    suite(
        &open(&dir.path().join("one")),
        &open(&dir.path().join("two")),
        dir.path(),
    );
}

#[test]
fn what_was_written_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    for revision in 1..20 {
        let store = open(dir.path());
        assert_eq!(store.applied().unwrap().0.revision, revision - 1);
        store
            .write(set(revision, vec![("a", Some(row(revision, b"1")))]))
            .unwrap();
        if revision % 3 == 0 {
            store.flush().unwrap();
        }
    }
    let snapshot = open(dir.path()).snapshot().unwrap();
    assert_eq!(snapshot.due(1, 99, 99).unwrap().len(), 19);
    assert_eq!(snapshot.change_sets(0, 99).unwrap().len(), 19);
}

/// The disk as a power loss leaves it: the write-ahead log cut anywhere, or one bit of it wrong.
#[test]
fn a_torn_or_damaged_log_tail_leaves_an_earlier_state_that_is_whole() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("store");
    let store = open(&dir);
    let last = 40;
    for revision in 1..=last {
        store
            .write(set(revision, vec![("a", Some(row(revision, b"1")))]))
            .unwrap();
    }
    let database = dir.join("state-0000000001");
    let logs = fs::read_dir(&database)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let log = logs
        .filter(|path| path.extension().is_some_and(|kind| kind == "log"))
        .max()
        .unwrap();
    let bytes = fs::read(&log).unwrap();
    let step = bytes.len() / 12;
    let mut seen = std::collections::BTreeSet::new();
    for at in (0..bytes.len()).step_by(step) {
        for flip in [false, true] {
            let image = root.path().join(format!("image-{at}-{flip}"));
            copy(&database, &image.join("state-0000000001"));
            fs::write(image.join("POINTER"), "conclave-state 1 1 ready\n").unwrap();
            let mut damaged = bytes.clone();
            if flip {
                damaged[at] ^= 1;
            } else {
                damaged.truncate(at);
            }
            fs::write(
                image.join("state-0000000001").join(log.file_name().unwrap()),
                damaged,
            )
            .unwrap();
            let store = open(&image);
            let revision = store.applied().unwrap().0.revision;
            assert!(revision < last);
            let found = store.get(&key("a")).unwrap().map_or(0, |row| row.revision);
            assert_eq!(found, revision, "rows and applied record are of one moment");
            let snapshot = store.snapshot().unwrap();
            assert_eq!(snapshot.due(1, u64::MAX, 99).unwrap().len() as u64, revision);
            assert_eq!(snapshot.change_sets(0, 99).unwrap().len() as u64, revision);
            seen.insert(revision);
        }
    }
    assert!(seen.len() > 5, "the cuts fell into different writes: {seen:?}");
}

#[test]
fn one_process_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let _store = open(dir.path());
    assert!(matches!(RocksStore::open(dir.path()), Err(Error::Storage(_))));
}

#[test]
fn a_crash_before_the_pointer_moves_leaves_the_old_state() {
    let root = tempfile::tempdir().unwrap();
    let (dir, checkpoint) = old_and_new(root.path());
    // As install's steps leave the disk: a copy half made, then whole, then the next pointer written beside it.
    let staged = dir.join("state-0000000002");
    fs::create_dir(&staged).unwrap();
    assert!(is_old(open(&dir).as_ref()));
    assert_eq!(databases(&dir), ["state-0000000001"], "the leftover is gone");
    fs::create_dir(&staged).unwrap();
    for entry in fs::read_dir(&checkpoint).unwrap().take(2) {
        let entry = entry.unwrap();
        fs::copy(entry.path(), staged.join(entry.file_name())).unwrap();
    }
    assert!(is_old(open(&dir).as_ref()));
    copy(&checkpoint, &staged);
    assert!(is_old(open(&dir).as_ref()));
    copy(&checkpoint, &staged);
    for written in ["", "conclave-sta", "conclave-state 1 2 ready\n"] {
        fs::write(dir.join("POINTER.next"), written).unwrap();
        assert!(is_old(open(&dir).as_ref()));
    }
    assert_eq!(databases(&dir), ["state-0000000001"]);
    // And the install can be done again.
    let store = open(&dir);
    store.install(&checkpoint).unwrap();
    assert!(!is_old(store.as_ref()));
}

#[test]
fn a_crash_after_the_pointer_moved_leaves_the_new_state() {
    let root = tempfile::tempdir().unwrap();
    let (dir, checkpoint) = old_and_new(root.path());
    copy(&checkpoint, &dir.join("state-0000000002"));
    fs::write(dir.join("POINTER.next"), "conclave-state 1 2 ready\n").unwrap();
    fs::rename(dir.join("POINTER.next"), dir.join("POINTER")).unwrap();
    assert_eq!(
        databases(&dir).len(),
        2,
        "the old one is still there, as after a crash"
    );
    assert!(!is_old(open(&dir).as_ref()));
    assert_eq!(databases(&dir), ["state-0000000002"]);
}

#[test]
fn an_install_survives_reopening_and_old_files_go_with_their_last_view() {
    let root = tempfile::tempdir().unwrap();
    let (dir, checkpoint) = old_and_new(root.path());
    let store = open(&dir);
    let live = store.snapshot().unwrap();
    store.install(&checkpoint).unwrap();
    assert_eq!(databases(&dir), ["state-0000000001", "state-0000000002"]);
    assert!(live.get(&key("old")).unwrap().is_some());
    drop(live);
    assert_eq!(databases(&dir), ["state-0000000002"]);
    store.write(set(3, vec![])).unwrap();
    drop(store);
    let store = open(&dir);
    assert_eq!(store.applied().unwrap().0, applied(3));
    assert_eq!(
        store.get(&key("new")).unwrap(),
        Some(row(2, &[2; 9000])),
        "the blob file came along"
    );
    assert!(checkpoint.join("CURRENT").exists(), "the checkpoint stays");
}

#[test]
fn a_crash_while_creating_begins_again() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("POINTER"), "conclave-state 1 1 creating\n").unwrap();
    assert_eq!(open(dir.path()).applied().unwrap().0, Applied::initial());
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("POINTER"), "conclave-state 1 1 creating\n").unwrap();
    fs::create_dir(dir.path().join("state-0000000001")).unwrap();
    fs::write(dir.path().join("state-0000000001/CURRENT"), "half").unwrap();
    assert_eq!(open(dir.path()).applied().unwrap().0, Applied::initial());
}

#[test]
fn lost_or_damaged_state_is_refused_not_replaced() {
    let made = || {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path())
            .write(set(1, vec![("a", Some(row(1, b"1")))]))
            .unwrap();
        dir
    };
    let refused = |dir: &Path, why: &str| {
        let error = RocksStore::open(dir)
            .err()
            .unwrap_or_else(|| panic!("{why}: opened"));
        assert!(
            matches!(error, Error::Corrupt { .. } | Error::Storage(_)),
            "{why}: {error}"
        );
    };
    let dir = made();
    fs::remove_file(dir.path().join("POINTER")).unwrap();
    refused(dir.path(), "no pointer");
    for pointer in [
        "",
        "noise\n",
        "conclave-state 2 1 ready\n",
        "conclave-state 1 x ready\n",
        "conclave-state 1 1 ready",
    ] {
        let dir = made();
        fs::write(dir.path().join("POINTER"), pointer).unwrap();
        refused(dir.path(), pointer);
    }
    let dir = made();
    fs::remove_dir_all(dir.path().join("state-0000000001")).unwrap();
    refused(dir.path(), "no database");
    let dir = made();
    fs::remove_file(dir.path().join("state-0000000001/CURRENT")).unwrap();
    refused(dir.path(), "no CURRENT");
}

#[test]
fn a_damaged_checkpoint_is_refused_and_nothing_changes() {
    let root = tempfile::tempdir().unwrap();
    let (dir, checkpoint) = old_and_new(root.path());
    let store = open(&dir);
    for lost in ["CURRENT", "MANIFEST", ".sst", ".blob", "FILES"] {
        let damaged = root.path().join(format!("damaged{lost}"));
        copy(&checkpoint, &damaged);
        let victims = fs::read_dir(&damaged).unwrap().map(|entry| entry.unwrap().path());
        let victims = victims.filter(|path| path.file_name().unwrap().to_str().unwrap().contains(lost));
        let removed = victims.map(|path| fs::remove_file(path).unwrap()).count();
        assert!(removed > 0, "{lost}");
        assert!(store.install(&damaged).is_err(), "{lost}");
        assert!(is_old(store.as_ref()));
        assert_eq!(databases(&dir), ["state-0000000001"]);
    }
}

#[test]
fn a_list_of_files_cannot_lead_out_of_its_directory() {
    let root = tempfile::tempdir().unwrap();
    let (dir, checkpoint) = old_and_new(root.path());
    let store = open(&dir);
    fs::write(root.path().join("outside"), "x").unwrap();
    let good = fs::read_to_string(checkpoint.join("FILES")).unwrap();
    for line in [
        "1 ../outside",
        "0 .",
        "0 ..",
        "1 a/../../outside",
        "x CURRENT",
        "CURRENT",
        "-1 CURRENT",
        "",
    ] {
        fs::write(checkpoint.join("FILES"), format!("{good}{line}\n")).unwrap();
        assert!(
            matches!(store.install(&checkpoint), Err(Error::Corrupt { .. })),
            "{line}"
        );
    }
    assert!(is_old(store.as_ref()));
    fs::write(checkpoint.join("FILES"), good).unwrap();
    store.install(&checkpoint).unwrap();
}

#[test]
fn a_flipped_byte_in_a_table_is_an_error_not_a_value() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store
        .write(set(1, vec![("a", Some(row(1, &[1; 2000])))]))
        .unwrap();
    store.checkpoint(&dir.path().join("checkpoint")).unwrap();
    let tables = fs::read_dir(dir.path().join("checkpoint"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let largest = tables
        .filter(|path| path.extension().is_some_and(|kind| kind == "sst"))
        .max_by_key(|path| fs::metadata(path).unwrap().len())
        .unwrap();
    let mut bytes = fs::read(&largest).unwrap();
    bytes[1000] ^= 1;
    fs::remove_file(&largest).unwrap();
    fs::write(&largest, bytes).unwrap();
    let other = open(&dir.path().join("other"));
    let read = other
        .install(&dir.path().join("checkpoint"))
        .and_then(|()| other.get(&key("a")));
    assert!(matches!(read, Err(Error::Corrupt { .. })), "{read:?}");
}
