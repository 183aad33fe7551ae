//! Spools on real files: what is in them after a restart, after a loss of power at any write, and when they are full.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use super::super::journal::Journal;
use super::super::place::Place;
use super::super::spool::{Spool, folder};
use super::{ID, verify, write};

/// What a disk writes whole or not at all, in bytes.
const SECTOR: usize = 512;

fn spool(at: &Path, max: u64) -> Arc<Spool> {
    Arc::new(Spool::new(at.to_owned(), max, true))
}

fn append(spool: &Arc<Spool>, file: &File, text: &str) {
    let length = spool.length(&file.metadata().unwrap());
    let added = spool.append(file, length, text.as_bytes());
    added.map_err(|cut| cut.error).unwrap();
}

/// All that waits; it counts as sent then.
fn drain(spool: &Spool) -> String {
    let mut got = Vec::new();
    while let Some(batch) = spool.next().unwrap() {
        got.extend(batch.bytes);
        spool.sent(batch.upto).unwrap();
    }
    String::from_utf8(got).unwrap()
}

fn files(at: &Path) -> Vec<std::path::PathBuf> {
    let names = fs::read_dir(at).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = names.filter(|path| path.extension().is_some()).collect();
    files.sort();
    files
}

#[test]
fn what_was_not_sent_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let at = folder(dir.path(), "n 1", "siem/");
    let first = spool(&at, 1 << 20);
    assert!(first.next().unwrap().is_none());
    let file = first.open().unwrap();
    append(&first, &file, "one\ntwo\n");
    let batch = first.next().unwrap().unwrap();
    assert_eq!(batch.bytes, b"one\ntwo\n");
    first.sent(batch.upto).unwrap();
    assert!(first.next().unwrap().is_none());
    append(&first, &file, "three\n");
    first.turn(0).unwrap();
    let file = first.open().unwrap();
    append(&first, &file, "four\n");
    assert_eq!(first.fill().0, 11);
    // Another process: half a line is dropped, the rest comes in order and its files go.
    file.write_all_at(b"fi", 5).unwrap();
    let second = spool(&at, 1 << 20);
    let file = second.open().unwrap();
    assert_eq!(drain(&second), "three\nfour\n");
    assert_eq!((second.fill().0, file.metadata().unwrap().len()), (0, 5));
    assert_eq!(files(&at).len(), 1);
    // What a loss of power took back after it was sent is not passed over when others take its place.
    file.set_len(0).unwrap();
    let third = spool(&at, 1 << 20);
    let file = third.open().unwrap();
    append(&third, &file, "five\n");
    assert_eq!(drain(&third), "five\n");
}

#[test]
fn it_holds_no_more_than_it_may() {
    let dir = tempfile::tempdir().unwrap();
    let small = spool(&dir.path().join("s"), 100);
    let file = small.open().unwrap();
    append(&small, &file, &format!("{}\n", "x".repeat(79)));
    assert!(small.admit(20).is_ok());
    assert_eq!(small.admit(21).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert!(small.is_full(6, 0, 0) && !small.is_full(5, 0, 0));
    // A record longer than a batch is read whole.
    let large = spool(&dir.path().join("t"), 1 << 20);
    let file = large.open().unwrap();
    let long = format!("{}\n", "y".repeat(700_000));
    append(&large, &file, &long);
    assert_eq!(large.next().unwrap().unwrap().bytes.len(), long.len());
}

#[test]
fn zeros_lie_ahead_of_records_and_count_as_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("s");
    let spool = spool(&at, 64 << 20);
    let file = spool.open().unwrap();
    append(&spool, &file, "one\n");
    let length = file.metadata().unwrap().len();
    assert!(length >= 1 << 20, "{length}");
    append(&spool, &file, "two\n");
    assert_eq!(file.metadata().unwrap().len(), length, "it grows in large steps");
    assert_eq!(spool.fill().0, 8);
    assert_eq!(drain(&spool), "one\ntwo\n");
    let record = format!("{}\n", "x".repeat(99_999));
    let mut written = 0;
    while !spool.is_full(spool.length(&file.metadata().unwrap()), 0, 0) {
        append(&spool, &file, &record);
        written += 1;
        let length = file.metadata().unwrap().len();
        assert!(
            length <= (4 << 20) + 100_000,
            "a file of a spool is no longer than without: {length}"
        );
    }
    spool.turn(0).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 8 + written * 100_000);
    let file = spool.open().unwrap();
    append(&spool, &file, "last\n");
    assert_eq!(drain(&spool), record.repeat(written as usize) + "last\n");
    // Nobody loses power who does not sync.
    let unsynced = Arc::new(Spool::new(dir.path().join("u"), 64 << 20, false));
    let file = unsynced.open().unwrap();
    append(&unsynced, &file, "one\n");
    assert_eq!(file.metadata().unwrap().len(), 4);
}

#[test]
fn without_room_for_zeros_records_are_taken_and_without_any_refused() {
    for synced in [true, false] {
        refuses_and_goes_on(synced);
    }
}

fn refuses_and_goes_on(synced: bool) {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("s");
    let spool = Arc::new(Spool::new(at.clone(), 64 << 20, synced));
    let file = spool.open().unwrap();
    append(&spool, &file, "one\n");
    // Takes nothing, neither records nor zeros, and cannot be cut: what a write left there is cut before the next one.
    let closed = File::open(&files(&at)[0]).unwrap();
    assert!(spool.append(&closed, 4, b"two\n").is_err());
    file.write_all_at(b"left of a record\nand another", 4).unwrap();
    assert_eq!(spool.fill().0, 4);
    append(&spool, &file, "three\n");
    assert_eq!(drain(&spool), "one\nthree\n");
    let again = Spool::new(at.clone(), 64 << 20, synced);
    Arc::new(again).open().unwrap();
    assert_eq!(file.metadata().unwrap().len(), 10, "what was left is no record");
    // So it is where another file takes its place.
    assert!(spool.append(&closed, 10, b"four\n").is_err());
    file.write_all_at(b"left of a record\nand another", 10).unwrap();
    spool.turn(0).unwrap();
    let file = spool.open().unwrap();
    append(&spool, &file, "five\n");
    assert_eq!(drain(&spool), "five\n");
}

/// The chain's end is found wherever power was lost around the beginning of a file, and whatever was sent by then.
#[test]
fn a_chain_goes_on_when_the_file_that_was_begun_lost_its_records() {
    for sent in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("s");
        let journal = |spool: &Arc<Spool>| Journal::new(spool.clone(), true, Some(ID.to_owned()));
        let first = spool(&at, 1 << 20);
        let written = journal(&first);
        write(&written, "first").unwrap();
        while files(&at).len() < 2 {
            write(&written, &"x".repeat(5000)).unwrap();
        }
        let tip = written.head().unwrap().1;
        let mut taken = Vec::new();
        while let (true, Some(batch)) = (sent, first.next().unwrap()) {
            taken.extend(batch.bytes);
            first.sent(batch.upto).unwrap();
        }
        // What was not synced is lost: the second file's records, unless the first one was given up for it.
        let left = files(&at);
        assert_eq!(left.len(), if sent { 1 } else { 2 });
        if !sent {
            File::create(&left[1]).unwrap();
        }
        let second = spool(&at, 1 << 20);
        let written = journal(&second);
        write(&written, "next").unwrap();
        // A file begins by telling after which record it goes on: two records were lost, or none, and two are new.
        let more = written.head().unwrap().1.seq - tip.seq;
        assert_eq!(more, if sent { 2 } else { 0 });
        taken.extend(drain(&second).into_bytes());
        assert_eq!(verify(&taken, &[]).faults, [], "{sent}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    /// Whatever sectors of what was written last a disk keeps, with the file's length from before it or after: what was synced
    /// is there, of the rest whole records from its beginning, and what comes next stands right behind.
    #[test]
    fn a_loss_of_power_takes_back_what_was_not_synced(
        synced in prop::collection::vec(1usize..3000, 0..40),
        lost in prop::collection::vec(1usize..3000, 1..6),
        kept in prop::collection::vec(any::<bool>(), 64),
        grown in any::<bool>(),
        turned in any::<bool>(),
        max in prop::sample::select(vec![256u64 << 10, 64 << 20]),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("s");
        let record = |n: usize, length: usize| format!("{n}:{}\n", "x".repeat(length));
        let first = spool(&at, max);
        let mut file = first.open().unwrap();
        let mut held = String::new();
        for (n, length) in synced.iter().enumerate() {
            if first.is_full(first.length(&file.metadata().unwrap()), 0, 0) {
                first.turn(0).unwrap();
                file = first.open().unwrap();
            }
            append(&first, &file, &record(n, *length));
            held += &record(n, *length);
        }
        let path = files(&at).pop().unwrap();
        let before = fs::read(&path).unwrap();
        let end = first.length(&file.metadata().unwrap());
        let group: String = lost.iter().enumerate().map(|(n, length)| record(1000 + n, *length)).collect();
        append(&first, &file, &group);
        if turned {
            // The next file's name was on the disk before this one's records were.
            first.turn(0).unwrap();
            first.open().unwrap();
        }
        drop((first, file));
        let after = fs::read(&path).unwrap();
        let mut left = after.clone();
        let from = usize::try_from(end).unwrap() / SECTOR;
        for (at, kept) in (from..).zip(&kept) {
            let sector = at * SECTOR..left.len().min((at + 1) * SECTOR);
            if !kept && at * SECTOR < left.len() {
                let old = sector.clone().map(|at| before.get(at).copied().unwrap_or(0));
                let old: Vec<u8> = old.collect();
                left[sector].copy_from_slice(&old);
            }
        }
        if !grown {
            left.truncate(before.len().max(usize::try_from(end).unwrap()));
        }
        fs::write(&path, left).unwrap();

        let second = spool(&at, max);
        let file = second.open().unwrap();
        append(&second, &file, "next\n");
        append(&second, &file, "more\n");
        let got = drain(&second);
        let rest = got.strip_prefix(held.as_str()).unwrap();
        let rest = rest.strip_suffix("next\nmore\n").unwrap();
        prop_assert!(group.starts_with(rest) && (rest.is_empty() || rest.ends_with('\n')), "{:?}", rest);
        prop_assert_eq!(second.fill().0, 0);
    }
}
