//! How real servers are started: they end with the test, and for root they run as the account they are meant to run as.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

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
    match is_root() {
        true => started(&["--reuid", user, "--regid", user, "--clear-groups"], program),
        false => started(&[], program),
    }
}

/// A program that ends with this test and runs as whoever runs that.
pub fn own(program: &str) -> Command {
    started(&[], Path::new(program))
}

fn started(who: &[&str], program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL"])
        .args(who)
        .arg("--")
        .arg(program)
        .current_dir("/")
        .stdin(Stdio::null());
    command
}

/// A process that ends with what it is for, as by a power failure. Its sessions end with it.
pub struct Daemon(Child);

impl Daemon {
    /// Starts it; what it says goes into a file.
    pub fn start(command: &mut Command, log: &Path) -> Self {
        let log = fs::File::create(log).expect("a log");
        command.stdout(log.try_clone().expect("a log")).stderr(log);
        let process = command.spawn();
        Self(process.unwrap_or_else(|error| panic!("{command:?}: {error} (deploy/packages.txt)")))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a client is answered; the error if it is not.
pub fn answered(client: &mut Command) -> Result<String, String> {
    let asked = client.output().expect("a client runs (deploy/packages.txt)");
    match asked.status.success() {
        true => Ok(String::from_utf8_lossy(&asked.stdout).trim().to_owned()),
        false => Err(String::from_utf8_lossy(&asked.stderr).into_owned()),
    }
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
