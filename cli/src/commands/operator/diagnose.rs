//! `operator diagnose`: what would keep a server from starting or serving, told from its configuration and this machine.

use conclave_client::http::{Fields, Json};
use conclave_server::diagnose::{self, Diagnosis, Finding, Skip, Status};

use super::validate_config::{CONFIG, NO_CONFIG};
use crate::commands::{Command, Output, at_most};
use crate::exit::{Exit, Fail};
use crate::flags::{Args, Flag};
use crate::output;
use crate::session::Cx;
use crate::ui::Format;

const DEBUG: Flag = Flag::bool("debug", "Print all that was found as JSON.");
const SKIP: Flag = Flag::list(
    "skip",
    "Leave checks out: listener, storage or autounseal. May be given several times.",
);

pub const COMMAND: Command =
    Command::new("operator diagnose", "[options]", "Troubleshoot problems starting Conclave", run)
        .help(
            "Checks the machine, the configuration, the data directory, certificates and addresses, and changes nothing. To be \
             run as the user and with the environment of the server. While the server runs its ports are taken: leave the \
             listeners out then. Exit codes: 0 all is well, 2 something should be looked at, 1 the server would not start, 3 \
             no -config, 4 the configuration cannot be read.\n\n\
             $ conclave operator diagnose -config=/etc/conclave/config.hcl\n\
             $ conclave operator diagnose -config=/etc/conclave/config.hcl -skip=listener",
        )
        .output(Output::Format)
        .flags(&[CONFIG, DEBUG, SKIP]);

/// Exit code for a configuration that cannot be read, as the original's.
const UNREADABLE: Exit = Exit(4);

fn run(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    at_most(args, 0)?;
    let given = args.list(&CONFIG);
    if given.is_empty() {
        return Err(Fail {
            exit: NO_CONFIG,
            message: "Must specify a configuration file using -config.".into(),
        });
    }
    let skipped = args.list(&SKIP);
    let skips = |name: &str| skipped.iter().any(|skipped| skipped == name);
    let skip = Skip {
        listener: skips("listener"),
        storage: skips("storage"),
    };
    let diagnosis = diagnose::of_files(&given, skip);
    if args.is(&DEBUG) && cx.ui.is_table() {
        cx.ui.format = Format::Json;
    }
    if cx.ui.is_table() {
        cx.ui
            .line(&format!("Conclave v{}\n\nResults:", env!("CARGO_PKG_VERSION")));
        let mut lines = Vec::new();
        draw(&diagnosis.finding, 0, &mut lines);
        cx.ui.line(&lines.join("\n"));
    } else {
        let told = Json::Object(fields(&diagnosis.finding, &time(&diagnosis)));
        output::value(&mut cx.ui, &told);
    }
    Ok(match diagnosis.finding.status {
        Status::Ok | Status::Skipped => Exit::OK,
        Status::Warning => Exit::REMOTE,
        Status::Failure if diagnosis.configured => Exit::USAGE,
        Status::Failure => UNREADABLE,
    })
}

/// One line a finding, its parts beneath it.
fn draw(finding: &Finding, depth: usize, lines: &mut Vec<String>) {
    let mark = match finding.status {
        Status::Ok => "success",
        Status::Warning => "warning",
        Status::Failure => "failure",
        Status::Skipped => "skipped",
    };
    let said = match finding.message.is_empty() {
        true => String::new(),
        false => format!(": {}", finding.message),
    };
    let indent = "  ".repeat(depth);
    lines.push(format!("{indent}[ {mark} ] {}{said}", finding.name));
    for part in &finding.parts {
        draw(part, depth + 1, lines);
    }
}

/// As the original's JSON has it.
fn fields(finding: &Finding, time: &str) -> Fields {
    let status = match finding.status {
        Status::Ok => "ok",
        Status::Warning => "warn",
        Status::Failure => "fail",
        Status::Skipped => "invalid",
    };
    let mut told = Fields::new();
    for (member, text) in [("time", time), ("name", finding.name), ("status", status)] {
        told.push(member, text);
    }
    match finding.status {
        _ if finding.message.is_empty() => {}
        Status::Warning => told.push(
            "warnings",
            Json::Array(vec![Json::from(finding.message.as_str())]),
        ),
        _ => told.push("message", finding.message.as_str()),
    }
    told.push("Advice", "");
    if !finding.parts.is_empty() {
        let parts = finding.parts.iter().map(|part| Json::Object(fields(part, time)));
        told.push("children", Json::Array(parts.collect()));
    }
    told
}

fn time(diagnosis: &Diagnosis) -> String {
    let at = jiff::Timestamp::from_millisecond(i64::try_from(diagnosis.at).unwrap_or(0));
    at.map_or_else(|_| String::new(), |at| at.to_string())
}
