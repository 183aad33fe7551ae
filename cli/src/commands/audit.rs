//! `audit`: devices that record every request, and what they have recorded.

pub(super) mod records;
mod search;
mod verify;

use conclave_client::http::{Fields, Json};

use super::{Command, Output, at_most, exactly, sanitize, with_slash};
use crate::exit::{Context as _, Exit, Fail};
use crate::flags::{Args, Flag};
use crate::goval::plain;
use crate::kvdata;
use crate::output::{self, table};
use crate::session::Cx;

const DESCRIPTION: Flag = Flag::text("description", "What the device is for.");
const PATH: Flag = Flag::text("path", "Name of the device; its type by default.");
const LOCAL: Flag = Flag::bool("local", "Do not replicate the device to other clusters.");
const DETAILED: Flag = Flag::bool("detailed", "Print options too.");

pub const COMMANDS: &[Command] = &[
    Command::group(
        "audit",
        "Interact with audit devices",
        "Lists, adds and removes audit devices.\n\n$ conclave audit enable file file_path=/var/log/audit.log",
    ),
    Command::new(
        "audit enable",
        "[options] TYPE [CONFIG K=V...]",
        "Enables an audit device",
        enable,
    )
    .help("Adds an audit device.\n\n$ conclave audit enable file file_path=/var/log/audit.log")
    .flags(&[DESCRIPTION, LOCAL, PATH]),
    Command::new(
        "audit disable",
        "[options] PATH",
        "Disables an audit device",
        disable,
    )
    .help("Removes an audit device; what it has written stays.\n\n$ conclave audit disable file/"),
    verify::VERIFY,
    search::TAIL,
    search::SEARCH,
    search::WHO_READ,
    Command::new("audit list", "[options]", "Lists enabled audit devices", list)
        .output(Output::Format)
        .flags(&[DETAILED]),
];

fn enable(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    if args.rest().is_empty() {
        let text = "Error enabling audit device: audit type missing. Valid types include 'file', 'socket' and 'syslog'.";
        return Err(Fail::usage(text));
    }
    let kind = args.arg(0).trim();
    let path = with_slash(args.some(&PATH).unwrap_or(kind));
    let pairs = args.rest().get(1..).unwrap_or_default();
    let options = kvdata::parse_texts(&mut cx.stdin(args), pairs);
    let options: Fields = options
        .map_err(|e| Fail::usage(format!("Failed to parse K=V data: {e}")))?
        .into_iter()
        .collect();
    let api = cx.api(args)?;
    let mut body = Fields::new();
    body.insert("type", kind);
    body.insert("description", args.text(&DESCRIPTION));
    body.insert("options", options);
    body.insert("local", args.is(&LOCAL));
    api.call("PUT", &format!("sys/audit/{path}"), Some(body))
        .context("Error enabling audit device")?;
    cx.ui
        .line(&format!("Success! Enabled the {kind} audit device at: {path}"));
    Ok(Exit::OK)
}

fn disable(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    exactly(args, 1)?;
    let path = with_slash(sanitize(args.arg(0)));
    let api = cx.api(args)?;
    api.call("DELETE", &format!("sys/audit/{path}"), None)
        .context("Error disabling audit device")?;
    cx.ui.line(&format!(
        "Success! Disabled audit device (if it was enabled) at: {path}"
    ));
    Ok(Exit::OK)
}

fn list(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    at_most(args, 0)?;
    let api = cx.api(args)?;
    let devices = api.get("sys/audit").context("Error listing audits")?;
    if !cx.ui.is_table() {
        return Ok(output::value(&mut cx.ui, &Json::Object(devices)));
    }
    if devices.is_empty() {
        cx.ui.line("No audit devices are enabled.");
        return Ok(Exit::REMOTE);
    }
    let is_detailed = args.is(&DETAILED);
    let more = if is_detailed {
        " | Replication | Options"
    } else {
        ""
    };
    let mut lines = vec![format!("Path | Type | Description{more}")];
    for (path, device) in devices.sorted() {
        let text = |name: &str| device.get(name).map(plain).unwrap_or_default();
        let mut line = format!("{path} | {} | {}", text("type"), text("description"));
        if is_detailed {
            let local = device.get("local").and_then(Json::as_bool).unwrap_or(false);
            let options = device.get("options").and_then(Json::as_object);
            let options: Vec<String> = options
                .iter()
                .flat_map(|o| o.iter())
                .map(|(k, v)| format!("{k}={}", plain(v)))
                .collect();
            let replication = if local { "local" } else { "replicated" };
            line.push_str(&format!(" | {replication} | {}", options.join(" ")));
        }
        lines.push(line);
    }
    cx.ui.line(&table::with_header(&lines, "|"));
    Ok(Exit::OK)
}
