//! A large piece of memory for one heavy computation: from the system, in large pages, and back to the system. It must not
//! know what is computed.

use std::io;
use std::marker::PhantomData;
use std::ptr::{self, NonNull};

/// A large page of most machines, in bytes. Where it is another size the hint below is worth less, nothing else.
const LARGE_PAGE: usize = 2 << 20;

/// A slice that has a mapping of its own. Computations that jump about in it, as memory-hard hashes do, pay for every small page they
/// touch: large ones, where the system has them, save a fifth of Argon2id's time. Dropping it unmaps it, and nobody is given
/// the pages before the system has wiped them.
pub struct Mapped<T> {
    whole: NonNull<libc::c_void>,
    bytes: usize,
    first: NonNull<T>,
    len: usize,
    owns: PhantomData<T>,
}

impl<T: Copy + Default> Mapped<T> {
    /// `len` values, each the default one.
    ///
    /// # Errors
    /// What the system says when it has no memory left, or the limits of the process are reached.
    pub fn new(len: usize) -> io::Result<Self> {
        let too_large = || io::Error::from(io::ErrorKind::OutOfMemory);
        let size = len.checked_mul(size_of::<T>()).ok_or_else(too_large)?;
        // Up to a large page lies before the first whole one; nothing of it is touched.
        let bytes = size.checked_add(2 * LARGE_PAGE).ok_or_else(too_large)?;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping at an address that the system chooses.
        let whole = unsafe { libc::mmap(ptr::null_mut(), bytes, access, kind, -1, 0) };
        if whole == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let whole = NonNull::new(whole).ok_or_else(too_large)?;
        let skipped = whole.as_ptr().align_offset(LARGE_PAGE).min(LARGE_PAGE);
        // SAFETY: within the mapping, which is two large pages longer than the values.
        let first: NonNull<T> = unsafe { whole.byte_add(skipped) }.cast();
        let mapped = Self {
            whole,
            bytes,
            first,
            len,
            owns: PhantomData,
        };
        // SAFETY: this part of the mapping is nobody else's yet. It is a hint: what the system says of it does not matter.
        unsafe { libc::madvise(first.as_ptr().cast(), size, libc::MADV_HUGEPAGE) };
        for index in 0..len {
            // SAFETY: within the mapping, and aligned: a large page is a multiple of every alignment of a value.
            unsafe { first.add(index).write(T::default()) };
        }
        Ok(mapped)
    }
}

impl<T> AsMut<[T]> for Mapped<T> {
    fn as_mut(&mut self) -> &mut [T] {
        // SAFETY: all values are initialised, and `self` is the only way to them.
        unsafe { std::slice::from_raw_parts_mut(self.first.as_ptr(), self.len) }
    }
}

impl<T> Drop for Mapped<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `new` and is unmapped once; its values need no drop, for they are `Copy`.
        unsafe { libc::munmap(self.whole.as_ptr(), self.bytes) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_it_can_be_written_and_read() {
        let mut mapped = Mapped::<[u64; 32]>::new(20_000).unwrap();
        let values = mapped.as_mut();
        assert_eq!(values.len(), 20_000);
        assert!(values.iter().flatten().all(|value| *value == 0));
        for (index, value) in values.iter_mut().enumerate() {
            value[31] = index as u64;
        }
        assert!(
            mapped
                .as_mut()
                .iter()
                .enumerate()
                .all(|(index, value)| value[31] == index as u64)
        );
    }

    #[test]
    fn what_no_machine_has_is_refused() {
        assert!(Mapped::<[u64; 32]>::new(usize::MAX / 256).is_err());
        assert!(Mapped::<[u64; 32]>::new(usize::MAX).is_err());
    }
}
