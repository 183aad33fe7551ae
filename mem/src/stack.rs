//! What calls that have returned left beneath the stack pointer of a thread. It must not know what they did.

use std::io;
use std::mem::MaybeUninit;

/// Below the caller, this much may be used by the calls made here; it is overwritten by hand.
const MARGIN: usize = 4 << 10;
/// Overwritten by hand, in bytes: the margin and a page, which may have 64 KiB, and some more.
const NEAR: usize = 80 << 10;

/// Wipes the part of this thread's stack that nobody uses now: gives its pages back to the system, which hands out empty
/// ones when the stack grows again. Costs one system call, and a fault for each page that is used again.
///
/// # Errors
/// What the system says, for instance for a stack that is locked in memory: then little of it is wiped.
#[inline(never)]
pub fn wipe_unused_stack() -> io::Result<()> {
    let here = 0_u8;
    let here = (&raw const here).addr();
    let (lowest, page) = (lowest_address()?, page_size());
    if here.saturating_sub(lowest) < 2 * NEAR {
        return Ok(());
    }
    overwrite_near();
    let end = (here - MARGIN) & !(page - 1);
    // SAFETY: these pages belong to this thread's own stack and lie beneath every frame in use, the margin being more than
    // the call itself needs. They are private memory, so what is read of them afterwards is zero.
    let given_back = unsafe {
        libc::madvise(
            std::ptr::with_exposed_provenance_mut(lowest),
            end - lowest,
            libc::MADV_DONTNEED,
        )
    };
    match given_back {
        0 => Ok(()),
        // Stacks of first threads are mapped as far as they were used: the rest is nowhere, and empty.
        _ => Err(io::Error::last_os_error()).or_else(|error| match error.raw_os_error() {
            Some(libc::ENOMEM) => Ok(()),
            _ => Err(error),
        }),
    }
}

/// The last pages, in which this call itself stands.
#[inline(never)]
fn overwrite_near() {
    let mut space = [MaybeUninit::<u8>::uninit(); NEAR];
    // SAFETY: the space is this frame's own, and as long as said.
    unsafe { libc::explicit_bzero(space.as_mut_ptr().cast(), NEAR) };
}

fn page_size() -> usize {
    // SAFETY: asks for a number.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).unwrap_or(NEAR - MARGIN)
}

/// Where the stack of this thread ends.
fn lowest_address() -> io::Result<usize> {
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
    // SAFETY: fills the attributes of the calling thread in, or fails.
    let failed = unsafe { libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr()) };
    if failed != 0 {
        return Err(io::Error::from_raw_os_error(failed));
    }
    let (mut lowest, mut size) = (std::ptr::null_mut(), 0);
    // SAFETY: the attributes were filled in, are read, and are freed once.
    let failed = unsafe {
        let failed = libc::pthread_attr_getstack(attributes.as_ptr(), &raw mut lowest, &raw mut size);
        libc::pthread_attr_destroy(attributes.as_mut_ptr());
        failed
    };
    match failed {
        0 => Ok(lowest.addr()),
        _ => Err(io::Error::from_raw_os_error(failed)),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Seek as _, SeekFrom};

    use super::*;

    const MARK: [u8; 8] = [0xc3, 0x5a, 0x91, 0x7e, 0x2d, 0x84, 0xb6, 0x1f];

    /// Fills this many bytes of the stack with the mark and returns.
    #[inline(never)]
    fn go_deep(frames: usize) -> u8 {
        let mut frame = [0_u8; 4096];
        for place in frame.chunks_exact_mut(MARK.len()) {
            place.copy_from_slice(&MARK);
        }
        let below = if frames > 0 { go_deep(frames - 1) } else { 0 };
        std::hint::black_box(&frame)
            .iter()
            .fold(below, |sum, byte| sum ^ byte)
    }

    /// How often the mark stands on this thread's stack beneath the caller, as the system shows it.
    fn marks_left() -> usize {
        let here = 0_u8;
        let (lowest, here) = (lowest_address().unwrap_or_default(), (&raw const here).addr());
        let mut bytes = vec![0; here - lowest];
        let read = std::fs::File::open("/proc/self/mem").and_then(|mut memory| {
            memory.seek(SeekFrom::Start(lowest as u64))?;
            memory.read_exact(&mut bytes)
        });
        assert!(read.is_ok(), "{read:?}");
        bytes
            .chunks_exact(MARK.len())
            .filter(|place| **place == MARK)
            .count()
    }

    #[test]
    fn what_was_deep_is_gone_and_the_stack_goes_on() {
        let before = go_deep(200);
        let left = marks_left();
        assert!(left > 100_000, "only {left} marks: nothing was written");
        assert!(wipe_unused_stack().is_ok());
        assert_eq!(marks_left(), 0);
        assert_eq!(go_deep(200), before);
    }
}
