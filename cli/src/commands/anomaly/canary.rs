//! `anomaly canary ...`: secrets that nobody should read.

use conclave_client::Verb;

use super::calls::{self, Wishes, call};
use crate::commands::{Command, Output, exactly, sanitize};
use crate::exit::{Exit, Fail};
use crate::flags::{Args, Flag};
use crate::session::Cx;

const REVOKE: Flag = Flag::bool("revoke", "Revoke the token of whoever reads it.");
const NOTE: Flag = Flag::text("note", "What it is for.");

pub const GROUP: Command = Command::group(
    "anomaly canary",
    "Plant secrets that nobody should read",
    "Any read of a canary, allowed or refused, is a critical event.\n\n$ conclave anomaly canary plant secret/prod/backup-admin",
);
pub const PLANT: Command = Command::new("anomaly canary plant", "[options] PATH", "Declares a secret a canary", plant)
    .help(
        "Write a secret first that looks worth stealing, then declare it. A path that ends in '*' stands for all that begin \
         so.\n\n$ conclave anomaly canary plant -revoke secret/prod/backup-admin",
    )
    .flags(&[NOTE, REVOKE]);
pub const LIST: Command = Command::new("anomaly canary list", "[options]", "Lists canaries", list)
    .help("Lists canaries.\n\n$ conclave anomaly canary list")
    .output(Output::Format);
pub const REMOVE: Command = Command::new(
    "anomaly canary remove",
    "[options] PATH",
    "Makes a canary a secret again",
    remove,
)
.help("The secret stays.\n\n$ conclave anomaly canary remove secret/prod/backup-admin");

fn plant(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    exactly(args, 1)?;
    let place = sanitize(args.arg(0));
    let wishes = Wishes::from([
        ("revoke".to_owned(), args.is(&REVOKE).to_string()),
        ("note".to_owned(), args.text(&NOTE).to_owned()),
    ]);
    let path = format!("canaries/{place}");
    call(
        cx,
        args,
        (Verb::Write, &path),
        &wishes,
        "Error planting the canary",
    )?;
    cx.ui
        .line(&format!("Success! Whoever reads it will be told of: {place}"));
    Ok(Exit::OK)
}

fn list(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    let columns = [
        ("Path", ""),
        ("Requests For", "requests_for"),
        ("Revoke", "revoke"),
        ("Note", "note"),
    ];
    let asked = ("canaries", "Error listing canaries");
    calls::list(cx, args, asked, &columns, "No canaries are planted.")
}

fn remove(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    exactly(args, 1)?;
    let place = ("canaries", sanitize(args.arg(0)));
    calls::remove(
        cx,
        args,
        place,
        "Error removing the canary",
        "No canary any more (if it was one)",
    )
}
