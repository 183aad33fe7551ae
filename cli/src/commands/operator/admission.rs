//! `operator raft join-token`, `approve`, `pending`: letting nodes into the cluster. Ours alone, over gRPC.

use conclave_client::http::{Fields, Json};
use conclave_client::v1::MakeJoinTokenRequest;

use super::raft::one;
use crate::commands::{Command, FIELD, Output, at_most};
use crate::exit::{Exit, Fail};
use crate::flags::{Args, Flag};
use crate::goval::Span;
use crate::output::{self, table};
use crate::session::Cx;

const TTL: Flag = Flag::span("ttl", "Life of the token; 10 minutes if not set, a day at most.");
const USES: Flag = Flag::int("uses", "Nodes that may join by the token; 1 if not set.");
const BOUND_CIDRS: Flag = Flag::list(
    "bound-cidrs",
    "Networks or addresses a node must ask from, separated by commas. May be given several times.",
);

pub const NEW_JOIN_TOKEN: Command = Command::new(
    "operator raft join-token",
    "[options]",
    "Makes a token by which a node joins the cluster",
    join_token,
)
.help("Makes a token that a new node shows to be let in.\n\n$ conclave operator raft join-token -uses=2 -bound-cidrs=10.0.0.0/8")
.output(Output::Field)
.flags(&[BOUND_CIDRS, TTL, USES]);
pub const APPROVE: Command =
    Command::new("operator raft approve", "[options] <fingerprint>", "Lets a waiting node join the cluster", approve)
        .help("Lets the node with this key fingerprint join; the node prints it when it starts.\n\n$ conclave operator raft approve FINGERPRINT")
        .output(Output::Format);
pub const PENDING: Command =
    Command::new("operator raft pending", "[options]", "Lists the nodes that wait for approval", pending)
        .help("Lists the nodes that asked to join without a token and wait until they are approved.\n\n$ conclave operator raft pending")
        .output(Output::Format);

fn join_token(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    at_most(args, 0)?;
    let bound_cidrs = args.list(&BOUND_CIDRS);
    let wishes = MakeJoinTokenRequest {
        ttl_seconds: whole_seconds(args)?,
        uses: uses(args)?,
        bound_cidrs: bound_cidrs
            .iter()
            .flat_map(|given| given.split(','))
            .map(|given| given.trim().to_owned())
            .filter(|given| !given.is_empty())
            .collect(),
    };
    let cluster = cx.cluster(args)?;
    let made = cluster.wait(
        "Error making a join token",
        cluster.conclave.sys().make_join_token(wishes),
    )?;
    let mut fields = Fields::new();
    if !made.bound_cidrs.is_empty() {
        let cidrs = made.bound_cidrs.into_iter().map(Json::from).collect();
        fields.insert("bound_cidrs", Json::Array(cidrs));
    }
    fields.insert("join_token", made.token.expose());
    fields.insert("ttl", made.ttl.as_secs());
    fields.insert("uses", u64::from(made.uses));
    Ok(match args.some(&FIELD) {
        Some(name) => output::field(&mut cx.ui, &fields, name, "join token"),
        None => output::fields(&mut cx.ui, &fields),
    })
}

/// The wished life; 0 if none is named. What is named and no whole positive number of seconds is refused here, for 0
/// means something else on the wire.
fn whole_seconds(args: &Args) -> Result<u64, Fail> {
    if !args.given(&TTL) {
        return Ok(0);
    }
    let Span(nanos) = args.span(&TTL);
    let seconds = u64::try_from(nanos / 1_000_000_000).unwrap_or(0);
    match seconds {
        0 => Err(Fail::usage("-ttl must be at least a second")),
        seconds => Ok(seconds),
    }
}

fn uses(args: &Args) -> Result<u32, Fail> {
    if !args.given(&USES) {
        return Ok(0);
    }
    match u32::try_from(args.int(&USES)) {
        Ok(0) | Err(_) => Err(Fail::usage("-uses must be at least 1")),
        Ok(uses) => Ok(uses),
    }
}

fn approve(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    let fingerprint = one(args)?;
    let cluster = cx.cluster(args)?;
    cluster.wait(
        "Error approving the node",
        cluster.conclave.sys().approve_node(fingerprint),
    )?;
    cx.ui.line(&format!("Success! The node may join: {fingerprint}"));
    Ok(Exit::OK)
}

fn pending(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    at_most(args, 0)?;
    let cluster = cx.cluster(args)?;
    let nodes = cluster.wait(
        "Error listing the nodes that wait",
        cluster.conclave.sys().pending_nodes(),
    )?;
    if !cx.ui.is_table() {
        let nodes = nodes.into_iter().map(|node| {
            let mut fields = Fields::new();
            for (name, text) in [
                ("fingerprint", node.fingerprint),
                ("name", node.name),
                ("zone", node.zone),
                ("api_address", node.api_address),
                ("cluster_address", node.cluster_address),
            ] {
                fields.push(name, text);
            }
            Json::Object(fields)
        });
        let nodes = Json::Array(nodes.collect());
        return Ok(output::value(&mut cx.ui, &nodes));
    }
    let mut lines = vec!["Fingerprint | Name | Zone | Address".to_owned()];
    lines.extend(nodes.iter().map(|node| {
        format!(
            "{} | {} | {} | {}",
            node.fingerprint, node.name, node.zone, node.cluster_address
        )
    }));
    let table = table::with_header(&lines, "|");
    cx.ui.line(match lines.len() {
        1 => "No node waits for approval.",
        _ => &table,
    });
    Ok(Exit::OK)
}
