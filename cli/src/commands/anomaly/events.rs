//! `anomaly list`, `read`, `ack`: what was found.

use conclave_client::Verb;

use super::calls::{Wishes, call, listed, shown};
use crate::commands::{Command, Output, at_most, exactly};
use crate::exit::{Exit, Fail};
use crate::flags::{Args, Flag};
use crate::session::Cx;

const STATE: Flag = Flag::text("state", "Only events that are open, or acknowledged.");
const RULE: Flag = Flag::text("rule", "Only events of this rule.");
const LIMIT: Flag = Flag::int("limit", "At most so many events, the newest.");
const NOTE: Flag = Flag::text("note", "What was found out.");

pub const LIST: Command = Command::new("anomaly list", "[options]", "Lists what was found unusual", list)
    .help("Lists events, the newest first.\n\n$ conclave anomaly list -state=open")
    .output(Output::Format)
    .flags(&[LIMIT, RULE, STATE]);
pub const READ: Command = Command::new(
    "anomaly read",
    "[options] EVENT",
    "Shows an event with its evidence",
    read,
)
.help(
    "Shows why something was found unusual, with the numbers that show it.\n\n$ conclave anomaly read EVENT",
)
.output(Output::Field);
pub const ACK: Command = Command::new("anomaly ack", "[options] EVENT", "Acknowledges an event", ack)
    .help("Says that somebody has looked at an event.\n\n$ conclave anomaly ack -note='a load test' EVENT")
    .flags(&[NOTE]);

fn list(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    at_most(args, 0)?;
    let mut wishes = Wishes::new();
    for flag in [&STATE, &RULE] {
        if let Some(text) = args.some(flag) {
            wishes.insert(flag.name.to_owned(), text.to_owned());
        }
    }
    if args.given(&LIMIT) {
        wishes.insert("limit".to_owned(), args.int(&LIMIT).to_string());
    }
    let found = call(cx, args, (Verb::List, "events"), &wishes, "Error listing events")?;
    let columns = [
        ("Event", ""),
        ("Severity", "severity"),
        ("Rule", "rule"),
        ("Last Seen", "last_seen"),
        ("State", "state"),
        ("Explanation", "explanation"),
    ];
    Ok(listed(cx, found, &columns, "Nothing unusual was found."))
}

fn read(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    exactly(args, 1)?;
    let path = format!("events/{}", args.arg(0));
    let found = call(
        cx,
        args,
        (Verb::Read, &path),
        &Wishes::new(),
        "Error reading the event",
    )?;
    Ok(shown(cx, args, found, "event"))
}

fn ack(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    exactly(args, 1)?;
    let path = format!("ack/{}", args.arg(0));
    let wishes = Wishes::from([("note".to_owned(), args.text(&NOTE).to_owned())]);
    call(
        cx,
        args,
        (Verb::Write, &path),
        &wishes,
        "Error acknowledging the event",
    )?;
    cx.ui
        .line(&format!("Success! Acknowledged event: {}", args.arg(0)));
    Ok(Exit::OK)
}
