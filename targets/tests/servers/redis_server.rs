//! A real Redis on a free port of loopback, whose accounts are in a file of its own; gone when it is dropped.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::launch::{self, Daemon};
use crate::harness::{eventually, ports};

/// Who makes accounts.
pub const ROOT: &str = "vaultroot";
/// Its first password.
pub const PASSWORD: &str = "first-root-password";
/// For a first start from a slow, cold disk.
const START: Duration = Duration::from_secs(60);

/// A server.
pub struct Redis {
    pub port: u16,
    process: Option<Daemon>,
    files: TempDir,
    options: Vec<String>,
}

impl Redis {
    /// Makes and starts one.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Makes and starts one with more options, each with a file of this text.
    pub async fn start_with(options: &[(&str, &str)]) -> Self {
        let files = TempDir::with_prefix("conclave-redis-").expect("a folder");
        let accounts = format!("user default off\nuser {ROOT} on >{PASSWORD} ~* &* +@all\n");
        fs::write(files.path().join("users.acl"), accounts).expect("a file");
        let mut more = Vec::new();
        for (option, text) in options {
            let file = files.path().join(option.trim_start_matches('-'));
            fs::write(&file, text).expect("a file");
            more.extend([(*option).to_owned(), file.display().to_string()]);
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
        let port = self.port.to_string();
        let port = match self.is_tls() {
            true => ["--port", "0", "--tls-port", &port],
            false => ["--bind", "127.0.0.1", "--port", &port],
        };
        let mut server = launch::own("redis-server");
        server
            .args(port)
            .args(["--save", "", "--aclfile"])
            .arg(self.files.path().join("users.acl"))
            .arg("--dir")
            .arg(self.files.path())
            .args(&self.options);
        self.process = Some(Daemon::start(&mut server, &self.files.path().join("log")));
        eventually("Redis answers", START, async || {
            match self.query_as(ROOT, PASSWORD, &["PING"]) {
                Err(text) if text.contains("WRONGPASS") => Ok(()),
                other => other.map(|_| ()),
            }
        })
        .await;
    }

    /// Stops it as a power failure would.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// What a command answers; the error if it does not.
    pub fn query_as(&self, user: &str, password: &str, command: &[&str]) -> Result<String, String> {
        let mut client = Command::new("redis-cli");
        client.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "--user", user]);
        if self.is_tls() {
            client.args(["--tls", "--insecure"]);
            for option in ["--cert", "--key"] {
                let file = format!("tls-{}-file", option.trim_start_matches('-'));
                client.arg(option).arg(self.files.path().join(file));
            }
        }
        let asked = client
            .arg("--no-auth-warning")
            .arg("-e")
            .args(command)
            .env("REDISCLI_AUTH", password)
            .stdin(Stdio::null())
            .output()
            .expect("redis-cli runs");
        let said = String::from_utf8_lossy(&asked.stdout).trim().to_owned();
        let errors = String::from_utf8_lossy(&asked.stderr).into_owned();
        // A login that failed is told of, and the command sent all the same.
        match asked.status.success() && errors.is_empty() {
            true => Ok(said),
            false => Err(format!("{said}{errors}")),
        }
    }

    /// The accounts that are not its own.
    pub fn accounts(&self) -> Vec<String> {
        let answer = self
            .query_as(ROOT, PASSWORD, &["ACL", "USERS"])
            .expect("Redis answers");
        let users = answer.lines().filter(|user| user.starts_with("V_"));
        users.map(str::to_owned).collect()
    }

    /// What lies in its file of accounts.
    pub fn on_disk(&self) -> String {
        fs::read_to_string(self.files.path().join("users.acl")).expect("a file")
    }

    fn is_tls(&self) -> bool {
        self.options.iter().any(|option| option.contains("tls"))
    }
}
