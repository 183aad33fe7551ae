//! A real RabbitMQ with its management API, on free ports of loopback; gone when it is dropped, with the daemon by which its
//! nodes find each other.

#[path = "amqp.rs"]
pub mod amqp;

use std::fmt::Write as _;
use std::fs;
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::launch::{self, Daemon};
use crate::harness::{eventually, ports};

/// Who makes users.
pub const ROOT: &str = "vaultroot";
/// Its first password.
pub const PASSWORD: &str = "first-root-password";
/// For a first start from a slow, cold disk: Erlang reads a thousand files.
const START: Duration = Duration::from_secs(120);
const SERVER: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";

/// A broker.
pub struct RabbitMq {
    /// Of the management API.
    pub port: u16,
    /// The same with TLS, if it has a certificate.
    pub tls_port: u16,
    /// Of AMQP.
    pub amqp: u16,
    process: Option<Daemon>,
    /// Ends after the broker, which talks to it.
    epmd: Daemon,
    files: TempDir,
    settings: Vec<(&'static str, String)>,
}

impl RabbitMq {
    /// Makes and starts one.
    pub async fn start() -> Self {
        Self::start_with(None).await
    }

    /// Makes and starts one that speaks TLS too, with this certificate and key.
    pub async fn start_with(tls: Option<(&str, &str)>) -> Self {
        let files = TempDir::with_prefix("conclave-rabbitmq-").expect("a folder");
        let [port, tls_port, amqp, epmd_port, node] = ports::free(5)[..] else {
            panic!("five ports")
        };
        let file = |name: &str| files.path().join(name).display().to_string();
        let mut config = format!(
            "listeners.tcp.1 = 127.0.0.1:{amqp}\n\
             management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {port}\n\
             management_agent.disable_metrics_collector = true\n\
             default_user = {ROOT}\ndefault_pass = {PASSWORD}\ndefault_user_tags.administrator = true\n\
             log.console = true\nlog.console.level = warning\n"
        );
        if let Some((certificate, key)) = tls {
            write!(
                config,
                "management.ssl.ip = 127.0.0.1\nmanagement.ssl.port = {tls_port}\n\
                 management.ssl.certfile = {}\nmanagement.ssl.keyfile = {}\n",
                file("certificate"),
                file("key")
            )
            .expect("a text");
            fs::write(file("certificate"), certificate).expect("a file");
            fs::write(file("key"), key).expect("a file");
        }
        fs::write(file("rabbitmq.conf"), config).expect("a file");
        fs::write(file("plugins"), "[rabbitmq_management].").expect("a file");
        let settings = vec![
            ("HOME", file("")),
            ("ERL_EPMD_ADDRESS", "127.0.0.1".to_owned()),
            ("ERL_EPMD_PORT", epmd_port.to_string()),
            // The script becomes the broker, and hands nothing on but signals.
            ("RUNNING_UNDER_SYSTEMD", "true".to_owned()),
            ("RABBITMQ_NODENAME", format!("conclave-{amqp}@localhost")),
            ("RABBITMQ_DIST_PORT", node.to_string()),
            ("RABBITMQ_MNESIA_BASE", file("db")),
            ("RABBITMQ_LOG_BASE", file("log")),
            ("RABBITMQ_LOGS", "-".to_owned()),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", file("plugins")),
            ("RABBITMQ_CONFIG_FILE", file("rabbitmq.conf")),
            ("RABBITMQ_CONF_ENV_FILE", file("none")),
            (
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                "+S 1:1 -kernel inet_dist_use_interface {127,0,0,1}".to_owned(),
            ),
        ];
        let mut epmd = launch::own("epmd");
        epmd.args(["-address", "127.0.0.1", "-port", &epmd_port.to_string()]);
        let mut server = Self {
            port,
            tls_port,
            amqp,
            // It tells of whoever only looks whether it is there.
            epmd: Daemon::start(&mut epmd, &files.path().join("epmd")),
            process: None,
            files,
            settings,
        };
        // Without it the broker would start another, which stays.
        eventually("epmd listens", START, async || {
            TcpStream::connect(("127.0.0.1", epmd_port)).map(drop)
        })
        .await;
        server.run().await;
        server
    }

    /// Starts it again.
    pub async fn run(&mut self) {
        let mut broker = launch::own(SERVER);
        broker.envs(self.settings.iter().map(|(name, value)| (*name, value)));
        self.process = Some(Daemon::start(&mut broker, &self.files.path().join("console")));
        eventually("RabbitMQ answers", START, async || {
            match self.ask(ROOT, PASSWORD, "GET", "whoami", "") {
                // Somebody changed the password.
                Err(text) if text.starts_with("401 ") => Ok(()),
                other => other.map(|_| ()),
            }
        })
        .await;
    }

    /// Stops it as a power failure would.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// Where its management API is.
    pub fn uri(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What its management API answers; if it refuses, its status, a space and the text.
    pub fn ask(
        &self,
        user: &str,
        password: &str,
        method: &str,
        path: &str,
        body: &str,
    ) -> Result<String, String> {
        let mut client = Command::new("curl");
        client
            .args([
                "-sS",
                "-w",
                "%{http_code}",
                "-u",
                &format!("{user}:{password}"),
                "-X",
                method,
            ])
            .arg(format!("{}/api/{path}", self.uri()));
        if !body.is_empty() {
            client.args(["-d", body]);
        }
        let asked = client.stdin(Stdio::null()).output().expect("curl runs");
        let said = String::from_utf8_lossy(&asked.stdout).into_owned();
        let at = said.len().saturating_sub(3);
        match (asked.status.success(), said.split_at(at)) {
            (true, (body, status)) if status.starts_with('2') => Ok(body.to_owned()),
            (_, (body, status)) => {
                let complaint = String::from_utf8_lossy(&asked.stderr);
                Err(format!("{status} {body}{complaint}"))
            }
        }
    }

    /// The same for who makes users, and it must do it.
    pub fn must(&self, method: &str, path: &str, body: &str) -> String {
        let done = self.ask(ROOT, PASSWORD, method, path, body);
        done.expect("RabbitMQ does what its root asks")
    }

    /// The users that are not its own, by its own list.
    pub fn accounts(&self, password: &str) -> Vec<String> {
        let listed = self.ask(ROOT, password, "GET", "users?columns=name", "");
        let listed: serde_json::Value =
            serde_json::from_str(&listed.expect("RabbitMQ answers")).expect("a list");
        let names = listed.as_array().expect("a list").iter();
        let names = names.map(|user| user["name"].as_str().expect("a name").to_owned());
        names.filter(|name| name != ROOT).collect()
    }
}
