//! Snapshots on the wire: the files of a checkpoint folder in checksummed chunks. Writing is suspicious: paths cannot
//! leave the folder, and nothing counts before the totals agree and every file is synced.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use conclave_proto::internal as wire;
use conclave_proto::internal::snapshot_frame::Frame;
use futures::{Stream, stream};
use tonic::{Status, Streaming};

use crate::error::Error;
use crate::log::durable::failed;
use crate::log::format::{decode_members, encode_members};
use crate::log::types::Vote;
use crate::net::convert;
use crate::node::offload::{Offload, offload};
use crate::node::snapshots::{Checkpoint, Meta, Snapshots};

/// Bytes in one chunk.
const CHUNK: usize = 512 << 10;
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
    to: Arc<dyn Offload>,
) -> Result<impl Stream<Item = wire::SnapshotFrame> + Send + use<>, Error> {
    let begin = wire::SnapshotBegin {
        vote: Some(convert::vote_out(vote)),
        last_log_id: meta.last_log_id.as_ref().map(convert::log_id_out),
        membership: encode_members(&meta.last_membership)?,
    };
    // The checkpoint stays as long as it is read.
    let state = (Reader::new(begin, checkpoint.data()), checkpoint);
    Ok(stream::unfold(Some(state), move |state| {
        next_frame(state, Arc::clone(&to))
    }))
}

type Sending = (Reader, Checkpoint);

/// The next frame and what is left. Without its end frame the receiver refuses the snapshot, so an error only has to be
/// told.
async fn next_frame(
    state: Option<Sending>,
    to: Arc<dyn Offload>,
) -> Option<(wire::SnapshotFrame, Option<Sending>)> {
    let (mut reader, checkpoint) = state?;
    let read = offload(to.as_ref(), "reading a snapshot", move || {
        let frame = reader.next();
        (frame, reader)
    });
    match read.await.and_then(|(frame, reader)| Ok((frame?, reader))) {
        Ok((frame, reader)) => {
            let left = (!matches!(frame, Frame::End(_))).then_some((reader, checkpoint));
            Some((wire::SnapshotFrame { frame: Some(frame) }, left))
        }
        Err(error) => {
            tracing::warn!(%error, "a snapshot cannot be sent");
            None
        }
    }
}

/// Reads the frames of a checkpoint folder one after the other.
struct Reader {
    dir: PathBuf,
    begin: Option<wire::SnapshotBegin>,
    /// Files not yet begun; `None` before the folder was looked into.
    files: Option<VecDeque<PathBuf>>,
    /// The file under way and how much of it is left. Only as much as was announced: a file that still grows is read as
    /// it was.
    open: Option<(File, PathBuf, u64)>,
    seen: wire::SnapshotEnd,
}

impl Reader {
    fn new(begin: wire::SnapshotBegin, dir: PathBuf) -> Self {
        Self {
            dir,
            begin: Some(begin),
            files: None,
            open: None,
            seen: wire::SnapshotEnd::default(),
        }
    }

    /// The next frame; the last one is `Frame::End`.
    fn next(&mut self) -> Result<Frame, Error> {
        if let Some(begin) = self.begin.take() {
            return Ok(Frame::Begin(begin));
        }
        if let Some((mut file, path, left)) = self.open.take_if(|(_, _, left)| *left > 0) {
            let size = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
            let mut data = BytesMut::zeroed(size);
            file.read_exact(&mut data).map_err(|e| failed(&path, &e))?;
            self.open = Some((file, path, left - size as u64));
            self.seen.bytes += size as u64;
            let checksum = crc32fast::hash(&data);
            let data = data.freeze();
            return Ok(Frame::Chunk(wire::SnapshotChunk { data, checksum }));
        }
        let files = match &mut self.files {
            Some(files) => files,
            None => self.files.insert(files_below(&self.dir)?.into()),
        };
        let Some(path) = files.pop_front() else {
            return Ok(Frame::End(self.seen));
        };
        self.announce(path)
    }

    fn announce(&mut self, path: PathBuf) -> Result<Frame, Error> {
        let file = File::open(&path).map_err(|e| failed(&path, &e))?;
        let length = file.metadata().map_err(|e| failed(&path, &e))?.len();
        let relative = path.strip_prefix(&self.dir).unwrap_or(&path);
        let relative = relative
            .to_str()
            .ok_or(Error::Limit("a snapshot file name in UTF-8"))?;
        let announced = wire::SnapshotFile {
            path: relative.to_owned(),
            length,
        };
        self.seen.files += 1;
        self.open = Some((file, path, length));
        Ok(Frame::File(announced))
    }
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
    to: &dyn Offload,
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
    let mut writer = Writer::new(checkpoint.data());
    while !writer.complete {
        let frame = frames.message().await.map_err(lost)?;
        let frame = frame.ok_or_else(|| corrupt("it ends early"))?.frame;
        let frame = frame.ok_or_else(|| corrupt("it has an unknown frame"))?;
        let write = move || writer.take(frame).map(|()| writer);
        writer = offload(to, "writing a snapshot", write).await??;
    }
    Ok(Received {
        vote,
        meta,
        checkpoint,
    })
}

/// Writes frames into a folder that does not exist yet.
struct Writer {
    dir: PathBuf,
    seen: wire::SnapshotEnd,
    file: Option<(File, PathBuf, u64)>,
    begun: bool,
    /// The end frame was seen and agrees with what came before it.
    complete: bool,
}

impl Writer {
    fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            seen: wire::SnapshotEnd::default(),
            file: None,
            begun: false,
            complete: false,
        }
    }

    fn take(&mut self, frame: Frame) -> Result<(), Error> {
        if !self.begun {
            fs::create_dir(&self.dir).map_err(|e| failed(&self.dir, &e))?;
            self.begun = true;
        }
        match frame {
            Frame::Begin(_) => Err(corrupt("it begins twice")),
            Frame::File(file) => self.begin(&file),
            Frame::Chunk(chunk) => self.chunk(&chunk.data, chunk.checksum),
            Frame::End(end) => self.end(&end),
        }
    }

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

    fn end(&mut self, end: &wire::SnapshotEnd) -> Result<(), Error> {
        self.finish()?;
        self.complete = self.seen == *end;
        match self.complete {
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
        let mut writer = Writer::new(dir.to_owned());
        for frame in frames {
            writer.take(frame)?;
        }
        match writer.complete {
            true => Ok(()),
            false => Err(corrupt("it ends early")),
        }
    }

    fn frames_of(dir: &Path) -> Vec<Frame> {
        let mut reader = Reader::new(wire::SnapshotBegin::default(), dir.to_owned());
        assert!(matches!(reader.next().unwrap(), Frame::Begin(_)));
        let mut all = vec![reader.next().unwrap()];
        while !matches!(all.last(), Some(Frame::End(_))) {
            all.push(reader.next().unwrap());
        }
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
