//! `kv rollback`: makes an earlier version current again, as a new one.

use conclave_client::http::Json;

use super::place::Place;
use super::{Existing, MOUNT, VERSION, print_changed, versioned};
use crate::commands::{Command, Output};
use crate::exit::{Context as _, Exit, Fail};
use crate::flags::Args;
use crate::session::Cx;

pub const COMMAND: Command =
    Command::new("kv rollback", "[options] KEY", "Rolls back to a previous version of data", run)
        .help("Writes an earlier version's data as a new version.\n\n$ conclave kv rollback -mount=secret -version=2 foo")
        .output(Output::Format)
        .flags(&[MOUNT, VERSION]);

fn run(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    let version = args.int(&VERSION);
    if args.rest().len() != 1 {
        return Err(Fail::usage(format!(
            "Invalid number of arguments (expected 1, got {})",
            args.rest().len()
        )));
    }
    if !args.given(&VERSION) {
        return Err(Fail::usage("Version flag must be specified"));
    }
    if version <= 0 {
        return Err(Fail::usage(format!(
            "Invalid value {version} for the version flag"
        )));
    }
    let mut api = cx.api(args)?;
    let place = Place::find(&mut api, args)?;
    if !place.v2 {
        return Err(Fail::remote(
            "K/V engine mount must be version 2 for rollback support",
        ));
    }
    let path = place.with("data");
    let current = Existing::read(&api, &path, None, "rollback")?;
    let cas = current.metadata.get("version").cloned().unwrap_or_default();
    let wanted = Existing::read(&api, &path, Some(version), "rollback")?;
    if wanted
        .metadata
        .get("deletion_time")
        .and_then(Json::as_str)
        .is_some_and(|t| !t.is_empty())
    {
        return Err(Fail::remote(
            "Cannot roll back to a version that has been deleted",
        ));
    }
    if wanted
        .metadata
        .get("destroyed")
        .and_then(Json::as_bool)
        .unwrap_or(false)
    {
        return Err(Fail::remote(
            "Cannot roll back to a version that has been destroyed",
        ));
    }
    let data = wanted.data(&path, "rollback")?;
    let answer = api
        .write(&path, versioned(data, Some(cas)))
        .and_then(conclave_client::http::Answer::ok);
    let secret = answer.context(&format!("Error writing data to {path}"))?;
    Ok(print_changed(cx, &path, secret))
}
