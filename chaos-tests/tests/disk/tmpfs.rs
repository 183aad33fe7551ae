//! A small file system in memory, for disks that are full. Root only.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{FallocateFlags, fallocate, statvfs};

/// Bytes in a MiB.
pub const MIB: u64 = 1 << 20;

/// A mounted file system; gone when it is dropped.
pub struct Tmpfs {
    at: PathBuf,
}

impl Tmpfs {
    /// Mounts one of `size` bytes at `at`; otherwise why not.
    pub fn mount(at: &Path, size: u64) -> Result<Self, String> {
        let mounted = Command::new("mount")
            .args([
                "-t",
                "tmpfs",
                "-o",
                &format!("size={size},mode=0700"),
                "conclave-chaos",
            ])
            .arg(at)
            .output()
            .map_err(|error| error.to_string())?;
        if !mounted.status.success() {
            return Err(String::from_utf8_lossy(&mounted.stderr).trim().to_owned());
        }
        fs::set_permissions(at, fs::Permissions::from_mode(0o700)).expect("a private folder");
        Ok(Self { at: at.to_owned() })
    }

    /// Fills it until this much is free.
    pub fn leave(&self, free: u64) {
        let path = self.at.join("ballast");
        let ballast = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .expect("ballast");
        let found = statvfs(&self.at).expect("a file system");
        let more = (found.f_bavail * found.f_frsize).saturating_sub(free);
        let has = ballast.metadata().expect("ballast").len();
        if more > 0 {
            fallocate(&ballast, FallocateFlags::empty(), has, more).expect("room for ballast");
        }
    }

    /// Empties it of what filled it.
    pub fn leave_all(&self) {
        fs::remove_file(self.at.join("ballast")).expect("ballast");
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // Lazily: a node may still have files open there.
        let _ = Command::new("umount").arg("--lazy").arg(&self.at).status();
    }
}
