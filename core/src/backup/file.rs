//! The snapshot file: a gzip tar of `meta.json`, `state.bin` (raft's archive of the state), `SHA256SUMS` over both and
//! `SHA256SUMS.sealed`, the barrier's keyed hash of that list. Knows no cluster and no log.
//!
//! The names and the wrapping are Vault's, whose clients look for a `SHA256SUMS.sealed`; what is inside is ours.

use std::io::{self, ErrorKind, Read, Write};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use conclave_barrier::Barrier;
use conclave_raft::View;
use conclave_raft::state::{ArchiveCounts, MAX_ARCHIVE, MAX_STAGED_CHUNK, write_archive};

use crate::backup::gzip::{GzipReader, GzipWriter, bad};
use crate::backup::tar;
use crate::error::Error;

/// Longest snapshot file in bytes: a greatest state, and more than the blocks of gzip and tar add to it.
pub const MAX_FILE: u64 = MAX_ARCHIVE + (1 << 20);
/// Format of the file, which `meta.json` names.
pub const FORMAT: u32 = 1;
const META: &str = "meta.json";
const STATE: &str = "state.bin";
const SUMS: &str = "SHA256SUMS";
const SEALED: &str = "SHA256SUMS.sealed";
/// Longest of the small entries in bytes.
const MAX_SMALL: u64 = 64 << 10;
/// What stands before the keyed hash.
const MAC_KIND: &str = "conclave-hmac-sha256 1 ";

/// What a snapshot says of itself, in the clear.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Meta {
    /// Format of the file.
    pub format: u32,
    /// Program and version.
    pub made_by: String,
    /// RFC 3339, on the cluster's clock.
    pub made_at: String,
    /// The cluster's name.
    pub cluster_name: String,
    /// The cluster's id.
    pub cluster_id: String,
    /// Names the barrier, hexadecimal.
    pub barrier_id: String,
    /// Which generation of shares opens it.
    pub seal_generation: u64,
    /// How many of those shares are needed.
    pub seal_threshold: u8,
    /// Generation of the keyring.
    pub keyring_generation: u64,
    /// Revision of the state.
    pub revision: u64,
    /// The cluster's clock then, in milliseconds since the Unix epoch.
    pub cluster_time: u64,
    /// The least key term then.
    pub min_term: u32,
    /// Cluster version.
    pub cluster_version: u16,
    /// Rows.
    pub rows: u64,
    /// Entries of the due index.
    pub due: u64,
    /// Length of `state.bin`.
    pub state_bytes: u64,
}

/// Length and SHA-256 of the archive of a view, and what is in it.
pub struct Measured {
    bytes: u64,
    hash: Sha256,
    counts: ArchiveCounts,
}

impl Measured {
    /// Walks the whole view.
    pub fn of(view: &View) -> Result<Self, Error> {
        let mut measured = Self {
            bytes: 0,
            hash: Sha256::new(),
            counts: ArchiveCounts::default(),
        };
        measured.counts = write_archive(view, &mut measured).map_err(unwritten)?;
        Ok(measured)
    }

    /// Enters what was measured into the description.
    pub fn describe(&self, meta: &mut Meta) {
        (meta.rows, meta.due) = (self.counts.rows, self.counts.due);
        meta.state_bytes = self.bytes;
    }
}

impl Write for Measured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        self.hash.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes the snapshot of a view that was measured before.
pub fn write(
    view: &View,
    barrier: &Barrier,
    meta: &Meta,
    measured: Measured,
    out: impl Write,
) -> Result<(), Error> {
    let disk = |error: io::Error| Error::internal(format!("writing a snapshot: {error}"));
    let mut out = GzipWriter::new(out).map_err(disk)?;
    let mut text = serde_json::to_vec_pretty(meta).map_err(|e| Error::internal(e.to_string()))?;
    text.push(b'\n');
    small(&mut out, META, &text).map_err(disk)?;
    tar::begin(&mut out, STATE, measured.bytes).map_err(disk)?;
    // The same view gives the same bytes, so they are those that were measured.
    write_archive(view, &mut out).map_err(unwritten)?;
    tar::end(&mut out, measured.bytes).map_err(disk)?;
    let sums = sums(&text, measured.hash);
    small(&mut out, SUMS, sums.as_bytes()).map_err(disk)?;
    let mac = hex::encode(barrier.snapshot_mac(sums.as_bytes()));
    small(&mut out, SEALED, format!("{MAC_KIND}{mac}\n").as_bytes()).map_err(disk)?;
    tar::finish(&mut out).map_err(disk)?;
    out.finish().and_then(|mut out| out.flush()).map_err(disk)
}

fn small(out: &mut dyn Write, name: &str, bytes: &[u8]) -> io::Result<()> {
    tar::begin(out, name, bytes.len() as u64)?;
    out.write_all(bytes)?;
    tar::end(out, bytes.len() as u64)
}

fn sums(meta: &[u8], state: Sha256) -> String {
    format!(
        "{}  {META}\n{}  {STATE}\n",
        hex::encode(Sha256::digest(meta)),
        hex::encode(state.finalize())
    )
}

fn unwritten(error: conclave_raft::Error) -> Error {
    match error {
        conclave_raft::Error::Limit(what) => Error::TooLarge(format!(
            "the state is too large for a snapshot that could be restored: {what}"
        )),
        other => other.into(),
    }
}

/// A snapshot file that is being read.
pub struct Reader<R> {
    input: GzipReader<R>,
    meta: Meta,
    meta_text: Vec<u8>,
    left: u64,
    hash: Sha256,
}

/// What stands at the end of a snapshot file that was read to it.
pub struct Ending {
    /// SHA-256 of the archive.
    pub digest: [u8; 32],
    /// The list of checksums, which were found right.
    pub sums: String,
    /// The keyed hash of the list, which needs a barrier to be checked.
    pub mac: [u8; 32],
}

impl<R: Read> Reader<R> {
    /// Reads up to the state.
    pub fn begin(input: R) -> Result<Self, Error> {
        let mut input = GzipReader::new(input).map_err(unread)?;
        let meta_text = read_small(&mut input, META)?;
        let meta = parse_meta(&meta_text)?;
        let left = tar::enter(&mut input, STATE, MAX_ARCHIVE).map_err(unread)?;
        if left != meta.state_bytes {
            return Err(Error::invalid(
                "the snapshot does not hold what its description says",
            ));
        }
        Ok(Self {
            input,
            meta,
            meta_text,
            left,
            hash: Sha256::new(),
        })
    }

    /// What the file says of itself.
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// The next bytes of the archive, as many as go into one chunk; `None` after the last.
    pub fn piece(&mut self) -> Result<Option<Bytes>, Error> {
        let length = MAX_STAGED_CHUNK.min(usize::try_from(self.left).unwrap_or(MAX_STAGED_CHUNK));
        if length == 0 {
            return Ok(None);
        }
        let mut piece = vec![0; length];
        self.input.read_exact(&mut piece).map_err(unread)?;
        self.hash.update(&piece);
        self.left -= length as u64;
        Ok(Some(piece.into()))
    }

    /// Reads the rest and checks the checksums.
    pub fn finish(mut self) -> Result<Ending, Error> {
        while self.piece()?.is_some() {}
        tar::leave(&mut self.input, self.meta.state_bytes).map_err(unread)?;
        let digest = self.hash.clone().finalize().into();
        let sums = sums(&self.meta_text, self.hash);
        if read_small(&mut self.input, SUMS)? != sums.as_bytes() {
            return Err(Error::invalid("the checksums of the snapshot do not match"));
        }
        let sealed = read_small(&mut self.input, SEALED)?;
        let mac = parse_mac(&sealed).ok_or_else(|| Error::invalid("the snapshot's seal does not parse"))?;
        tar::exit(&mut self.input).map_err(unread)?;
        Ok(Ending { digest, sums, mac })
    }
}

fn read_small(input: &mut dyn Read, name: &str) -> Result<Vec<u8>, Error> {
    let size = tar::enter(input, name, MAX_SMALL).map_err(unread)?;
    let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
    input.read_exact(&mut bytes).map_err(unread)?;
    tar::leave(input, size).map_err(unread)?;
    Ok(bytes)
}

fn parse_meta(text: &[u8]) -> Result<Meta, Error> {
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let damaged = |_| Error::invalid("the snapshot's description does not parse");
    let Format { format } = serde_json::from_slice(text).map_err(damaged)?;
    if format != FORMAT {
        return Err(Error::invalid(format!(
            "the snapshot is of format {format}, which this version does not know"
        )));
    }
    serde_json::from_slice(text).map_err(damaged)
}

fn parse_mac(sealed: &[u8]) -> Option<[u8; 32]> {
    let text = std::str::from_utf8(sealed).ok()?;
    let mac = text.strip_prefix(MAC_KIND)?.strip_suffix('\n')?;
    hex::decode(mac).ok()?.try_into().ok()
}

/// A file that is not what it should be is the caller's mistake; a disk that fails is not.
fn unread(error: io::Error) -> Error {
    match error.kind() {
        ErrorKind::UnexpectedEof => Error::invalid("the snapshot is cut short"),
        ErrorKind::InvalidData => Error::invalid(format!("not a snapshot that can be restored: {error}")),
        _ => Error::internal(format!("reading a snapshot: {error}")),
    }
}

/// Refuses a file that cannot be a snapshot for its length alone.
pub fn check_length(length: u64) -> Result<(), Error> {
    if length > MAX_FILE {
        return Err(Error::TooLarge(format!(
            "the file is longer than any snapshot: at most {} MiB are taken",
            MAX_ARCHIVE >> 20
        )));
    }
    if length == 0 {
        return Err(unread(bad("the file is empty")));
    }
    Ok(())
}
