//! What a process has in memory, as whoever owns the machine can read it.

use std::fmt;
use std::io::{Read, Seek, SeekFrom};

use super::scanner::{Finding, Scanner, is_empty};

/// Bytes looked at together; what stands across the edge of two pieces is looked at twice.
const PIECE: u64 = 4 << 20;
/// Memory that was never touched is empty page by page, in bytes.
const PAGE: usize = 4096;
/// Longest form of a fragment, in bytes.
const OVERLAP: u64 = 128;
/// What is shown before and after a hit, in bytes.
const SHOWN: (usize, usize) = (64, 96);

/// A mark that was found, with what tells how it came there. The marks are the test's own: they may be shown.
#[derive(PartialEq, Eq)]
pub struct Hit {
    /// Which mark, and its form.
    pub finding: Finding,
    /// Where.
    pub address: u64,
    /// The line of the process's map that the address lies in.
    pub mapping: String,
    /// What stands around it, escaped.
    pub around: String,
}

impl fmt::Debug for Hit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { mark, form, .. } = self.finding;
        let (address, mapping, around) = (self.address, &self.mapping, &self.around);
        write!(out, "mark {mark} ({form}) at {address:x} in {mapping}: {around}")
    }
}

/// How many bytes the process may write to, and what was found in them.
pub fn scan(pid: u32, scanner: &Scanner) -> (u64, Vec<Hit>) {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("maps of a process of ours");
    let mut memory = std::fs::File::open(format!("/proc/{pid}/mem"))
        .expect("memory of another process: this test needs the capability SYS_PTRACE, as root has it");
    let (mut bytes, mut found) = (0, Vec::new());
    for line in maps.lines().filter(|line| {
        line.split(' ')
            .nth(1)
            .is_some_and(|rights| rights.starts_with("rw"))
    }) {
        let (from, to) = line
            .split(' ')
            .next()
            .and_then(|range| range.split_once('-'))
            .expect("a range");
        let address = |text| u64::from_str_radix(text, 16).expect("an address");
        let (mut at, to) = (address(from), address(to));
        while at < to {
            let mut piece = vec![0; usize::try_from((to - at).min(PIECE)).expect("a small number")];
            // Memory that is given back meanwhile holds nothing.
            if memory
                .seek(SeekFrom::Start(at))
                .and_then(|_| memory.read_exact(&mut piece))
                .is_ok()
                && !piece.chunks(PAGE).all(is_empty)
            {
                let hits = scanner.occurrences(&piece).into_iter();
                found.extend(hits.map(|finding| Hit {
                    address: at + finding.at as u64,
                    mapping: line.split_whitespace().collect::<Vec<_>>().join(" "),
                    around: around(&piece, finding.at),
                    finding,
                }));
                bytes += piece.len() as u64;
            }
            at += if to - at > PIECE { PIECE - OVERLAP } else { PIECE };
        }
    }
    (bytes, found)
}

fn around(piece: &[u8], at: usize) -> String {
    let (from, to) = (at.saturating_sub(SHOWN.0), (at + SHOWN.1).min(piece.len()));
    format!(
        "{} | {}",
        piece[from..at].escape_ascii(),
        piece[at..to].escape_ascii()
    )
}
