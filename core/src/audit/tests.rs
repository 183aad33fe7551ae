//! Journals on real files: groups, syncs, chains across restarts, and what a verifier says of files that were changed.

mod remote;
mod spool;
mod syncs;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use super::chain::{self, Tip};
use super::journal::{Journal, Line, Ticket};
use super::options::FileOptions;
use super::place::NamedFile;
use super::verify::{Committed, Place, Report, Verifier, read_heads};

const ID: &str = "n1:file/";

fn options(path: &Path) -> FileOptions {
    FileOptions {
        file: path.to_owned(),
        ..FileOptions::default()
    }
}

fn journal_of(options: FileOptions, allowed: &Path, sync: bool) -> Journal {
    Journal::new(
        NamedFile::new(options, Arc::from([allowed.to_owned()])),
        sync,
        None,
    )
}

fn journal(path: &Path, allowed: &Path, sync: bool) -> Journal {
    journal_of(options(path), allowed, sync)
}

fn chained(path: &Path) -> Journal {
    let allowed = Arc::from([path.parent().unwrap().to_owned()]);
    Journal::new(NamedFile::new(options(path), allowed), false, Some(ID.to_owned()))
}

fn queue(journal: &Journal, name: &str) -> Ticket {
    let line = Line::new(
        format!("{{\"n\":\"{name}\"}}\n").into_bytes(),
        journal.is_chained(),
    );
    journal.queue(vec![line], 0)
}

fn write(journal: &Journal, name: &str) -> std::io::Result<()> {
    journal.write(&queue(journal, name))
}

fn names(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .filter_map(|line| {
            let record: serde_json::Value = serde_json::from_str(line).unwrap();
            record["n"].as_str().map(str::to_owned)
        })
        .collect()
}

fn verify(text: &[u8], heads: &[Committed]) -> Report {
    let mut verifier = Verifier::new(heads.to_vec(), false);
    let lines = text
        .strip_suffix(b"\n")
        .unwrap_or(text)
        .split(|byte| *byte == b'\n');
    for (at, line) in lines.enumerate() {
        let place = Place {
            file: "f".to_owned(),
            line: at as u64 + 1,
        };
        verifier.line(place, line);
    }
    verifier.finish()
}

#[test]
fn only_inside_allowed_directories_and_private() {
    let allowed = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    let good = allowed.path().join("audit.log");
    let check = |path: &Path| journal(path, allowed.path(), false).check();
    check(&good).unwrap();
    assert_eq!(good.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(check(&outside.path().join("a")).is_err());
    assert!(check(&allowed.path().join("../a")).is_err());
    assert!(check(allowed.path()).is_err(), "a directory");
    let link = allowed.path().join("link");
    std::os::unix::fs::symlink(outside.path().join("target"), &link).unwrap();
    assert!(check(&link).is_err());
    assert!(!outside.path().join("target").exists());
    let away = allowed.path().join("away");
    std::os::unix::fs::symlink(outside.path(), &away).unwrap();
    assert!(check(&away.join("a")).is_err());
}

#[test]
fn a_removed_file_is_made_anew_and_a_moved_one_when_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let journal = journal(&path, dir.path(), false);
    write(&journal, "one").unwrap();
    std::fs::remove_file(&path).unwrap();
    write(&journal, "two").unwrap();
    assert_eq!(names(&path), ["two"]);
    let moved = dir.path().join("audit.log.1");
    std::fs::rename(&path, &moved).unwrap();
    write(&journal, "three").unwrap();
    journal.reopen().unwrap();
    write(&journal, "four").unwrap();
    assert_eq!(names(&moved), ["two", "three"]);
    assert_eq!(names(&path), ["four"]);
    std::fs::remove_dir_all(dir.path()).unwrap();
    assert!(write(&journal, "five").is_err());
    assert!(journal.reopen().is_err());
    std::fs::create_dir(dir.path()).unwrap();
    write(&journal, "six").unwrap();
    assert_eq!(names(&path), ["six"], "and works again when it can");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains("\"type\":\"refused\",\"records\":1"), "{text}");
}

#[test]
fn files_are_put_aside_by_size_and_age_and_the_oldest_removed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let told = FileOptions {
        rotate_bytes: 10,
        rotate_max_files: 2,
        ..options(&path)
    };
    let journal = journal_of(told, dir.path(), true);
    for name in ["one", "two", "three", "four"] {
        write(&journal, name).unwrap();
    }
    assert_eq!(names(&path), ["four"]);
    let mut aside: Vec<_> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|found| *found != path)
        .collect();
    aside.sort();
    let kept: Vec<_> = aside.iter().flat_map(|path| names(path)).collect();
    assert_eq!(kept, ["two", "three"]);
    assert!(
        aside
            .iter()
            .all(|path| path.metadata().unwrap().permissions().mode() & 0o777 == 0o600)
    );

    let path = dir.path().join("aged.log");
    let told = FileOptions {
        rotate_after: 1000,
        ..options(&path)
    };
    let journal = journal_of(told, dir.path(), false);
    let at = |name: &str, now| {
        let line = Line::new(format!("{{\"n\":\"{name}\"}}\n").into_bytes(), false);
        journal.write(&journal.queue(vec![line], now)).unwrap();
    };
    at("old", 10_000);
    at("older", 10_999);
    at("new", 11_000);
    assert_eq!(names(&path), ["new"]);
    assert_eq!(names(&dir.path().join("aged.log.11000")), ["old", "older"]);
}

#[test]
fn lines_are_written_by_whoever_comes_first_and_refused_together() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let journal = journal(&path, dir.path(), false);
    let tickets = ["one", "two"].map(|name| queue(&journal, name));
    assert!(!path.exists(), "nothing is written yet");
    journal.write(&tickets[1]).unwrap();
    assert_eq!(names(&path), ["one", "two"]);
    std::fs::remove_file(&path).unwrap();
    journal.write(&tickets[0]).unwrap();
    assert!(!path.exists(), "it was written with the other");

    std::fs::remove_dir_all(dir.path()).unwrap();
    let lost = ["three", "four"].map(|name| queue(&journal, name));
    journal.write(&lost[0]).unwrap_err();
    std::fs::create_dir(dir.path()).unwrap();
    write(&journal, "five").unwrap();
    journal.write(&lost[1]).unwrap_err();
    assert_eq!(names(&path), ["five"], "what was refused is not written later");
}

#[test]
fn a_chain_goes_on_through_restarts_and_tells_of_what_they_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let record = |journal: &Journal, kind: &str, id: &str| {
        let text = format!(
            "{{\"time\":\"t\",\"type\":\"{kind}\",\"request\":{{\"id\":\"{id}\",\"operation\":\"update\",\"path\":\"secret/{id}\"}}}}\n"
        );
        journal
            .write(&journal.queue(vec![Line::new(text.into_bytes(), true)], 0))
            .unwrap();
    };
    let first = chained(&path);
    for (kind, id) in [("request", "a"), ("response", "a"), ("request", "b")] {
        record(&first, kind, id);
    }
    // The node is killed in the middle of a line; another one writes to the same file.
    std::fs::OpenOptions::new()
        .append(true)
        .open(&path)
        .map(|mut file| std::io::Write::write_all(&mut file, b"{\"time").unwrap())
        .unwrap();
    let allowed: Arc<[_]> = Arc::from([dir.path().to_owned()]);
    let other = Journal::new(
        NamedFile::new(options(&path), allowed),
        false,
        Some("n2:file/".to_owned()),
    );
    record(&other, "request", "z");
    let second = chained(&path);
    record(&second, "request", "c");
    record(&second, "response", "c");
    record(&other, "response", "z");
    let text = std::fs::read(&path).unwrap();
    let told = String::from_utf8_lossy(&text);
    let recovered: Vec<_> = told
        .lines()
        .filter(|line| line.contains("\"type\":\"recovered\""))
        .collect();
    assert_eq!(recovered.len(), 1, "{told}");
    assert!(recovered[0].contains("\"id\":\"b\"") && recovered[0].contains("secret/b"));
    let heads: Vec<_> = [&second, &other]
        .iter()
        .map(|journal| {
            let (id, tip) = journal.head().unwrap();
            Committed {
                id: id.to_owned(),
                tip,
            }
        })
        .collect();
    let report = verify(&text, &heads);
    assert_eq!(report.faults, [], "{report:?}");
    assert_eq!(report.notes.len(), 1, "the torn line: {report:?}");
    let summary = &report.chains[ID];
    assert_eq!((summary.first, summary.heads), (1, 1));
    // Moved away and gone on: each file verifies alone, and both in order.
    std::fs::rename(&path, dir.path().join("moved")).unwrap();
    second.reopen().unwrap();
    record(&second, "request", "d");
    let rest = std::fs::read(&path).unwrap();
    assert_eq!(verify(&rest, &[]).faults, []);
    assert_eq!(verify(&[text.clone(), rest].concat(), &heads).faults, []);
    // Unanswered once is told once.
    let third = chained(&path);
    record(&third, "response", "x");
    let told = std::fs::read_to_string(&path).unwrap();
    assert_eq!(told.matches("\"type\":\"recovered\"").count(), 1, "d: {told}");
}

/// Lines of a chain as a node writes them, and its head.
fn sample(records: usize) -> (Vec<Vec<u8>>, Committed) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let journal = chained(&path);
    for at in 0..records {
        write(&journal, &format!("record {at}")).unwrap();
    }
    let text = std::fs::read(&path).unwrap();
    let lines = text.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec);
    let (id, tip) = journal.head().unwrap();
    (
        lines.collect(),
        Committed {
            id: id.to_owned(),
            tip,
        },
    )
}

/// Line of the first fault; past the end where it only shows there.
fn first_fault(lines: &[Vec<u8>], head: &Committed) -> Option<usize> {
    let report = verify(&lines.concat(), std::slice::from_ref(head));
    let at = |fault: &super::verify::Fault| {
        let place = fault.place.as_ref();
        place.map_or(lines.len(), |place| usize::try_from(place.line).unwrap() - 1)
    };
    report.faults.iter().map(at).min()
}

fn split_whole(line: &[u8]) -> bool {
    chain::split(line).is_some()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn any_change_of_any_record_is_found_where_it_is(
        records in 2usize..12,
        which in any::<prop::sample::Index>(),
        other in any::<prop::sample::Index>(),
        byte in any::<prop::sample::Index>(),
        bit in 0u8..8,
        kind in 0usize..5,
    ) {
        let (mut lines, head) = sample(records);
        prop_assert_eq!(first_fault(&lines, &head), None);
        let (at, to) = (which.index(lines.len()), other.index(lines.len()));
        match kind {
            0 => {
                let byte = byte.index(lines[at].len());
                lines[at][byte] ^= 1 << bit;
                prop_assert_eq!(first_fault(&lines, &head), Some(at));
            }
            1 => {
                lines.remove(at);
                prop_assert_eq!(first_fault(&lines, &head), Some(at));
            }
            2 => {
                lines.swap(at, to);
                prop_assert_eq!(first_fault(&lines, &head), (at != to).then_some(at.min(to)));
            }
            3 => {
                lines.truncate(at);
                prop_assert_eq!(first_fault(&lines, &head), (at > 0).then_some(at));
            }
            _ => {
                let length = byte.index(lines[at].len());
                lines[at].truncate(length);
                // Without the last of all ends of lines nothing is lost.
                let whole = at + 1 == lines.len() && split_whole(&lines[at]);
                if length == 0 {
                    lines.remove(at);
                }
                let found = first_fault(&lines, &head);
                prop_assert!(found == (!whole).then_some(at), "cut to {} bytes: {:?}", length, found);
            }
        }
    }
}

#[test]
fn a_chain_written_anew_differs_from_what_the_cluster_committed() {
    let (lines, head) = sample(6);
    let mut tip = Tip::start(ID);
    let mut forged = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let (body, _) = chain::split(line.strip_suffix(b"\n").unwrap()).unwrap();
        let mut body = body.to_vec();
        if at == 3 {
            body = String::from_utf8(body)
                .unwrap()
                .replace("record 2", "record 9")
                .into_bytes();
        }
        tip = tip.next(&chain::digest(&body));
        chain::push_link(&mut body, &chain::quoted(ID), &tip);
        forged.extend(body);
    }
    assert_eq!(verify(&forged, &[]).faults, [], "alone it is whole");
    let report = verify(&forged, std::slice::from_ref(&head));
    assert!(report.faults[0].what.contains("written anew"), "{report:?}");
    // What is moved is told from what is gone.
    let mut moved = lines.clone();
    moved.swap(2, 4);
    let report = verify(&moved.concat(), &[]);
    assert!(
        report.faults[0].what.contains("out of order: it stands at f:5"),
        "{report:?}"
    );
    let mut gone = lines.clone();
    gone.remove(2);
    let report = verify(&gone.concat(), &[]);
    assert!(
        report.faults[0].what.contains("record 3 is missing"),
        "{report:?}"
    );
    // A collector may have text before a record, and records twice.
    let mut verifier = Verifier::new([head], true);
    for (at, line) in lines.iter().chain(&lines[2..5]).enumerate() {
        let line = [
            b"<13>1 host conclave: ".as_slice(),
            line.strip_suffix(b"\n").unwrap(),
        ]
        .concat();
        let place = Place {
            file: "c".to_owned(),
            line: at as u64,
        };
        verifier.line(place, &line);
    }
    assert_eq!(verifier.finish().faults, []);
}

#[test]
fn heads_are_read_as_they_are_answered() {
    let hash = "ab".repeat(32);
    let list =
        serde_json::json!([{"chain": ID, "device": "file/", "node": 1, "seq": 7, "hash": hash, "time": "t"}]);
    let want = Committed {
        id: ID.to_owned(),
        tip: Tip {
            seq: 7,
            hash: [0xab; 32],
        },
    };
    for told in [
        list.clone(),
        serde_json::json!({"heads": list}),
        serde_json::json!({"data": {"heads": list}}),
    ] {
        let read = read_heads(told.to_string().as_bytes()).unwrap();
        assert_eq!(read, std::slice::from_ref(&want));
    }
    let twice = serde_json::json!([list[0], list[0]]);
    assert!(
        read_heads(twice.to_string().as_bytes())
            .unwrap_err()
            .contains("two heads")
    );
    assert!(read_heads(b"{}").is_err());
    let none: BTreeMap<String, String> = BTreeMap::new();
    assert!(read_heads(serde_json::to_string(&none).unwrap().as_bytes()).is_err());
}
