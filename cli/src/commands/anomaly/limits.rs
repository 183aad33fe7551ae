//! `anomaly limits`, `lift`: who is held back because a rule found something.

use super::calls;
use crate::commands::{Command, Output, exactly};
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
    let columns = [
        ("Name", ""),
        ("Subject", "subject"),
        ("Requests/s", "rate"),
        ("Until", "until"),
        ("Rule", "rule"),
        ("Event", "event"),
    ];
    let asked = ("limits", "Error listing who is held back");
    calls::list(cx, args, asked, &columns, "Nobody is held back.")
}

fn lift(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    exactly(args, 1)?;
    let place = ("limits", args.arg(0));
    calls::remove(
        cx,
        args,
        place,
        "Error lifting a limit",
        "Held back no more (if it was)",
    )
}
