//! What a process has in memory, as whoever owns the machine can read it.

use std::io::{Read, Seek, SeekFrom};

use super::scanner::{Finding, Scanner};

/// Bytes looked at together; what stands across the edge of two pieces is looked at twice.
const PIECE: u64 = 4 << 20;
/// Longest form of a fragment, in bytes.
const OVERLAP: u64 = 128;

/// How many bytes the process may write to, and what was found in them.
pub fn scan(pid: u32, scanner: &Scanner) -> (u64, Vec<Finding>) {
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
                && piece.iter().any(|byte| *byte != 0)
            {
                found.extend(scanner.scan(&piece));
                bytes += piece.len() as u64;
            }
            at += if to - at > PIECE { PIECE - OVERLAP } else { PIECE };
        }
    }
    (bytes, found)
}
