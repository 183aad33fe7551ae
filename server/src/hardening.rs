//! What a process that holds keys gives up: core files, being traced, files that others can read.

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

use crate::error::Error;

/// Applies to the whole process, for good. Fails rather than go on with less. Also raises the number of files the process
/// may open to what it is allowed: connections and tables of the store are files.
pub fn harden() -> Result<(), Error> {
    let failed = |what: &str| Error::Settings(format!("{what} is refused by the system"));
    let none = Rlimit {
        current: Some(0),
        maximum: getrlimit(Resource::Core).maximum,
    };
    setrlimit(Resource::Core, none).map_err(|_| failed("switching core files off"))?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|_| failed("making the process undumpable"))?;
    let files = getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: files.maximum,
        maximum: files.maximum,
    };
    setrlimit(Resource::Nofile, all).map_err(|_| failed("raising the number of open files"))?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    Ok(())
}

/// Files that this process may have open at a time.
pub fn max_files() -> usize {
    let files = getrlimit(Resource::Nofile).current;
    files.map_or(usize::MAX, |files| usize::try_from(files).unwrap_or(usize::MAX))
}
