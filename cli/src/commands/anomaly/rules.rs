//! `anomaly rules ...` and `anomaly config`: what is unusual.

use conclave_client::Verb;

use super::calls::{Wishes, call, listed, pairs, shown};
use crate::commands::{Command, Output, at_least, at_most, exactly};
use crate::exit::{Exit, Fail};
use crate::flags::Args;
use crate::session::Cx;

pub const GROUP: Command = Command::group(
    "anomaly rules",
    "Show and set the rules",
    "There is one rule of each kind; each has parameters, a severity, a scope and a response.\n\n$ conclave anomaly rules list",
);
pub const LIST: Command = Command::new("anomaly rules list", "[options]", "Lists the rules", list)
    .help("Lists the rules and what is done about what they find.\n\n$ conclave anomaly rules list")
    .output(Output::Format);
pub const READ: Command = Command::new(
    "anomaly rules read",
    "[options] RULE",
    "Shows a rule with its parameters",
    read,
)
.help("Shows a rule, its parameters and their bounds.\n\n$ conclave anomaly rules read bulk_read")
.output(Output::Field);
pub const WRITE: Command = Command::new("anomaly rules write", "[options] RULE K=V...", "Changes a rule", write)
    .help(
        "Changes what is named and leaves the rest: enabled, severity, response (alert, rate_limit with limit_rate and limit_ttl, \
         revoke_token, require_mfa, lock_identity), namespaces, mounts, groups, hours, and the rule's own parameters.\n\n\
         $ conclave anomaly rules write bulk_read min=50 severity=critical response=lock_identity\n\
         $ conclave anomaly rules write off_hours_access hours='mon-fri 7-19'",
    );
pub const RESET: Command = Command::new(
    "anomaly rules reset",
    "[options] RULE",
    "Makes a rule what it was at first",
    reset,
)
.help("Forgets all changes to a rule.\n\n$ conclave anomaly rules reset bulk_read");
pub const CONFIG: Command = Command::new(
    "anomaly config",
    "[options] [K=V...]",
    "Shows or sets what holds for all rules",
    config,
)
.help(
    "Without arguments shows, else sets: enabled, window_minutes, learning_days, time_zone.\n\n\
         $ conclave anomaly config time_zone='CET-1CEST,M3.5.0,M10.5.0/3'",
)
.output(Output::Field);

fn list(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    at_most(args, 0)?;
    let found = call(
        cx,
        args,
        (Verb::List, "rules"),
        &Wishes::new(),
        "Error listing rules",
    )?;
    let columns = [
        ("Rule", ""),
        ("Enabled", "enabled"),
        ("Severity", "severity"),
        ("Response", "response"),
        ("About", "about"),
    ];
    Ok(listed(cx, found, &columns, "There are no rules."))
}

fn read(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    exactly(args, 1)?;
    let path = format!("rules/{}", args.arg(0));
    let found = call(
        cx,
        args,
        (Verb::Read, &path),
        &Wishes::new(),
        "Error reading the rule",
    )?;
    Ok(shown(cx, args, found, "rule"))
}

fn write(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    at_least(args, 2)?;
    let path = format!("rules/{}", args.arg(0));
    let wishes = pairs(cx, args, 1)?;
    call(cx, args, (Verb::Write, &path), &wishes, "Error writing the rule")?;
    cx.ui.line(&format!("Success! Changed rule: {}", args.arg(0)));
    Ok(Exit::OK)
}

fn reset(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    exactly(args, 1)?;
    let path = format!("rules/{}", args.arg(0));
    call(
        cx,
        args,
        (Verb::Delete, &path),
        &Wishes::new(),
        "Error resetting the rule",
    )?;
    cx.ui.line(&format!("Success! Reset rule: {}", args.arg(0)));
    Ok(Exit::OK)
}

fn config(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    if args.rest().is_empty() {
        let found = call(
            cx,
            args,
            (Verb::Read, "config"),
            &Wishes::new(),
            "Error reading the configuration",
        )?;
        return Ok(shown(cx, args, found, "configuration"));
    }
    let wishes = pairs(cx, args, 0)?;
    call(
        cx,
        args,
        (Verb::Write, "config"),
        &wishes,
        "Error writing the configuration",
    )?;
    cx.ui.line("Success! Changed what holds for all rules.");
    Ok(Exit::OK)
}
