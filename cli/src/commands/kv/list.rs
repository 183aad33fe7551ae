//! `kv list` and `kv scan`: names of keys in a folder, or in it and all beneath.

use super::MOUNT;
use super::place::Place;
use crate::commands::logical::keys;
use crate::commands::{Command, Output, at_least, at_most};
use crate::exit::{Context as _, Exit, Fail};
use crate::flags::Args;
use crate::session::Cx;

pub const LIST: Command = Command::new("kv list", "[options] PATH", "List data or secrets", list)
    .help(
        "Lists the names in a folder.\n\n$ conclave kv list secret/my-app/\n$ conclave kv list -mount=secret",
    )
    .output(Output::Format)
    .flags(&[MOUNT]);

pub const SCAN: Command = Command::new("kv scan", "[options] PATH", "Scan data or secrets", scan)
    .help("Lists the names in a folder and in all folders beneath.\n\n$ conclave kv scan secret/my-app/")
    .output(Output::Format)
    .flags(&[MOUNT]);

fn list(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    run(cx, args, false)
}

fn scan(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    run(cx, args, true)
}

fn run(cx: &mut Cx, args: &Args, deep: bool) -> Result<Exit, Fail> {
    if args.some(&MOUNT).is_none() {
        at_least(args, 1)?;
    }
    at_most(args, 1)?;
    let mut api = cx.api(args)?;
    let place = Place::find(&mut api, args)?;
    let path = place.or_plain("metadata");
    let found = if deep {
        api.scan(&path, None).context(&format!("Error scanning {path}"))?
    } else {
        api.list(&path, None).context(&format!("Error listing {path}"))?
    };
    keys(cx, &path, found)
}
