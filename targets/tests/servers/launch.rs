//! How real servers are started: they end with the test, and for root they run as the account they are meant to run as.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// Whether this is root, whom servers refuse to run as.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A folder that the account of a server reaches, in the system's own.
pub fn folder(prefix: &str) -> TempDir {
    let files = TempDir::with_prefix(prefix).expect("a folder");
    let mode = fs::Permissions::from_mode(if is_root() { 0o777 } else { 0o700 });
    fs::set_permissions(files.path(), mode).expect("permissions");
    files
}

/// A program that ends with this test and, for root, runs as `user`.
pub fn command(user: &str, program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    if is_root() {
        command.args(["--reuid", user, "--regid", user, "--clear-groups"]);
    }
    command
        .arg("--")
        .arg(program)
        .current_dir("/")
        .stdin(Stdio::null());
    command
}

/// Runs a program to its end.
pub fn must(command: &mut Command) {
    let made = command.output().expect("a program runs (deploy/packages.txt)");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// Removes what a server wrote, which is its account's.
pub fn remove(user: &str, path: &Path) {
    if is_root() {
        let _ = command(user, Path::new("rm")).arg("-rf").arg(path).status();
    }
}
