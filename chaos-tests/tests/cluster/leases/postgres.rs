//! A real PostgreSQL on a free port of loopback, with its own data directory; gone when it is dropped.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::harness::{SOON, eventually, ports};

/// Who makes accounts.
pub const ROOT: &str = "vaultroot";
/// Its first password.
pub const PASSWORD: &str = "first root password";
/// The account it may not run as root under.
const USER: &str = "postgres";

/// A server.
pub struct Postgres {
    pub port: u16,
    process: Option<Child>,
    files: TempDir,
}

impl Postgres {
    /// Makes and starts one.
    pub async fn start() -> Self {
        // In the system's folder: the account it runs as must reach it.
        let files = TempDir::with_prefix("conclave-pg-").expect("a folder");
        let password = files.path().join("password");
        fs::write(&password, PASSWORD).expect("a file");
        if is_root() {
            let mode = fs::Permissions::from_mode(0o777);
            fs::set_permissions(files.path(), mode).expect("permissions");
        }
        let made = as_postgres(&bin("initdb"))
            .arg("-D")
            .arg(files.path().join("data"))
            .args(["-A", "scram-sha-256", "-U", ROOT, "--no-sync", "--pwfile"])
            .arg(&password)
            .stdin(Stdio::null())
            .output()
            .expect("initdb runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let mut server = Self {
            port: ports::free(1)[0],
            process: None,
            files,
        };
        server.run().await;
        server
    }

    /// Starts it again.
    pub async fn run(&mut self) {
        let log = fs::File::create(self.files.path().join("log")).expect("a log");
        let process = as_postgres(&bin("postgres"))
            .arg("-D")
            .arg(self.files.path().join("data"))
            .args(["-p", &self.port.to_string(), "-c", "fsync=off"])
            .args([
                "-c",
                "listen_addresses=127.0.0.1",
                "-c",
                "unix_socket_directories=",
            ])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn();
        self.process = Some(process.expect("PostgreSQL starts"));
        eventually("PostgreSQL answers", SOON, async || {
            let said = self.query_as(ROOT, PASSWORD, "SELECT 1");
            // It answers, whoever may log in by now.
            match said {
                Err(text) if text.contains("password authentication failed") => Ok(()),
                other => other.map(|_| ()),
            }
        })
        .await;
    }

    /// Stops it as a power failure would.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // Its sessions end with it.
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// What a query answers; the error if it does not.
    pub fn query_as(&self, user: &str, password: &str, query: &str) -> Result<String, String> {
        let asked = Command::new("psql")
            .args(["-X", "-A", "-t", "-h", "127.0.0.1", "-U", user, "-d", "postgres"])
            .args(["-p", &self.port.to_string(), "-c", query])
            .env("PGPASSWORD", password)
            .env("PGCONNECT_TIMEOUT", "5")
            .stdin(Stdio::null())
            .output()
            .expect("psql runs");
        match asked.status.success() {
            true => Ok(String::from_utf8_lossy(&asked.stdout).trim().to_owned()),
            false => Err(String::from_utf8_lossy(&asked.stderr).into_owned()),
        }
    }

    /// The accounts that are not its own.
    pub fn accounts(&self) -> Vec<String> {
        let query = "SELECT rolname FROM pg_roles WHERE rolname LIKE 'v-%' ORDER BY 1";
        let answer = self.query_as(ROOT, PASSWORD, query).expect("PostgreSQL answers");
        answer.lines().map(str::to_owned).collect()
    }

    /// Where it is, for a connection's configuration.
    pub fn url(&self) -> String {
        format!(
            "postgresql://{{{{username}}}}:{{{{password}}}}@127.0.0.1:{}/postgres?sslmode=disable",
            self.port
        )
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
        if is_root() {
            // What it wrote is its account's.
            let _ = as_postgres(Path::new("rm"))
                .arg("-rf")
                .arg(self.files.path().join("data"))
                .status();
        }
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A command that ends with this test and, for root, runs as PostgreSQL's own account.
fn as_postgres(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    if is_root() {
        command.args(["--reuid", USER, "--regid", USER, "--clear-groups"]);
    }
    command.arg("--").arg(program).current_dir("/");
    command
}

/// A program of the newest PostgreSQL that is installed.
fn bin(name: &str) -> PathBuf {
    let versions =
        fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is installed (deploy/packages.txt)");
    let found = versions
        .filter_map(Result::ok)
        .map(|version| version.path().join("bin").join(name));
    found
        .filter(|path| path.exists())
        .max()
        .expect("a PostgreSQL server")
}
