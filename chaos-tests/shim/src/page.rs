//! The control page as the shim sees it: mapped memory that the test changes while the node runs.

use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::mm::{MapFlags, ProtFlags, mmap};

use crate::control::{CONTROL, PAGE, Slot};

/// The mapped page; it stays for the life of the process.
pub struct Page(*const AtomicU64);

// SAFETY: the memory is shared and never unmapped, and it is only reached through atomics.
unsafe impl Send for Page {}
// SAFETY: as above.
unsafe impl Sync for Page {}

impl Page {
    /// Maps the file that the environment names.
    pub fn map() -> Option<Self> {
        let path = std::env::var_os(CONTROL)?;
        let file = openat(
            CWD,
            path.as_os_str(),
            OFlags::RDWR | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .ok()?;
        // SAFETY: the kernel picks a fresh place; nobody else uses it.
        let place = unsafe {
            mmap(
                std::ptr::null_mut(),
                PAGE,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                &file,
                0,
            )
        };
        Some(Self(place.ok()?.cast::<AtomicU64>()))
    }

    fn slot(&self, slot: Slot) -> &AtomicU64 {
        // SAFETY: every slot lies within the mapped page, which is aligned to its own size.
        unsafe { &*self.0.add(slot as usize) }
    }

    /// The number there.
    pub fn get(&self, slot: Slot) -> u64 {
        self.slot(slot).load(Ordering::SeqCst)
    }

    /// Adds to the number there; the sum.
    pub fn add(&self, slot: Slot, more: u64) -> u64 {
        self.slot(slot).fetch_add(more, Ordering::SeqCst) + more
    }

    /// Takes one of the number there, unless none is left.
    pub fn take(&self, slot: Slot) -> bool {
        self.slot(slot)
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
            .is_ok()
    }
}
