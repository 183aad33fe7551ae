//! A network between nodes as machines have it: each node in a network namespace of its own, with cables to two switches. One
//! carries what nodes tell each other. Its cables can be pulled out, and then what is sent vanishes: nothing is refused, reset
//! or ended, and each side finds out by itself. The other carries requests to the nodes' APIs and stays whole. All of it lies in
//! a namespace of the test, nothing of it on the machine, and it is gone when the test is. Knows nothing of what is sent.

use std::ffi::OsStr;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use super::{Place, Seed};

/// Says that this process runs in namespaces of its own.
const INSIDE: &str = "CONCLAVE_CHAOS_LAB";
/// Where namespaces have their names: in the lab a file system of its own.
const NAMES: &str = "/run/netns";
/// Switch and network of what nodes tell each other, and the device by which a node is on it.
const CABLES: Switch = Switch {
    name: "cables",
    network: 77,
    device: "eth0",
};
/// The same of requests to their APIs.
const DESK: Switch = Switch {
    name: "desk",
    network: 78,
    device: "eth1",
};
/// Where this process is on a switch: above all nodes.
const OWN: u8 = 254;
/// An address of hardware that nobody has.
const NOBODY: &str = "02:00:00:00:00:ff";

/// Where a test may lay cables.
pub enum Lab {
    /// This process is in it.
    Inside,
    /// The test ran once more in there, and ended so.
    Ran(ExitStatus),
    /// Only root may make one.
    Closed,
}

impl Lab {
    /// Runs `test`, which calls this first, with this seed in namespaces of its own, which end with it.
    pub fn enter(test: &str, seed: u64) -> Self {
        if std::env::var_os(INSIDE).is_some() {
            must("mkdir", &["-p", NAMES]);
            must("mount", &["-t", "tmpfs", "tmpfs", NAMES]);
            ip(&["link", "set", "lo", "up"]);
            return Self::Inside;
        }
        if !rustix::process::geteuid().is_root() {
            return Self::Closed;
        }
        let own = std::env::current_exe().expect("a running test has an executable");
        let mut again = Command::new("setpriv");
        again
            .args(["--pdeathsig", "KILL", "--"])
            .args(["unshare", "--net", "--mount", "--"])
            .arg(own)
            .args(["--exact", test, "--nocapture"])
            .env(INSIDE, "yes");
        Seed::numbered(seed).give_to(&mut again);
        Self::Ran(again.status().expect("setpriv (of util-linux) starts"))
    }
}

/// A switch: its nodes have addresses 10.77.0.1, 10.77.0.2 and so on.
struct Switch {
    name: &'static str,
    network: u8,
    device: &'static str,
}

impl Switch {
    fn address(&self, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, self.network, 0, host)
    }

    /// Its end of the cable to a node.
    fn port(&self, at: usize) -> String {
        format!("{}{}", self.name, number(at))
    }

    fn set_up(&self) {
        ip(&["link", "add", self.name, "type", "bridge"]);
        ip(&["link", "set", self.name, "up"]);
    }

    fn connect(&self, at: usize) {
        let (node, port) = (name(at), self.port(at));
        let address = format!("{}/24", self.address(number(at)));
        let end = ["peer", "name", self.device, "netns", &node];
        ip(&[&["link", "add", &port, "type", "veth"][..], &end].concat());
        ip(&["link", "set", &port, "master", self.name, "up"]);
        ip(&["-n", &node, "address", "add", &address, "dev", self.device]);
        ip(&["-n", &node, "link", "set", self.device, "up"]);
    }
}

/// The cables of one cluster. Gone when it is dropped.
pub struct Cables {
    nodes: usize,
}

impl Cables {
    /// Lays them for so many nodes.
    pub fn lay(nodes: usize) -> Self {
        CABLES.set_up();
        DESK.set_up();
        let own = format!("{}/24", DESK.address(OWN));
        ip(&["address", "add", &own, "dev", DESK.name]);
        for at in 0..nodes {
            ip(&["netns", "add", &name(at)]);
            ip(&["-n", &name(at), "link", "set", "lo", "up"]);
            CABLES.connect(at);
            DESK.connect(at);
        }
        Self { nodes }
    }

    /// Where each node is.
    pub fn places(&self) -> impl Iterator<Item = Place> + use<> {
        (0..self.nodes).map(|at| Place {
            api: DESK.address(number(at)),
            cluster: CABLES.address(number(at)),
            namespace: Some(PathBuf::from(NAMES).join(name(at))),
        })
    }

    /// Pulls a node's cable out of the switch.
    pub fn pull(&self, at: usize) {
        ip(&["link", "set", &CABLES.port(at), "down"]);
    }

    /// Puts it back.
    pub fn plug(&self, at: usize) {
        ip(&["link", "set", &CABLES.port(at), "up"]);
    }

    /// What one node sends to another goes to nobody from now on; what comes back arrives.
    pub fn swallow(&self, from: usize, to: usize) {
        let to = CABLES.address(number(to)).to_string();
        let wrong = ["lladdr", NOBODY, "nud", "permanent", "dev", CABLES.device];
        ip(&[&["-n", &name(from), "neigh", "replace", &to][..], &wrong].concat());
    }

    /// Everything arrives again.
    pub fn heal(&self) {
        for at in 0..self.nodes {
            self.plug(at);
            let wrong = ["neigh", "flush", "dev", CABLES.device, "nud", "permanent"];
            ip(&[&["-n", &name(at)][..], &wrong].concat());
        }
    }
}

impl Drop for Cables {
    fn drop(&mut self) {
        let links = (0..self.nodes).flat_map(|at| [CABLES.port(at), DESK.port(at)]);
        for link in links.chain([CABLES.name.to_owned(), DESK.name.to_owned()]) {
            let _ = run("ip", &["link", "delete", &link]);
        }
        for at in 0..self.nodes {
            let _ = run("ip", &["netns", "delete", &name(at)]);
        }
    }
}

/// How many pieces of connections a process's machine had to send again.
pub fn sent_again(process: u32) -> u64 {
    let path = format!("/proc/{process}/net/snmp");
    let told = std::fs::read_to_string(Path::new(&path)).expect("counters of a network");
    let mut lines = told.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let (names, values) = (lines.next().expect("names"), lines.next().expect("values"));
    let mut both = names.split(' ').zip(values.split(' '));
    let found = both.find(|(name, _)| *name == "RetransSegs");
    found
        .and_then(|(_, value)| value.parse().ok())
        .expect("a number of segments")
}

fn number(at: usize) -> u8 {
    u8::try_from(at + 1).expect("few nodes")
}

fn name(at: usize) -> String {
    format!("node{}", number(at))
}

fn ip(arguments: &[&str]) {
    must("ip", arguments);
}

fn must(program: &str, arguments: &[&str]) {
    if let Err(why) = run(program, arguments) {
        panic!("{program} {}: {why}", arguments.join(" "));
    }
}

fn run(program: impl AsRef<OsStr>, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(|error| error.to_string())?;
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}
