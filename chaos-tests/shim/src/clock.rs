//! What the time of day is in the process: the machine's, shifted by as many seconds as the environment says. Spans are measured
//! as they are, as on a machine that was off. Allocates nothing: an allocator asks for the time before it can give anything.
//! This file must not know the C library's conventions.

use std::ffi::{CStr, c_char};
use std::sync::OnceLock;

use rustix::io::Errno;
use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::control::CLOCK_SHIFT;

unsafe extern "C" {
    fn getenv(name: *const c_char) -> *const c_char;
}

/// The time by a clock of this number.
pub fn now(clock: i32) -> Result<Timespec, Errno> {
    let clock = ClockId::try_from(clock).map_err(|_| Errno::INVAL)?;
    let mut now = clock_gettime(clock);
    if matches!(clock, ClockId::Realtime | ClockId::RealtimeCoarse) {
        now.tv_sec = now.tv_sec.saturating_add(shift());
    }
    Ok(now)
}

fn shift() -> i64 {
    static SECONDS: OnceLock<i64> = OnceLock::new();
    *SECONDS.get_or_init(|| {
        // SAFETY: the name ends with a zero; what comes back is a text of the process's environment, or nothing.
        let text = unsafe {
            getenv(CLOCK_SHIFT.as_ptr())
                .as_ref()
                .map(|text| CStr::from_ptr(text))
        };
        text.and_then(|text| text.to_str().ok()?.parse().ok())
            .unwrap_or(0)
    })
}
