//! The bug that this process has on purpose, so that tests can show that they would catch it. None in a release: the crates
//! that hold them do not compile without debug assertions.

use conclave_raft::mutant;

/// Its name, in a build with the feature `mutants` alone.
#[must_use]
pub fn active() -> Option<&'static str> {
    Some(mutant::active()).filter(|name| !name.is_empty())
}

/// Says so in the log, if there is one.
pub fn warn() {
    if let Some(mutant) = active() {
        tracing::error!(
            "THIS PROCESS IS BROKEN ON PURPOSE ({mutant}): it is for tests alone and loses or shows secrets"
        );
    }
}
