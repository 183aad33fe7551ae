//! `kv put`: writes a key whole.

use super::place::Place;
use super::{CAS, MOUNT, print_written, versioned};
use crate::commands::logical::settle;
use crate::commands::{Command, Output, at_least};
use crate::exit::{Exit, Fail};
use crate::flags::Args;
use crate::kvdata;
use crate::session::Cx;

pub const COMMAND: Command = Command::new(
    "kv put",
    "[options] KEY [DATA]",
    "Sets or updates data in the KV store",
    run,
)
.help(
    "Writes a key's data, which replaces what was there. Values beginning with @ are read from a file; the \
             value - is read from standard input.\n\n$ conclave kv put -mount=secret foo bar=baz\n\
             $ conclave kv put -mount=secret -cas=1 foo @data.json",
)
.output(Output::Field)
.flags(&[CAS, MOUNT]);

fn run(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    need_data(args, false)?;
    let mut api = cx.api(args)?;
    let data = data(cx, args)?;
    let place = Place::find(&mut api, args)?;
    let path = place.or_plain("data");
    let cas = Some(args.int(&CAS)).filter(|cas| *cas > -1).map(Into::into);
    let body = if place.v2 { versioned(data, cas) } else { data };
    let answer = api.write(&path, body);
    let secret = settle(cx, answer, &format!("Error writing data to {path}"))?;
    Ok(print_written(cx, args, &path, secret))
}

/// Checks that there is a key, and data unless other flags say what to do.
pub fn need_data(args: &Args, without: bool) -> Result<(), Fail> {
    at_least(args, 1).map_err(|_| Fail::usage("Not enough arguments (expected >1, got 0)"))?;
    if args.rest().len() == 1 && !without {
        return Err(Fail::usage("Must supply data"));
    }
    Ok(())
}

/// The fields after the key.
pub fn data(cx: &mut Cx, args: &Args) -> Result<conclave_client::http::Fields, Fail> {
    let pairs = args.rest().get(1..).unwrap_or_default();
    kvdata::parse(&mut cx.stdin(args), pairs)
        .map_err(|e| Fail::usage(format!("Failed to parse K=V data: {e}")))
}
