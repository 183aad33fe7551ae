//! Snapshots on the wire: the files of a checkpoint folder in checksummed chunks. Writing is suspicious: paths cannot
//! leave the folder, and nothing counts before the totals agree and every file is synced.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Component, Path, PathBuf};

use bytes::{Bytes, BytesMut};
use conclave_proto::internal as wire;
use conclave_proto::internal::snapshot_frame::Frame;
use futures::{Stream, StreamExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::error::Error;
use crate::log::durable::failed;
use crate::log::format::{decode_members, encode_members};
use crate::log::types::Vote;
use crate::net::convert;
use crate::node::snapshots::{Checkpoint, Meta, Snapshots};

/// Bytes in one chunk.
const CHUNK: usize = 512 << 10;
/// Chunks read ahead of the connection, or received ahead of the disk.
const AHEAD: usize = 4;
/// Most files in a snapshot.
const MAX_FILES: u64 = 100_000;
/// Longest path of a file in a snapshot.
const MAX_PATH: usize = 512;

/// The frames of a snapshot, read from disk as they are taken.
///
/// # Errors
/// `Error::Limit` when the membership is beyond the limits.
pub fn send(
    vote: &Vote,
    meta: &Meta,
    checkpoint: Checkpoint,
) -> Result<impl Stream<Item = wire::SnapshotFrame> + Send + use<>, Error> {
    let begin = wire::SnapshotBegin {
        vote: Some(convert::vote_out(vote)),
        last_log_id: meta.last_log_id.as_ref().map(convert::log_id_out),
        membership: encode_members(&meta.last_membership)?,
    };
    let (frames, out) = mpsc::channel(AHEAD);
    tokio::task::spawn_blocking(move || {
        // Without its end frame the receiver refuses the snapshot, so an error only has to be told.
        if let Err(error) = read_all(begin, &checkpoint.data(), &frames) {
            tracing::warn!(%error, "a snapshot cannot be sent");
        }
    });
    Ok(ReceiverStream::new(out).map(|frame| wire::SnapshotFrame { frame: Some(frame) }))
}

fn read_all(begin: wire::SnapshotBegin, dir: &Path, frames: &mpsc::Sender<Frame>) -> Result<(), Error> {
    let gone = |_| Error::Stopped("the receiver of the snapshot has gone".to_owned());
    frames.blocking_send(Frame::Begin(begin)).map_err(gone)?;
    let mut end = wire::SnapshotEnd::default();
    for path in files_below(dir)? {
        let mut file = File::open(&path).map_err(|e| failed(&path, &e))?;
        let length = file.metadata().map_err(|e| failed(&path, &e))?.len();
        let relative = path.strip_prefix(dir).unwrap_or(&path);
        let relative = relative
            .to_str()
            .ok_or(Error::Limit("a snapshot file name in UTF-8"))?;
        let announced = wire::SnapshotFile {
            path: relative.to_owned(),
            length,
        };
        frames.blocking_send(Frame::File(announced)).map_err(gone)?;
        end.files += 1;
        // Only as much as was announced: a file that still grows is read as it was.
        let mut left = length;
        while left > 0 {
            let size = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
            let mut data = BytesMut::zeroed(size);
            file.read_exact(&mut data).map_err(|e| failed(&path, &e))?;
            left -= size as u64;
            end.bytes += size as u64;
            let checksum = crc32fast::hash(&data);
            let data = data.freeze();
            let chunk = wire::SnapshotChunk { data, checksum };
            frames.blocking_send(Frame::Chunk(chunk)).map_err(gone)?;
        }
    }
    frames.blocking_send(Frame::End(end)).map_err(gone)
}

fn files_below(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    if dir.is_file() {
        return Err(Error::Limit("a checkpoint that is a folder"));
    }
    let mut out = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for found in fs::read_dir(&folder).map_err(|e| failed(&folder, &e))? {
            let path = found.map_err(|e| failed(&folder, &e))?.path();
            match path.is_dir() {
                true => folders.push(path),
                false => out.push(path),
            }
        }
    }
    out.sort();
    Ok(out)
}

/// A snapshot as it was received, complete and on disk.
pub struct Received {
    /// The leader that sent it.
    pub vote: Vote,
    /// What it covers.
    pub meta: Meta,
    /// Its files.
    pub checkpoint: Checkpoint,
}

/// Receives a snapshot into a fresh folder.
///
/// # Errors
/// `Error::Corrupt` when frames are missing, damaged or out of order, `Error::Storage` when the disk fails.
pub async fn receive(
    mut frames: Streaming<wire::SnapshotFrame>,
    snapshots: &Snapshots,
) -> Result<Received, Error> {
    let lost = |status: Status| corrupt(&format!("the stream broke: {}", status.message()));
    let first = frames
        .message()
        .await
        .map_err(lost)?
        .and_then(|frame| frame.frame);
    let Some(Frame::Begin(begin)) = first else {
        return Err(corrupt("it does not begin with a description"));
    };
    let vote = convert::vote_in(begin.vote)?;
    let meta = Meta {
        last_log_id: begin.last_log_id.map(convert::log_id_in),
        last_membership: decode_members(&begin.membership)?,
    };
    let checkpoint = snapshots.fresh()?;
    let (queue, waiting) = mpsc::channel(AHEAD);
    let dir = checkpoint.data();
    let writer = tokio::task::spawn_blocking(move || write_all(&dir, waiting));
    while let Some(frame) = frames.message().await.map_err(lost)? {
        let Some(frame) = frame.frame else {
            return Err(corrupt("it has an unknown frame"));
        };
        if queue.send(frame).await.is_err() {
            // The writer has stopped; it says why below.
            break;
        }
    }
    drop(queue);
    writer
        .await
        .map_err(|e| Error::Stopped(format!("the snapshot writer: {e}")))??;
    Ok(Received {
        vote,
        meta,
        checkpoint,
    })
}

fn write_all(dir: &Path, mut frames: mpsc::Receiver<Frame>) -> Result<(), Error> {
    let mut writer = Writer {
        dir,
        seen: wire::SnapshotEnd::default(),
        file: None,
    };
    fs::create_dir(dir).map_err(|e| failed(dir, &e))?;
    while let Some(frame) = frames.blocking_recv() {
        match frame {
            Frame::Begin(_) => return Err(corrupt("it begins twice")),
            Frame::File(file) => writer.begin(&file)?,
            Frame::Chunk(chunk) => writer.chunk(&chunk.data, chunk.checksum)?,
            Frame::End(end) => return writer.end(&end),
        }
    }
    Err(corrupt("it ends early"))
}

struct Writer<'a> {
    dir: &'a Path,
    seen: wire::SnapshotEnd,
    file: Option<(File, PathBuf, u64)>,
}

impl Writer<'_> {
    fn begin(&mut self, announced: &wire::SnapshotFile) -> Result<(), Error> {
        self.finish()?;
        self.seen.files += 1;
        if self.seen.files > MAX_FILES {
            return Err(corrupt("it has too many files"));
        }
        let path = self.dir.join(checked(&announced.path)?);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|e| failed(folder, &e))?;
        }
        let file = File::create_new(&path).map_err(|e| failed(&path, &e))?;
        self.file = Some((file, path, announced.length));
        Ok(())
    }

    fn chunk(&mut self, data: &Bytes, checksum: u32) -> Result<(), Error> {
        let Some((file, path, left)) = &mut self.file else {
            return Err(corrupt("it has data before a file"));
        };
        if crc32fast::hash(data) != checksum {
            return Err(corrupt("a chunk fails its checksum"));
        }
        *left = match left.checked_sub(data.len() as u64) {
            Some(left) => left,
            None => return Err(corrupt("a file is longer than announced")),
        };
        self.seen.bytes += data.len() as u64;
        file.write_all(data).map_err(|e| failed(path, &e))
    }

    fn finish(&mut self) -> Result<(), Error> {
        let Some((file, path, left)) = self.file.take() else {
            return Ok(());
        };
        if left != 0 {
            return Err(corrupt("a file is shorter than announced"));
        }
        file.sync_all().map_err(|e| failed(&path, &e))
    }

    fn end(mut self, end: &wire::SnapshotEnd) -> Result<(), Error> {
        self.finish()?;
        match self.seen == *end {
            true => Ok(()),
            false => Err(corrupt("its totals disagree")),
        }
    }
}

/// A relative path of plain names.
fn checked(path: &str) -> Result<PathBuf, Error> {
    let parsed = Path::new(path);
    let plain = parsed
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    match plain && !path.is_empty() && path.len() <= MAX_PATH {
        true => Ok(parsed.to_owned()),
        false => Err(corrupt("a file path leaves its folder")),
    }
}

fn corrupt(detail: &str) -> Error {
    Error::Corrupt {
        what: "received snapshot",
        detail: detail.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, frames: Vec<Frame>) -> Result<(), Error> {
        let (queue, waiting) = mpsc::channel(frames.len().max(1));
        for frame in frames {
            queue.try_send(frame).unwrap();
        }
        drop(queue);
        write_all(dir, waiting)
    }

    fn frames_of(dir: &Path) -> Vec<Frame> {
        let (frames, mut out) = mpsc::channel(64);
        read_all(wire::SnapshotBegin::default(), dir, &frames).unwrap();
        drop(frames);
        let mut all: Vec<Frame> = std::iter::from_fn(|| out.try_recv().ok()).collect();
        all.remove(0);
        all
    }

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let temporary = tempfile::tempdir().unwrap();
        let from = temporary.path().join("from");
        fs::create_dir_all(from.join("deep")).unwrap();
        fs::write(from.join("empty"), b"").unwrap();
        fs::write(from.join("deep/big"), vec![7; CHUNK + 3]).unwrap();
        (temporary, from)
    }

    #[test]
    fn a_folder_arrives_whole() {
        let (temporary, from) = folder();
        let to = temporary.path().join("to");
        write(&to, frames_of(&from)).unwrap();
        assert_eq!(fs::read(to.join("deep/big")).unwrap(), vec![7; CHUNK + 3]);
        assert_eq!(fs::read(to.join("empty")).unwrap(), b"");
    }

    #[test]
    fn a_lost_damaged_or_hostile_frame_is_refused() {
        let (temporary, from) = folder();
        let good = frames_of(&from);
        for lost in 0..good.len() {
            let mut frames = good.clone();
            frames.remove(lost);
            assert!(write(&temporary.path().join(format!("lost{lost}")), frames).is_err());
        }
        let mut frames = good.clone();
        for frame in &mut frames {
            if let Frame::Chunk(chunk) = frame {
                chunk.checksum ^= 1;
            }
        }
        assert!(write(&temporary.path().join("damaged"), frames).is_err());
        for path in ["../x", "/etc/x", "", "a/../../x"] {
            let file = wire::SnapshotFile {
                path: path.into(),
                length: 0,
            };
            assert!(
                write(
                    &temporary.path().join("hostile").join(path.len().to_string()),
                    vec![Frame::File(file)]
                )
                .is_err()
            );
        }
    }
}
