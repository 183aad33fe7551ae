//! `operator validate-config`: checks server configuration files without starting anything.

use conclave_client::http::{Fields, Json};

use crate::commands::{Command, Output};
use crate::exit::{Exit, Fail};
use crate::flags::{Args, Flag};
use crate::output;
use crate::session::Cx;

/// Where the configuration is.
pub const CONFIG: Flag = Flag::list(
    "config",
    "A configuration file, or a directory of them. May be given several times.",
)
.env("CONFIG_PATH");

pub const COMMAND: Command =
    Command::new("operator validate-config", "[options]", "Validate configuration files", run)
        .help("Reads server configuration files and tells what is wrong with them.\n\n$ conclave operator validate-config -config=/etc/conclave/config.hcl")
        .output(Output::Format)
        .flags(&[CONFIG]);

/// Exit code for a missing flag, as the original's.
pub const NO_CONFIG: Exit = Exit(3);

fn run(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    let given = args.list(&CONFIG);
    if given.is_empty() {
        return Err(Fail {
            exit: NO_CONFIG,
            message: "Must specify a configuration file using -config.".into(),
        });
    }
    let warnings = conclave_server::config::validate(&given)
        .map_err(|why| Fail::usage(format!("Could not parse configuration: {why}")))?;
    if !cx.ui.is_table() {
        let mut told = Fields::new();
        told.push("name", "Validate Config");
        told.push("status", if warnings.is_empty() { "ok" } else { "warn" });
        if !warnings.is_empty() {
            told.push(
                "warnings",
                Json::Array(warnings.into_iter().map(Json::from).collect()),
            );
        }
        return Ok(output::value(&mut cx.ui, &Json::Object(told)));
    }
    for warning in warnings {
        cx.ui.warn(&format!("WARNING! {warning}"));
    }
    cx.ui.line("Success! The configuration is valid");
    Ok(Exit::OK)
}
