//! `anomaly limits`, `lift`: who is held back because a rule found something.

use conclave_client::Verb;

use super::calls::{Wishes, call, listed};
use crate::commands::{Command, Output, at_most, exactly};
use crate::exit::{Exit, Fail};
use crate::flags::Args;
use crate::session::Cx;

pub const LIST: Command = Command::new("anomaly limits", "[options]", "Lists who is held back", list)
    .help(
        "Lists identities and tokens that are held back because a rule with the response rate_limit found \
         something, and until when.\n\n$ conclave anomaly limits",
    )
    .output(Output::Format);
pub const LIFT: Command = Command::new(
    "anomaly lift",
    "[options] NAME",
    "Holds somebody back no more",
    lift,
)
.help("Holds somebody back no more.\n\n$ conclave anomaly lift entity-1f6e0c1c-50c9-4b31-a8f0-1ef1a5a3e9a1");

fn list(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    at_most(args, 0)?;
    let found = call(
        cx,
        args,
        (Verb::List, "limits"),
        &Wishes::new(),
        "Error listing who is held back",
    )?;
    let columns = [
        ("Name", ""),
        ("Subject", "subject"),
        ("Requests/s", "rate"),
        ("Until", "until"),
        ("Rule", "rule"),
        ("Event", "event"),
    ];
    Ok(listed(cx, found, &columns, "Nobody is held back."))
}

fn lift(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    exactly(args, 1)?;
    let path = format!("limits/{}", args.arg(0));
    call(
        cx,
        args,
        (Verb::Delete, &path),
        &Wishes::new(),
        "Error lifting a limit",
    )?;
    cx.ui.line(&format!(
        "Success! Held back no more (if it was): {}",
        args.arg(0)
    ));
    Ok(Exit::OK)
}
