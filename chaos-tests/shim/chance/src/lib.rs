//! The system's randomness, drawn from a seed on the threads that ask for it, so that keys, ids, nonces and the order of hash
//! tables come again in a simulation. It stands in for the C library's `getrandom` in the one test program that links it; the
//! product has no door through which its randomness could be foretold. Test code only.

use std::cell::Cell;
use std::ffi::{c_int, c_uint, c_void};

use rustix::rand::{GetRandomFlags, getrandom as real_getrandom};

thread_local!(static STATE: Cell<Option<u64>> = const { Cell::new(None) });

unsafe extern "C" {
    fn __errno_location() -> *mut c_int;
}

/// What this thread is given by the system comes from `seed` from here on. Threads that it starts are not seeded.
pub fn seed_this_thread(seed: u64) {
    STATE.set(Some(seed));
}

/// Stands in for the C library's `getrandom`: bytes of the thread's seed, or of the kernel where there is none.
///
/// # Safety
/// As for the C library's: `buffer` must be valid for writes of `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(buffer: *mut c_void, length: usize, flags: c_uint) -> isize {
    if length == 0 {
        return 0;
    }
    // SAFETY: the caller vouches for `length` bytes, which are not empty; none of them is read before it is written.
    let out = unsafe {
        buffer.cast::<u8>().write_bytes(0, length);
        std::slice::from_raw_parts_mut(buffer.cast::<u8>(), length)
    };
    let Some(state) = STATE.get() else {
        return from_kernel(out, flags);
    };
    STATE.set(Some(fill(state, out)));
    isize::try_from(length).unwrap_or(isize::MAX)
}

fn from_kernel(out: &mut [u8], flags: c_uint) -> isize {
    match real_getrandom(&mut *out, GetRandomFlags::from_bits_retain(flags)) {
        Ok(filled) => isize::try_from(filled).unwrap_or(isize::MAX),
        Err(error) => {
            // SAFETY: the C library's own place for this thread's error number.
            unsafe { *__errno_location() = error.raw_os_error() };
            -1
        }
    }
}

/// SplitMix64 (Steele, Lea and Flood 2014); where it stands afterwards.
fn fill(mut state: u64, out: &mut [u8]) -> u64 {
    for chunk in out.chunks_mut(8) {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let drawn = (mixed ^ (mixed >> 31)).to_le_bytes();
        chunk
            .iter_mut()
            .zip(drawn)
            .for_each(|(byte, drawn)| *byte = drawn);
    }
    state
}
