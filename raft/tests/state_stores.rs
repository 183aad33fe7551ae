//! One behaviour, both stores: snapshots, atomic writes, reopening, checkpoints and installs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use conclave_raft::state::{DueEntry, Machine, MemoryStore, Store, WriteSet, digest};
use conclave_raft::{Applied, Key, Row};

fn key(name: &str) -> Key {
    [&[1, 5], name.as_bytes()].concat().into()
}

fn row(revision: u64, value: &[u8]) -> Row {
    let value = Bytes::copy_from_slice(value);
    Row {
        kind: 2,
        revision,
        generation: 1,
        term: 3,
        deadline: 4,
        value,
    }
}

fn applied(revision: u64) -> Applied {
    Applied {
        index: revision,
        term: 1,
        revision,
        cluster_time: 9,
        min_term: 2,
        cluster_version: 1,
    }
}

/// A write at a revision: rows, and one due entry and change set that carry the revision.
fn set(revision: u64, rows: Vec<(&str, Option<Row>)>) -> WriteSet {
    WriteSet {
        rows: rows.into_iter().map(|(name, row)| (key(name), row)).collect(),
        due: vec![(
            DueEntry {
                queue: 1,
                deadline: revision,
                key: key("due"),
            },
            true,
        )],
        changes: vec![(revision, Bytes::from_static(&[1]))],
        trim_changes: None,
        applied: applied(revision),
        membership: Bytes::copy_from_slice(&revision.to_be_bytes()),
    }
}

fn names(store: &dyn Store, from: &str, to: Option<&str>) -> Vec<Bytes> {
    let mut found = Vec::new();
    let to = to.map(key);
    let mut visit = |key: &[u8], _: Row| {
        found.push(Bytes::copy_from_slice(key));
        Ok(true)
    };
    store
        .snapshot()
        .unwrap()
        .scan(&key(from), to.as_deref(), &mut visit)
        .unwrap();
    found
}

fn digest_of(store: &Arc<dyn Store>) -> [u8; 32] {
    digest(
        &Machine::open(Arc::clone(store))
            .unwrap()
            .views()
            .latest()
            .unwrap(),
    )
    .unwrap()
}

fn starts_empty(store: &dyn Store) {
    assert_eq!(store.applied().unwrap(), (Applied::initial(), Bytes::new()));
    assert_eq!(store.get(&key("a")).unwrap(), None);
    let snapshot = store.snapshot().unwrap();
    assert_eq!(snapshot.seek(&[], &[255]).unwrap(), None);
    assert_eq!(snapshot.queues(None, 10).unwrap(), Vec::<u64>::new());
    assert_eq!(snapshot.change_sets(0, 10).unwrap(), []);
}

fn writes_and_reads(store: &dyn Store) {
    let long = vec![7; 100_000];
    store
        .write(set(
            1,
            vec![
                ("b", Some(row(1, b"1"))),
                ("a", Some(row(1, &long))),
                ("c", Some(row(1, b""))),
            ],
        ))
        .unwrap();
    assert_eq!(store.get(&key("a")).unwrap(), Some(row(1, &long)));
    assert_eq!(store.get(&key("c")).unwrap(), Some(row(1, b"")));
    assert_eq!(
        store.applied().unwrap(),
        (applied(1), Bytes::copy_from_slice(&1u64.to_be_bytes()))
    );
    assert_eq!(names(store, "", None), [key("a"), key("b"), key("c")]);
    assert_eq!(names(store, "a\0", Some("c")), [key("b")]);
    let snapshot = store.snapshot().unwrap();
    assert_eq!(
        snapshot.seek(&key("aa"), &key("c")).unwrap(),
        Some((key("b"), row(1, b"1")))
    );
    assert_eq!(
        snapshot.seek(&key("bb"), &key("c")).unwrap(),
        None,
        "the end is not included"
    );
    assert_eq!(
        snapshot.seek(&key("c"), &key("d")).unwrap().unwrap().0,
        key("c"),
        "the start is"
    );
    let mut seen = 0;
    let mut visit = |_: &[u8], _: Row| {
        seen += 1;
        Ok(seen < 2)
    };
    snapshot.scan(&[], None, &mut visit).unwrap();
    assert_eq!(seen, 2, "a scan ends when told to");
}

fn snapshots_stay(store: &dyn Store) {
    let before = store.snapshot().unwrap();
    store
        .write(set(
            2,
            vec![("a", None), ("b", Some(row(2, b"2"))), ("d", Some(row(2, b"2")))],
        ))
        .unwrap();
    assert_eq!(before.get(&key("b")).unwrap(), Some(row(1, b"1")));
    assert!(before.get(&key("a")).unwrap().is_some());
    assert_eq!(before.get(&key("d")).unwrap(), None);
    assert_eq!(before.applied().unwrap().0, applied(1));
    assert_eq!(before.due(1, 9, 9).unwrap().len(), 1);
    let after = store.snapshot().unwrap();
    assert_eq!(after.get(&key("a")).unwrap(), None);
    assert_eq!(after.get(&key("b")).unwrap(), Some(row(2, b"2")));
    assert_eq!(
        after.applied().unwrap(),
        (applied(2), Bytes::copy_from_slice(&2u64.to_be_bytes()))
    );
    assert_eq!(after.due(1, 9, 9).unwrap(), [(1, key("due")), (2, key("due"))]);
}

fn trims_changes(store: &dyn Store) {
    for revision in 3..10 {
        store.write(set(revision, vec![])).unwrap();
    }
    let trim = WriteSet {
        trim_changes: Some(0..7),
        ..set(10, vec![])
    };
    store.write(trim).unwrap();
    let snapshot = store.snapshot().unwrap();
    let kept: Vec<u64> = snapshot
        .change_sets(0, 100)
        .unwrap()
        .into_iter()
        .map(|(revision, _)| revision)
        .collect();
    assert_eq!(kept, [7, 8, 9, 10]);
    let some: Vec<u64> = snapshot
        .change_sets(8, 2)
        .unwrap()
        .into_iter()
        .map(|(revision, _)| revision)
        .collect();
    assert_eq!(some, [8, 9]);
}

fn due_entries_go(store: &dyn Store) {
    let mut out = set(11, vec![]);
    out.due = vec![
        (
            DueEntry {
                queue: 1,
                deadline: 2,
                key: key("due"),
            },
            false,
        ),
        (
            DueEntry {
                queue: 5,
                deadline: u64::MAX,
                key: key("due"),
            },
            true,
        ),
    ];
    store.write(out).unwrap();
    let snapshot = store.snapshot().unwrap();
    assert_eq!(snapshot.due(1, 3, 9).unwrap(), [(1, key("due")), (3, key("due"))]);
    assert_eq!(snapshot.due(5, u64::MAX, 9).unwrap().len(), 1);
    assert_eq!(snapshot.due(5, u64::MAX - 1, 9).unwrap(), []);
    assert_eq!(snapshot.queues(None, 9).unwrap(), [1, 5]);
    let mut all = Vec::new();
    let mut visit = |entry: DueEntry| {
        all.push(entry.queue);
        Ok(all.len() < 3)
    };
    snapshot.scan_due(&mut visit).unwrap();
    assert_eq!(all, [1, 1, 1]);
}

/// A checkpoint holds the state of its moment; installed elsewhere it replaces everything but live snapshots.
fn checkpoints_and_installs(store: &Arc<dyn Store>, other: &Arc<dyn Store>, dir: &Path) {
    let checkpoint = dir.join("checkpoint");
    store.checkpoint(&checkpoint).unwrap();
    let taken = (store.applied().unwrap(), digest_of(store));
    assert!(
        store.checkpoint(&checkpoint).is_err(),
        "an existing directory is not overwritten"
    );
    store
        .write(set(20, vec![("later", Some(row(20, b"x")))]))
        .unwrap();
    let files = || {
        let entries = std::fs::read_dir(&checkpoint)
            .unwrap()
            .map(|entry| entry.unwrap());
        entries
            .map(|entry| (entry.file_name(), entry.metadata().unwrap().len()))
            .collect::<BTreeMap<_, _>>()
    };
    let before = files();
    assert_eq!(store.inspect(&checkpoint).unwrap(), taken.0);
    assert_eq!(files(), before, "looking changes nothing");

    other.write(set(5, vec![("old", Some(row(5, b"old")))])).unwrap();
    let live = other.snapshot().unwrap();
    other.install(&checkpoint).unwrap();
    assert_eq!(other.applied().unwrap(), taken.0);
    assert_eq!(digest_of(other), taken.1);
    assert_eq!(other.get(&key("old")).unwrap(), None);
    assert_eq!(live.get(&key("old")).unwrap(), Some(row(5, b"old")));
    assert_eq!(live.applied().unwrap().0, applied(5));
    // It goes on from there, and the checkpoint can be installed again.
    other.write(set(21, vec![("new", Some(row(21, b"x")))])).unwrap();
    other.flush().unwrap();
    assert!(other.get(&key("new")).unwrap().is_some());
    other.install(&checkpoint).unwrap();
    assert_eq!(digest_of(other), taken.1);
    assert_eq!(live.get(&key("old")).unwrap(), Some(row(5, b"old")));

    let before = digest_of(other);
    assert!(other.install(&dir.join("nowhere")).is_err());
    assert!(other.inspect(&dir.join("nowhere")).is_err());
    assert_eq!(digest_of(other), before, "a failed install changes nothing");
}

fn suite(store: &Arc<dyn Store>, other: &Arc<dyn Store>, dir: &Path) {
    starts_empty(store.as_ref());
    writes_and_reads(store.as_ref());
    snapshots_stay(store.as_ref());
    trims_changes(store.as_ref());
    due_entries_go(store.as_ref());
    checkpoints_and_installs(store, other, dir);
}

#[test]
fn memory_store() {
    let dir = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let other: Arc<dyn Store> = Arc::new(MemoryStore::new());
    suite(&store, &other, dir.path());
}

#[test]
fn a_damaged_memory_checkpoint_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = MemoryStore::new();
    store.write(set(1, vec![("a", Some(row(1, b"1")))])).unwrap();
    let checkpoint = dir.path().join("checkpoint");
    store.checkpoint(&checkpoint).unwrap();
    let file = checkpoint.join("state.bin");
    let good = std::fs::read(&file).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x40;
        std::fs::write(&file, &bad).unwrap();
        assert!(store.install(&checkpoint).is_err(), "byte {at}");
        std::fs::write(&file, &good[..at]).unwrap();
        assert!(store.install(&checkpoint).is_err(), "cut at {at}");
    }
    assert_eq!(store.applied().unwrap().0, applied(1));
}

#[cfg(feature = "rocksdb")]
mod on_disk {
    use super::*;
    use std::fs;

    use conclave_raft::Error;
    use conclave_raft::state::RocksStore;

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
    fn old_and_new(root: &Path) -> (std::path::PathBuf, std::path::PathBuf) {
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
}
