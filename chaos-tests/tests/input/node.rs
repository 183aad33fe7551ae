//! One node without TLS, and requests to it byte for byte.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::binary::conclave;
use crate::ports;

/// A start, an election, an answer: generous for a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Node {
    address: String,
    process: Child,
    log: PathBuf,
    data: PathBuf,
    pub shares: Vec<String>,
    pub root: String,
    _files: tempfile::TempDir,
}

pub struct Answer {
    pub status: u16,
    pub body: Value,
}

impl Answer {
    /// The errors as one text.
    pub fn errors(&self) -> String {
        self.body["errors"].to_string()
    }
}

impl Node {
    /// A process that belongs to no cluster yet.
    pub fn fresh() -> Self {
        Self::fresh_with(None)
    }

    /// The same, which may have so many files open at a time.
    pub fn fresh_with(files_open: Option<usize>) -> Self {
        let files = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let data = files.path().join("data");
        fs::DirBuilder::new().mode(0o700).create(&data).unwrap();
        let ports = ports::free(3);
        let [api, cluster, operations] = [0, 1, 2].map(|at| format!("127.0.0.1:{}", ports[at]));
        let config = format!(
            r#"
            api_addr           = "http://{api}"
            cluster_addr       = "https://{cluster}"
            operations_address = "{operations}"
            listener "tcp" {{
              address         = "{api}"
              cluster_address = "{cluster}"
              tls_disable     = true
            }}
            storage "raft" {{
              path    = "{}"
              node_id = "one"
            }}
            "#,
            data.display()
        );
        fs::write(files.path().join("conclave.hcl"), config).unwrap();
        let log = files.path().join("log");
        let output = fs::File::create(&log).unwrap();
        let process = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .args(
                files_open
                    .map(|most| format!("--nofile={most}:{most}"))
                    .map_or(vec![], |limit| vec!["prlimit".to_owned(), limit, "--".to_owned()]),
            )
            .arg(conclave())
            .arg("server")
            .arg(format!("-config={}", files.path().join("conclave.hcl").display()))
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        let mut node = Self {
            address: api,
            process,
            log,
            data,
            shares: Vec::new(),
            root: String::new(),
            _files: files,
        };
        until("the node answers", || {
            let ended = node.process.try_wait().unwrap();
            assert!(ended.is_none(), "it ended by itself: {ended:?}");
            TcpStream::connect(&node.address).is_ok() && node.get("sys/seal-status").status == 200
        });
        node
    }

    /// Five shares, three of which open it; sealed.
    pub fn sealed() -> Self {
        Self::fresh().initialized()
    }

    /// Sealed, with shares.
    fn initialized(mut self) -> Self {
        let node = &mut self;
        let split = json!({"secret_shares": 5, "secret_threshold": 3});
        let born = node.put("sys/init", &split);
        assert_eq!(born.status, 200, "{}", born.body);
        let shares = born.body["keys"].as_array().unwrap().iter();
        node.shares = shares.map(|share| share.as_str().unwrap().to_owned()).collect();
        born.body["root_token"]
            .as_str()
            .unwrap()
            .clone_into(&mut node.root);
        self
    }

    /// Unsealed, with kv-v2 at `secret/`.
    pub fn unsealed() -> Self {
        Self::sealed().opened()
    }

    /// The same, which may have so many files open at a time.
    pub fn unsealed_with(files_open: usize) -> Self {
        Self::fresh_with(Some(files_open)).initialized().opened()
    }

    fn opened(self) -> Self {
        let node = self;
        for share in &node.shares[..3] {
            assert_eq!(node.put("sys/unseal", &json!({"key": share})).status, 200);
        }
        until("it serves", || node.get("sys/health").status == 200);
        let mount = json!({"type": "kv", "options": {"version": "2"}});
        assert_eq!(node.put("sys/mounts/secret", &mount).status, 204);
        node
    }

    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", format!("/v1/{path}").as_bytes(), &self.root, b"")
    }

    pub fn put(&self, path: &str, body: &Value) -> Answer {
        self.put_as(&self.root, path, body)
    }

    pub fn put_as(&self, token: &str, path: &str, body: &Value) -> Answer {
        let target = format!("/v1/{path}");
        self.send("PUT", target.as_bytes(), token, body.to_string().as_bytes())
    }

    /// A page that is no JSON.
    pub fn page(&self, path: &str) -> String {
        self.exchange("GET", format!("/v1/{path}").as_bytes(), &self.root, b"")
    }

    /// One request, its target and body as they stand.
    pub fn send(&self, method: &str, target: &[u8], token: &str, body: &[u8]) -> Answer {
        let text = self.exchange(method, target, token, body);
        let (head, body) = text
            .split_once("\r\n\r\n")
            .unwrap_or_else(|| panic!("no answer: {text:?}"));
        Answer {
            status: head[9..12].parse().unwrap(),
            body: serde_json::from_str(body).unwrap_or(Value::Null),
        }
    }

    /// A connection to it that says nothing.
    pub fn connect(&self) -> std::io::Result<TcpStream> {
        TcpStream::connect(&self.address)
    }

    /// All that is answered, head and body.
    fn exchange(&self, method: &str, target: &[u8], token: &str, body: &[u8]) -> String {
        let mut request = format!("{method} ").into_bytes();
        request.extend_from_slice(target);
        let head = format!(
            " HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Vault-Token: {token}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        // Without a token no header: an empty one is another request.
        let head = head.replace("X-Vault-Token: \r\n", "");
        request.extend_from_slice(head.as_bytes());
        request.extend_from_slice(body);
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // A node that refuses early may close before it has read all.
        let _ = stream.write_all(&request);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// A token with this policy text, or with policies that exist.
    pub fn token(&self, wish: &Value) -> String {
        let made = self.put("auth/token/create", wish);
        assert_eq!(made.status, 200, "{}", made.body);
        made.body["auth"]["client_token"].as_str().unwrap().to_owned()
    }

    pub fn policy(&self, name: &str, text: &str) {
        let written = self.put(&format!("sys/policies/acl/{name}"), &json!({"policy": text}));
        assert_eq!(written.status, 204, "{}", written.body);
    }

    /// Where its files are.
    pub fn data(&self) -> PathBuf {
        self.data.clone()
    }

    /// Memory of the process, in KiB.
    pub fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Everything it wrote to its log.
    pub fn log(&self) -> Vec<u8> {
        fs::read(&self.log).unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("{}", String::from_utf8_lossy(&self.log()));
        }
    }
}

/// Waits for a condition.
#[allow(clippy::disallowed_methods, reason = "the pause of a poll")]
pub fn until(what: &str, mut met: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !met() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        // why: pause of a poll
        std::thread::sleep(Duration::from_millis(50));
    }
}
