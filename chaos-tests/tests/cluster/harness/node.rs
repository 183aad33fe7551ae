//! One node as a process of its own: configuration, start, kill -9, log.

use std::ffi::{OsStr, OsString};
use std::fs::{self, OpenOptions};
use std::net::Ipv4Addr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::disk::{CLOCK_SHIFT, SOURCE, shim};
use super::{Api, Disk, SOON, conclave, eventually, ports};

/// Lines of the log shown when a scenario fails.
const SHOWN: usize = 80;

/// Folder in which all nodes may keep audit files, below the cluster's.
pub const AUDIT: &str = "audit";
/// Where a node looks for the steps at which it is to stop.
const FAILPOINTS: &str = "CONCLAVE_FAILPOINTS";
/// What a node says then.
const REGISTERED: &str = "this start of the node is registered";
/// Level of the nodes' logs.
const LOG: &str = "CONCLAVE_CHAOS_LOG";

/// Where a node is on the network.
#[derive(Debug, Clone)]
pub struct Place {
    /// Of its API and its operations listener.
    pub api: Ipv4Addr,
    /// Of what other nodes call.
    pub cluster: Ipv4Addr,
    /// The network namespace in which it runs; else this one.
    pub namespace: Option<PathBuf>,
}

impl Place {
    /// Here, where all share one address.
    pub fn here() -> Self {
        Self {
            api: Ipv4Addr::LOCALHOST,
            cluster: Ipv4Addr::LOCALHOST,
            namespace: None,
        }
    }
}

/// A node, running or not. Killed when it is dropped.
pub struct Node {
    /// Its name for operators.
    pub name: String,
    /// Questions to its API, without a token.
    pub api: Api,
    /// URL of its API.
    pub url: String,
    /// URL of its operations listener.
    pub operations: String,
    folder: PathBuf,
    namespace: Option<PathBuf>,
    probes: Api,
    process: Option<Child>,
    /// Length of its log when it was started last.
    began: usize,
    disk: Option<Disk>,
    source: Option<Ipv4Addr>,
    clock: Option<i64>,
    binary: Option<PathBuf>,
}

/// A certificate of the listener, by the authority in `tls`.
fn make_certificate(tls: &Path, name: &str, address: Ipv4Addr) {
    let made = Command::new(conclave())
        .args(["operator", "tls", "create-cert", "-name", name])
        .args(["-san", &address.to_string()])
        .arg("-ca-dir")
        .arg(tls)
        .arg("-out")
        .arg(tls)
        .output()
        .expect("conclave runs");
    assert!(
        made.status.success(),
        "no certificate: {}",
        String::from_utf8_lossy(&made.stderr)
    );
}

impl Node {
    /// Writes certificate and configuration of a new node below `root`. `tls` holds the authority.
    pub fn prepare(root: &Path, tls: &Path, name: &str, zone: &str, place: Place) -> Self {
        let folder = root.join(name);
        let mut private = fs::DirBuilder::new();
        private
            .recursive(true)
            .mode(0o700)
            .create(folder.join("data"))
            .expect("a data directory");
        make_certificate(tls, name, place.api);
        let ports = ports::free(3);
        let [api, cluster, operations] = [(place.api, 0), (place.cluster, 1), (place.api, 2)]
            .map(|(address, at)| format!("{address}:{}", ports[at]));
        let config = format!(
            r#"
            cluster_name       = "chaos"
            log_level          = "{level}"
            zone               = "{zone}"
            api_addr           = "https://{api}"
            cluster_addr       = "https://{cluster}"
            operations_address = "{operations}"
            audit_directories  = ["{audit}"]
            listener "tcp" {{
              address         = "{api}"
              cluster_address = "{cluster}"
              tls_cert_file   = "{tls}/{name}.pem"
              tls_key_file    = "{tls}/{name}-key.pem"
            }}
            storage "raft" {{
              path    = "{folder}/data"
              node_id = "{name}"
            }}
            "#,
            level = std::env::var(LOG).as_deref().unwrap_or("info"),
            folder = folder.display(),
            audit = root.join(AUDIT).display(),
            tls = tls.display(),
        );
        fs::write(folder.join("conclave.hcl"), config).expect("a configuration file");
        let ca = fs::read(tls.join("ca.pem")).expect("the authority");
        let (url, operations) = (format!("https://{api}"), format!("http://{operations}"));
        Self {
            name: name.to_owned(),
            api: Api::new(&url, &ca),
            probes: Api::new(&operations, &ca),
            url,
            operations,
            folder,
            namespace: place.namespace,
            process: None,
            began: 0,
            disk: None,
            source: None,
            clock: None,
            binary: None,
        }
    }

    /// Puts a disk under it that can lose power, from its next start on.
    pub fn put_on_disk(&mut self) {
        self.disk = Some(Disk::new(&self.folder.join("disk"), &self.data()));
    }

    /// Its disk.
    pub fn disk(&self) -> &Disk {
        self.disk.as_ref().expect("a node that was put on a disk")
    }

    /// Adds lines to its configuration, for its next start.
    pub fn configure(&self, lines: &str) {
        let path = self.folder.join("conclave.hcl");
        let config = fs::read_to_string(&path).expect("a configuration file");
        fs::write(path, format!("{config}\n{lines}\n")).expect("a configuration file");
    }

    /// Shifts its wall clock by this much (`+400d`, `-1h`), from its next start on.
    pub fn shift_clock(&mut self, by: &str) {
        self.clock = Some(seconds(by));
    }

    /// Lets its wall clock be right, from its next start on.
    pub fn correct_clock(&mut self) {
        self.clock = None;
    }

    /// Lets another build run it, from its next start on; `None` is the one under test.
    pub fn run_by(&mut self, binary: Option<PathBuf>) {
        self.binary = binary;
    }

    /// Lets its connections on this machine come from this address of loopback, from its next start on.
    pub fn comes_from(&mut self, address: Ipv4Addr) {
        self.source = Some(address);
    }

    /// Lets it tell the others this address instead of its own, which is returned; from its next start on.
    pub fn announce(&self, address: &str) -> String {
        let path = self.folder.join("conclave.hcl");
        let config = fs::read_to_string(&path).expect("a configuration file");
        let line = config
            .lines()
            .find(|line| line.trim_start().starts_with("cluster_addr "))
            .expect("an announced address");
        let real = line
            .split("https://")
            .nth(1)
            .and_then(|rest| rest.split('"').next());
        let announced = config.replace(line, &format!("cluster_addr = \"https://{address}\""));
        fs::write(&path, announced).expect("a configuration file");
        real.expect("an address").to_owned()
    }

    /// Adds a line to the storage section of its configuration, for its next start.
    pub fn configure_storage(&self, line: &str) {
        let path = self.folder.join("conclave.hcl");
        let config = fs::read_to_string(&path).expect("a configuration file");
        let section = "storage \"raft\" {";
        assert!(config.contains(section), "{config}");
        let config = config.replace(section, &format!("{section}\n{line}"));
        fs::write(path, config).expect("a configuration file");
    }

    /// Starts the process and waits until it answers. It dies with this test, however the test ends.
    pub async fn start(&mut self) {
        self.begin();
        let api = self.api.clone();
        let what = format!("{} answers", self.name);
        eventually(&what, SOON, async || {
            self.assert_alive();
            api.call("GET", "sys/seal-status", None).await
        })
        .await;
    }

    /// Starts the process, which may end before it answers.
    pub fn begin(&mut self) {
        assert!(self.process.is_none(), "{} runs already", self.name);
        self.began = self.said().len();
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log())
            .expect("a log file");
        let mut config = OsString::from("-config=");
        config.push(self.folder.join("conclave.hcl"));
        let process = self
            .entering()
            .arg(self.binary.clone().unwrap_or_else(conclave))
            .arg("server")
            .arg(config)
            .envs(self.environment())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log file"))
            .stderr(log)
            .spawn()
            .expect("setpriv (of util-linux) starts");
        self.process = Some(process);
    }

    /// Becomes what is added to it, in the node's network, and dies with this test.
    fn entering(&self) -> Command {
        let mortal = ["setpriv", "--pdeathsig", "KILL", "--"];
        let Some(namespace) = &self.namespace else {
            let mut command = Command::new(mortal[0]);
            command.args(&mortal[1..]);
            return command;
        };
        let mut net = OsString::from("--net=");
        net.push(namespace);
        let mut command = Command::new("nsenter");
        command.arg(net).args(mortal);
        command
    }

    /// What stands between it and the system, and what that is told.
    fn environment(&self) -> Vec<(&'static str, OsString)> {
        let mut environment: Vec<(&'static str, OsString)> = Vec::new();
        environment.push((FAILPOINTS, self.folder.clone().into()));
        if self.disk.is_some() || self.source.is_some() || self.clock.is_some() {
            environment.push(("LD_PRELOAD", shim().into()));
        }
        if let Some(disk) = &self.disk {
            environment.extend(disk.environment());
        }
        if let Some(source) = self.source {
            environment.push((SOURCE, source.to_string().into()));
        }
        if let Some(by) = self.clock {
            let name = CLOCK_SHIFT.to_str().expect("letters");
            environment.push((name, by.to_string().into()));
        }
        environment
    }

    /// Has it stop when it next comes to this step.
    pub fn arm(&self, step: &str) {
        fs::write(self.folder.join(format!("arm-{step}")), "").expect("a file");
    }

    /// Lets it pass this step again; false if it came there already, and stands.
    pub fn disarm(&self, step: &str) -> bool {
        fs::remove_file(self.folder.join(format!("arm-{step}"))).is_ok()
    }

    /// Whether it stands there.
    pub fn stands_at(&self, step: &str) -> bool {
        self.folder.join(format!("at-{step}")).exists()
    }

    /// Lets it go on from there.
    pub fn pass(&self, step: &str) {
        fs::remove_file(self.folder.join(format!("at-{step}"))).expect("it stands there");
    }

    /// Waits until the process has ended by itself; how.
    pub async fn ended(&mut self) -> ExitStatus {
        let what = format!("{} ends by itself", self.name);
        let status = eventually(&what, SOON, async || self.has_ended().ok_or("runs")).await;
        self.process = None;
        status
    }

    /// How the process ended, if it did.
    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        let process = self.process.as_mut()?;
        process.try_wait().expect("a child")
    }

    /// kill -9, and waits until the process is gone.
    pub fn kill(&mut self) {
        let mut process = self
            .process
            .take()
            .unwrap_or_else(|| panic!("{} does not run", self.name));
        process.kill().expect("a process that may be killed");
        process.wait().expect("a process that ends");
    }

    /// Freezes the process: it keeps its connections and answers nobody.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets a frozen process go on as if nothing had happened.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Lets it read its files again.
    pub fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    fn signal(&self, signal: Signal) {
        let process = self.process.as_ref();
        let process = process.unwrap_or_else(|| panic!("{} does not run", self.name));
        kill_process(Pid::from_child(process), signal).expect("a process that may be signalled");
    }

    /// Number of the process.
    pub fn pid(&self) -> u32 {
        let process = self.process.as_ref();
        process
            .unwrap_or_else(|| panic!("{} does not run", self.name))
            .id()
    }

    /// Lets the process crash, and waits until it has.
    pub fn crash(&mut self) {
        self.signal(Signal::ABORT);
        if let Some(mut process) = self.process.take() {
            process.wait().expect("a process that ends");
        }
    }

    /// Asks it to stop in order, and waits until it has.
    pub async fn stop(&mut self) {
        self.signal(Signal::TERM);
        let mut process = self
            .process
            .take()
            .unwrap_or_else(|| panic!("{} does not run", self.name));
        let what = format!("{} stops in order", self.name);
        let status = eventually(&what, SOON, async || {
            process.try_wait().expect("a child").ok_or("runs")
        })
        .await;
        assert!(status.success(), "{} stops with {status}", self.name);
    }

    /// Whether the process is there.
    pub fn runs(&self) -> bool {
        self.process.is_some()
    }

    /// Fails if the process ended by itself.
    pub fn assert_alive(&mut self) {
        if let Some(status) = self.has_ended() {
            panic!("{} ended by itself: {status}", self.name);
        }
    }

    /// `sys/seal-status`, which always answers.
    pub async fn seal_status(&self) -> Value {
        self.api.get("sys/seal-status").await.body
    }

    /// Whether it holds no keys.
    pub async fn is_sealed(&self) -> bool {
        self.seal_status().await["sealed"]
            .as_bool()
            .expect("a truth value")
    }

    /// Revision and digest of what it has applied, from its operations listener.
    pub async fn digest(&self) -> Result<(u64, String), String> {
        let page = self.probes.page("digest").await?;
        let digest: Value = serde_json::from_str(&page).map_err(|error| error.to_string())?;
        let revision = digest["revision"].as_u64().ok_or("no revision")?;
        Ok((revision, digest["digest"].as_str().ok_or("no digest")?.to_owned()))
    }

    /// Its numbers, from its operations listener.
    pub async fn metrics(&self) -> String {
        self.probes
            .page("metrics")
            .await
            .expect("metrics are always served")
    }

    /// Everything this node ever wrote: data directory and log.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Its data directory.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Whether the cluster has taken in its present start, which it asks for by itself as soon as somebody leads.
    pub fn is_registered(&self) -> bool {
        self.said().split_off(self.began).contains(REGISTERED)
    }

    /// Everything it ever said.
    pub fn said(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    fn show_log(&self) {
        let log = self.said();
        let lines: Vec<&str> = log.lines().collect();
        let shown = lines.get(lines.len().saturating_sub(SHOWN)..).unwrap_or_default();
        eprintln!(
            "--- {} ({}), last of {} lines\n{}",
            self.name,
            self.url,
            lines.len(),
            shown.join("\n")
        );
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // It may have ended already; nothing is left to do in either case.
            let _ = process.kill();
            let _ = process.wait();
        }
        if std::thread::panicking() {
            self.show_log();
        }
    }
}

/// Seconds of a shift as `+400d` or `-1h`.
fn seconds(by: &str) -> i64 {
    let (number, unit) = by.split_at(by.len() - 1);
    let unit = match unit {
        "d" => 86_400,
        "h" => 3600,
        other => panic!("a clock is shifted by days or hours, not by {other}"),
    };
    number.parse::<i64>().expect("a number with its sign") * unit
}
