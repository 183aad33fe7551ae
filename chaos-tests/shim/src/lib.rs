//! A disk that loses power, fails, is full, slow or lies, for one node of a chaos test: stands between the node and the C
//! library (`LD_PRELOAD`), journals what the node did to its data directory and did not make durable, and undoes exactly
//! that when the test says so, in place of the process's next write. It can also give the process's connections a source address
//! of their own, and shift its time of day. Test code only; never linked into anything.
//!
//! Mapped writes are not seen; the stores make none. What the C library does inside itself (`fopen`, `fwrite`) is not seen
//! either: RocksDB's own text log. Every real call is made by `rustix` straight to the kernel, so nothing here comes back
//! into itself.

mod clock;
pub mod control;
mod journal;
mod lot;
mod page;
mod source;
mod store;

use std::ffi::{CStr, c_char, c_int, c_void};
use std::io::IoSlice;

use rustix::fs::{
    AtFlags, FallocateFlags, Mode, OFlags, RenameFlags, fallocate as real_fallocate,
    fdatasync as real_fdatasync, fsync as real_fsync, ftruncate as real_ftruncate, linkat as real_linkat,
    mkdirat as real_mkdirat, renameat_with, unlinkat as real_unlinkat,
};
use rustix::io::Errno;
use rustix::net::SocketAddrAny;
use rustix::net::addr::SocketAddrStorage;
use rustix::time::Timespec;

use store::borrowed;

const CWD: c_int = -100;
/// `AT_REMOVEDIR` of `unlinkat`.
const REMOVE_FOLDER: c_int = 0x200;
/// Bytes of a socket address: its family at least.
const ADDRESS_SIZES: std::ops::RangeInclusive<usize> = 2..=std::mem::size_of::<SocketAddrStorage>();
/// `CLOCK_REALTIME`.
const REALTIME: c_int = 0;
/// `FALLOC_FL_KEEP_SIZE`.
const KEEP_SIZE: c_int = 1;

unsafe extern "C" {
    fn __errno_location() -> *mut c_int;
}

fn fail(error: Errno) {
    // SAFETY: the C library's own place for this thread's error number.
    unsafe { *__errno_location() = error.raw_os_error() };
}

fn count(done: Result<usize, Errno>) -> isize {
    done.map_or_else(
        |error| {
            fail(error);
            -1
        },
        |bytes| isize::try_from(bytes).unwrap_or(isize::MAX),
    )
}

fn status(done: Result<(), Errno>) -> c_int {
    count(done.map(|()| 0)) as c_int
}

fn descriptor(opened: Result<c_int, Errno>) -> c_int {
    opened.unwrap_or_else(|error| {
        fail(error);
        -1
    })
}

unsafe fn text<'t>(path: *const c_char) -> &'t [u8] {
    // SAFETY: the C library's contract: a path ends with a zero byte.
    unsafe { CStr::from_ptr(path) }.to_bytes()
}

unsafe fn bytes<'b>(buffer: *const c_void, length: usize) -> &'b [u8] {
    if length == 0 {
        return &[];
    }
    // SAFETY: the C library's contract: this many bytes may be read there.
    unsafe { std::slice::from_raw_parts(buffer.cast(), length) }
}

unsafe fn slices<'b>(vectors: *const c_void, number: c_int) -> &'b [IoSlice<'b>] {
    let number = usize::try_from(number).unwrap_or(0);
    if number == 0 {
        return &[];
    }
    // SAFETY: the C library's contract, and `IoSlice` is laid out as `struct iovec` on Unix.
    unsafe { std::slice::from_raw_parts(vectors.cast(), number) }
}

fn size_of(slices: &[IoSlice<'_>]) -> usize {
    slices.iter().map(|slice| slice.len()).sum()
}

/// At most so many bytes of a buffer.
fn first(buffer: &[u8], most: usize) -> &[u8] {
    buffer.get(..most).unwrap_or(buffer)
}

/// What a write of several pieces takes that takes less than all: some of the first piece that is not empty.
fn beginning<'b>(slices: &'b [IoSlice<'_>], most: usize) -> Option<&'b [u8]> {
    if most >= size_of(slices) {
        return None;
    }
    let piece = slices.iter().find(|slice| !slice.is_empty())?;
    Some(first(piece, most))
}

fn place(offset: i64) -> Result<u64, Errno> {
    u64::try_from(offset).map_err(|_| Errno::INVAL)
}

macro_rules! instead_of {
    ($($(#[$doc:meta])* $($name:ident)|+ ($($argument:ident: $kind:ty),*) -> $answer:ty $body:block)*) => {$(
        instead_of!(@each [$($name)|+] [$(#[$doc])*] [$($argument: $kind),*] [$answer] $body);
    )*};
    (@each [$name:ident] $doc:tt $arguments:tt $answer:tt $body:block) => {
        instead_of!(@one $name $doc $arguments $answer $body);
    };
    (@each [$name:ident | $($rest:ident)|+] $doc:tt $arguments:tt $answer:tt $body:block) => {
        instead_of!(@one $name $doc $arguments $answer $body);
        instead_of!(@each [$($rest)|+] $doc $arguments $answer $body);
    };
    (@one $name:ident [$(#[$doc:meta])*] [$($argument:ident: $kind:ty),*] [$answer:ty] $body:block) => {
        $(#[$doc])*
        ///
        /// # Safety
        /// As the C library's function of this name.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($($argument: $kind),*) -> $answer {
            // SAFETY: the body relies on the C library's contract, which the caller keeps.
            #[allow(unused_unsafe, reason = "some need none")]
            unsafe { $body }
        }
    };
}

instead_of! {
    /// The time by one of the clocks.
    clock_gettime(clock: c_int, into: *mut Timespec) -> c_int {
        status(clock::now(clock).map(|now| into.write(now)))
    }
    /// The time of day, seconds and microseconds. There are no time zones here, as in the kernel.
    gettimeofday(into: *mut [i64; 2], _zone: *mut c_void) -> c_int {
        status(clock::now(REALTIME).map(|now| into.write([now.tv_sec, now.tv_nsec / 1000])))
    }
    /// The time of day in seconds.
    time(into: *mut i64) -> i64 {
        let seconds = clock::now(REALTIME).map_or(-1, |now| now.tv_sec);
        if !into.is_null() {
            into.write(seconds);
        }
        seconds
    }
    /// Connects.
    connect(fd: c_int, address: *const c_void, length: u32) -> c_int {
        if !ADDRESS_SIZES.contains(&(length as usize)) {
            return status(Err(Errno::INVAL));
        }
        let to = SocketAddrAny::read(address.cast(), length);
        status(source::connect(borrowed(fd), &to))
    }
    /// Opens. A variadic third argument comes in the same register as a fixed one.
    open | open64 (path: *const c_char, flags: c_int, mode: u32) -> c_int {
        openat(CWD, path, flags, mode)
    }
    /// Opens.
    openat | openat64 (folder: c_int, path: *const c_char, flags: c_int, mode: u32) -> c_int {
        let flags = OFlags::from_bits_retain(flags as u32);
        descriptor(store::open(borrowed(folder), text(path), flags, Mode::from_raw_mode(mode)))
    }
    /// Makes a file.
    creat | creat64 (path: *const c_char, mode: u32) -> c_int {
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::TRUNC;
        descriptor(store::open(borrowed(CWD), text(path), flags, Mode::from_raw_mode(mode)))
    }
    /// Writes.
    write(fd: c_int, buffer: *const c_void, length: usize) -> isize {
        let (fd, buffer) = (borrowed(fd), bytes(buffer, length));
        count(store::write(fd, None, length, |most| rustix::io::write(fd, first(buffer, most))))
    }
    /// Writes at a place.
    pwrite | pwrite64 (fd: c_int, buffer: *const c_void, length: usize, offset: i64) -> isize {
        let (fd, buffer) = (borrowed(fd), bytes(buffer, length));
        count(place(offset).and_then(|at| {
            store::write(fd, Some(at), length, |most| rustix::io::pwrite(fd, first(buffer, most), at))
        }))
    }
    /// Writes several pieces.
    writev(fd: c_int, vectors: *const c_void, number: c_int) -> isize {
        let (fd, vectors) = (borrowed(fd), slices(vectors, number));
        count(store::write(fd, None, size_of(vectors), |most| match beginning(vectors, most) {
            Some(part) => rustix::io::write(fd, part),
            None => rustix::io::writev(fd, vectors),
        }))
    }
    /// Writes several pieces at a place.
    pwritev | pwritev64 (fd: c_int, vectors: *const c_void, number: c_int, offset: i64) -> isize {
        let (fd, vectors) = (borrowed(fd), slices(vectors, number));
        count(place(offset).and_then(|at| {
            store::write(fd, Some(at), size_of(vectors), |most| match beginning(vectors, most) {
                Some(part) => rustix::io::pwrite(fd, part, at),
                None => rustix::io::pwritev(fd, vectors, at),
            })
        }))
    }
    /// Copies within the kernel: not into a watched file. The caller then copies by reading and writing.
    copy_file_range(
        from: c_int,
        from_offset: *mut c_void,
        to: c_int,
        to_offset: *mut c_void,
        length: usize,
        flags: u32
    ) -> isize {
        let _ = (from, from_offset, to, to_offset, length, flags);
        count(Err(Errno::XDEV))
    }
    /// Copies within the kernel: not at all, as `copy_file_range`.
    sendfile | sendfile64 (to: c_int, from: c_int, offset: *mut c_void, length: usize) -> isize {
        let _ = (to, from, offset, length);
        count(Err(Errno::INVAL))
    }
    /// Cuts or lengthens a file.
    ftruncate | ftruncate64 (fd: c_int, length: i64) -> c_int {
        let fd = borrowed(fd);
        status(place(length).and_then(|length| {
            store::resize(fd, length, || real_ftruncate(fd, length))
        }))
    }
    /// Reserves room. Without growth there is nothing to lose.
    fallocate | fallocate64 (fd: c_int, mode: c_int, offset: i64, length: i64) -> c_int {
        let fd = borrowed(fd);
        let (Ok(offset), Ok(length)) = (place(offset), place(length)) else {
            return status(Err(Errno::INVAL));
        };
        let real = || real_fallocate(fd, FallocateFlags::from_bits_retain(mode as u32), offset, length);
        status(match mode {
            KEEP_SIZE => real(),
            0 => store::resize(fd, offset.saturating_add(length), real),
            _ if store::is_watched(fd) => Err(Errno::OPNOTSUPP),
            _ => real(),
        })
    }
    /// Reserves room and makes the file that long; answers the error itself.
    posix_fallocate | posix_fallocate64 (fd: c_int, offset: i64, length: i64) -> c_int {
        let fd = borrowed(fd);
        let (Ok(offset), Ok(length)) = (place(offset), place(length)) else {
            return Errno::INVAL.raw_os_error();
        };
        let real = || real_fallocate(fd, FallocateFlags::empty(), offset, length);
        let done = store::resize(fd, offset.saturating_add(length), real);
        done.map_or_else(Errno::raw_os_error, |()| 0)
    }
    /// Makes a file or folder durable.
    fsync(fd: c_int) -> c_int {
        let fd = borrowed(fd);
        status(store::sync(fd, || real_fsync(fd)))
    }
    /// Makes a file's contents durable.
    fdatasync(fd: c_int) -> c_int {
        let fd = borrowed(fd);
        status(store::sync(fd, || real_fdatasync(fd)))
    }
    /// Moves a name.
    rename(from: *const c_char, to: *const c_char) -> c_int {
        renameat2(CWD, from, CWD, to, 0)
    }
    /// Moves a name.
    renameat(from_folder: c_int, from: *const c_char, to_folder: c_int, to: *const c_char) -> c_int {
        renameat2(from_folder, from, to_folder, to, 0)
    }
    /// Moves a name.
    renameat2(from_folder: c_int, from: *const c_char, to_folder: c_int, to: *const c_char, flags: u32) -> c_int {
        let (from, to) = ((borrowed(from_folder), text(from)), (borrowed(to_folder), text(to)));
        let flags = RenameFlags::from_bits_retain(flags);
        status(store::rename(from, to, || renameat_with(from.0, from.1, to.0, to.1, flags)))
    }
    /// Gives a second name.
    link(from: *const c_char, to: *const c_char) -> c_int {
        linkat(CWD, from, CWD, to, 0)
    }
    /// Gives a second name.
    linkat(from_folder: c_int, from: *const c_char, to_folder: c_int, to: *const c_char, flags: c_int) -> c_int {
        let (from, to) = ((borrowed(from_folder), text(from)), (borrowed(to_folder), text(to)));
        let flags = AtFlags::from_bits_retain(flags as u32);
        status(store::link(to.0, to.1, || real_linkat(from.0, from.1, to.0, to.1, flags)))
    }
    /// Removes a name.
    unlink(path: *const c_char) -> c_int {
        unlinkat(CWD, path, 0)
    }
    /// Removes a folder.
    rmdir(path: *const c_char) -> c_int {
        unlinkat(CWD, path, REMOVE_FOLDER)
    }
    /// Removes a name or a folder.
    unlinkat(folder: c_int, path: *const c_char, flags: c_int) -> c_int {
        let (folder, path) = (borrowed(folder), text(path));
        let real = || real_unlinkat(folder, path, AtFlags::from_bits_retain(flags as u32));
        status(store::remove(folder, path, flags & REMOVE_FOLDER != 0, real))
    }
    /// Makes a folder.
    mkdir(path: *const c_char, mode: u32) -> c_int {
        mkdirat(CWD, path, mode)
    }
    /// Makes a folder.
    mkdirat(folder: c_int, path: *const c_char, mode: u32) -> c_int {
        let (folder, path) = (borrowed(folder), text(path));
        let real = || real_mkdirat(folder, path, Mode::from_raw_mode(mode));
        status(store::make_folder(folder, path, real))
    }
}
