//! Adopting a staged archive: all of it or nothing, on any store, within a batch and across batches.

use std::sync::Arc;

use bytes::Bytes;
use conclave_raft::state::{
    Changes, MAX_STAGED_CHUNK, Machine, MemoryStore, RESERVED_TABLE, digest, registered_node,
    staged_chunk_key, staging_range,
};
use conclave_raft::{Command, Condition, Op, Outcome, Row};
use sha2::{Digest, Sha256};

use crate::archive::{archive_of, rig as source};
use crate::rig::*;

const ID: [u8; 16] = [3; 16];

/// Operations that stage an archive in chunks of `size` bytes, and the one that adopts it.
pub fn staging(id: [u8; 16], archive: &Bytes, size: usize) -> (Vec<Op>, Op) {
    let chunks: Vec<Op> = (0..)
        .zip(archive.chunks(size))
        .map(|(number, chunk)| Op::Put {
            key: staged_chunk_key(&id, number),
            kind: 0,
            term: 0,
            deadline: 0,
            new_generation: false,
            value: Bytes::copy_from_slice(chunk),
        })
        .collect();
    let adopt = Op::AdoptStaged {
        id,
        chunks: u32::try_from(chunks.len()).unwrap(),
        digest: Sha256::digest(archive).into(),
    };
    (chunks, adopt)
}

/// Rows outside the register, without what adoption stamps.
fn content(rig: &Rig) -> Vec<(Bytes, Row)> {
    let mut rows = Vec::new();
    let mut visit = |key: &[u8], row: Row| {
        if key[1] != RESERVED_TABLE && key[1] != conclave_raft::state::STAGING_TABLE {
            let plain = Row {
                revision: 0,
                generation: 0,
                ..row
            };
            rows.push((Bytes::copy_from_slice(key), plain));
        }
        Ok(true)
    };
    rig.view().rows().scan(&[], None, &mut visit).unwrap();
    rows
}

fn due(rig: &Rig) -> Vec<(u64, u64, Bytes)> {
    let mut found = Vec::new();
    let mut visit = |entry: conclave_raft::state::DueEntry| {
        found.push((entry.queue, entry.deadline, entry.key));
        Ok(true)
    };
    rig.view().rows().scan_due(&mut visit).unwrap();
    found
}

fn staged(rig: &Rig) -> usize {
    let (from, to) = staging_range(&ID);
    let mut count = 0;
    let mut visit = |_: &[u8], _: Row| {
        count += 1;
        Ok(true)
    };
    rig.view().rows().scan(&from, Some(&to), &mut visit).unwrap();
    count
}

/// A state of another history: other rows, another register, a higher least term.
fn target() -> Rig {
    let mut rig = Rig::new();
    rig.must(vec![put("a", "other"), put("z", "only here")]);
    for number in 5..8 {
        rig.must(vec![Op::RegisterNode { node: node(number) }]);
    }
    for _ in 0..10 {
        rig.must(vec![put("churn", "x"), Op::SetMinTerm { term: 9 }]);
    }
    let key = key("z");
    rig.must(vec![Op::DuePut {
        queue: 8,
        deadline: 8,
        key,
    }]);
    rig
}

#[test]
fn everything_but_the_register_becomes_what_the_archive_says() {
    let from = source();
    let archive = archive_of(&from.view());
    let mut rig = target();
    let (chunks, adopt) = staging(ID, &archive, 70_000);
    assert_eq!(chunks.len(), 3);
    for chunk in chunks {
        rig.must(vec![chunk]);
    }
    let before = rig.machine.applied();
    let revision = rig.must(vec![adopt]);
    assert_eq!(revision, before.revision + 1);
    assert_eq!(content(&rig), content(&from));
    assert_eq!(due(&rig), [(1, 3, key("a")), (1, 5, key("a")), (2, 1, key("a"))]);
    assert_eq!(staged(&rig), 0, "its own chunks are gone too");
    let after = rig.machine.applied();
    assert_eq!((after.revision, after.min_term), (revision, 3));
    assert_eq!(after.cluster_time, before.cluster_time);
    let row = rig.row(&key("a")).unwrap();
    assert_eq!((row.revision, row.generation), (revision, revision));
    assert_eq!(registered_node(&rig.view(), 3).unwrap().unwrap().record, node(7));
    assert_eq!(
        registered_node(&rig.view(), 4).unwrap(),
        None,
        "no node came along"
    );

    // Who watched must list again; who lists now goes on without a gap.
    for seen in 0..revision {
        assert_eq!(
            rig.view().changes(seen, 100).unwrap(),
            Changes::Compacted,
            "{seen}"
        );
    }
    assert_eq!(rig.view().changes(revision, 100).unwrap(), Changes::Sets(vec![]));
    let next = rig.must(vec![put("a", "3"), add("n", 1, 0, 9)]);
    assert_eq!(next, revision + 1);
    assert_eq!(rig.count(&key("n")), 8);
    assert!(matches!(rig.view().changes(revision, 100).unwrap(), Changes::Sets(sets) if sets.len() == 1));
}

#[test]
fn a_later_archive_moves_the_revision_beyond_its_own() {
    let mut from = source();
    for _ in 0..100 {
        from.must(vec![put("a", "again")]);
    }
    let mut rig = Rig::new();
    let (chunks, adopt) = staging(ID, &archive_of(&from.view()), MAX_STAGED_CHUNK);
    rig.must(chunks);
    assert_eq!(rig.must(vec![adopt]), 105);
    assert_eq!(content(&rig), content(&from));
    assert_eq!(rig.must(vec![put("b", "1")]), 106);
}

#[test]
fn no_expectation_from_before_holds_after() {
    // Both histories wrote the row at the same revision, by chance.
    let (mut from, mut rig) = (Rig::new(), Rig::new());
    let revision = from.must(vec![put("a", "theirs")]);
    assert_eq!(rig.must(vec![put("a", "ours")]), revision);
    let (chunks, adopt) = staging(ID, &archive_of(&from.view()), MAX_STAGED_CHUNK);
    rig.must(chunks);
    rig.must(vec![adopt]);
    for condition in [Condition::Revision(revision), Condition::Generation(revision)] {
        assert_eq!(
            rig.run(expect("a", condition), vec![put("a", "ours again")]),
            Outcome::Conflict { expectation: 0 }
        );
    }
    assert_eq!(rig.row(&key("a")).unwrap().value.as_ref(), b"theirs");
}

#[test]
fn what_is_not_the_archive_announced_changes_nothing() {
    let archive = archive_of(&source().view());
    let mut future = archive.to_vec();
    future[35] ^= 1;
    let mut rig = target();
    let (chunks, adopt) = staging(ID, &archive, 70_000);
    let Op::AdoptStaged {
        id,
        chunks: count,
        digest,
    } = adopt.clone()
    else {
        panic!("not an adoption")
    };
    let (damaged, adopt_damaged) = staging([4; 16], &Bytes::from(future), 70_000);
    rig.must(damaged);
    rig.must(chunks[..2].to_vec());
    let adopting = |id, chunks, digest| Op::AdoptStaged { id, chunks, digest };
    let before = (content(&rig), due(&rig), rig.machine.applied().revision);
    for (op, reason) in [
        (adopt.clone(), "chunk 2 of the archive is missing"),
        (adopting([9; 16], count, digest), "chunk 0"),
        (adopting(id, 1, digest), "not the archive that was announced"),
        (
            adopting(id, 0, Sha256::digest(b"").into()),
            "not the archive that was announced",
        ),
        (adopting(id, 2, [0; 32]), "not the archive that was announced"),
        (adopt_damaged, "checksum of its head"),
    ] {
        let outcome = rig.run(vec![], vec![op.clone()]);
        assert!(denied(&outcome).contains(reason), "{op:?}: {outcome:?}");
    }
    rig.must(vec![chunks[2].clone()]);
    let outcome = rig.run(vec![], vec![put("first", "x"), adopt.clone()]);
    assert!(denied(&outcome).contains("first operation"), "{outcome:?}");
    let outcome = rig.run(expect("a", Condition::Absent), vec![adopt.clone()]);
    assert_eq!(outcome, Outcome::Conflict { expectation: 0 });
    assert_eq!(content(&rig), before.0);
    assert_eq!(due(&rig), before.1);
    assert_eq!(
        rig.machine.applied().revision,
        before.2 + 1,
        "the last chunk alone"
    );
    rig.must(vec![adopt]);
}

#[test]
fn an_unknown_format_stops_the_node_rather_than_diverge() {
    let mut archive = archive_of(&source().view()).to_vec();
    archive[9] = 2;
    let mut rig = target();
    let (chunks, adopt) = staging(ID, &Bytes::from(archive), MAX_STAGED_CHUNK);
    rig.must(chunks);
    let entry = rig.entry(rig.machine.applied().index + 1, &[command(vec![], vec![adopt])]);
    let error = rig.machine.apply(&[entry]).unwrap_err();
    assert!(matches!(
        error,
        conclave_raft::Error::UnknownFormat { format: 2, .. }
    ));
}

#[test]
fn commands_around_it_in_one_batch_see_the_right_state() {
    let from = source();
    let (chunks, adopt) = staging(ID, &archive_of(&from.view()), MAX_STAGED_CHUNK);
    let all = |rig: &mut Rig, cut: bool| {
        let commands: Vec<Command> = vec![
            command(vec![], chunks.clone()),
            command(vec![], vec![put("gone", "x"), Op::RegisterNode { node: node(9) }]),
            command(
                expect("z", Condition::Present),
                vec![adopt.clone(), put("with", "it"), add("n", 1, 0, 9)],
            ),
            command(expect("z", Condition::Absent), vec![put("after", "1")]),
            command(expect("gone", Condition::Present), vec![put("never", "1")]),
            command(vec![], vec![add("n", 1, 0, 9)]),
            command(vec![], vec![adopt.clone()]),
        ];
        match cut {
            true => commands
                .iter()
                .flat_map(|command| rig.batch(std::slice::from_ref(command)))
                .collect::<Vec<_>>(),
            false => rig.batch(&commands),
        }
    };
    let (mut one, mut many) = (target(), target());
    let outcomes = all(&mut one, false);
    assert_eq!(outcomes, all(&mut many, true));
    assert!(matches!(outcomes[2], Outcome::Applied { .. }));
    assert!(matches!(outcomes[3], Outcome::Applied { .. }));
    assert_eq!(outcomes[4], Outcome::Conflict { expectation: 0 });
    assert!(denied(&outcomes[6]).contains("chunk 0"), "it is adopted once");
    assert_eq!(one.count(&key("n")), 9);
    assert_eq!(one.row(&key("with")).unwrap().value.as_ref(), b"it");
    assert_eq!(registered_node(&one.view(), 4).unwrap().unwrap().record, node(9));
    assert_eq!(digest(&one.view()).unwrap(), digest(&many.view()).unwrap());
    let changes = |rig: &Rig| rig.view().rows().change_sets(0, 100).unwrap();
    assert_eq!(changes(&one), changes(&many));
    // Opened anew, with nothing cached, it goes on the same.
    let store = Arc::clone(one.machine.store());
    one.machine = Machine::open(store).unwrap();
    assert_eq!(one.count(&key("n")), 9);
}

#[test]
fn an_empty_archive_empties_the_state() {
    let mut rig = target();
    let blank = Machine::open(Arc::new(MemoryStore::new())).unwrap();
    let archive = archive_of(&blank.views().latest().unwrap());
    let (chunks, adopt) = staging(ID, &archive, MAX_STAGED_CHUNK);
    rig.must(chunks);
    rig.must(vec![adopt]);
    assert_eq!((content(&rig), due(&rig)), (vec![], vec![]));
    assert!(registered_node(&rig.view(), 1).unwrap().is_some());
}
