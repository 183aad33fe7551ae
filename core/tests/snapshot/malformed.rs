//! Files that are not whole, not ours or not of this format: each is refused for its own reason and changes nothing.

use std::path::{Path, PathBuf};

use serde_json::json;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use conclave_core::{Error, Verb};
use conclave_raft::state::MAX_ARCHIVE;

use crate::support::Node;
use crate::{FORCE, SAVE, read, restore, save, state, text_of, write};

/// Entries of a snapshot file, to be changed and packed again.
type Entries = Vec<(String, Vec<u8>)>;

/// What is wrapped in stored blocks.
fn unwrap(mut file: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    file = &file[10..];
    loop {
        let (last, length) = (file[0], usize::from(u16::from_le_bytes([file[1], file[2]])));
        out.extend_from_slice(&file[5..5 + length]);
        file = &file[5 + length..];
        if last == 1 {
            return out;
        }
    }
}

fn wrap(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
    for block in bytes.chunks(60_000) {
        let length = block.len() as u16;
        out.push(0);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&(!length).to_le_bytes());
        out.extend_from_slice(block);
    }
    out.extend_from_slice(&[1, 0, 0, 0xff, 0xff]);
    out.extend_from_slice(&crc32fast::hash(bytes).to_le_bytes());
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out
}

fn entries(file: &Path) -> Entries {
    let tar = unwrap(&std::fs::read(file).unwrap());
    let mut rest = tar.as_slice();
    let mut found = Vec::new();
    while rest[0] != 0 {
        let name = rest[..100].split(|byte| *byte == 0).next().unwrap();
        let size = std::str::from_utf8(&rest[124..135]).unwrap();
        let size = usize::from_str_radix(size, 8).unwrap();
        let name = String::from_utf8(name.to_vec()).unwrap();
        found.push((name, rest[512..512 + size].to_vec()));
        rest = &rest[512 + size.div_ceil(512) * 512..];
    }
    found
}

fn header(name: &str, size: usize, kind: u8) -> [u8; 512] {
    let mut header = [0; 512];
    let size = format!("{size:011o}");
    for (at, text) in [
        (0, name),
        (100, "0000600"),
        (108, "0000000"),
        (116, "0000000"),
        (124, size.as_str()),
        (136, "00000000000"),
        (148, "        "),
        (257, "ustar\x0000"),
    ] {
        header[at..at + text.len()].copy_from_slice(text.as_bytes());
    }
    header[156] = kind;
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

fn tar(entries: &[(String, Vec<u8>)], kind: impl Fn(&str) -> u8) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, bytes) in entries {
        out.extend_from_slice(&header(name, bytes.len(), kind(name)));
        out.extend_from_slice(bytes);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    out
}

/// The list of checksums as it must be for what is there now.
fn sum_up(entries: &mut Entries) {
    let sums = entries[..2]
        .iter()
        .map(|(name, bytes)| format!("{}  {name}\n", hex::encode(Sha256::digest(bytes))))
        .collect::<String>();
    entries[2].1 = sums.into_bytes();
}

/// A node with a good snapshot and something written since.
struct Target {
    dir: TempDir,
    node: Node,
    bytes: Vec<u8>,
    good: Entries,
    before: [u8; 32],
}

impl Target {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let node = Node::unsealed().await;
        write(&node, "kept", "one").await;
        let file = save(&node, &dir, "a.snap").await;
        write(&node, "kept", "two").await;
        Self {
            bytes: std::fs::read(&file).unwrap(),
            good: entries(&file),
            before: state(&node),
            dir,
            node,
        }
    }

    /// The good entries, changed.
    fn changed(&self, change: impl Fn(&mut Entries)) -> Vec<u8> {
        let mut entries = self.good.clone();
        change(&mut entries);
        wrap(&tar(&entries, |_| b'0'))
    }

    /// The good entries, changed, with right checksums.
    fn resummed(&self, change: impl Fn(&mut Entries)) -> Vec<u8> {
        self.changed(|entries| {
            change(entries);
            sum_up(entries);
        })
    }

    /// The good entries, the state being of another kind.
    fn of_kind(&self, kind: u8) -> Vec<u8> {
        wrap(&tar(
            &self.good,
            |name| if name == "state.bin" { kind } else { b'0' },
        ))
    }

    fn put(&self, bytes: &[u8]) -> PathBuf {
        let path = self.dir.path().join("bad.snap");
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// Neither way takes the file, for this reason, and nothing changes.
    async fn refuses(&self, name: &str, bytes: &[u8], reason: &str) {
        let path = self.put(bytes);
        for way in [SAVE, FORCE] {
            let text = text_of(restore(&self.node, way, &path).await);
            assert!(text.contains(reason), "{name}: {text}");
            assert_eq!(state(&self.node), self.before, "{name}");
        }
    }
}

fn replace(bytes: &mut Vec<u8>, from: &str, to: &str) {
    let text = String::from_utf8(bytes.clone()).unwrap();
    assert!(text.contains(from), "{text}");
    *bytes = text.replace(from, to).into_bytes();
}

#[tokio::test]
async fn what_it_says_of_itself_must_be_known_true_and_vouched_for() {
    let target = Target::new().await;
    let meta = |from: &'static str, to: &'static str| move |e: &mut Entries| replace(&mut e[0].1, from, to);
    let newer = target.resummed(meta("\"format\": 1", "\"format\": 2"));
    target.refuses("a newer format", &newer, "format 2").await;
    let newer = target.resummed(|e| e[1].1[9] = 2);
    target.refuses("a newer state", &newer, "unknown format 2").await;
    let more = target.resummed(meta("\"format\": 1", "\"format\": 1, \"x\": 1"));
    target.refuses("a word too many", &more, "does not parse").await;
    let count = target.resummed(meta("\"due\": 0", "\"due\": 1"));
    target
        .refuses("another count", &count, "what its description says")
        .await;
    let name = meta("\"conclave\"", "\"conclavf\"");
    target
        .refuses(
            "another name",
            &target.resummed(name),
            "changed after it was made",
        )
        .await;
    target
        .refuses("sums not renewed", &target.changed(name), "checksums")
        .await;
    let seal = target.changed(|e| e[3].1[30] = if e[3].1[30] == b'0' { b'1' } else { b'0' });
    target
        .refuses("another seal", &seal, "changed after it was made")
        .await;
    let seal = target.changed(|e| e[3].1.clear());
    target
        .refuses("an empty seal", &seal, "seal does not parse")
        .await;
}

#[tokio::test]
async fn it_holds_its_entries_and_nothing_else() {
    let target = Target::new().await;
    let other = "something else";
    for (name, bytes, reason) in [
        ("no seal", target.changed(|e| e.truncate(3)), other),
        (
            "a way out",
            target.changed(|e| e[1].0 = "../state.bin".into()),
            other,
        ),
        ("another order", target.changed(|e| e.swap(0, 1)), other),
        (
            "twice the same",
            target.changed(|e| e.insert(1, e[1].clone())),
            other,
        ),
        ("a symbolic link", target.of_kind(b'2'), other),
        ("a hard link", target.of_kind(b'1'), other),
        ("a sparse file", target.of_kind(b'S'), other),
        (
            "an entry too many",
            target.changed(|e| e.push(("../../etc/passwd".into(), b"x".to_vec()))),
            "between its entries",
        ),
        (
            "a long description",
            target.changed(|e| e[0].1.resize(70_000, b' ')),
            "too large",
        ),
    ] {
        target.refuses(name, &bytes, reason).await;
    }
}

#[tokio::test]
async fn every_cut_and_every_flip_is_refused() {
    let target = Target::new().await;
    let plain = tar(&target.good, |_| b'0');
    let again = [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 3], &b"xyz"[..]].concat();
    for (name, bytes, reason) in [
        ("nothing", &b""[..], "empty"),
        ("text", b"{\"snapshot\": true}", "no snapshot"),
        ("not packed", &plain, "no snapshot"),
        ("packed again", &again, "packed again"),
        (
            "a tail",
            &[wrap(&plain), b"x".to_vec()].concat(),
            "follows the end",
        ),
    ] {
        target.refuses(name, bytes, reason).await;
    }
    let bytes = &target.bytes;
    for length in (1..bytes.len()).step_by(bytes.len() / 60) {
        let path = target.put(&bytes[..length]);
        text_of(restore(&target.node, FORCE, &path).await);
    }
    for at in (0..bytes.len()).step_by(bytes.len() / 150) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        let path = target.put(&flipped);
        text_of(restore(&target.node, FORCE, &path).await);
    }
    let path = target.put(b"");
    let sparse = std::fs::File::create(&path).unwrap();
    sparse.set_len(MAX_ARCHIVE * 10).unwrap();
    let outcome = restore(&target.node, FORCE, &path).await;
    assert!(matches!(outcome, Err(Error::TooLarge(_))), "{outcome:?}");
    let none = target.node.call(Verb::Write, FORCE, json!({})).await;
    assert!(matches!(none, Err(Error::Invalid(_))));
    assert_eq!(state(&target.node), target.before);

    // Packed by another hand with the same content, it is the same snapshot.
    let path = target.put(&wrap(&plain));
    restore(&target.node, SAVE, &path).await.unwrap();
    assert_eq!(
        read(&target.node, &target.node.root, "kept").await.unwrap(),
        "one"
    );
}
