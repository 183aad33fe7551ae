//! `dev -nodes=3`: a cluster that goes with its command, however that ends.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::harness::{SOON, eventually};
use crate::shell::{base_port, binary, command, folder, must, texts};

/// A throw-away cluster and what it printed.
struct ThrowAway {
    process: Child,
    home: tempfile::TempDir,
}

impl ThrowAway {
    fn start(port: u16) -> Self {
        let home = folder();
        let log = std::fs::File::create(home.path().join("log")).unwrap();
        let process = command(binary(), home.path())
            .args(["dev", "-nodes=3", "-dev-root-token-id=root"])
            .arg(format!("-dev-listen-address=127.0.0.1:{port}"))
            .env("TMPDIR", home.path())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Self { process, home }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.home.path().join("log")).unwrap_or_default()
    }

    async fn formed(&mut self) -> String {
        eventually("the cluster is formed", SOON, async || {
            let log = self.log();
            if log.contains("\nRoot Token: root\n") {
                Ok(log)
            } else {
                Err(log)
            }
        })
        .await
    }

    /// Runs shell lines after the exports it printed.
    fn shell(&self, lines: &str) -> String {
        let exports: Vec<&str> = self
            .log()
            .leak()
            .lines()
            .filter_map(|line| line.trim().strip_prefix("$ "))
            .collect();
        let bin = self.home.path().join("bin");
        if !bin.exists() {
            std::fs::create_dir(&bin).unwrap();
            std::os::unix::fs::symlink(binary(), bin.join("conclave")).unwrap();
        }
        let lines = format!("PATH={}:$PATH\n{}\n{lines}", bin.display(), exports.join("\n"));
        must(command("bash", self.home.path()).args(["-e", "-c", &lines]))
    }

    fn directories(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.home.path()).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths
            .filter(|path| {
                path.file_name()
                    .unwrap()
                    .to_string_lossy()
                    .starts_with("conclave-dev")
            })
            .collect()
    }

    fn processes(&self) -> Vec<PathBuf> {
        let log = self.log();
        let numbers = log
            .split(" process ")
            .skip(1)
            .filter_map(|rest| rest.split(' ').next());
        numbers
            .map(|number| Path::new("/proc").join(number))
            .filter(|process| process.exists())
            .collect()
    }

    async fn is_gone(&self) {
        eventually("processes and files are gone", SOON, async || {
            let left = (self.processes(), self.directories());
            if left.0.is_empty() && left.1.is_empty() {
                Ok(())
            } else {
                Err(left)
            }
        })
        .await;
    }

    fn signal(&self, name: &str) {
        must(
            Command::new("kill")
                .arg(format!("-{name}"))
                .arg(self.process.id().to_string()),
        );
    }
}

impl Drop for ThrowAway {
    fn drop(&mut self) {
        // Its nodes notice and go.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn cluster_thrown_away_by_ctrl_c_after_a_node_was_lost() {
    let mut cluster = ThrowAway::start(base_port());
    let log = cluster.formed().await;
    assert!(log.contains("zone a") && log.contains("Unseal Key: "), "{log}");
    let said = cluster.shell("conclave kv put secret/a b=c >/dev/null; conclave operator raft list-peers -format=json | jq '.data.config.servers | length'");
    assert_eq!(said, "3\n");
    assert_eq!(cluster.processes().len(), 3);
    let first = cluster.processes()[0]
        .file_name()
        .unwrap()
        .to_string_lossy()
        .into_owned();
    let read = cluster.shell(&format!(
        "kill -9 {first}; conclave kv put secret/a b=d >/dev/null; conclave kv get -field=b secret/a"
    ));
    assert_eq!(read, "d");
    eventually("the loss is told", SOON, async || {
        let log = cluster.log();
        if log.contains("node-a ended: ") {
            Ok(())
        } else {
            Err(log)
        }
    })
    .await;
    cluster.signal("INT");
    assert!(cluster.process.wait().unwrap().success());
    cluster.is_gone().await;
}

#[tokio::test]
async fn cluster_thrown_away_by_the_death_of_its_parent() {
    let port = base_port();
    let mut cluster = ThrowAway::start(port);
    cluster.formed().await;
    cluster.signal("KILL");
    cluster.process.wait().unwrap();
    cluster.is_gone().await;

    // Told to end before it stood.
    let mut early = ThrowAway::start(port);
    eventually("it began", SOON, async || {
        if early.directories().is_empty() {
            Err("nothing")
        } else {
            Ok(())
        }
    })
    .await;
    early.signal("TERM");
    early.process.wait().unwrap();
    early.is_gone().await;
}

#[test]
fn ports_and_numbers_that_cannot_be_are_named() {
    let folder = folder();
    let port = base_port();
    let _taken = std::net::TcpListener::bind(("127.0.0.1", port + 20)).unwrap();
    let run = |flags: &[&str]| {
        let address = format!("-dev-listen-address=127.0.0.1:{port}");
        let output = command(binary(), folder.path())
            .arg("dev")
            .args(flags)
            .arg(address)
            .env("TMPDIR", folder.path())
            .output();
        let output = output.unwrap();
        assert_eq!(output.status.code(), Some(1));
        texts(&output).1
    };
    let complained = run(&["-nodes=3"]);
    assert!(
        complained.contains(&format!("127.0.0.1:{}: Address already in use", port + 20)),
        "{complained}"
    );
    assert!(run(&["-nodes=2"]).contains("use 1, 3 or 5"));
    let left = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 0, "nothing stays behind");
}
