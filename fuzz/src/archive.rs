//! The state in a snapshot that an operator uploads, however it is cut into pieces: refused, or the same items each time.

use bytes::Bytes;
use conclave_raft::state::{ArchiveItem, read_archive};

/// The first byte says how long the pieces are.
pub fn run(bytes: &[u8]) {
    let Some((&cut, archive)) = bytes.split_first() else {
        return;
    };
    let whole = read(archive, archive.len().max(1));
    let pieces = read(archive, usize::from(cut).max(1));
    assert_eq!(whole, pieces, "the cut made a difference");
}

/// How many rows and due entries it has, if it can be read.
fn read(archive: &[u8], cut: usize) -> Option<(u64, u64)> {
    let mut rest = Bytes::copy_from_slice(archive);
    let mut pieces = || Ok((!rest.is_empty()).then(|| rest.split_to(cut.min(rest.len()))));
    let (mut rows, mut due) = (0, 0);
    let mut visit = |item| {
        match item {
            ArchiveItem::Row(..) => rows += 1,
            ArchiveItem::Due(_) => due += 1,
        }
        Ok(())
    };
    let (_, counts) = read_archive(&mut pieces, &mut visit).ok()?;
    assert_eq!((counts.rows, counts.due), (rows, due));
    Some((rows, due))
}
