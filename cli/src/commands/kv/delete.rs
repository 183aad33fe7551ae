//! `kv delete`: marks versions as deleted, or removes a key without versions.

use super::place::Place;
use super::{MOUNT, VERSIONS, versions};
use crate::commands::logical::settle;
use crate::commands::{Command, FIELD, Output, exactly};
use crate::exit::{Exit, Fail};
use crate::flags::Args;
use crate::output;
use crate::session::Cx;

pub const COMMAND: Command = Command::new("kv delete", "[options] PATH", "Deletes versions in the KV store", run)
    .help(
        "Deletes a key's current version, or those that -versions names. With versions the data can be had back by \
         'kv undelete'; 'kv metadata delete' removes the key whole.\n\n$ conclave kv delete -mount=secret -versions=3 foo",
    )
    .output(Output::Field)
    .flags(&[MOUNT, VERSIONS]);

fn run(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    exactly(args, 1)?;
    let mut api = cx.api(args)?;
    let place = Place::find(&mut api, args)?;
    let path = place.or_plain("data");
    let answer = if place.v2 && args.given(&VERSIONS) {
        api.write(
            &place.with("delete"),
            [("versions", versions(args))].into_iter().collect(),
        )
    } else {
        api.delete(&path, &[])
    };
    let Some(secret) = settle(cx, answer, &format!("Error deleting {path}"))? else {
        if cx.ui.is_table() {
            cx.ui
                .line(&format!("Success! Data deleted (if it existed) at: {path}"));
        }
        return Ok(Exit::OK);
    };
    Ok(match args.some(&FIELD) {
        Some(name) => output::secret_field(&mut cx.ui, &secret, name),
        None => output::secret(&mut cx.ui, &secret),
    })
}
