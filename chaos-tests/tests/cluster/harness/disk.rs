//! The disk under a node as the shim fakes it: it counts writes, loses power, fails, lies, is slow. The numbers lie in a page
//! that both sides share.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

#[path = "../../../shim/src/control.rs"]
mod control;

pub use control::{CLOCK_SHIFT, IN_LOG, IN_STATE, LOSE_ALL, LOSE_SOME, SOURCE, Slot};

/// A node's disk.
pub struct Disk {
    page: File,
    path: PathBuf,
    data: PathBuf,
}

impl Disk {
    /// A disk for the data directory `data`, with its page at `path`.
    pub fn new(path: &Path, data: &Path) -> Self {
        let page = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(path);
        let page = page.expect("a control page");
        page.set_len(control::PAGE as u64).expect("a control page");
        Self {
            page,
            path: path.to_owned(),
            data: data.canonicalize().expect("a data directory"),
        }
    }

    /// What the shim in a process must be told to put this disk under it.
    pub fn environment(&self) -> [(&'static str, OsString); 2] {
        [
            (control::DATA, self.data.clone().into()),
            (control::CONTROL, self.path.clone().into()),
        ]
    }

    /// A number of the page.
    pub fn get(&self, slot: Slot) -> u64 {
        let mut bytes = [0; 8];
        self.page
            .read_exact_at(&mut bytes, 8 * slot as u64)
            .expect("a control page");
        u64::from_le_bytes(bytes)
    }

    /// Sets a number of the page; the node sees it at its next write.
    pub fn set(&self, slot: Slot, number: u64) {
        self.page
            .write_all_at(&number.to_le_bytes(), 8 * slot as u64)
            .expect("a control page");
    }

    /// Loses power at the `after`th write from now on, this way.
    pub fn lose_power(&self, after: u64, loss: u64, seed: u64) {
        self.set(Slot::Loss, loss);
        self.set(Slot::Seed, seed);
        self.set(Slot::LoseAt, self.get(Slot::Writes) + after);
    }

    /// Loses power at once.
    pub fn lose_power_now(&self, loss: u64, seed: u64) {
        self.set(Slot::Loss, loss);
        self.set(Slot::Seed, seed);
        self.set(Slot::LoseNow, 1);
    }

    /// Power is back, and the disk is as good as new; how many effects the last loss undid.
    pub fn is_well_again(&self) -> u64 {
        assert_eq!(self.get(Slot::Trouble), 0, "the shim could not undo everything");
        let undone = self.get(Slot::Undone);
        for slot in [
            Slot::LoseAt,
            Slot::LoseNow,
            Slot::IgnoreSync,
            Slot::SyncDelay,
            Slot::SyncFailures,
            Slot::WriteFailures,
            Slot::ShortWrites,
            Slot::WriteDelay,
            Slot::Where,
            Slot::Undone,
            Slot::Met,
        ] {
            self.set(slot, 0);
        }
        undone
    }
}

/// The shim, built with these tests.
pub fn shim() -> PathBuf {
    let own = std::env::current_exe().expect("a running test has an executable");
    let built = own.with_file_name("libconclave_chaos_shim.so");
    assert!(built.is_file(), "{} is missing", built.display());
    built
}
