//! Bugs that this build has on purpose, so that tests can show that they would catch them. None in a release: the crates
//! that hold them do not compile without debug assertions.

/// Names of the build features that reintroduce a bug; empty in every build that is meant to be used.
pub const MUTANTS: &[&str] = &[
    #[cfg(feature = "mutant-skip-fsync")]
    "mutant-skip-fsync",
    #[cfg(feature = "mutant-stale-read")]
    "mutant-stale-read",
    #[cfg(feature = "mutant-lost-expectation")]
    "mutant-lost-expectation",
    #[cfg(feature = "mutant-plain-names")]
    "mutant-plain-names",
];

/// Says so in the log, if this build is one of them.
pub fn warn() {
    for mutant in MUTANTS {
        tracing::error!(
            "THIS BUILD IS BROKEN ON PURPOSE ({mutant}): it is for tests alone and loses or shows secrets"
        );
    }
}
