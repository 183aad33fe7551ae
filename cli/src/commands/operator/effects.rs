//! `operator effects`: whether the cluster acts on systems outside, and the switch.

use conclave_client::http::{Fields, Json};

use crate::commands::{Command, Output, at_most};
use crate::exit::{Context as _, Exit, Fail};
use crate::flags::Args;
use crate::output;
use crate::session::Cx;

pub const COMMAND: Command = Command::new(
    "operator effects",
    "[options] [pause|resume]",
    "Pauses what the cluster does to systems outside",
    run,
)
.help(
    "Tells whether effects are paused, pauses them or lets them go on. While they are, no account is made, dropped or rotated; \
     leases that end stay due. A restore with -pause-effects begins so, for a copy of a cluster must not touch what the \
     original uses.\n\n\
     $ conclave operator effects\n\
     $ conclave operator effects resume",
)
.output(Output::Format);

fn run(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    at_most(args, 1)?;
    let paused = match args.arg(0) {
        "" => {
            let api = cx.api(args)?;
            let found = api.get("sys/effects").context("Error reading effects")?;
            return Ok(output::fields(&mut cx.ui, &found));
        }
        "pause" => true,
        "resume" => false,
        other => {
            return Err(Fail::usage(format!(
                "Unknown argument {other:?}: pause and resume are known"
            )));
        }
    };
    let api = cx.api(args)?;
    let body = Fields::from_iter([("paused", Json::from(paused))]);
    api.call("PUT", "sys/effects", Some(body))
        .context("Error changing effects")?;
    cx.ui.line(match paused {
        true => "Success! Effects outside the cluster are paused",
        false => "Success! Effects outside the cluster go on",
    });
    Ok(Exit::OK)
}
