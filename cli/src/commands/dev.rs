//! `dev`: a development server, or with `-nodes` a throw-away cluster of real processes in a temporary directory. Forms the
//! cluster over its HTTP API, as an operator would; knows nothing of what runs inside a node.

use std::fs::{self, OpenOptions};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use conclave_client::http::{Client, Fields, Json, Tls};
use conclave_server::dev::DevKv;
use conclave_server::temporary::Temporary;
use conclave_server::{orphan, tls};

use super::Command;
use super::server::{self, Known};
use crate::exit::{Context as _, Exit, Fail};
use crate::flags::{Args, Flag};
use crate::session::{Api, Cx};

const NODES: Flag = Flag::int(
    "nodes",
    "Number of nodes: 1 is a server in memory, 3 or 5 a cluster of processes.",
)
.default("1");
/// Everything `server` has, and the number of nodes.
const FLAGS: &[Flag] = &server::with(NODES);

pub const COMMAND: Command = Command::new("dev", "[options]", "Start a throw-away server or cluster", run)
    .help("Runs a server in memory, unsealed, with a root token: the short form of 'server -dev'. With -nodes=3, a cluster of processes with TLS, unsealed, with kv-v2 at secret/, in a temporary directory that goes when this command ends, however it ends. Node N listens at the port of -dev-listen-address + 10 * (N - 1), its peers at the next port, probes at the one after. Not for secrets.\n\n$ conclave dev -nodes=3")
    .flags(FLAGS);

/// Between two looks at a condition.
const PAUSE: Duration = Duration::from_millis(50);
/// Looks at a condition before it counts as failed: half a minute.
const LOOKS: usize = 600;
/// Longest call to a node.
const CALL: Duration = Duration::from_secs(20);
/// Between two looks whether nodes still run.
const WATCH: Duration = Duration::from_millis(500);
/// Zones are named by letters, one for each node.
const ZONES: [&str; 5] = ["a", "b", "c", "d", "e"];
/// What the temporary directory's name begins with.
const PREFIX: &str = "conclave-dev-cluster";

fn run(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    match args.int(&NODES) {
        1 => server::development(cx, args),
        3 => cluster(cx, args, 3),
        5 => cluster(cx, args, 5),
        other => Err(Fail::usage(format!(
            "-nodes={other} is unsupported: use 1, 3 or 5"
        ))),
    }
}

fn cluster(cx: &mut Cx, args: &Args, count: usize) -> Result<Exit, Fail> {
    server::check(cx, args)?;
    server::refuse_files(args)?;
    let end = End::listen()?;
    let mut cluster = Cluster::prepare(args.text(&server::DEV_LISTEN_ADDRESS), count)?;
    match cluster.form(cx, args, &end) {
        Ok(born) => cluster.watch(cx, args, &born, &end),
        // Told to stop before it stood.
        Err(fail) if fail.message.is_empty() => Ok(Exit::OK),
        Err(fail) => Err(fail),
    }
}

/// When this command is to end: told to by a signal, or its parent gone.
struct End(Receiver<()>);

impl End {
    fn listen() -> Result<Self, Fail> {
        use tokio::signal::unix::{SignalKind, signal};
        let failed = |error: std::io::Error| Fail::usage(format!("Error listening for signals: {error}"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(failed)?;
        let parent = orphan::parent();
        let (told, tell) = channel();
        let guard = runtime.enter();
        let listen = |kind| signal(kind).map_err(failed);
        let mut interrupt = listen(SignalKind::interrupt())?;
        let mut terminate = listen(SignalKind::terminate())?;
        let mut hang_up = listen(SignalKind::hangup())?;
        drop(guard);
        std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hang_up.recv() => {}
                    () = orphan::orphaned(parent) => {}
                }
            });
            // Nobody may be left to hear it.
            let _ = told.send(());
        });
        Ok(Self(tell))
    }

    /// Whether the end came within this time. A listener that is gone is an end too.
    fn within(&self, time: Duration) -> bool {
        !matches!(self.0.recv_timeout(time), Err(RecvTimeoutError::Timeout))
    }
}

/// A cluster that goes with this value: first the processes, then their directory.
struct Cluster {
    nodes: Vec<Node>,
    ca: PathBuf,
    dir: Temporary,
}

struct Node {
    name: String,
    zone: &'static str,
    url: String,
    listen: [String; 3],
    folder: PathBuf,
    process: Option<Child>,
}

impl Cluster {
    /// Directory, certificates, configuration; nothing runs yet.
    fn prepare(listen_address: &str, count: usize) -> Result<Self, Fail> {
        let wrong = || {
            Fail::usage(format!(
                "-dev-listen-address={listen_address}: must be an address and a port below 65500"
            ))
        };
        let (host, port) = listen_address.rsplit_once(':').ok_or_else(wrong)?;
        let port: u16 = port.parse().map_err(|_| wrong())?;
        if port == 0 || port >= 65500 {
            return Err(wrong());
        }
        let failed = |error: conclave_server::Error| Fail::usage(error.to_string());
        let dir = Temporary::make(PREFIX).map_err(failed)?;
        let tls_dir = dir.path().join("tls");
        let ca = tls::create_ca(&tls_dir).map_err(failed)?.certificate;
        let mut nodes = Vec::new();
        for (zone, first) in ZONES.into_iter().zip((port..).step_by(10)).take(count) {
            let node = Node::new(dir.path(), zone, host, first);
            let sans = ["localhost".to_owned(), host.trim_matches(['[', ']']).to_owned()];
            tls::create_cert(&tls_dir, &tls_dir, &node.name, &sans).map_err(failed)?;
            node.configure(&tls_dir)?;
            nodes.push(node);
        }
        Ok(Self { nodes, ca, dir })
    }

    /// Starts all, makes the first the founder and the others members, unseals, mounts.
    fn form(&mut self, cx: &Cx, args: &Args, end: &End) -> Result<Born, Fail> {
        for node in &mut self.nodes {
            node.start(args)?;
        }
        let mut apis = self
            .nodes
            .iter()
            .map(|node| self.api(cx, node))
            .collect::<Result<Vec<_>, _>>()?;
        for (node, api) in self.nodes.iter_mut().zip(&apis) {
            let what = format!("{} answers", node.name);
            until(&what, end, || {
                node.must_run()?;
                Ok(api.get("sys/seal-status").is_ok())
            })?;
        }
        let [founder, joiners @ ..] = apis.as_mut_slice() else {
            return Err(Fail::usage("no nodes"));
        };
        let born = found(founder)?;
        unseal(founder, &born.share, "the first node", end)?;
        let ca = fs::read_to_string(&self.ca).map_err(|error| Fail::usage(error.to_string()))?;
        for (node, api) in self.nodes.iter().skip(1).zip(joiners.iter()) {
            join(founder, api, &self.nodes, &ca)?;
            unseal(api, &born.share, &node.name, end)?;
        }
        let count = self.nodes.len();
        until("all nodes are voters", end, || {
            Ok(voters(founder).is_ok_and(|voters| voters == count))
        })?;
        mount(founder, server::kv(args))?;
        if let Some(wanted) = args.some(&server::DEV_ROOT_TOKEN_ID) {
            rename_root(founder, wanted)?;
            return Ok(Born {
                root_token: wanted.to_owned(),
                ..born
            });
        }
        Ok(born)
    }

    fn api(&self, cx: &Cx, node: &Node) -> Result<Api, Fail> {
        let tls = Tls {
            ca_cert: Some(self.ca.clone()),
            ..Tls::default()
        };
        let client = Client::builder()
            .address(&node.url)
            .tls(tls)
            .timeout(CALL)
            .max_retries(0);
        cx.api_over(client.build()?)
    }

    /// Says how to use it, then waits for the end.
    fn watch(&mut self, cx: &mut Cx, args: &Args, born: &Born, end: &End) -> Result<Exit, Fail> {
        cx.ui.line(&self.banner(born));
        let addresses: Vec<&str> = self.nodes.iter().map(|node| node.url.as_str()).collect();
        let known = Known {
            addresses: &addresses,
            ca: Some(&self.ca),
            root_token: &born.root_token,
        };
        known.tell(cx, args);
        while !end.within(WATCH) {
            for node in &mut self.nodes {
                if let Some(status) = node.ended() {
                    cx.ui.warn(&format!(
                        "{} ended: {status}. To start it again, sealed: {}",
                        node.name,
                        node.command_line()
                    ));
                }
            }
        }
        Ok(Exit::OK)
    }

    fn banner(&self, born: &Born) -> String {
        let urls: Vec<&str> = self.nodes.iter().map(|node| node.url.as_str()).collect();
        let mut text = format!(
            "WARNING! A throw-away cluster of {} nodes runs in {}, unsealed, with a single\n\
             unseal key. Everything is removed when this command ends.\n\n",
            self.nodes.len(),
            self.dir.path().display()
        );
        for node in &self.nodes {
            let pid = node.process.as_ref().map_or(0, Child::id);
            text.push_str(&format!(
                "    {}  zone {}  {}  process {pid}  log {}\n",
                node.name,
                node.zone,
                node.url,
                node.log().display()
            ));
        }
        text.push_str("\nSet these in another terminal:\n\n");
        let first = urls.first().copied().unwrap_or_default();
        let ca = self.ca.display().to_string();
        // The variables that every client reads: what a script sets there is what it uses.
        for (name, value) in [
            ("VAULT_ADDR", first),
            ("VAULT_CACERT", &ca),
            ("VAULT_TOKEN", &born.root_token),
        ] {
            text.push_str(&format!("    $ export {name}='{value}'\n"));
        }
        text.push_str(&format!(
            "\n`conclave` takes all nodes, and goes on with the next when one is gone; this wins over VAULT_ADDR:\n\n    $ export \
             CONCLAVE_ADDR='{}'\n",
            urls.join(",")
        ));
        text.push_str(&format!(
            "\nUnseal Key: {}\nRoot Token: {}\n",
            born.share, born.root_token
        ));
        text
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            if let Some(process) = &mut node.process {
                // It may have ended by itself; what it holds is thrown away in either case.
                let _ = process.kill();
                let _ = process.wait();
            }
        }
    }
}

impl Node {
    fn new(root: &Path, zone: &'static str, host: &str, first: u16) -> Self {
        let listen = [0, 1, 2].map(|offset| format!("{host}:{}", first.saturating_add(offset)));
        let [api, ..] = &listen;
        let name = format!("node-{zone}");
        Self {
            folder: root.join(&name),
            url: format!("https://{api}"),
            name,
            zone,
            listen,
            process: None,
        }
    }

    fn configure(&self, tls: &Path) -> Result<(), Fail> {
        let [api, cluster, operations] = &self.listen;
        let (name, zone, tls, folder) = (&self.name, self.zone, tls.display(), self.folder.display());
        let text = format!(
            r#"cluster_name       = "dev"
zone               = "{zone}"
api_addr           = "https://{api}"
cluster_addr       = "https://{cluster}"
operations_address = "{operations}"
audit_directories  = ["{folder}"]
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
"#
        );
        let failed = |error: std::io::Error| Fail::usage(format!("{}: {error}", self.folder.display()));
        fs::create_dir_all(&self.folder).map_err(failed)?;
        fs::write(self.config(), text).map_err(failed)
    }

    fn config(&self) -> PathBuf {
        self.folder.join("conclave.hcl")
    }

    fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    fn start(&mut self, args: &Args) -> Result<(), Fail> {
        let failed = |error: std::io::Error| Fail::usage(format!("Error starting {}: {error}", self.name));
        for address in &self.listen {
            std::net::TcpListener::bind(address).map_err(|error| {
                Fail::usage(format!(
                    "{address}: {error}. Name another port by -dev-listen-address=HOST:PORT"
                ))
            })?;
        }
        let log = OpenOptions::new().create(true).append(true).open(self.log());
        let log = log.map_err(failed)?;
        let mut process = Process::new(std::env::current_exe().map_err(failed)?);
        process
            .args(self.arguments())
            .args(
                args.some(&server::LOG_LEVEL)
                    .map(|level| format!("-log-level={level}")),
            )
            // Ctrl-C is for this command alone: it ends its nodes itself.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(failed)?)
            .stderr(log);
        self.process = Some(process.spawn().map_err(failed)?);
        Ok(())
    }

    fn arguments(&self) -> [String; 4] {
        [
            "server".to_owned(),
            format!("-config={}", self.config().display()),
            format!("-{}={}", server::DEV_PARENT.name, std::process::id()),
            format!("-{}={}", server::DEV_FOLDER.name, self.folder.display()),
        ]
    }

    /// What a person types to start it again.
    fn command_line(&self) -> String {
        format!(
            "conclave server -config={} -{}={}",
            self.config().display(),
            server::DEV_PARENT.name,
            std::process::id()
        )
    }

    /// How it ended, once.
    fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.process.as_mut()?.try_wait().ok()??;
        self.process = None;
        Some(status)
    }

    fn must_run(&mut self) -> Result<(), Fail> {
        let Some(status) = self.ended() else { return Ok(()) };
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        let last = log.lines().last().unwrap_or_default();
        Err(Fail::usage(format!("{} ended: {status}: {last}", self.name)))
    }
}

/// Removes the folder of a node whose parent is gone, and with the last one what lies around it.
pub fn abandon(folder: &Path) {
    let Some(root) = folder.parent() else { return };
    let named = root
        .file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with(PREFIX));
    // Nothing but what `dev` made, whatever the flag says.
    if !named || root.parent() != Some(std::env::temp_dir().as_path()) {
        return;
    }
    // Best effort, as nobody is left to tell.
    let _ = fs::remove_dir_all(folder);
    let is_node = |entry: fs::DirEntry| entry.file_name().to_string_lossy().starts_with("node-");
    if let Ok(mut entries) = fs::read_dir(root)
        && !entries.any(|entry| entry.is_ok_and(is_node))
    {
        let _ = fs::remove_dir_all(root);
    }
}

/// Looks until `is_so`. A failure without words if this command is told to end meanwhile.
fn until(what: &str, end: &End, mut is_so: impl FnMut() -> Result<bool, Fail>) -> Result<(), Fail> {
    for _ in 0..LOOKS {
        if is_so()? {
            return Ok(());
        }
        if end.within(PAUSE) {
            return Err(Fail::usage(""));
        }
    }
    Err(Fail::usage(format!("Not within half a minute: {what}")))
}

/// A new cluster's one share and its first root token.
struct Born {
    share: String,
    root_token: String,
}

/// Founds the cluster; from then on the founder is called with the root token.
fn found(founder: &mut Api) -> Result<Born, Fail> {
    const SENTENCE: &str = "Error initializing";
    let mut body = Fields::new();
    body.insert("secret_shares", 1u64);
    body.insert("secret_threshold", 1u64);
    let answer = founder.call("PUT", "sys/init", Some(body)).context(SENTENCE)?;
    let answer = answer.json().context(SENTENCE)?.unwrap_or_default();
    let share = answer
        .get("keys")
        .and_then(Json::as_array)
        .and_then(<[Json]>::first);
    let texts = (
        share.and_then(Json::as_str),
        answer.get("root_token").and_then(Json::as_str),
    );
    let (Some(share), Some(root_token)) = texts else {
        return Err(Fail::remote("Error initializing: no keys"));
    };
    founder.client.set_token(root_token.to_owned());
    Ok(Born {
        share: share.to_owned(),
        root_token: root_token.to_owned(),
    })
}

fn unseal(api: &Api, share: &str, name: &str, end: &End) -> Result<(), Fail> {
    // A joiner knows what to open only once it has heard of the cluster.
    until(&format!("{name} is unsealed"), end, || {
        let status = api.get("sys/seal-status")?;
        let is = |key: &str| status.get(key).and_then(Json::as_bool);
        if is("initialized") == Some(true) && is("sealed") == Some(true) {
            let mut body = Fields::new();
            body.insert("key", share.to_owned());
            api.call("PUT", "sys/unseal", Some(body))
                .context("Error unsealing")?;
        }
        Ok(is("initialized") == Some(true) && is("sealed") == Some(false))
    })
}

fn join(founder: &Api, joiner: &Api, nodes: &[Node], ca: &str) -> Result<(), Fail> {
    let answer = founder
        .write("sys/storage/raft/join-token", Fields::new())
        .context("Error making a join token")?
        .ok()?;
    let data = answer.and_then(|secret| secret.data).unwrap_or_default();
    let token = data.get("join_token").and_then(Json::as_str).unwrap_or_default();
    let mut body = Fields::new();
    body.insert(
        "leader_api_addr",
        nodes.first().map_or(String::new(), |node| node.url.clone()),
    );
    body.insert("leader_ca_cert", ca.to_owned());
    body.insert("join_token", token.to_owned());
    joiner
        .call("POST", "sys/storage/raft/join", Some(body))
        .context("Error joining")?;
    Ok(())
}

fn voters(api: &Api) -> Result<usize, Fail> {
    let data = api.get("sys/storage/raft/configuration")?;
    let servers = data
        .get("config")
        .and_then(|config| config.get("servers"))
        .and_then(Json::as_array);
    let is_voter = |server: &&Json| server.get("voter").and_then(Json::as_bool) == Some(true);
    Ok(servers.unwrap_or_default().iter().filter(is_voter).count())
}

fn mount(api: &Api, kv: DevKv) -> Result<(), Fail> {
    let version = match kv {
        DevKv::Versioned => "2",
        DevKv::Plain => "1",
        DevKv::Nothing => return Ok(()),
    };
    let mut options = Fields::new();
    options.insert("version", version.to_owned());
    let mut body = Fields::new();
    body.insert("type", "kv".to_owned());
    body.insert("options", options);
    api.write("sys/mounts/secret", body)
        .context("Error mounting secret/")?
        .ok()?;
    Ok(())
}

/// Makes a root token of this text and revokes the first one.
fn rename_root(api: &Api, wanted: &str) -> Result<(), Fail> {
    const SENTENCE: &str = "Error making the root token";
    let mut body = Fields::new();
    body.insert("id", wanted.to_owned());
    body.insert("no_parent", true);
    body.insert("policies", vec!["root".to_owned()]);
    api.write("auth/token/create", body).context(SENTENCE)?.ok()?;
    api.write("auth/token/revoke-self", Fields::new())
        .context(SENTENCE)?
        .ok()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_abandoned_node_removes_its_own_only() {
        let root = Temporary::make(PREFIX).unwrap();
        let (one, two) = (root.path().join("node-a"), root.path().join("node-b"));
        for folder in [&one, &two, &root.path().join("tls")] {
            fs::create_dir(folder).unwrap();
        }
        abandon(&one);
        assert!(!one.exists() && two.exists());
        abandon(&two);
        assert!(!root.path().exists());

        let other = tempfile::tempdir().unwrap();
        let folder = other.path().join("node-a");
        fs::create_dir(&folder).unwrap();
        abandon(&folder);
        assert!(folder.exists(), "what dev did not make is left alone");
    }
}
