//! `anomaly mute`, `mutes`, `unmute`: what nobody wants to hear of for a while.

use conclave_client::Verb;

use super::calls::{self, Wishes, call};
use crate::commands::{Command, Output, exactly};
use crate::exit::{Exit, Fail};
use crate::flags::{Args, Flag};
use crate::session::Cx;

const RULE: Flag = Flag::text("rule", "The rule; all of them if not set.");
const SUBJECT: Flag = Flag::text(
    "subject",
    "What the subject's name begins with; everybody if not set.",
);
const TTL: Flag = Flag::text("ttl", "For how long, for example 8h; at most 183 days.");
const NOTE: Flag = Flag::text("note", "Why.");

pub const MUTE: Command = Command::new(
    "anomaly mute",
    "[options] NAME",
    "Mutes a rule or a subject for a while",
    mute,
)
.help(
    "What is muted is found and stored, and nobody is told.\n\n\
         $ conclave anomaly mute -rule=bulk_read -subject=approle-migration -ttl=8h migration",
)
.flags(&[NOTE, RULE, SUBJECT, TTL]);
pub const LIST: Command = Command::new("anomaly mutes", "[options]", "Lists what is muted", list)
    .help("Lists what is muted.\n\n$ conclave anomaly mutes")
    .output(Output::Format);
pub const UNMUTE: Command = Command::new(
    "anomaly unmute",
    "[options] NAME",
    "Mutes something no more",
    unmute,
)
.help("Mutes something no more.\n\n$ conclave anomaly unmute migration");

fn mute(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    exactly(args, 1)?;
    let mut wishes = Wishes::new();
    for flag in [&RULE, &SUBJECT, &TTL, &NOTE] {
        if let Some(text) = args.some(flag) {
            wishes.insert(flag.name.to_owned(), text.to_owned());
        }
    }
    let path = format!("mute/{}", args.arg(0));
    call(cx, args, (Verb::Write, &path), &wishes, "Error muting")?;
    cx.ui.line(&format!("Success! Muted: {}", args.arg(0)));
    Ok(Exit::OK)
}

fn list(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    let columns = [
        ("Name", ""),
        ("Rule", "rule"),
        ("Subject", "subject"),
        ("Until", "until"),
        ("Note", "note"),
    ];
    let asked = ("mute", "Error listing what is muted");
    calls::list(cx, args, asked, &columns, "Nothing is muted.")
}

fn unmute(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    exactly(args, 1)?;
    let place = ("mute", args.arg(0));
    calls::remove(cx, args, place, "Error unmuting", "Muted no more (if it was)")
}
