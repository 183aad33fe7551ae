//! moto on a free port of loopback: a model of IAM and STS that knows signatures and rights; gone when it is dropped.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::harness::{eventually, packages, ports};

/// What moto needs to serve, pinned: a release of theirs must not break a build of ours.
const PACKAGES: [&str; 3] = ["moto==5.2.1", "flask==3.1.3", "flask-cors==6.0.2"];
/// A cold disk reads much Python.
const START: Duration = Duration::from_secs(90);

/// Somebody who asks AWS.
#[derive(Clone, Default)]
pub struct Key {
    pub id: String,
    pub secret: String,
    pub token: String,
}

impl Key {
    /// Of a credential as it was handed out.
    pub fn of(data: &Value) -> Self {
        let text = |name: &str| data[name].as_str().unwrap_or_default().to_owned();
        Self {
            id: text("access_key"),
            secret: text("secret_key"),
            token: text("session_token"),
        }
    }
}

/// A running moto.
pub struct Moto {
    pub endpoint: String,
    /// The administrator that exists from the start.
    pub maker: Key,
    /// ARNs of a policy that allows everything, and of a role.
    pub policy: String,
    pub role: String,
    port: u16,
    python: PathBuf,
    process: Child,
}

impl Moto {
    /// Starts one, with an administrator.
    pub async fn start() -> Self {
        let python = tokio::task::spawn_blocking(|| packages::python("python-moto", &PACKAGES));
        let python = python.await.expect("Python");
        let port = ports::free(1)[0];
        let mut moto = Self {
            endpoint: format!("http://127.0.0.1:{port}"),
            maker: Key::default(),
            policy: String::new(),
            role: String::new(),
            port,
            process: serve(&python, port),
            python,
        };
        moto.answers().await;
        let any = Key {
            id: "any".to_owned(),
            secret: "any".to_owned(),
            token: String::new(),
        };
        let made = moto.ask(&any, &["prepare"]);
        let text = |name: &str| made[name].as_str().expect("moto is prepared").to_owned();
        (moto.policy, moto.role) = (text("policy"), text("role"));
        moto.maker = Key::of(&made);
        moto
    }

    async fn answers(&self) {
        eventually("moto answers", START, async || {
            std::net::TcpStream::connect(("127.0.0.1", self.port)).map(|_| ())
        })
        .await;
    }

    /// Does not answer until it is told to.
    pub fn pause(&self, paused: bool) {
        let signal = if paused {
            rustix::process::Signal::STOP
        } else {
            rustix::process::Signal::CONT
        };
        let pid = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(pid, signal).expect("moto runs");
    }

    /// What it says when this key asks.
    pub fn ask(&self, key: &Key, question: &[&str]) -> Value {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/aws/moto.py");
        let mut command = Command::new(&self.python);
        command
            .arg(script)
            .arg(&self.endpoint)
            .args(question)
            .env("AWS_ACCESS_KEY_ID", &key.id)
            .env("AWS_SECRET_ACCESS_KEY", &key.secret)
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env_remove("AWS_SESSION_TOKEN");
        if !key.token.is_empty() {
            command.env("AWS_SESSION_TOKEN", &key.token);
        }
        let asked = command.output().expect("Python runs");
        let told = String::from_utf8_lossy(&asked.stdout);
        serde_json::from_str(&told)
            .unwrap_or_else(|_| panic!("{told}{}", String::from_utf8_lossy(&asked.stderr)))
    }

    /// Users that somebody made, but for the administrator.
    pub fn users(&self, asker: &Key) -> Vec<String> {
        let users = self.ask(asker, &["users"]);
        let users: Vec<String> =
            serde_json::from_value(users.clone()).unwrap_or_else(|_| panic!("no users: {users}"));
        users.into_iter().filter(|user| user != "maker").collect()
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn serve(python: &Path, port: u16) -> Child {
    Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "--"])
        .arg(python)
        .args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("moto starts")
}
