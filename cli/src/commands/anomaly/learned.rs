//! `anomaly baseline`, `dormant`, `access`, `unused`, `identity` and `orphaned`: what the cluster learned of who uses what.

use conclave_client::Verb;
use conclave_client::http::Json;

use super::calls::{Wishes, call, listed, shown};
use crate::commands::{Command, Output, at_most, exactly, sanitize};
use crate::exit::{Exit, Fail};
use crate::flags::{Args, Flag};
use crate::goval::plain;
use crate::output::{self, table};
use crate::session::Cx;

const DAYS: Flag = Flag::int("days", "Days of silence; 30 if not set.");
const UNUSED_DAYS: Flag = Flag::int("days", "Days without use; 90 if not set.");

pub const BASELINE: Command = Command::new(
    "anomaly baseline",
    "[options] [ENTITY_ID]",
    "Shows what is usual",
    baseline,
)
.help(
    "Without an entity shows how much is known; with one, when, from where and how much it usually reads.\n\n\
         $ conclave anomaly baseline\n$ conclave anomaly baseline ENTITY_ID",
)
.output(Output::Field);
pub const DORMANT: Command = Command::new("anomaly dormant", "[options]", "Lists identities that have been silent", dormant)
    .help("Lists identities that were seen and have been silent since, the longest first.\n\n$ conclave anomaly dormant -days=90")
    .output(Output::Format)
    .flags(&[DAYS]);

pub const ACCESS: Command = Command::new("anomaly access", "[options] PATH", "Shows who used a secret last", access)
    .help("Shows the last read and the last write of a secret, and how many there were; about a minute behind.\n\n$ conclave anomaly access secret/prod/db")
    .output(Output::Field);
pub const UNUSED: Command = Command::new("anomaly unused", "[options] MOUNT", "Lists secrets that nobody uses", unused)
    .help("Lists secrets of a mount that were used once and neither read nor written for so many days.\n\n$ conclave anomaly unused -days=180 secret")
    .output(Output::Format)
    .flags(&[UNUSED_DAYS]);

pub const IDENTITY: Command = Command::new("anomaly identity", "[options] ENTITY_ID", "Shows what an entity used last", identity)
    .help("Shows the last secret that an entity read and the last that it wrote, and how many reads and writes there were; about a minute behind.\n\n$ conclave anomaly identity ENTITY_ID")
    .output(Output::Field);
pub const ORPHANED: Command = Command::new("anomaly orphaned", "[options]", "Lists entities that nobody can log in as", orphaned)
    .help("Lists entities of all namespaces that no auth method lets anybody in as: they have no alias, or the method knows its name no more.\n\n$ conclave anomaly orphaned")
    .output(Output::Format);

fn identity(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    exactly(args, 1)?;
    let path = format!("identities/{}", args.arg(0));
    let found = call(
        cx,
        args,
        (Verb::Read, &path),
        &Wishes::new(),
        "Error reading what the entity used",
    )?;
    Ok(shown(cx, args, found, "use by the entity"))
}

fn orphaned(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    at_most(args, 0)?;
    let found = call(
        cx,
        args,
        (Verb::Read, "orphaned"),
        &Wishes::new(),
        "Error listing orphaned entities",
    )?;
    let columns = [
        ("Entity", ""),
        ("Name", "name"),
        ("Namespace", "namespace"),
        ("Reason", "reason"),
    ];
    Ok(listed(
        cx,
        found,
        &columns,
        "Somebody can log in as every entity.",
    ))
}

fn access(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    exactly(args, 1)?;
    let path = format!("access/{}", sanitize(args.arg(0)));
    let found = call(
        cx,
        args,
        (Verb::Read, &path),
        &Wishes::new(),
        "Error reading who used the secret",
    )?;
    Ok(shown(cx, args, found, "use of the secret"))
}

fn unused(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    exactly(args, 1)?;
    let mut wishes = Wishes::new();
    if args.given(&UNUSED_DAYS) {
        wishes.insert("days".to_owned(), args.int(&UNUSED_DAYS).to_string());
    }
    let path = format!("unused/{}", sanitize(args.arg(0)));
    let found = call(
        cx,
        args,
        (Verb::Read, &path),
        &wishes,
        "Error listing unused secrets",
    )?;
    Ok(listed(cx, found, &[("Path", "")], "Every secret is used."))
}

fn baseline(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    at_most(args, 1)?;
    let path = match args.arg(0) {
        "" => "baseline".to_owned(),
        entity => format!("baseline/{entity}"),
    };
    let found = call(
        cx,
        args,
        (Verb::Read, &path),
        &Wishes::new(),
        "Error reading the baseline",
    )?;
    Ok(shown(cx, args, found, "baseline"))
}

fn dormant(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    at_most(args, 0)?;
    let mut wishes = Wishes::new();
    if args.given(&DAYS) {
        wishes.insert("days".to_owned(), args.int(&DAYS).to_string());
    }
    let found = call(
        cx,
        args,
        (Verb::Read, "dormant"),
        &wishes,
        "Error listing silent identities",
    )?;
    let found = found.unwrap_or_default();
    if !cx.ui.is_table() {
        return Ok(output::value(&mut cx.ui, &Json::Object(found)));
    }
    let mut lines = vec!["Identity | Last Seen".to_owned()];
    let silent = found
        .get("identities")
        .and_then(Json::as_array)
        .unwrap_or_default();
    lines.extend(silent.iter().map(|who| {
        let text = |name: &str| who.get(name).map(plain).unwrap_or_default();
        format!("{} | {}", text("identity"), text("last_seen"))
    }));
    let table = table::with_header(&lines, "|");
    cx.ui.line(match lines.len() {
        1 => "Nobody has been silent for so long.",
        _ => &table,
    });
    Ok(Exit::OK)
}
