//! Balancers that speak for clients, with the real haproxy: PROXY protocol 1 and 2, and `X-Forwarded-For`. The audit record
//! shows whom the node took for the client.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::harness::{SOON, conclave, eventually, ports};
use crate::shell::{command, folder, must};

/// A loopback address clients come from, and the one balancers come from.
const CLIENT: &str = "127.0.0.77";
const BALANCER: &str = "127.0.0.1";

/// A node in memory and an haproxy before it; both end with this value.
struct Lab {
    processes: Vec<Child>,
    home: tempfile::TempDir,
    /// Ports: plain, PROXY, X-Forwarded-For, then haproxy's four.
    ports: Vec<u16>,
    token: String,
}

impl Lab {
    async fn start() -> Self {
        let home = folder();
        let ports = ports::free(7);
        let mut lab = Self {
            processes: Vec::new(),
            home,
            ports,
            token: String::new(),
        };
        lab.node();
        eventually("the node answers", SOON, async || {
            lab.curl(0, "sys/seal-status", &[])
        })
        .await;
        let born = lab.curl(
            0,
            "sys/init",
            &[
                "--request",
                "PUT",
                "--data",
                r#"{"secret_shares":1,"secret_threshold":1}"#,
            ],
        );
        let born: Value = serde_json::from_str(&born.expect("an answer")).expect("JSON");
        born["root_token"]
            .as_str()
            .expect("a token")
            .clone_into(&mut lab.token);
        let share = format!(r#"{{"key":{}}}"#, born["keys"][0]);
        lab.curl(0, "sys/unseal", &["--request", "PUT", "--data", &share])
            .expect("an answer");
        let audit = format!(
            r#"{{"type":"file","options":{{"file_path":"{}"}}}}"#,
            lab.audit().display()
        );
        let enabled = lab
            .curl(0, "sys/audit/file", &["--request", "PUT", "--data", &audit])
            .expect("an answer");
        assert_eq!(enabled, "", "an audit device");
        lab.haproxy();
        eventually("haproxy listens", SOON, async || lab.curl(3, "sys/health", &[])).await;
        lab
    }

    fn audit(&self) -> std::path::PathBuf {
        self.home.path().join("audit.log")
    }

    fn node(&mut self) {
        let config = format!(
            r#"
            storage "inmem" {{}}
            operations_address = ""
            audit_directories = ["{home}"]
            listener "tcp" {{
              address         = "127.0.0.1:{}"
              cluster_address = "127.0.0.1:0"
              tls_disable     = true
            }}
            listener "tcp" {{
              address                         = "127.0.0.1:{}"
              tls_disable                     = true
              proxy_protocol_behavior         = "deny_unauthorized"
              proxy_protocol_authorized_addrs = "{BALANCER}"
            }}
            listener "tcp" {{
              address                          = "127.0.0.1:{}"
              tls_disable                      = true
              x_forwarded_for_authorized_addrs = "{BALANCER}"
            }}
            "#,
            self.ports[0],
            self.ports[1],
            self.ports[2],
            home = self.home.path().display(),
        );
        let file = self.home.path().join("node.hcl");
        std::fs::write(&file, config).expect("a file");
        let mut node = command(conclave(), self.home.path());
        node.arg("server").arg(format!("-config={}", file.display()));
        self.spawn(node, "node.log");
    }

    fn haproxy(&mut self) {
        let [_, proxy, forwarded, one, two, http, chained] = self.ports[..] else {
            panic!("seven ports")
        };
        let config = format!(
            r"
defaults
    timeout connect 2s
    timeout client  10s
    timeout server  10s

listen version-1
    mode tcp
    bind 127.0.0.1:{one}
    server node 127.0.0.1:{proxy} send-proxy

listen version-2
    mode tcp
    bind 127.0.0.1:{two}
    server node 127.0.0.1:{proxy} send-proxy-v2

listen forwarded-for
    mode http
    bind 127.0.0.1:{http}
    option forwardfor
    server node 127.0.0.1:{forwarded}

# A balancer before the node that keeps what a client claims and adds what it knows.
listen chained
    mode http
    bind 127.0.0.1:{chained}
    option forwardfor if-none
    server node 127.0.0.1:{forwarded}
"
        );
        let file = self.home.path().join("haproxy.cfg");
        std::fs::write(&file, config).expect("a file");
        let mut haproxy = command("haproxy", self.home.path());
        haproxy.arg("-db").arg("-f").arg(&file);
        self.spawn(haproxy, "haproxy.log");
    }

    fn spawn(&mut self, mut command: Command, log: &str) {
        let log = std::fs::File::create(self.home.path().join(log)).expect("a file");
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log);
        self.processes.push(command.spawn().expect("a process"));
    }

    /// A request from the client's address to one of the ports: the body of the answer.
    fn curl(&self, port: usize, path: &str, more: &[&str]) -> Result<String, String> {
        self.curl_from(CLIENT, port, path, more)
    }

    fn curl_from(&self, source: &str, port: usize, path: &str, more: &[&str]) -> Result<String, String> {
        let url = format!("http://127.0.0.1:{}/v1/{path}", self.ports[port]);
        let mut curl = command("curl", self.home.path());
        curl.args([
            "--silent",
            "--show-error",
            "--max-time",
            "10",
            "--noproxy",
            "*",
            "--interface",
            source,
        ]);
        curl.args(["--header", &format!("X-Vault-Token: {}", self.token)])
            .args(more)
            .arg(url);
        let output = curl.output().expect("curl");
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// Whom the newest record of a request to `path` names as its source.
    fn source_of(&self, path: &str) -> Option<String> {
        let records = std::fs::read_to_string(self.audit()).unwrap_or_default();
        let records = records
            .lines()
            .rev()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut sources = records.filter(|record| record["request"]["path"] == path);
        let source = sources.next()?["request"]["remote_address"].as_str()?.to_owned();
        Some(source)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for process in &mut self.processes {
            // They may have ended; nothing is left to do in either case.
            let _ = process.kill();
            let _ = process.wait();
        }
        if std::thread::panicking() {
            for log in ["node.log", "haproxy.log"] {
                eprintln!("--- {log}\n{}", read(&self.home.path().join(log)));
            }
        }
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_balancers_speak_for_their_clients() {
    must(Command::new("haproxy").arg("-v"));
    let lab = Lab::start().await;
    for (port, name) in [
        (0, "direct"),
        (3, "version-1"),
        (4, "version-2"),
        (5, "forwarded"),
    ] {
        let path = format!("cubbyhole/{name}");
        let answer = lab.curl(port, &path, &["--request", "PUT", "--data", r#"{"a":"b"}"#]);
        assert_eq!(answer.as_deref(), Ok(""), "{name}");
        assert_eq!(lab.source_of(&path).as_deref(), Some(CLIENT), "{name}");
    }
    // What a client claims counts only where the balancer lets it: the last hop is taken, unless more are to be skipped.
    let claim = ["--header", "X-Forwarded-For: 203.0.113.9"];
    lab.curl(5, "cubbyhole/claimed", &claim).expect("an answer");
    assert_eq!(lab.source_of("cubbyhole/claimed").as_deref(), Some(CLIENT));
    lab.curl(6, "cubbyhole/chained", &claim).expect("an answer");
    assert_eq!(lab.source_of("cubbyhole/chained").as_deref(), Some("203.0.113.9"));
    lab.curl(0, "cubbyhole/ignored", &claim).expect("an answer");
    assert_eq!(lab.source_of("cubbyhole/ignored").as_deref(), Some(CLIENT));

    // Whoever goes round the balancer is turned away.
    assert!(
        lab.curl(1, "sys/health", &[]).is_err(),
        "only balancers may connect"
    );
    let refused = lab.curl_from(CLIENT, 2, "sys/health", &claim).expect("an answer");
    assert!(
        refused.contains("not authorized for x-forwarded-for"),
        "{refused}"
    );
    let refused = lab.curl_from(BALANCER, 2, "sys/health", &[]).expect("an answer");
    assert!(refused.contains("missing x-forwarded-for"), "{refused}");
}
