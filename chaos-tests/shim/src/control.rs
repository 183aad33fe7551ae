//! The page that a test and the shim in its node share: a file of numbers, mapped by the shim, read and written in place by
//! the test. Both sides compile this file. It must not know how either side reaches the page.

/// Numbers of 8 bytes, little-endian, at `8 * slot`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
#[allow(dead_code, reason = "each side uses some of them")]
pub enum Slot {
    /// Store writes so far: every call that changes a file or a name below the data directory, and every sync.
    Writes = 0,
    /// Lose power in place of this write or a later one; 0 never.
    LoseAt = 1,
    /// Not 0: lose power now, whether anything is written or not.
    LoseNow = 2,
    /// What is lost: `LOSE_ALL` or `LOSE_SOME`.
    Loss = 3,
    /// Chooses what `LOSE_SOME` keeps.
    Seed = 4,
    /// Not 0: a sync answers at once and makes nothing durable, as a disk that lies.
    IgnoreSync = 5,
    /// Milliseconds that each sync takes longer.
    SyncDelay = 6,
    /// Error number with which syncs fail while `SyncFailures` lasts. What such a sync should have covered is never durable.
    SyncError = 7,
    /// How many more syncs fail.
    SyncFailures = 8,
    /// Error number with which writes fail while `WriteFailures` lasts.
    WriteError = 9,
    /// How many more writes fail.
    WriteFailures = 10,
    /// Which files the faults above meet: `ANYWHERE`, `IN_LOG` or `IN_STATE`.
    Where = 11,
    /// Told by the shim: effects that were not durable and were undone when power was lost.
    Undone = 12,
    /// Told by the shim: things it could not undo. The run proves nothing then.
    Trouble = 13,
    /// Told by the shim: faults that were met, delays and ignored syncs included.
    Met = 14,
    /// How many more writes take only half of what they are given.
    ShortWrites = 15,
    /// Milliseconds that each write takes longer.
    WriteDelay = 16,
}

/// Bytes of the page.
pub const PAGE: usize = 4096;

/// Everything that was not synced is gone.
#[allow(dead_code, reason = "each side uses some of them")]
pub const LOSE_ALL: u64 = 0;
/// Of what was not synced, some has reached the disk: files end torn, a first part of the changes of names stands.
#[allow(dead_code, reason = "each side uses some of them")]
pub const LOSE_SOME: u64 = 1;

/// All files.
#[allow(dead_code, reason = "each side uses some of them")]
pub const ANYWHERE: u64 = 0;
/// Files of the Raft log.
#[allow(dead_code, reason = "each side uses some of them")]
pub const IN_LOG: u64 = 1;
/// Files of the applied state.
#[allow(dead_code, reason = "each side uses some of them")]
pub const IN_STATE: u64 = 2;

/// Environment: the data directory whose files are watched, as an absolute path without links.
pub const DATA: &str = "CONCLAVE_SHIM_DATA";
/// Environment: the file of this page.
pub const CONTROL: &str = "CONCLAVE_SHIM_CONTROL";
/// Environment: the IPv4 address of loopback from which the process's connections on this machine come.
#[allow(dead_code, reason = "each side uses some of them")]
pub const SOURCE: &str = "CONCLAVE_SHIM_SOURCE";
/// Variable with the seconds by which the process's time of day is shifted, negative for a clock that is slow.
pub const CLOCK_SHIFT: &std::ffi::CStr = c"CONCLAVE_SHIM_CLOCK_SHIFT";
