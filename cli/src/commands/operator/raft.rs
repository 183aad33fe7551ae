//! `operator raft`: peers, snapshots and autopilot.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;

use conclave_client::http::{Body, Error, Fields, Json, Request, plain as io_text};

use crate::commands::{Command, Output, at_most, exactly};
use crate::exit::{Context as _, Exit, Fail};
use crate::flags::{Args, Flag};
use crate::goval::{plain, quote};
use crate::output::{self, table};
use crate::session::Cx;

const AUTO_JOIN_SCHEME: Flag =
    Flag::text("auto-join-scheme", "Scheme of discovered addresses.").default("https");
const AUTO_JOIN_PORT: Flag = Flag::int("auto-join-port", "Port of discovered addresses.").default("8200");
const LEADER_CA_CERT: Flag = Flag::text(
    "leader-ca-cert",
    "Authority of the leader's certificate; @file reads it.",
);
const LEADER_CLIENT_CERT: Flag = Flag::text(
    "leader-client-cert",
    "Certificate to show to the leader; @file reads it.",
);
const LEADER_CLIENT_KEY: Flag = Flag::text("leader-client-key", "Key of that certificate; @file reads it.");
const RETRY: Flag = Flag::bool("retry", "Keep trying.");
const JOIN_TOKEN: Flag = Flag::text(
    "join-token",
    "Token of 'operator raft join-token', which a Conclave cluster asks for; @file reads it.",
);
const NON_VOTER: Flag = Flag::bool("non-voter", "Join without a vote.");
const FORCE: Flag = Flag::bool("force", "Restore even if the snapshot is of another cluster.");
const PAUSE_EFFECTS: Flag = Flag::bool(
    "pause-effects",
    "Begin with effects outside paused: no account is made, dropped or rotated until 'operator effects resume'.",
);
const CLEANUP: Flag = Flag::bool("cleanup-dead-servers", "Remove dead servers.");
const DEAD_CONTACT: Flag = Flag::span(
    "dead-server-last-contact-threshold",
    "Time without contact after which a server is dead.",
);
const CONTACT: Flag = Flag::span(
    "last-contact-threshold",
    "Time without contact after which a server is unhealthy.",
);
const TRAILING: Flag = Flag::int("max-trailing-logs", "Entries a healthy server may be behind.");
const MIN_QUORUM: Flag = Flag::int(
    "min-quorum",
    "Servers that are left when dead ones are removed, at least.",
);
const STABILIZATION: Flag = Flag::span(
    "server-stabilization-time",
    "Time a server must be healthy before it votes.",
);

pub const GROUP: Command = Command::group(
    "operator raft",
    "Interact with the raft storage backend",
    "Peers of the cluster, snapshots, autopilot.\n\n$ conclave operator raft list-peers\n$ conclave operator raft snapshot save out.snap",
);
pub const LIST_PEERS: Command = Command::new(
    "operator raft list-peers",
    "[options]",
    "Returns the Raft peer set",
    list_peers,
)
.output(Output::Format);
pub const JOIN: Command = Command::new("operator raft join", "[options] <leader-api-addr>", "Joins a node to the Raft cluster", join)
    .help("Makes the node that is called a peer of a leader's cluster.\n\n$ conclave operator raft join https://10.0.0.1:8200")
    .output(Output::Format)
    .flags(&[AUTO_JOIN_PORT, AUTO_JOIN_SCHEME, JOIN_TOKEN, LEADER_CA_CERT, LEADER_CLIENT_CERT, LEADER_CLIENT_KEY, NON_VOTER, RETRY]);
pub const REMOVE_PEER: Command = Command::new(
    "operator raft remove-peer",
    "[options] <server_id>",
    "Removes a node from the Raft cluster",
    remove_peer,
)
.output(Output::Format);
pub const PROMOTE: Command = Command::new(
    "operator raft promote",
    "[options] <server_id>",
    "Promotes a permanent non-voter to a voter",
    promote,
)
.output(Output::Format);
pub const DEMOTE: Command = Command::new(
    "operator raft demote",
    "[options] <server_id>",
    "Demotes a voter to a permanent non-voter",
    demote,
)
.output(Output::Format);
pub const SNAPSHOT: Command = Command::group(
    "operator raft snapshot",
    "Restores and saves snapshots from the Raft cluster",
    "Snapshots of the whole cluster.\n\n$ conclave operator raft snapshot save out.snap",
);
pub const SNAPSHOT_SAVE: Command = Command::new(
    "operator raft snapshot save",
    "[options] <snapshot_file>",
    "Saves a snapshot of the current state of the Raft cluster into a file",
    save,
)
.output(Output::Format);
pub const SNAPSHOT_RESTORE: Command = Command::new(
    "operator raft snapshot restore",
    "[options] <snapshot_file>",
    "Installs the provided snapshot, returning the cluster to the state defined in it",
    restore,
)
.output(Output::Format)
.flags(&[FORCE, PAUSE_EFFECTS]);
pub const AUTOPILOT: Command = Command::group(
    "operator raft autopilot",
    "Health of servers and its settings",
    "Health of servers and its settings.",
);
pub const AUTOPILOT_STATE: Command = Command::new(
    "operator raft autopilot state",
    "[options]",
    "Displays the state of the raft cluster as seen by autopilot",
    state,
)
.output(Output::Format);
pub const AUTOPILOT_GET: Command = Command::new(
    "operator raft autopilot get-config",
    "[options]",
    "Returns the configuration of autopilot",
    get_config,
)
.output(Output::Format);
pub const AUTOPILOT_SET: Command = Command::new(
    "operator raft autopilot set-config",
    "[options]",
    "Modify the configuration of autopilot",
    set_config,
)
.output(Output::Format)
.flags(&[
    CLEANUP,
    DEAD_CONTACT,
    CONTACT,
    TRAILING,
    MIN_QUORUM,
    STABILIZATION,
]);

fn list_peers(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    let api = cx.api(args)?;
    let secret = api
        .read("sys/storage/raft/configuration")
        .context("Error reading the raft cluster configuration")?;
    let secret = secret.ok_or_else(|| Fail::remote("No raft cluster configuration found"))?;
    if !cx.ui.is_table() {
        return Ok(output::secret(&mut cx.ui, &secret));
    }
    let servers = secret
        .field("config")
        .and_then(|c| c.get("servers"))
        .and_then(Json::as_array)
        .unwrap_or_default();
    let mut lines = vec!["Node | Address | State | Voter".to_owned()];
    for server in servers {
        let text = |name: &str| server.get(name).map(plain).unwrap_or_default();
        let truth = |name: &str| server.get(name).and_then(Json::as_bool).unwrap_or(false);
        let state = if truth("leader") { "leader" } else { "follower" };
        lines.push(format!(
            "{} | {} | {state} | {}",
            text("node_id"),
            text("address"),
            truth("voter")
        ));
    }
    cx.ui.line(&table::with_header(&lines, "|"));
    Ok(Exit::OK)
}

fn join(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    if args.rest().len() > 1 {
        return Err(Fail::usage(format!(
            "Too many arguments (expected 0-1, got {})",
            args.rest().len()
        )));
    }
    let mut body = Fields::new();
    for (name, flag, title) in [
        ("leader_ca_cert", &LEADER_CA_CERT, "CA certificate"),
        ("leader_client_cert", &LEADER_CLIENT_CERT, "client certificate"),
        ("leader_client_key", &LEADER_CLIENT_KEY, "client key"),
        ("join_token", &JOIN_TOKEN, "join token"),
    ] {
        let given = args.text(flag);
        let text = match given.strip_prefix('@') {
            Some(path) => {
                let failed = |e: String| {
                    Fail::usage(format!("Failed to parse leader {title}: error reading file: {e}"))
                };
                let bytes = crate::kvdata::read_file(path).map_err(failed)?;
                String::from_utf8(bytes).map_err(|_| failed("it is not text".into()))?
            }
            None => given.to_owned(),
        };
        // Other servers do not know join tokens, and would warn of one.
        if name != "join_token" || !text.is_empty() {
            body.insert(name, text.trim());
        }
    }
    let scheme = args.text(&AUTO_JOIN_SCHEME);
    if !matches!(scheme, "" | "http" | "https") {
        return Err(Fail::usage(format!(
            "invalid scheme {}; must either be http or https",
            quote(scheme)
        )));
    }
    let api = cx.api(args)?;
    body.insert("retry", args.is(&RETRY));
    body.insert("non_voter", args.is(&NON_VOTER));
    let leader = args.arg(0).trim();
    if leader.contains("provider=") {
        body.insert("auto_join", leader);
        body.insert("auto_join_scheme", scheme);
        body.insert("auto_join_port", args.int(&AUTO_JOIN_PORT));
    } else {
        body.insert("leader_api_addr", leader);
    }
    let sentence = "Error joining the node to the Raft cluster";
    let answer = api
        .call("POST", "sys/storage/raft/join", Some(body))
        .context(sentence)?;
    let answer = answer.json().context(sentence)?.unwrap_or_default();
    if !cx.ui.is_table() {
        return Ok(output::value(&mut cx.ui, &answer));
    }
    let joined = answer.get("joined").and_then(Json::as_bool).unwrap_or(false);
    let mut lines = vec!["Key | Value".to_owned(), format!("Joined | {joined}")];
    let fingerprint = answer.get("fingerprint").map(plain).unwrap_or_default();
    if !fingerprint.is_empty() {
        lines.push(format!("Fingerprint | {fingerprint}"));
    }
    cx.ui.line(&table::with_header(&lines, "|"));
    if !fingerprint.is_empty() {
        cx.ui.line(&format!(
            "\nThe node asks until it is let in. If it needs approval, run on a member:\n\n  conclave operator raft approve {fingerprint}"
        ));
    }
    Ok(Exit::OK)
}

/// The one argument of a command.
pub(super) fn one(args: &Args) -> Result<&str, Fail> {
    match args.rest() {
        [one] => Ok(one.trim()),
        other => Err(Fail::usage(format!(
            "Incorrect arguments (expected 1, got {})",
            other.len()
        ))),
    }
}

fn change(cx: &mut Cx, args: &Args, action: &str, sentence: &str, done: &str) -> Result<Exit, Fail> {
    let server = one(args)?;
    let api = cx.api(args)?;
    let body: Fields = [("server_id", server)].into_iter().collect();
    api.call("PUT", &format!("sys/storage/raft/{action}"), Some(body))
        .context(sentence)?;
    cx.ui.line(done);
    Ok(Exit::OK)
}

fn remove_peer(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    change(
        cx,
        args,
        "remove-peer",
        "Error removing the peer from raft cluster",
        "Peer removed successfully!",
    )
}

fn promote(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    change(
        cx,
        args,
        "promote",
        "Error promoting server",
        "Server promoted successfully!",
    )
}

fn demote(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    change(
        cx,
        args,
        "demote",
        "Error demoting server",
        "Server demoted successfully!",
    )
}

fn save(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    let path = one(args)?;
    if path.is_empty() {
        return Err(Fail::usage("Output file name is required"));
    }
    let api = cx.api(args)?;
    // Whole or not at all: the file takes its name when the last byte is on disk.
    let part = format!("{path}.part");
    let file_failed = |e: std::io::Error| Error::File(format!("{part}: {}", io_text(&e)));
    let request = Request::new("GET", "sys/storage/raft/snapshot");
    let mut file = None;
    let saved = api.download(&request, |chunk| {
        let out = match &mut file {
            Some(out) => out,
            None => {
                let mut options = std::fs::OpenOptions::new();
                options.write(true).create(true).truncate(true).mode(0o600);
                file.insert(options.open(&part).map_err(file_failed)?)
            }
        };
        out.write_all(chunk).map_err(file_failed)
    });
    let finished = saved.and_then(|()| match &file {
        Some(out) => {
            out.sync_all().map_err(file_failed)?;
            std::fs::rename(&part, path).map_err(file_failed)
        }
        None => Err(Error::File("the server sent an empty snapshot".into())),
    });
    if finished.is_err() && file.is_some() {
        let _ = std::fs::remove_file(&part);
    }
    finished.context("Error taking the snapshot")?;
    Ok(Exit::OK)
}

fn restore(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    let path = one(args)?;
    if path.is_empty() {
        return Err(Fail::usage("Snapshot file name is required"));
    }
    std::fs::File::open(path).map_err(|e| {
        Fail::remote(format!(
            "Error opening snapshot file: open {path}: {}",
            io_text(&e)
        ))
    })?;
    let api = cx.api(args)?;
    let endpoint = if args.is(&FORCE) {
        "snapshot-force"
    } else {
        "snapshot"
    };
    let mut request = Request::new("POST", format!("sys/storage/raft/{endpoint}"));
    if args.is(&PAUSE_EFFECTS) {
        request = request.query("pause_effects", "true");
    }
    request.body = Body::File(path.into());
    api.send(&request).context("Error installing the snapshot")?;
    Ok(Exit::OK)
}

fn state(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    at_most(args, 0)?;
    let api = cx.api(args)?;
    let secret = api
        .read("sys/storage/raft/autopilot/state")
        .context("Error checking autopilot state")?;
    let Some(data) = secret.and_then(|s| s.data) else {
        return Ok(Exit::OK);
    };
    let document = state_document(&data);
    if matches!(cx.ui.format, crate::ui::Format::Json | crate::ui::Format::Yaml) {
        return Ok(output::value(&mut cx.ui, &document.into()));
    }
    cx.ui.line(&state_prose(&Json::Object(document)));
    Ok(Exit::OK)
}

/// The state with the names and order of the original's struct.
fn state_document(data: &Fields) -> Fields {
    let get = |name: &str| data.get(name).cloned().unwrap_or_default();
    let mut servers = Fields::new();
    for (id, server) in data
        .get("servers")
        .and_then(Json::as_object)
        .iter()
        .flat_map(|s| s.iter())
    {
        let mut out = Fields::new();
        for (title, name) in [
            ("ID", "id"),
            ("Name", "name"),
            ("Address", "address"),
            ("NodeStatus", "node_status"),
            ("LastContact", "last_contact"),
            ("LastTerm", "last_term"),
            ("LastIndex", "last_index"),
            ("Healthy", "healthy"),
            ("StableSince", "stable_since"),
            ("Status", "status"),
            ("Version", "version"),
        ] {
            out.push(title, server.get(name).cloned().unwrap_or_default());
        }
        for (title, name) in [("UpgradeVersion", "upgrade_version"), ("NodeType", "node_type")] {
            out.push(title, server.get(name).cloned().unwrap_or_else(|| "".into()));
        }
        servers.push(id, out);
    }
    let mut out = Fields::new();
    out.push("Healthy", get("healthy"));
    out.push("FailureTolerance", get("failure_tolerance"));
    out.push("Servers", servers);
    out.push("Leader", get("leader"));
    out.push("Voters", get("voters"));
    out.push("NonVoters", get("non_voters"));
    out.push("Upgrade", get("upgrade_info"));
    let tolerance = data.get("optimistic_failure_tolerance").cloned();
    out.push(
        "OptimisticFailureTolerance",
        tolerance.unwrap_or_else(|| 0_i64.into()),
    );
    out
}

fn state_prose(state: &Json) -> String {
    let text = |of: &Json, name: &str| {
        of.get(name)
            .filter(|v| !v.is_null())
            .map(plain)
            .unwrap_or_default()
    };
    let mut out = format!("Healthy:                         {}\n", text(state, "Healthy"));
    out.push_str(&format!(
        "Failure Tolerance:               {}\n",
        text(state, "FailureTolerance")
    ));
    out.push_str(&format!(
        "Leader:                          {}\n",
        text(state, "Leader")
    ));
    for (title, name) in [("Voters", "Voters"), ("Non Voters", "NonVoters")] {
        let ids = state.get(name).and_then(Json::as_array).unwrap_or_default();
        if name == "Voters" || !ids.is_empty() {
            out.push_str(&format!("{title}:\n"));
        }
        for id in ids {
            out.push_str(&format!("   {}\n", plain(id)));
        }
    }
    out.push_str("Servers:\n");
    for (id, server) in state
        .get("Servers")
        .and_then(Json::as_object)
        .iter()
        .flat_map(|s| s.iter())
    {
        out.push_str(&format!("   {id}\n"));
        for (title, name) in [
            ("Name", "Name"),
            ("Address", "Address"),
            ("Status", "Status"),
            ("Node Status", "NodeStatus"),
            ("Healthy", "Healthy"),
            ("Last Contact", "LastContact"),
            ("Last Term", "LastTerm"),
            ("Last Index", "LastIndex"),
            ("Version", "Version"),
            ("Upgrade Version", "UpgradeVersion"),
            ("Node Type", "NodeType"),
        ] {
            let value = text(server, name);
            if !value.is_empty() || !matches!(name, "UpgradeVersion" | "NodeType") {
                out.push_str(&format!("      {:<19}{value}\n", format!("{title}:")));
            }
        }
    }
    out
}

fn get_config(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    at_most(args, 0)?;
    let api = cx.api(args)?;
    let secret = api.read("sys/storage/raft/autopilot/configuration")?;
    let Some(config) = secret.and_then(|s| s.data) else {
        return Ok(Exit::OK);
    };
    if !cx.ui.is_table() {
        return Ok(output::value(&mut cx.ui, &config.into()));
    }
    let mut lines = vec!["Key | Value".to_owned()];
    for (title, name) in [
        ("Cleanup Dead Servers", "cleanup_dead_servers"),
        ("Last Contact Threshold", "last_contact_threshold"),
        (
            "Dead Server Last Contact Threshold",
            "dead_server_last_contact_threshold",
        ),
        ("Server Stabilization Time", "server_stabilization_time"),
        ("Min Quorum", "min_quorum"),
        ("Max Trailing Logs", "max_trailing_logs"),
    ] {
        lines.push(format!(
            "{title} | {}",
            config.get(name).map(plain).unwrap_or_default()
        ));
    }
    cx.ui.line(&table::with_header(&lines, "|"));
    Ok(Exit::OK)
}

fn set_config(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    exactly(args, 0)?;
    let api = cx.api(args)?;
    let mut body = Fields::new();
    if args.given(&CLEANUP) {
        body.insert("cleanup_dead_servers", args.is(&CLEANUP));
    }
    for (name, flag) in [("max_trailing_logs", &TRAILING), ("min_quorum", &MIN_QUORUM)] {
        if args.int(flag) > 0 {
            body.insert(name, args.int(flag));
        }
    }
    for (name, flag) in [
        ("last_contact_threshold", &CONTACT),
        ("dead_server_last_contact_threshold", &DEAD_CONTACT),
        ("server_stabilization_time", &STABILIZATION),
    ] {
        if args.span(flag).0 > 0 {
            body.insert(name, args.span(flag).to_string());
        }
    }
    api.write("sys/storage/raft/autopilot/configuration", body)
        .and_then(conclave_client::http::Answer::ok)?;
    Ok(Exit::OK)
}
