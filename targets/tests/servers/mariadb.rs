//! A real MariaDB on a free port of loopback, with its own data directory; gone when it is dropped.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::launch::{self, Daemon, answered};
use crate::harness::{eventually, ports};

/// Who makes accounts.
pub const ROOT: &str = "vaultroot";
/// Its first password.
pub const PASSWORD: &str = "first root password";
/// The account it may not run as root under.
const USER: &str = "mysql";
/// Names the folder of temporary tables. A server that starts removes all of them, those of others too.
const TEMPORARY: &str = "TMPDIR";
/// For a first start from a slow, cold disk.
const START: Duration = Duration::from_secs(90);

/// A server.
pub struct MariaDb {
    pub port: u16,
    process: Option<Daemon>,
    files: TempDir,
    options: Vec<String>,
}

impl MariaDb {
    /// Makes and starts one.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Makes and starts one with more options and, for each of them that has a text, a file of it.
    pub async fn start_with(options: &[(&str, &str)]) -> Self {
        let files = launch::folder("conclave-mariadb-");
        launch::must(
            launch::command(USER, Path::new("mariadb-install-db"))
                .arg("--no-defaults")
                .arg(format!("--datadir={}", files.path().join("data").display()))
                .args(["--auth-root-authentication-method=normal", "--skip-test-db"])
                .env(TEMPORARY, files.path()),
        );
        let init = format!(
            "CREATE USER IF NOT EXISTS '{ROOT}'@'%' IDENTIFIED BY '{PASSWORD}';\n\
             GRANT ALL PRIVILEGES ON *.* TO '{ROOT}'@'%' WITH GRANT OPTION;\n"
        );
        fs::write(files.path().join("init.sql"), init).expect("a file");
        let mut more = Vec::new();
        for (option, text) in options {
            if text.is_empty() {
                more.push((*option).to_owned());
                continue;
            }
            let file = files.path().join(option.trim_start_matches('-'));
            fs::write(&file, text).expect("a file");
            more.push(format!("{option}={}", file.display()));
        }
        let mut server = Self {
            port: ports::free(1)[0],
            process: None,
            files,
            options: more,
        };
        server.run().await;
        server
    }

    /// Starts it again.
    pub async fn run(&mut self) {
        let at = |name: &str| self.files.path().join(name).display().to_string();
        let mut server = launch::command(USER, Path::new("mariadbd"));
        server
            .arg("--no-defaults")
            .arg(format!("--datadir={}", at("data")))
            .arg(format!("--socket={}", at("data/socket")))
            .arg(format!("--init-file={}", at("init.sql")))
            .arg(format!("--port={}", self.port))
            .args(["--bind-address=127.0.0.1", "--skip-name-resolve"])
            .args([
                "--innodb-flush-log-at-trx-commit=0",
                "--innodb-buffer-pool-size=8M",
            ])
            .args(&self.options)
            .env(TEMPORARY, self.files.path());
        self.process = Some(Daemon::start(&mut server, &self.files.path().join("log")));
        eventually("MariaDB answers", START, async || {
            let said = self.query_as(ROOT, PASSWORD, "SELECT 1");
            // It answers, whoever may log in by now.
            match said {
                Err(text) if text.contains("Access denied") => Ok(()),
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
        answered(&mut self.client(user, password, query))
    }

    /// Its own client, about to ask.
    pub fn client(&self, user: &str, password: &str, query: &str) -> Command {
        let mut client = Command::new("mariadb");
        client
            .args([
                "--no-defaults",
                "-N",
                "-B",
                "--connect-timeout=5",
                "-h",
                "127.0.0.1",
            ])
            .args(["--default-character-set=utf8mb4", "-u", user])
            .args(["-P", &self.port.to_string(), "-e", query])
            .env("MYSQL_PWD", password)
            .stdin(Stdio::null());
        client
    }

    /// What whoever makes accounts is answered.
    pub fn asked(&self, query: &str) -> Vec<String> {
        let answer = self.query_as(ROOT, PASSWORD, query).expect("MariaDB answers");
        answer.lines().map(str::to_owned).collect()
    }

    /// The accounts that are not its own.
    pub fn accounts(&self) -> Vec<String> {
        self.asked("SELECT User FROM mysql.user WHERE User LIKE 'v-%' ORDER BY 1")
    }

    /// Where it is, for a connection's configuration.
    pub fn url(&self) -> String {
        format!("{{{{username}}}}:{{{{password}}}}@tcp(127.0.0.1:{})/", self.port)
    }
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        self.stop();
        launch::remove(USER, &self.files.path().join("data"));
    }
}
