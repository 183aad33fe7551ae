//! One behaviour, both stores: snapshots, atomic writes, reopening, checkpoints and installs.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use conclave_raft::codec::{CLUSTER_VERSION, encode_batch, encode_command};
use conclave_raft::state::{
    Changes, DueEntry, Entry, Machine, MemoryStore, Payload, RESERVED_TABLE, Store, WriteSet, counter_value,
    digest, registered_node,
};
use conclave_raft::{Applied, Command, Error, Op, Origin, Row, Snapshot, Walk};

use crate::rig::{Rig, add, delete, golden, key, node, put};

pub fn row(revision: u64, value: &[u8]) -> Row {
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

pub fn applied(revision: u64) -> Applied {
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
pub fn set(revision: u64, rows: Vec<(&str, Option<Row>)>) -> WriteSet {
    WriteSet {
        replaces: false,
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

/// Keys that a walk comes by; `skip` says from which key it goes on where.
fn walked(snapshot: &dyn Snapshot, from: &[u8], to: &[u8], skip: Option<(&str, &str)>) -> Vec<Bytes> {
    let mut found = Vec::new();
    let mut visit = |at: &[u8]| {
        found.push(Bytes::copy_from_slice(at));
        Ok(match skip {
            Some((here, next)) if at == key(here) => Walk::Skip(key(next).to_vec()),
            _ => Walk::Next,
        })
    };
    snapshot.walk(from, to, &mut visit).unwrap();
    if skip.is_none() {
        assert_eq!(snapshot.count(from, to).unwrap(), found.len() as u64);
    }
    found
}

fn starts_empty(store: &dyn Store) {
    assert_eq!(store.applied().unwrap(), (Applied::initial(), Bytes::new()));
    assert_eq!(store.get(&key("a")).unwrap(), None);
    let snapshot = store.snapshot().unwrap();
    assert_eq!(walked(&*snapshot, &[], &[255], None), [] as [Bytes; 0]);
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
    let walked = |from, to, skip| walked(&*snapshot, &key(from), &key(to), skip);
    assert_eq!(walked("aa", "c", None), [key("b")], "the end is not included");
    assert_eq!(walked("b", "d", None), [key("b"), key("c")], "the start is");
    assert_eq!(walked("a", "d", Some(("a", "bb"))), [key("a"), key("c")]);
    assert_eq!(walked("a", "c", Some(("a", "c"))), [key("a")]);
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

/// A write that replaces leaves the register, what it carries itself and nothing else.
fn replaces_all_but_the_register(store: &dyn Store) {
    let register = Bytes::from_static(&[1, RESERVED_TABLE, 0, 7]);
    let mut before = set(30, vec![("a", Some(row(30, b"1"))), ("b", Some(row(30, b"1")))]);
    before.rows.push((register.clone(), Some(row(30, b"node"))));
    before
        .rows
        .push((Bytes::from_static(&[1, 0, 1]), Some(row(30, b"below"))));
    before
        .rows
        .push((vec![255; 4096].into(), Some(row(30, b"greatest"))));
    store.write(before).unwrap();
    let old = store.snapshot().unwrap();
    let replacing = WriteSet {
        replaces: true,
        ..set(40, vec![("b", Some(row(40, b"2"))), ("c", Some(row(40, b"2")))])
    };
    store.write(replacing).unwrap();
    let mut left = Vec::new();
    let snapshot = store.snapshot().unwrap();
    let mut visit = |key: &[u8], row: Row| {
        left.push((Bytes::copy_from_slice(key), row.value));
        Ok(true)
    };
    snapshot.scan(&[], None, &mut visit).unwrap();
    let two = Bytes::from_static(b"2");
    assert_eq!(
        left,
        [
            (register, Bytes::from_static(b"node")),
            (key("b"), two.clone()),
            (key("c"), two)
        ]
    );
    assert_eq!(snapshot.queues(None, 9).unwrap(), [1]);
    assert_eq!(snapshot.due(1, u64::MAX, 9).unwrap(), [(40, key("due"))]);
    let kept = snapshot.change_sets(0, 9).unwrap();
    assert_eq!(kept, [(40, Bytes::from_static(&[1]))]);
    assert_eq!(snapshot.applied().unwrap().0, applied(40));
    assert!(old.get(&key("a")).unwrap().is_some(), "a snapshot stays");
    // A jump of revisions may trim far more than there is.
    let trim = WriteSet {
        trim_changes: Some(0..1 << 61),
        ..set(1 << 62, vec![])
    };
    store.write(trim).unwrap();
    assert_eq!(store.snapshot().unwrap().change_sets(0, 9).unwrap().len(), 1);
}

pub fn suite(store: &Arc<dyn Store>, other: &Arc<dyn Store>, dir: &Path) {
    starts_empty(store.as_ref());
    writes_and_reads(store.as_ref());
    snapshots_stay(store.as_ref());
    trims_changes(store.as_ref());
    due_entries_go(store.as_ref());
    checkpoints_and_installs(store, other, dir);
    replaces_all_but_the_register(store.as_ref());
}

/// Readers on other threads only ever see whole writes, and never an older one after a newer one.
fn views_are_whole_and_never_go_back(store: &Arc<dyn Store>) {
    let mut machine = Machine::open(Arc::clone(store)).unwrap();
    let (views, writes) = (machine.views(), 300);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut seen = 0;
                while seen < writes {
                    let view = views.latest().unwrap();
                    let revision = view.applied().revision;
                    assert!(revision >= seen, "{revision} after {seen}");
                    let found = view.rows().get(&key("a")).unwrap().map_or(0, |row| row.revision);
                    assert_eq!(found, revision);
                    seen = revision;
                }
            });
        }
        for index in 1..=writes {
            let op = Op::Touch { key: key("a") };
            let origin = Origin {
                node: 1,
                incarnation: 1,
                sequence: index,
            };
            let command = Command {
                origin,
                oldest_term: 0,
                now_used: 1,
                expect: vec![],
                ops: vec![op],
            };
            let batch = encode_batch(1, &[encode_command(&command).unwrap()]).unwrap();
            let before = views.latest().unwrap().applied().revision;
            machine
                .apply(&[Entry {
                    index,
                    term: 1,
                    payload: Payload::Commands(batch),
                }])
                .unwrap();
            assert_eq!(
                views.latest().unwrap().applied().revision,
                before + 1,
                "the writer reads what it wrote"
            );
        }
    });
}

/// The formats of rows, due entries, change sets, register and applied record, as a checkpoint holds them: what an
/// older build wrote must be read for ever.
#[test]
fn golden_state_of_format_1() {
    let dir = tempfile::tempdir().unwrap();
    let mut rig = Rig::new();
    let node = Op::RegisterNode { node: node(1) };
    let begin = Op::BeginIncarnation {
        node: 1,
        incarnation: 2,
        instance: [3; 16],
        last_log_index: 4,
    };
    let due = Op::DuePut {
        queue: 5,
        deadline: 6,
        key: key("a"),
    };
    rig.must(vec![
        put("a", "value"),
        add("n", -7, -9, 9),
        node,
        begin,
        due,
        Op::SetMinTerm { term: 8 },
    ]);
    rig.must(vec![delete("a"), Op::Touch { key: key("t") }]);
    let members = Payload::Membership(Bytes::from_static(b"members"));
    rig.machine
        .apply(&[Entry {
            index: 3,
            term: 2,
            payload: members,
        }])
        .unwrap();
    let expected = digest_of(rig.machine.store());
    rig.machine.store().checkpoint(&dir.path().join("made")).unwrap();
    golden(
        "state.v1.bin",
        &std::fs::read(dir.path().join("made/state.bin")).unwrap(),
    );

    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/state.v1.bin");
    std::fs::create_dir(dir.path().join("kept")).unwrap();
    std::fs::copy(kept, dir.path().join("kept/state.bin")).unwrap();
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    store.install(&dir.path().join("kept")).unwrap();
    assert_eq!(digest_of(&store), expected);
    assert_eq!(store.applied().unwrap().1.as_ref(), b"members");
    let view = Machine::open(store).unwrap().views().latest().unwrap();
    assert_eq!(registered_node(&view, 1).unwrap().unwrap().instance, [3; 16]);
    assert_eq!(
        counter_value(view.rows().get(&key("n")).unwrap().as_ref()),
        Some(-7)
    );
    assert!(matches!(view.changes(0, 9).unwrap(), Changes::Sets(sets) if sets.len() == 2));
}

#[test]
fn views_over_memory() {
    views_are_whole_and_never_go_back(&(Arc::new(MemoryStore::new()) as Arc<dyn Store>));
}

#[cfg(feature = "rocksdb")]
#[test]
fn views_over_rocks() {
    let dir = tempfile::tempdir().unwrap();
    let store = conclave_raft::state::RocksStore::open(dir.path()).unwrap();
    views_are_whole_and_never_go_back(&(Arc::new(store) as Arc<dyn Store>));
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

#[test]
fn a_state_that_a_newer_version_may_have_written_is_not_opened() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let mut newer = set(1, vec![]);
    newer.applied.cluster_version = CLUSTER_VERSION + 1;
    store.write(newer).unwrap();
    let error = Machine::open(store).err().unwrap();
    assert!(
        matches!(error, Error::UnknownFormat { what: "cluster version", format } if format == u32::from(CLUSTER_VERSION) + 1),
        "{error}"
    );
}
