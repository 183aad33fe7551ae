//! Bugs that a build with the feature `mutants` has on purpose, one at a time, to prove that a test notices them. In every
//! other build there is none, and no release can hold one.

#[cfg(feature = "mutants")]
mod chosen {
    use std::cell::Cell;
    use std::sync::OnceLock;

    /// Names the bug.
    const VARIABLE: &str = "CONCLAVE_MUTANT";
    /// `sometimes` is true once in so many calls.
    const SOMETIMES: u64 = 97;

    /// The bug that this process has; empty for none.
    pub fn active() -> &'static str {
        static ACTIVE: OnceLock<String> = OnceLock::new();
        ACTIVE.get_or_init(|| std::env::var(VARIABLE).unwrap_or_default())
    }

    /// Whether this process has the bug of this name.
    #[must_use]
    pub fn is(name: &str) -> bool {
        active() == name
    }

    /// True now and then, by nothing that nodes agree on. Counts in its thread, so that a simulation replays.
    #[must_use]
    pub fn sometimes() -> bool {
        thread_local!(static CALLS: Cell<u64> = const { Cell::new(0) });
        CALLS.with(|calls| {
            calls.set(calls.get() + 1);
            calls.get().is_multiple_of(SOMETIMES)
        })
    }
}

#[cfg(not(feature = "mutants"))]
mod chosen {
    /// The bug that this process has: none.
    #[must_use]
    pub const fn active() -> &'static str {
        ""
    }

    /// Whether this process has the bug of this name: never.
    #[must_use]
    pub const fn is(_name: &str) -> bool {
        false
    }

    /// Never.
    #[must_use]
    pub const fn sometimes() -> bool {
        false
    }
}

pub use chosen::{active, is, sometimes};
