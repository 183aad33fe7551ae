//! `anomaly replay`: what the rules would have found in an audit log. Asks no server; reads the log of a file device, ours or
//! Vault's. Tokens are hashed there and entities left out, so whoever has no name in the log is known by the token.

use std::io::BufRead;
use std::net::IpAddr;
use std::sync::Arc;

use conclave_anomaly::{Act, Detector, Fact, Finding, Keyer, Kind, Network, RuleSet};
use conclave_client::http::{Fields, Json};

use super::calls::Wishes;
use super::calls::pairs;
use crate::commands::audit::records::{longest, open, shown};
use crate::commands::{Command, Output, at_least};
use crate::exit::{Exit, Fail};
use crate::flags::{Args, Flag};
use crate::output::{self, table};
use crate::session::Cx;

const CANARY: Flag = Flag::list(
    "canary",
    "A path that nobody should read, as requests ask for it. May be given several times.",
);

pub const COMMAND: Command =
    Command::new("anomaly replay", "[options] FILE [RULE.PARAM=N...]", "Tries rules on an audit log", replay)
        .help(
            "Reads the log of a file device, or standard input for `-`, and prints what the rules would have found, with the \
             parameters that are named changed. Nothing is learned or stored.\n\n\
             $ conclave anomaly replay /var/log/conclave/audit.log bulk_read.min=50",
        )
        .output(Output::Format)
        .flags(&[CANARY]);

/// What keys of nodes are made with; the others of a log are made with less.
const NODE: u8 = 7;
/// Most findings that are printed.
const MAX_FOUND: usize = 10_000;

/// What was read.
#[derive(Default)]
struct Read {
    records: u64,
    skipped: u64,
}

fn replay(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    at_least(args, 1)?;
    let rules = rules(&pairs(cx, args, 1)?)?;
    let path = args.arg(0);
    let failed = |error: std::io::Error| Fail::usage(format!("Error reading {path}: {error}"));
    let mut lines = open(path)?;
    let mut replay = Replay {
        detector: Detector::new(Arc::new(rules)),
        // Whoever replays a log has it whole: nothing is to be hidden from them.
        keyer: Keyer::new(&[0; 16]),
        canaries: args.list(&CANARY),
    };
    let (mut read, mut found, mut line) = (Read::default(), Vec::new(), Vec::new());
    loop {
        line.clear();
        if longest(&mut lines).read_until(b'\n', &mut line).map_err(failed)? == 0 {
            break;
        }
        match replay.fact(&line) {
            Some((node, fact)) => {
                read.records += 1;
                replay.detector.observe(node, &fact, &mut found);
                found.retain(|finding: &Finding| !finding.again);
                found.truncate(MAX_FOUND);
            }
            None => read.skipped += 1,
        }
    }
    Ok(print(cx, &read, &found))
}

fn print(cx: &mut Cx, read: &Read, found: &[Finding]) -> Exit {
    let time = |at: u64| {
        let at = jiff::Timestamp::from_millisecond(i64::try_from(at).unwrap_or(i64::MAX));
        at.map(|at| at.to_string()).unwrap_or_default()
    };
    if !cx.ui.is_table() {
        let events = found.iter().map(|finding| {
            let mut fields = Fields::new();
            fields.push("rule", finding.kind.name());
            fields.push("severity", finding.severity.name());
            fields.push("subject", finding.name.as_str());
            fields.push("time", time(finding.at));
            fields.push("explanation", finding.explanation.as_str());
            Json::Object(fields)
        });
        let mut fields = Fields::new();
        fields.push("events", Json::Array(events.collect()));
        fields.push("records", read.records);
        fields.push("skipped_lines", read.skipped);
        return output::value(&mut cx.ui, &Json::Object(fields));
    }
    let mut lines = vec!["Time | Severity | Rule | Subject | Explanation".to_owned()];
    lines.extend(found.iter().map(|finding| {
        let (severity, rule) = (finding.severity.name(), finding.kind.name());
        let (at, name, why) = (
            time(finding.at),
            shown(&finding.name),
            shown(&finding.explanation),
        );
        format!("{at} | {severity} | {rule} | {name} | {why}")
    }));
    if found.is_empty() {
        cx.ui.line("The rules would have found nothing.");
    } else {
        cx.ui.line(&table::with_header(&lines, "|"));
    }
    cx.ui.line(&format!(
        "{} events in {} records; {} lines are no answers of requests",
        found.len(),
        read.records,
        read.skipped
    ));
    Exit::OK
}

/// The rules as they are from the start, with these parameters changed.
fn rules(wishes: &Wishes) -> Result<RuleSet, Fail> {
    let mut rules = RuleSet::default();
    for (name, value) in wishes {
        let wrong = || Fail::usage(format!("{name}={value}: rules are set by RULE.PARAM=NUMBER"));
        let (rule, param) = name.split_once('.').ok_or_else(wrong)?;
        let unknown = || {
            let known = Kind::ALL.map(Kind::name).join(", ");
            Fail::usage(format!("there is no rule {rule:?}; there are {known}"))
        };
        let kind = Kind::parse(rule).ok_or_else(unknown)?;
        let mut changed = rules.rule(kind).clone();
        let number = value.parse().map_err(|_| wrong())?;
        changed
            .set(param, number)
            .map_err(|error| Fail::usage(error.to_string()))?;
        rules.replace(changed);
    }
    Ok(rules)
}

struct Replay {
    detector: Detector,
    keyer: Keyer,
    canaries: Vec<String>,
}

impl Replay {
    /// What a line tells, and which node wrote it, if it is the record of an answer.
    fn fact(&mut self, line: &[u8]) -> Option<(u64, Fact)> {
        let record = Json::parse(line).ok()?;
        let text = |path: &[&str]| {
            let mut at = &record;
            for name in path {
                at = at.get(name)?;
            }
            at.as_str().map(str::to_owned)
        };
        if text(&["type"])? != "response" {
            return None;
        }
        let path = text(&["request", "path"])?;
        let above = text(&["request", "namespace", "path"]).unwrap_or_default();
        let mount = text(&["request", "mount_point"]).unwrap_or_default();
        let operation = text(&["request", "operation"])?;
        let error = text(&["error"]).unwrap_or_default();
        let login = text(&["request", "mount_class"]).as_deref() == Some("auth") && path.contains("/login");
        let act = act(&operation, &path, &error, login);
        let act = match self.canaries.contains(&path) && operation == "read" {
            true => Act::Canary,
            false => act,
        };
        let at: jiff::Timestamp = text(&["time"])?.parse().ok()?;
        let mut fact = Fact::new(act, u64::try_from(at.as_millisecond()).ok()?);
        let who = match act {
            Act::LoginFailed => path.rsplit('/').next().map(str::to_owned),
            Act::BadToken => None,
            _ => identity(&text),
        };
        fact.mount = u32::try_from(self.name(6, &mount) & 0x7fff_ffff).unwrap_or(1);
        fact.who = who.map_or(0, |who| self.name(1, &who));
        fact.what = self.name(3, &format!("{above}{path}"));
        let address = text(&["request", "remote_address"]);
        if let Some(address) = address.and_then(|address| address.parse::<IpAddr>().ok()) {
            fact.source = self.name(4, &Network::of(address).to_string());
        }
        // `NODE:DEVICE/`. A log without chains, such as Vault's, says nothing of nodes, and counts as one.
        let chain = text(&["chain", "id"]).unwrap_or_default();
        let node = chain.split_once(':').map_or("", |(node, _)| node);
        Some((self.keyer.key(NODE, &[node.as_bytes()]), fact))
    }

    fn name(&mut self, domain: u8, name: &str) -> u64 {
        let key = self.keyer.key(domain, &[name.as_bytes()]);
        self.detector.learn_name(key, name);
        key
    }
}

/// The name that a login gave, or else the token.
fn identity(text: &impl Fn(&[&str]) -> Option<String>) -> Option<String> {
    let entity = text(&["auth", "entity_id"]).filter(|id| !id.is_empty());
    let display = text(&["auth", "display_name"]).filter(|name| !name.is_empty() && name != "token");
    let token = text(&["request", "client_token_accessor"]).or_else(|| text(&["auth", "accessor"]));
    match (entity, display, token) {
        (Some(entity), Some(display), _) => Some(format!("{display} ({entity})")),
        (None, Some(display), _) => Some(display),
        (Some(name), None, _) | (None, None, Some(name)) => Some(name),
        (None, None, None) => None,
    }
}

fn act(operation: &str, path: &str, error: &str, login: bool) -> Act {
    let refused = !error.is_empty();
    match operation {
        _ if refused && login => Act::LoginFailed,
        _ if error.contains("permission denied") => Act::Denied,
        _ if error.contains("invalid token") || error.contains("bad token") => Act::BadToken,
        _ if refused => Act::Other,
        _ if login => Act::Login,
        "list" | "scan" => Act::List,
        "read" if !path.starts_with("sys/") && !path.starts_with("auth/") && !path.contains("/metadata/") => {
            Act::Read
        }
        "create" | "update" | "patch" | "delete" => Act::Write,
        _ => Act::Other,
    }
}
