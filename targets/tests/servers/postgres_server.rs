//! A real PostgreSQL on a free port of loopback, with its own data directory; gone when it is dropped.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::launch::{self, Daemon, answered};
use super::pki::Authority;
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
    process: Option<Daemon>,
    files: TempDir,
    options: Vec<String>,
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
            options: Vec::new(),
        };
        server.run().await;
        server
    }

    /// Starts it again with TLS; members of a role need a certificate of the authority to log in, and nothing else.
    pub async fn certify(&mut self, role: &str, authority: &Authority) {
        self.stop();
        let (certificate, key) = authority.server("127.0.0.1");
        let data = self.files.path().join("data");
        let mut access = format!("hostssl all +{role} 127.0.0.1/32 cert\n");
        access.push_str("host all all 127.0.0.1/32 scram-sha-256\n");
        for (name, text) in [
            ("ssl_ca_file", authority.pem()),
            ("ssl_cert_file", &certificate),
            ("ssl_key_file", &key),
            ("hba_file", &access),
        ] {
            let (from, to) = (self.files.path().join("from"), data.join(name));
            fs::write(&from, text).expect("a file");
            launch::must(launch::command(USER, Path::new("cp")).args([&from, &to]));
            launch::must(launch::command(USER, Path::new("chmod")).arg("0600").arg(&to));
            self.options
                .extend(["-c".to_owned(), format!("{name}={}", to.display())]);
        }
        self.options.extend(["-c".to_owned(), "ssl=on".to_owned()]);
        self.run().await;
    }

    /// What a query answers to whoever has a certificate and its key; the error if it does not.
    pub fn query_with(
        &self,
        user: &str,
        (certificate, key): (&str, &str),
        query: &str,
    ) -> Result<String, String> {
        let at = |name: &str| self.files.path().join(name);
        for (name, text) in [("certificate", certificate), ("key", key)] {
            fs::write(at(name), text).expect("a file");
            let private = fs::Permissions::from_mode(0o600);
            fs::set_permissions(at(name), private).expect("permissions");
        }
        let mut asked = self.client(user, query);
        answered(
            asked
                .env("PGSSLMODE", "require")
                .env("PGSSLCERT", at("certificate"))
                .env("PGSSLKEY", at("key")),
        )
    }

    /// Starts it again.
    pub async fn run(&mut self) {
        let mut server = launch::command(USER, &bin("postgres"));
        server
            .arg("-D")
            .arg(self.files.path().join("data"))
            .args(["-p", &self.port.to_string(), "-c", "fsync=off"])
            .args([
                "-c",
                "listen_addresses=127.0.0.1",
                "-c",
                "unix_socket_directories=",
            ])
            .args(&self.options);
        self.process = Some(Daemon::start(&mut server, &self.files.path().join("log")));
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
        self.process = None;
    }

    /// What a query answers; the error if it does not.
    pub fn query_as(&self, user: &str, password: &str, query: &str) -> Result<String, String> {
        answered(self.client(user, query).env("PGPASSWORD", password))
    }

    /// Its own client, about to ask.
    pub fn client(&self, user: &str, query: &str) -> Command {
        let mut client = Command::new("psql");
        client
            .args(["-X", "-A", "-t", "-h", "127.0.0.1", "-U", user, "-d", "postgres"])
            .args(["-p", &self.port.to_string(), "-c", query])
            .env("PGCONNECT_TIMEOUT", "5")
            .stdin(Stdio::null());
        client
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
