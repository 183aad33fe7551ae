//! `kv undelete`: brings deleted versions back.

use super::place::Place;
use super::{MOUNT, VERSIONS, print_changed, versions};
use crate::commands::logical::settle;
use crate::commands::{Command, Output, exactly};
use crate::exit::{Exit, Fail};
use crate::flags::Args;
use crate::session::Cx;

pub const COMMAND: Command = Command::new(
    "kv undelete",
    "[options] KEY",
    "Undeletes versions in the KV store",
    run,
)
.help("Brings deleted versions back.\n\n$ conclave kv undelete -mount=secret -versions=3 foo")
.output(Output::Format)
.flags(&[MOUNT, VERSIONS]);

fn run(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    change(cx, args, "undelete", "Undelete")
}

/// Changes the state of versions: `word` is both the API's and the command's.
pub fn change(cx: &mut Cx, args: &Args, word: &str, title: &str) -> Result<Exit, Fail> {
    exactly(args, 1)?;
    if !args.given(&VERSIONS) {
        let complaint =
            format!("No versions provided, use the \"-versions\" flag to specify the version to {word}.");
        return Err(Fail::usage(complaint));
    }
    let mut api = cx.api(args)?;
    let place = Place::find(&mut api, args)?;
    if !place.v2 {
        return Err(Fail::usage(format!("{title} not supported on KV Version 1")));
    }
    let path = place.with(word);
    let answer = api.write(&path, [("versions", versions(args))].into_iter().collect());
    let secret = settle(cx, answer, &format!("Error writing data to {path}"))?;
    Ok(print_changed(cx, &path, secret))
}
