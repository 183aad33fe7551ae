//! `make up` and its companions: what they print, keep and bring back, and that the loss of any node goes unnoticed by the
//! next command.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use crate::harness::{FAILOVER, SOON, eventually};
use crate::shell::{base_port, block, cargo_elsewhere, command, folder, must, root, texts};

/// From kill -9 to the end of the next command.
const NEXT_COMMAND: Duration = FAILOVER;

/// A test cluster of the scripts; stopped and removed when dropped.
struct Local {
    home: tempfile::TempDir,
    port: u16,
}

impl Local {
    fn new() -> Self {
        Self {
            home: folder(),
            port: base_port(),
        }
    }

    fn dev(&self) -> std::path::PathBuf {
        self.home.path().join("dev")
    }

    fn make(&self, target: &str) -> Command {
        let mut make = command("make", self.home.path());
        make.args(["--no-print-directory", "--silent", target]);
        self.settings(&mut make);
        make
    }

    fn settings(&self, command: &mut Command) {
        command
            .env("PATH", cargo_elsewhere(self.home.path()))
            .env("CONCLAVE_DEV_DIR", self.dev())
            .env("PORT", self.port.to_string());
    }

    /// Runs shell lines as a person does in the root of the tree; stops at the first that fails.
    fn shell(&self, lines: &str) -> Output {
        let mut bash = command("bash", self.home.path());
        self.settings(&mut bash);
        let lines = lines.replace(".dev/", &format!("{}/", self.dev().display()));
        bash.args(["-e", "-c", &lines]).output().expect("bash")
    }

    fn must(&self, lines: &str) -> String {
        let output = self.shell(lines);
        let (said, complained) = texts(&output);
        assert!(output.status.success(), "{lines}\n{said}\n{complained}");
        said
    }

    /// The same after the exports of `make env`.
    fn with_env(&self, lines: &str) -> String {
        self.must(&format!("eval \"$(make -s env)\"\n{lines}"))
    }

    fn kill(&self, node: usize) {
        self.must(&format!("kill -9 $(cat .dev/node{node}/pid)"));
    }

    /// Starts one node as `make up` would, and nothing else: no share is given.
    fn restart(&self, node: usize) {
        self.must(&format!(
            "source deploy/local/lib.sh; node=$(node_dir {node})
             launch $node/pid $node/log $BIN server -config=$(node_config {node})"
        ));
    }

    /// Exit code of `status` asked of one node: 0 unsealed, 2 sealed or not there.
    fn status(&self, node: usize) -> (Option<i32>, String) {
        let port = usize::from(self.port) + 10 * (node - 1);
        let line = format!(
            "eval \"$(make -s env)\"\nexec conclave status -format=json -address=https://127.0.0.1:{port}"
        );
        let output = self.shell(&line);
        (output.status.code(), texts(&output).0)
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for node in 1..=3 {
                let log =
                    std::fs::read_to_string(self.dev().join(format!("node{node}/log"))).unwrap_or_default();
                let last: Vec<&str> = log.lines().rev().take(30).collect();
                eprintln!("--- node{node}, newest line first\n{}", last.join("\n"));
            }
        }
        // Nothing to do if it fails: the folder goes with the test.
        let _ = self.make("clean-dev").output();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_make_up_outlives_each_node_and_a_reboot() {
    let local = Local::new();
    the_readme_runs(&local);
    comes_back(&local);
    for node in 1..=3 {
        the_next_command_succeeds_without(&local, node);
        comes_back_sealed_and_counts(&local, node).await;
    }
    local.with_env(&block("docs/local-cluster.md", "kill -9"));
    goes(&local);
}

/// The quick start of the README as it stands, `make up` and `make down` included.
fn the_readme_runs(local: &Local) {
    let lines = block("README.md", "vault kv get");
    let said = local.must(&lines);
    for words in [
        "==> Build the release binary (usually ",
        "Root token and unseal shares (test cluster: never keep real ones like this): ",
        "Sealed                  false",
        "sk-proj-x",
        "stopped; data stays in ",
    ] {
        assert!(said.contains(words), "{words}\n{said}");
    }
    let secrets = local.dev().join("secrets");
    for file in ["init.json", "root-token", "token-header"] {
        assert_eq!(mode(&secrets.join(file)), 0o600, "{file}");
    }
    assert_eq!(mode(&secrets), 0o700);
    assert!(local.dev().join("node1/data").exists(), "down keeps data");
    assert!(!local.dev().join("node1/pid").exists());
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        .permissions()
        .mode()
        & 0o777
}

/// As after a reboot: nothing runs, everything is there.
fn comes_back(local: &Local) {
    must(&mut local.make("up"));
    let said = local.with_env(
        "test \"$(readlink -f \"$(command -v vault)\")\" = \"$(readlink -f \"$(command -v conclave)\")\"
         conclave kv get -field=api_key secret/api-keys/openai
         echo; echo $VAULT_ADDR; test -s $VAULT_CACERT",
    );
    let balancer = format!("https://127.0.0.1:{}", local.port + 30);
    assert_eq!(said, format!("sk-proj-x\n{balancer}\n"));
    // What a script says of its server holds, whatever was set before.
    let own = format!("https://127.0.0.1:{}", local.port + 20);
    let said = local.must(&format!(
        "export CONCLAVE_ADDR=https://127.0.0.1:1 BAO_CACERT=/nowhere
         eval \"$(make -s env)\"
         VAULT_ADDR={own} vault read -output-curl-string sys/health"
    ));
    assert!(said.contains(&format!("{own}/v1/sys/health")), "{said}");
}

fn the_next_command_succeeds_without(local: &Local, node: usize) {
    // A tool that runs for the first time is read from disk, 180 MB of it: 6 s with 0.2 s of work were seen, and more on
    // a busy disk. Whoever has just lost a node has used his tools before.
    local.with_env("conclave version && bao version");
    local.kill(node);
    for (tool, value) in [("conclave", "ours"), ("bao", "theirs")] {
        let start = Instant::now();
        local.with_env(&format!("{tool} kv put secret/a by={value} without={node}"));
        let took = start.elapsed();
        assert!(took < NEXT_COMMAND, "{tool} without node{node}: {took:?}");
    }
}

/// It rejoins sealed; with another gone it is the one that makes the quorum; shares given to it open both.
async fn comes_back_sealed_and_counts(local: &Local, node: usize) {
    let other = node % 3 + 1;
    local.restart(node);
    is(local, node, 2, "\"sealed\": true").await;
    the_balancer_knows(local).await;
    local.kill(other);
    local.with_env(&format!("conclave kv put secret/b without={other}"));
    local.restart(other);
    is(local, other, 2, "\"sealed\": true").await;
    local.must(&format!(
        "source deploy/local/lib.sh; choose_base
         for share in 4 1 2; do jq \"{{key: .unseal_keys_b64[$share]}}\" $INIT | api {node} PUT sys/unseal - >/dev/null; done"
    ));
    is(local, node, 0, "\"sealed\": false").await;
    is(local, other, 0, "\"sealed\": false").await;
    let port = usize::from(local.port) + 10 * (node - 1);
    let read = local.with_env(&format!(
        "conclave kv get -address=https://127.0.0.1:{port} -field=without secret/b"
    ));
    assert_eq!(read, other.to_string());
}

/// A node that is back within two looks of the balancer, and sealed, is sent requests until the second.
async fn the_balancer_knows(local: &Local) {
    eventually("every connection reaches an open node", SOON, async || {
        let codes = local.with_env(
            "for at in $(seq 12)
             do curl -s --cacert $VAULT_CACERT -o /dev/null -w '%{http_code} ' $VAULT_ADDR/v1/sys/health
             done",
        );
        match codes.split_whitespace().all(|code| code == "200") {
            true => Ok(()),
            false => Err(codes),
        }
    })
    .await;
}

async fn is(local: &Local, node: usize, code: i32, words: &str) {
    eventually(&format!("node{node}: {words}"), SOON, async || {
        let (exit, said) = local.status(node);
        if exit == Some(code) && said.contains(words) {
            Ok(())
        } else {
            Err((exit, said))
        }
    })
    .await;
}

fn goes(local: &Local) {
    let pid = std::fs::read_to_string(local.dev().join("node2/pid")).expect("a pid file");
    // An ended process has no words, though its number may stay until it is collected.
    let words = || std::fs::read(Path::new("/proc").join(pid.trim()).join("cmdline")).unwrap_or_default();
    assert!(!words().is_empty());
    must(&mut local.make("clean-dev"));
    assert!(!local.dev().exists() && words().is_empty());
}

#[test]
fn a_taken_port_is_named_with_a_free_one() {
    let local = Local::new();
    let taken = local.port + 11;
    let _listener = TcpListener::bind(("127.0.0.1", taken)).expect("a free port");
    let output = local.make("up").output().expect("make");
    let (said, complained) = texts(&output);
    assert!(!output.status.success(), "{said}");
    let wanted = format!("error: port {taken} is taken. Type:  make up PORT=");
    let (_, suggested) = complained
        .split_once(&wanted)
        .unwrap_or_else(|| panic!("{complained}"));
    let suggested: u16 = suggested
        .lines()
        .next()
        .unwrap_or_default()
        .parse()
        .expect("a port");
    assert!(TcpListener::bind(("127.0.0.1", suggested)).is_ok());
    assert!(!local.dev().exists(), "nothing was made");
}

/// Whoever may not install packages is told the one line that does, and nothing else happens.
#[test]
fn missing_packages_are_one_line_to_type() {
    // Where somebody without any right reaches it.
    let folder = tempfile::tempdir().expect("a folder");
    for file in ["packages.sh", "packages.txt"] {
        std::fs::copy(root().join("deploy").join(file), folder.path().join(file)).unwrap();
    }
    let blind = folder.path().join("dpkg-query");
    std::fs::write(&blind, "#!/bin/sh\nexit 1\n").unwrap();
    for path in [folder.path(), &blind] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    // As somebody who is not root, whoever runs the test.
    let mut run = if rustix::process::geteuid().is_root() {
        let mut run = command("setpriv", folder.path());
        run.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--", "bash"]);
        run
    } else {
        command("bash", folder.path())
    };
    let output = run
        .args([folder.path().join("packages.sh").as_os_str(), "up".as_ref()])
        .env("PATH", path)
        .output()
        .unwrap();
    let (_, complained) = texts(&output);
    assert_eq!(output.status.code(), Some(1), "{complained}");
    assert!(
        complained
            .starts_with("packages: missing. Type:  sudo apt-get install -y --no-install-recommends gcc "),
        "{complained}"
    );
    assert_eq!(complained.lines().count(), 1, "{complained}");
}
