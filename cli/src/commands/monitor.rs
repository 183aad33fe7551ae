//! `monitor`: the lines of a server's log as they come, until somebody stops it.

use conclave_client::http::{Error, Request};

use super::{Command, at_most};
use crate::exit::{Exit, Fail};
use crate::flags::{Args, Flag};
use crate::session::Cx;

const LOG_LEVEL: Flag = Flag::text(
    "log-level",
    "Least gravity of the lines: trace, debug, info, warn or error. The server may keep fewer for itself.",
)
.default("info");
/// Form of a server's log lines.
pub const LOG_FORMAT: Flag =
    Flag::text("log-format", "Form of the lines: standard or json.").default("standard");

pub const COMMANDS: &[Command] = &[Command::new(
    "monitor",
    "[options]",
    "Stream log messages from a server",
    run,
)
.help(
    "Prints the log of the node it asks as it comes, also lines that are too small for the node's own log.\n\n\
     $ conclave monitor -log-level=debug",
)
.flags(&[LOG_LEVEL, LOG_FORMAT])];

/// What a level may be.
const LEVELS: [&str; 5] = ["trace", "debug", "info", "warn", "error"];
/// What a form may be.
const FORMATS: [&str; 2] = ["standard", "json"];

fn run(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    at_most(args, 0)?;
    let level = args.text(&LOG_LEVEL).trim().to_lowercase();
    if !LEVELS.contains(&level.as_str()) {
        let levels = LEVELS.join(" ");
        return Err(Fail::usage(format!(
            "{level} is an unknown log level. Valid log levels are: [{levels}]"
        )));
    }
    let format = format(args)?;
    let api = cx.api_for_streams(args)?;
    let request = request(&level, &format);
    let ui = &mut cx.ui;
    let mut written = |lines: &[u8]| -> Result<(), Error> {
        ui.bytes(lines);
        match ui.is_broken() {
            true => Err(Error::File("nobody reads the lines any more".to_owned())),
            false => Ok(()),
        }
    };
    let followed = api.wait(async {
        tokio::select! {
            followed = api.client.download(&request, &mut written) => followed,
            // Whoever stops it has seen enough.
            _ = tokio::signal::ctrl_c() => Ok(()),
        }
    });
    // The original's code for it is that of wrong usage.
    followed.map_err(|error| Fail::usage(format!("Error starting monitor: {error}")))?;
    Ok(Exit::OK)
}

/// The form that is asked for.
///
/// # Errors
/// One that is none.
pub fn format(args: &Args) -> Result<String, Fail> {
    let format = args.text(&LOG_FORMAT).trim().to_lowercase();
    if FORMATS.contains(&format.as_str()) {
        return Ok(format);
    }
    let formats = FORMATS.join(" ");
    Err(Fail::usage(format!(
        "{format} is an unknown log format. Valid log formats are: [{formats}]"
    )))
}

/// Asks for the lines of a log.
pub fn request(level: &str, format: &str) -> Request {
    Request::new("GET", "sys/monitor")
        .query("log_format", format)
        .query("log_level", level)
}
