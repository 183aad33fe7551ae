//! The machine: how many files may be open, room on the disk, the clock.

use std::path::Path;

use rustix::fs::statvfs;

use super::{Finding, Status};
use crate::hardening;

/// Files below which a busy node runs out of them.
const FEW_FILES: usize = 4096;
/// Room below which a warning is due: this share of a disk, or so many bytes.
const LITTLE_SHARE: u64 = 20;
const LITTLE_BYTES: u64 = 1 << 30;
/// 2026-01-01, before which this was not made, in milliseconds since 1970.
const MADE: u64 = 1_767_225_600_000;
/// 2100-01-01.
const FAR: u64 = 4_102_444_800_000;

/// Checks it. `data`: where data will lie.
pub fn check(data: Option<&Path>, now: u64) -> Finding {
    Finding::all("Check Operating System", vec![files(), disk(data), clock(now)])
}

fn files() -> Finding {
    let files = hardening::max_files();
    let (status, advice) = match files < FEW_FILES {
        true => (Status::Warning, "; raise it (ulimit -n, LimitNOFILE)"),
        false => (Status::Ok, ""),
    };
    Finding::new(
        "Check Open File Limits",
        status,
        format!("Open file limits are set to {files}{advice}."),
    )
}

fn disk(data: Option<&Path>) -> Finding {
    const NAME: &str = "Check Disk Usage";
    // A directory that is yet to be made lies on the disk of the next one above it.
    let above = data.unwrap_or_else(|| Path::new("/")).ancestors();
    let Some(place) = above.into_iter().find(|place| place.exists()) else {
        return Finding::new(
            NAME,
            Status::Warning,
            "the disk of the data directory was not found",
        );
    };
    let found = match statvfs(place) {
        Ok(found) => found,
        Err(error) => return Finding::new(NAME, Status::Warning, format!("{}: {error}", place.display())),
    };
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    let all = found.f_blocks.saturating_mul(found.f_frsize);
    let little = free < LITTLE_BYTES || free < all / LITTLE_SHARE;
    let told = format!(
        "{}: {} MiB of {} MiB are free.",
        place.display(),
        free >> 20,
        all >> 20
    );
    Finding::new(NAME, if little { Status::Warning } else { Status::Ok }, told)
}

fn clock(now: u64) -> Finding {
    const NAME: &str = "Check Clock";
    if (MADE..FAR).contains(&now) {
        return Finding::new(NAME, Status::Ok, "");
    }
    let told = "the clock is years off: certificates will be taken for invalid, and the node will not lead";
    Finding::new(NAME, Status::Failure, told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_years_off_is_told() {
        assert_eq!(clock(0).status, Status::Failure);
        assert_eq!(clock(MADE).status, Status::Ok);
    }

    #[test]
    fn the_disk_of_a_directory_that_is_yet_to_be_made_is_found() {
        let told = disk(Some(Path::new("/nosuch/deep/down"))).message;
        assert!(told.starts_with("/: "), "{told}");
    }
}
