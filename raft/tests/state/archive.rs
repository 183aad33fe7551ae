//! The archive of a state: golden bytes, what it leaves out, any cut into pieces, and totality on damaged input.

use bytes::Bytes;
use conclave_raft::state::{
    ArchiveCounts, ArchiveHead, ArchiveItem, read_archive, staged_chunk_key, write_archive,
};
use conclave_raft::{Error, Op, View};
use proptest::prelude::*;

use crate::rig::*;

pub fn archive_of(view: &View) -> Bytes {
    let mut out = Vec::new();
    write_archive(view, &mut out).unwrap();
    out.into()
}

type Read = Result<(ArchiveHead, ArchiveCounts, Vec<ArchiveItem>), Error>;

pub fn read(archive: &Bytes, piece: usize) -> Read {
    let mut pieces = archive.chunks(piece).map(Bytes::copy_from_slice);
    let mut items = Vec::new();
    let (head, counts) = read_archive(&mut || Ok(pieces.next()), &mut |item| {
        items.push(item);
        Ok(())
    })?;
    Ok((head, counts, items))
}

/// A state with all there is: rows small and long, a counter, due entries, a register, chunks that wait.
pub fn rig() -> Rig {
    let mut rig = Rig::new();
    rig.must(vec![put("a", "1"), Op::RegisterNode { node: node(1) }]);
    rig.must(vec![put("b", &"long".repeat(50_000)), add("n", 7, 0, 9)]);
    let due = |queue, deadline| Op::DuePut {
        queue,
        deadline,
        key: key("a"),
    };
    rig.must(vec![due(1, 5), due(1, 3), due(2, 1), Op::SetMinTerm { term: 3 }]);
    let chunk = staged_chunk_key(&[9; 16], 0);
    rig.must(vec![
        Op::Put {
            key: chunk.clone(),
            kind: 0,
            term: 0,
            deadline: 0,
            new_generation: false,
            value: Bytes::from_static(b"waits"),
        },
        Op::DuePut {
            queue: 3,
            deadline: 9,
            key: chunk,
        },
    ]);
    rig
}

#[test]
fn holds_rows_and_due_entries_but_nothing_of_replication() {
    let rig = rig();
    let archive = archive_of(&rig.view());
    let (head, counts, items) = read(&archive, 4096).unwrap();
    let expected = ArchiveHead {
        revision: 4,
        cluster_time: NOW,
        min_term: 3,
        cluster_version: 1,
    };
    assert_eq!(head, expected);
    assert_eq!(counts, ArchiveCounts { rows: 3, due: 3 });
    let mut rows = Vec::new();
    let mut due = Vec::new();
    for item in items {
        match item {
            ArchiveItem::Row(key, row) => {
                assert_eq!(rig.row(&key).as_ref(), Some(&row));
                rows.push(key);
            }
            ArchiveItem::Due(entry) => due.push((entry.queue, entry.deadline)),
        }
    }
    assert_eq!(rows, [key("a"), key("b"), key("n")]);
    assert_eq!(due, [(1, 3), (1, 5), (2, 1)]);
    assert_eq!(archive, archive_of(&rig.view()), "the same view, the same bytes");
}

#[test]
fn golden_archive_of_format_1() {
    let mut rig = Rig::new();
    rig.must(vec![put("a", "value"), add("n", -7, -9, 9)]);
    rig.must(vec![Op::DuePut {
        queue: 5,
        deadline: 6,
        key: key("a"),
    }]);
    golden("archive.v1.bin", &archive_of(&rig.view()));
}

#[test]
fn every_truncation_is_an_error() {
    let mut rig = Rig::new();
    rig.must(vec![put("a", "1"), put("b", "2")]);
    let archive = archive_of(&rig.view());
    for length in 0..archive.len() {
        let error = read(&archive.slice(..length), 7).unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. }), "{length}: {error}");
    }
    let longer = Bytes::from([archive.as_ref(), b"\0"].concat());
    assert!(matches!(read(&longer, 7), Err(Error::Corrupt { .. })));
    assert!(read(&archive, 7).is_ok());
}

#[test]
fn every_flipped_bit_is_an_error() {
    let mut rig = Rig::new();
    rig.must(vec![put("a", "1"), put("b", "2")]);
    let archive = archive_of(&rig.view());
    for at in 0..archive.len() * 8 {
        let mut bytes = archive.to_vec();
        bytes[at / 8] ^= 1 << (at % 8);
        let error = read(&bytes.into(), 1000).unwrap_err();
        let expected = match at / 8 {
            8 | 9 => matches!(error, Error::UnknownFormat { .. }),
            _ => matches!(error, Error::Corrupt { .. } | Error::UnknownFormat { .. }),
        };
        assert!(expected, "bit {at}: {error}");
    }
}

proptest! {
    #[test]
    fn the_cut_into_pieces_does_not_matter(piece in 1..5000usize) {
        let archive = archive_of(&rig().view());
        prop_assert_eq!(read(&archive, piece).unwrap(), read(&archive, usize::MAX).unwrap());
    }

    #[test]
    fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300), headed in any::<bool>()) {
        let mut rig = Rig::new();
        rig.must(vec![put("a", "1")]);
        let head = archive_of(&rig.view()).slice(..if headed { 36 } else { 0 });
        let bytes = Bytes::from([head.as_ref(), &bytes].concat());
        if let Ok((_, counts, items)) = read(&bytes, 50) {
            prop_assert_eq!(counts.rows + counts.due, items.len() as u64);
        }
    }
}
