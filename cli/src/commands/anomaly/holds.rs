//! `anomaly holds`, `release`: who must show a second factor because a rule found something.

use super::calls;
use crate::commands::{Command, Output, exactly};
use crate::exit::{Exit, Fail};
use crate::flags::Args;
use crate::session::Cx;

pub const LIST: Command = Command::new(
    "anomaly holds",
    "[options]",
    "Lists who must show a second factor",
    list,
)
.help(
    "Lists identities whose tokens are refused until they log in with a second factor, because a rule with the response \
     require_mfa found something.\n\n$ conclave anomaly holds",
)
.output(Output::Format);
pub const RELEASE: Command = Command::new(
    "anomaly release",
    "[options] ENTITY_ID",
    "Asks somebody for a second factor no more",
    release,
)
.help(
    "Lets an identity go: its tokens are good again, and its logins want no second factor that no enforcement asks for.\n\n\
     $ conclave anomaly release 1f6e0c1c-50c9-4b31-a8f0-1ef1a5a3e9a1",
);

fn list(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    let columns = [
        ("Entity", ""),
        ("Subject", "subject"),
        ("Since", "since"),
        ("Rule", "rule"),
        ("Event", "event"),
    ];
    let asked = ("holds", "Error listing who must show a second factor");
    calls::list(
        cx,
        args,
        asked,
        &columns,
        "Nobody must show a second factor for a rule.",
    )
}

fn release(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    exactly(args, 1)?;
    let place = ("holds", args.arg(0));
    calls::remove(
        cx,
        args,
        place,
        "Error letting an identity go",
        "Held no more (if it was)",
    )
}
