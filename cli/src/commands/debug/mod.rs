//! `debug`: looks at one node for a while and packs what it says of itself, for whoever is to find a fault. What the node
//! does not answer is left out, and said so in the package and at the end.

mod capture;
mod package;

use std::path::PathBuf;
use std::time::Duration;

use conclave_client::http::{Fields, Json, Request};

use super::monitor::{self, LOG_FORMAT};
use super::{Command, at_most};
use crate::exit::{Exit, Fail};
use crate::flags::{Args, Flag};
use crate::goval::{Span, plain};
use crate::session::{Api, Cx, TOOL};

use capture::{Clock, Target};
use package::Package;

const COMPRESS: Flag =
    Flag::bool("compress", "Pack the directory into one file and remove it.").default("true");
const DURATION: Flag = Flag::span("duration", "How long to look.").default("2m0s");
const INTERVAL: Flag = Flag::span("interval", "Time between two looks at the node's state.").default("30s");
const METRICS_INTERVAL: Flag =
    Flag::span("metrics-interval", "Time between two looks at the metrics.").default("10s");
const OUTPUT: Flag = Flag::text(
    "output",
    "Where the package goes; a name with the time by default.",
);
const TARGET: Flag = Flag::list(
    "target",
    "What to capture: config, host, requests, metrics, replication-status, server-status, log. May be given several times; \
     all by default.",
)
.alias(&["targets"]);

pub const COMMANDS: &[Command] = &[Command::new(
    "debug",
    "[options]",
    "Runs the debug command",
    run,
)
.help(
    "Looks at one node for a while: its configuration without secrets, host, requests under way, metrics, members, health and \
     log. What the token may not read, or the server has not, is left out and named.\n\n\
     $ conclave debug\n\
     $ conclave debug -duration=1m -interval=10s -output=/tmp/look\n\
     $ conclave debug -target=server-status -target=log",
)
.flags(&[COMPRESS, DURATION, INTERVAL, LOG_FORMAT, METRICS_INTERVAL, OUTPUT, TARGET])];

/// Shortest look and shortest pause between two.
const LEAST: Duration = Duration::from_secs(5);

/// What is to be done.
struct Plan {
    duration: Duration,
    interval: Duration,
    metrics_interval: Duration,
    log_format: String,
    targets: Vec<Target>,
    compress: bool,
    dir: PathBuf,
    server_version: String,
    clock: Clock,
}

fn run(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    at_most(args, 0)?;
    let (api, streams) = (cx.api(args)?, cx.api_for_streams(args)?);
    let plan = plan(cx, args, &api)?;
    let mut package = Package::create(&plan.dir, plan.compress).map_err(invalid)?;
    introduce(cx, &plan, &package, &api.client.address());
    let captured = api.wait(capture::all(&plan, &mut package, (&api.client, &streams.client)));
    captured.map_err(|error| Fail::remote(error.to_string()))?;
    cx.ui.line("\nFinished capturing information, bundling files...");
    let missing = package.missing();
    let place = package
        .close(index(&plan, &api.client.address()))
        .map_err(|error| Fail::remote(format!("Error when bundling files: {error}")))?;
    for (target, why) in missing {
        cx.ui.warn(&format!("Not captured: {target}: {why}"));
    }
    cx.ui
        .line(&format!("Success! Bundle written to: {}", place.display()));
    Ok(Exit::OK)
}

/// Reads the flags and asks the server who it is: nothing is written before both are fine.
fn plan(cx: &mut Cx, args: &Args, api: &Api) -> Result<Plan, Fail> {
    let log_format = monitor::format(args)?;
    let duration = at_least(cx, "duration", args.span(&DURATION), LEAST);
    let mut interval = at_least(cx, "interval", args.span(&INTERVAL), LEAST);
    let mut metrics_interval = at_least(cx, "metrics interval", args.span(&METRICS_INTERVAL), LEAST);
    for (name, slot) in [
        ("interval", &mut interval),
        ("metrics interval", &mut metrics_interval),
    ] {
        if *slot > duration {
            cx.ui.warn(&format!(
                "Overwriting {name} value {:?} to the duration value {:?}",
                span(*slot).to_string(),
                span(duration).to_string()
            ));
            *slot = duration;
        }
    }
    let targets = targets(cx, args)?;
    let mut health = Request::new("GET", "sys/health");
    for code in ["standbycode", "sealedcode", "uninitcode"] {
        health = health.query(code, "299");
    }
    let answer = api
        .send(&health)
        .and_then(|answer| answer.json())
        .map_err(|error| invalid(format!("unable to connect to the server: {error}")))?
        .unwrap_or_default();
    let clock = Clock::start(answer.get("server_time_utc").and_then(Json::as_i64).unwrap_or(0));
    let dir = match args.text(&OUTPUT) {
        "" => PathBuf::from(format!("{TOOL}-debug-{}", clock.name())),
        given => PathBuf::from(given.strip_suffix(".tar.gz").unwrap_or(given)),
    };
    Ok(Plan {
        duration,
        interval,
        metrics_interval,
        log_format,
        targets,
        compress: args.is(&COMPRESS),
        dir,
        server_version: answer.get("version").map(plain).unwrap_or_default(),
        clock,
    })
}

fn targets(cx: &mut Cx, args: &Args) -> Result<Vec<Target>, Fail> {
    let given = args.list(&TARGET);
    if given.is_empty() {
        return Ok(Target::ALL.to_vec());
    }
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for name in given.iter().flat_map(|names| names.split(',')).map(str::trim) {
        match Target::ALL.into_iter().find(|target| target.name() == name) {
            Some(target) if !known.contains(&target) => known.push(target),
            Some(_) => {}
            None => unknown.push(name.to_owned()),
        }
    }
    if !unknown.is_empty() {
        cx.ui
            .warn(&format!("Ignoring invalid targets: {}", unknown.join(", ")));
    }
    match known.is_empty() {
        true => Err(Fail::usage("No target is left to capture")),
        false => Ok(known),
    }
}

fn at_least(cx: &mut Cx, name: &str, given: Span, least: Duration) -> Duration {
    let wanted = Duration::from_nanos(u64::try_from(given.0).unwrap_or(0));
    if wanted < least {
        cx.ui.warn(&format!(
            "Overwriting {name} value {:?} to the minimum value of {:?}",
            given.to_string(),
            "5s"
        ));
    }
    wanted.max(least)
}

fn introduce(cx: &mut Cx, plan: &Plan, package: &Package, address: &str) {
    let names: Vec<&str> = plan.targets.iter().map(|target| target.name()).collect();
    cx.ui.line("==> Starting debug capture...");
    for (title, text) in [
        ("Server Address", address.to_owned()),
        ("Client Version", env!("CARGO_PKG_VERSION").to_owned()),
        ("Server Version", plan.server_version.clone()),
        ("Duration", span(plan.duration).to_string()),
        ("Interval", span(plan.interval).to_string()),
        ("Metrics Interval", span(plan.metrics_interval).to_string()),
        ("Targets", names.join(", ")),
        ("Output", package.place().display().to_string()),
    ] {
        cx.ui.line(&format!("{title:>22}: {text}"));
    }
}

/// What the package says of itself, but for its files and what is missing.
fn index(plan: &Plan, address: &str) -> Fields {
    let seconds = |time: Duration| Json::from(i64::try_from(time.as_secs()).unwrap_or(i64::MAX));
    let names: Vec<Json> = plan
        .targets
        .iter()
        .map(|target| Json::from(target.name()))
        .collect();
    let members = [
        ("version", Json::from(1i64)),
        ("vault_address", Json::from(address)),
        ("client_version", Json::from(env!("CARGO_PKG_VERSION"))),
        ("server_version", Json::from(plan.server_version.as_str())),
        ("timestamp", Json::from(plan.clock.begun())),
        ("duration_seconds", seconds(plan.duration)),
        ("interval_seconds", seconds(plan.interval)),
        ("metrics_interval_seconds", seconds(plan.metrics_interval)),
        ("compress", Json::from(plan.compress)),
        ("targets", Json::Array(names)),
    ];
    let mut index = Fields::new();
    for (member, value) in members {
        index.push(member, value);
    }
    index
}

fn span(time: Duration) -> Span {
    Span(i64::try_from(time.as_nanos()).unwrap_or(i64::MAX))
}

fn invalid(why: impl std::fmt::Display) -> Fail {
    Fail::usage(format!("Error during validation: {why}"))
}
