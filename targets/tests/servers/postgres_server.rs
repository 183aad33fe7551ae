//! A real PostgreSQL on a free port of loopback, with its own data directory; gone when it is dropped.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::launch;
use crate::harness::{eventually, ports};

/// Who makes accounts.
pub const ROOT: &str = "vaultroot";
/// Its first password.
pub const PASSWORD: &str = "first root password";
/// The account it may not run as root under.
const USER: &str = "postgres";
/// For a first start from a slow, cold disk.
const START: Duration = Duration::from_secs(60);

/// A server.
pub struct Postgres {
    pub port: u16,
    process: Option<Child>,
    files: TempDir,
}

impl Postgres {
    /// Makes and starts one.
    pub async fn start() -> Self {
        let files = launch::folder("conclave-pg-");
        let password = files.path().join("password");
        fs::write(&password, PASSWORD).expect("a file");
        launch::must(
            launch::command(USER, &bin("initdb"))
                .arg("-D")
                .arg(files.path().join("data"))
                .args(["-A", "scram-sha-256", "-U", ROOT, "--no-sync", "--pwfile"])
                .arg(&password),
        );
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
        let process = launch::command(USER, &bin("postgres"))
            .arg("-D")
            .arg(self.files.path().join("data"))
            .args(["-p", &self.port.to_string(), "-c", "fsync=off"])
            .args([
                "-c",
                "listen_addresses=127.0.0.1",
                "-c",
                "unix_socket_directories=",
            ])
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn();
        self.process = Some(process.expect("PostgreSQL starts"));
        eventually("PostgreSQL answers", START, async || {
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
        launch::remove(USER, &self.files.path().join("data"));
    }
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
