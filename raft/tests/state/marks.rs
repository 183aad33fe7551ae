//! Views behind named commands: the same rows on every node, however each cuts the log into writes.

use conclave_raft::state::{Entry, MemoryStore, Store, WriteSet, digest};
use conclave_raft::{Command, Error, Origin, Row};
use std::sync::Arc;

use conclave_raft::state::Machine;

use crate::rig::{Rig, command, key, put};

const MARK: Origin = Origin {
    node: 9,
    incarnation: 9,
    sequence: 9,
};

/// Ten entries of two commands; the second of the fifth is the marked one.
fn log(rig: &Rig) -> Vec<Entry> {
    let write = |n: u64| Command {
        now_used: rig.now,
        ..command(vec![], vec![put(&format!("row{n}"), "x")])
    };
    let entries = (1..=10u64).map(|index| {
        let mut second = write(index * 2 + 1);
        if index == 5 {
            second.origin = MARK;
        }
        rig.entry(index, &[write(index * 2), second])
    });
    entries.collect()
}

/// The digest behind the mark, of a node that writes `slice` entries at a time.
fn marked(slice: usize) -> (u64, [u8; 32]) {
    let mut rig = Rig::new();
    let log = log(&rig);
    let marks = rig.machine.marks();
    marks.want(MARK).unwrap();
    assert!(marks.view(MARK).unwrap().is_none(), "it is not applied yet");
    let mut applied = 0;
    for entries in log.chunks(slice) {
        applied += rig.machine.apply(entries).unwrap().len();
    }
    assert_eq!(applied, 10, "every entry is answered for");
    let view = marks.view(MARK).unwrap().expect("it is applied");
    let found = (view.applied().revision, digest(&view).unwrap());
    marks.forget(MARK);
    assert!(matches!(marks.view(MARK), Err(Error::NotCommitted)));
    assert_eq!(rig.machine.applied().revision, 20, "the rest is applied too");
    found
}

#[test]
fn nodes_that_cut_the_log_otherwise_stand_at_one_place() {
    let expected = marked(1);
    assert_eq!(expected.0, 10);
    for slice in [2, 3, 5, 10] {
        assert_eq!(marked(slice), expected, "{slice} entries at a time");
    }
}

#[test]
fn a_row_that_differs_shows() {
    let store = Arc::new(MemoryStore::new());
    let mut rig = Rig::new();
    rig.machine = Machine::open(store.clone()).unwrap();
    let log = log(&rig);
    rig.machine.apply(&log[..2]).unwrap();
    let (applied, membership) = store.applied().unwrap();
    let rotten = Row {
        kind: 0,
        revision: 1,
        generation: 1,
        term: 0,
        deadline: 0,
        value: (&b"y"[..]).into(),
    };
    store
        .write(WriteSet {
            rows: vec![(key("row2"), Some(rotten))],
            applied,
            membership,
            ..WriteSet::default()
        })
        .unwrap();
    rig.machine.marks().want(MARK).unwrap();
    rig.machine.apply(&log[2..]).unwrap();
    let view = rig.machine.marks().view(MARK).unwrap().unwrap();
    assert_eq!(view.applied().revision, 10);
    assert_ne!(digest(&view).unwrap(), marked(1).1);
}

#[test]
fn only_so_many_views_are_kept_and_a_snapshot_passes_over_marks() {
    let mut rig = Rig::new();
    let marks = rig.machine.marks();
    let origin = |sequence| Origin { sequence, ..MARK };
    for sequence in 0..4 {
        marks.want(origin(sequence)).unwrap();
    }
    assert!(matches!(marks.want(origin(4)), Err(Error::Limit(_))));
    marks.forget(origin(0));
    marks.want(origin(4)).unwrap();

    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("checkpoint");
    let mut other = Rig::new();
    let log = log(&other);
    other.machine.apply(&log).unwrap();
    other.machine.store().checkpoint(&dir).unwrap();
    rig.machine.install(&dir).unwrap();
    assert!(matches!(marks.view(origin(4)), Err(Error::NotCommitted)));
}
