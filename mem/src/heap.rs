//! An allocator that hands back nothing but zeros. It must not know who allocates.

use std::alloc::{GlobalAlloc, Layout};

use tikv_jemallocator::Jemalloc;

/// What jemalloc reads when the process first allocates, by this name: an arena for each processor, and memory that was freed
/// goes back to the system within a second, by a thread of its own. The variable `MALLOC_CONF` overrides it.
#[unsafe(export_name = "malloc_conf")]
pub static SETTINGS: &[u8; 80] =
    b"background_thread:true,percpu_arena:percpu,dirty_decay_ms:1000,muzzy_decay_ms:0\0";

/// Wipes every block before it goes back to the allocator beneath, of whatever size and whoever frees it: buffers of
/// libraries, vectors that grew, tasks that ended. What is in use is not touched, nor what C code allocates by itself.
pub struct Wiping<A = Jemalloc>(A);

impl Wiping {
    /// On top of jemalloc.
    #[must_use]
    pub const fn new() -> Self {
        Self(Jemalloc)
    }
}

impl Default for Wiping {
    fn default() -> Self {
        Self::new()
    }
}

// `realloc` is the trait's own on purpose: it takes a new block, copies, and frees the old one here. The allocator beneath
// would move the block and leave the old bytes behind.
//
// SAFETY: every block comes from the allocator beneath and goes back to it with its own layout.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Wiping<A> {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are those that the allocator beneath asks for.
        unsafe { self.0.alloc(layout) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe { self.0.alloc_zeroed(layout) }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller gives up a block of this size, which nobody uses any more. The C library promises that this
        // write is not optimised away.
        unsafe { libc::explicit_bzero(block.cast(), layout.size()) };
        // SAFETY: as above.
        unsafe { self.0.dealloc(block, layout) }
    }
}

#[cfg(test)]
mod tests {
    use std::alloc::System;
    use std::cell::Cell;

    use super::*;

    thread_local! {
        static FREED: Cell<usize> = const { Cell::new(0) };
        static DIRTY: Cell<usize> = const { Cell::new(0) };
    }

    /// Looks at what it is given back.
    struct Inspector;

    // SAFETY: passes everything on to the system's allocator.
    unsafe impl GlobalAlloc for Inspector {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            // SAFETY: the caller's promises.
            unsafe { System.alloc(layout) }
        }

        unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
            // SAFETY: the block is as long as its layout says and was written to by the test.
            let bytes = unsafe { std::slice::from_raw_parts(block, layout.size()) };
            DIRTY.set(DIRTY.get() + bytes.iter().filter(|byte| **byte != 0).count());
            FREED.set(FREED.get() + 1);
            // SAFETY: the caller's promises.
            unsafe { System.dealloc(block, layout) };
        }
    }

    #[test]
    fn blocks_of_all_sizes_come_back_empty() {
        let memory = Wiping(Inspector);
        for size in [1, 2, 7, 16, 33, 4096, 100_000, 3_000_000] {
            let layout = Layout::from_size_align(size, 16).unwrap_or(Layout::new::<u8>());
            // SAFETY: the block is written within its size, grown, shrunk and freed once, each time by its layout.
            unsafe {
                let block = memory.alloc(layout);
                block.write_bytes(0xa5, layout.size());
                let longer = memory.realloc(block, layout, size * 2);
                longer.write_bytes(0xa5, size * 2);
                let layout = Layout::from_size_align_unchecked(size * 2, 16);
                let shorter = memory.realloc(longer, layout, size);
                memory.dealloc(shorter, Layout::from_size_align_unchecked(size, 16));
            }
        }
        assert_eq!((FREED.get(), DIRTY.get()), (24, 0));
    }
}
