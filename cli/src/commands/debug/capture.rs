//! The looks themselves: each target asks its paths again and again, all at once, until the time is over.

use std::time::{Duration, Instant};

use conclave_client::http::{Client, Error, Fields, Json, Request, Secret};
use jiff::Timestamp;

use super::Plan;
use super::package::Package;
use crate::commands::monitor;

/// What can be captured.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The configuration, without secrets.
    Config,
    /// The machine.
    Host,
    /// Requests under way.
    Requests,
    /// Numbers.
    Metrics,
    /// Members and how far they are.
    Replication,
    /// Health and seal.
    Server,
    /// Lines of the log.
    Log,
}

impl Target {
    /// All of them, in the order in which they are told.
    pub const ALL: [Self; 7] = [
        Self::Config,
        Self::Host,
        Self::Requests,
        Self::Metrics,
        Self::Replication,
        Self::Server,
        Self::Log,
    ];

    /// As it is asked for.
    pub fn name(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Host => "host",
            Self::Requests => "requests",
            Self::Metrics => "metrics",
            Self::Replication => "replication-status",
            Self::Server => "server-status",
            Self::Log => "log",
        }
    }

    /// Its file, and what is asked: names of members and paths.
    fn asks(self) -> (&'static str, &'static [(&'static str, &'static str)]) {
        match self {
            Self::Config => ("config.json", &[("config", "sys/config/state/sanitized")]),
            Self::Host => ("host_info.json", &[("info", "sys/host-info")]),
            Self::Requests => ("requests.json", &[("in_flight_requests", "sys/in-flight-req")]),
            Self::Metrics => ("metrics.prom", &[("metrics", "sys/metrics")]),
            Self::Replication => (
                "replication_status.json",
                &[
                    ("leader", "sys/leader"),
                    ("ha", "sys/ha-status"),
                    ("raft", "sys/storage/raft/configuration"),
                    ("autopilot", "sys/storage/raft/autopilot/state"),
                ],
            ),
            Self::Server => (
                "server_status.json",
                &[("health", "sys/health"), ("seal", "sys/seal-status")],
            ),
            Self::Log => ("conclave.log", &[]),
        }
    }
}

/// The server's time when the command began, and what passed here since.
#[derive(Clone, Copy)]
pub struct Clock {
    begun: Timestamp,
    here: Instant,
}

impl Clock {
    /// `seconds` since 1970, by the server.
    pub fn start(seconds: i64) -> Self {
        Self {
            begun: Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH),
            here: Instant::now(),
        }
    }

    /// When it was started.
    pub fn begun(&self) -> String {
        self.begun.to_string()
    }

    /// The same as part of a file's name.
    pub fn name(&self) -> String {
        self.begun().replace(':', "-")
    }

    fn now(&self) -> String {
        let passed = i64::try_from(self.here.elapsed().as_millis()).unwrap_or(i64::MAX);
        let begun = self.begun.as_millisecond();
        Timestamp::from_millisecond(begun.saturating_add(passed))
            .map_or_else(|_| self.begun(), |at| at.to_string())
    }
}

/// Looks until the time is over. The second client's answers may take for ever.
///
/// # Errors
/// The package cannot be written.
pub async fn all(plan: &Plan, package: &mut Package, clients: (&Client, &Client)) -> Result<(), Error> {
    let follows = plan.targets.contains(&Target::Log);
    let mut lines = Vec::new();
    let (looked, followed) = tokio::join!(look(plan, package, clients.0), async {
        match follows {
            true => follow(plan, &mut lines, clients.1).await,
            false => Ok(()),
        }
    });
    looked?;
    if follows {
        match followed {
            Ok(()) => package.append(Target::Log.asks().0, &lines).map_err(kept)?,
            Err(error) => package.miss(Target::Log.name(), &error, plan.clock.now()),
        }
    }
    Ok(())
}

/// Lines until the time is over, or as many as are kept.
async fn follow(plan: &Plan, lines: &mut Vec<u8>, client: &Client) -> Result<(), Error> {
    /// Bytes of lines that are kept.
    const MAX_LOG: usize = 16 * 1024 * 1024;
    let request = monitor::request("debug", &plan.log_format);
    let keep = |piece: &[u8]| {
        let room = MAX_LOG.saturating_sub(lines.len());
        lines.extend_from_slice(piece.get(..room).unwrap_or(piece));
        Ok(())
    };
    match tokio::time::timeout(plan.duration, client.download(&request, keep)).await {
        Ok(Err(error)) => Err(error),
        Ok(Ok(())) | Err(_) => Ok(()),
    }
}

/// What is asked again and again.
async fn look(plan: &Plan, package: &mut Package, client: &Client) -> Result<(), Error> {
    let started = tokio::time::Instant::now();
    let end = started + plan.duration;
    let mut due: Vec<(Target, tokio::time::Instant)> = plan
        .targets
        .iter()
        .filter(|target| **target != Target::Log)
        .map(|target| (*target, started))
        .collect();
    while let Some((target, at)) = due.iter().min_by_key(|(_, at)| *at).copied() {
        if at >= end {
            break;
        }
        tokio::time::sleep_until(at).await;
        let found = one(plan, package, client, target).await?;
        due.retain(|(other, _)| *other != target);
        let pause = pause(plan, target);
        if let Some(pause) = pause.filter(|_| found) {
            due.push((target, at + pause));
        }
    }
    tokio::time::sleep_until(end.min(started + plan.duration)).await;
    Ok(())
}

/// Time until the next look; what does not change is looked at once.
fn pause(plan: &Plan, target: Target) -> Option<Duration> {
    match target {
        Target::Config => None,
        Target::Metrics => Some(plan.metrics_interval),
        _ => Some(plan.interval),
    }
}

/// One look at one target. Whether there was something to see.
async fn one(plan: &Plan, package: &mut Package, client: &Client, target: Target) -> Result<bool, Error> {
    let (file, paths) = target.asks();
    let mut seen = Fields::from_iter([("timestamp", Json::from(plan.clock.now()))]);
    let mut found = false;
    for (member, path) in paths {
        let mut request = Request::new("GET", *path);
        if target == Target::Server {
            for code in ["standbycode", "sealedcode", "uninitcode"] {
                request = request.query(code, "299");
            }
        }
        let (url, response) = match client.send_raw(&request).await {
            Ok(answered) => answered,
            Err(error) => {
                package.miss(path, &error, plan.clock.now());
                continue;
            }
        };
        if response.code >= 400 {
            package.miss(
                path,
                &client.status_error(&request, &url, &response),
                plan.clock.now(),
            );
            continue;
        }
        found = true;
        if target == Target::Metrics {
            let mut text = format!("# captured at {}\n", plan.clock.now()).into_bytes();
            text.extend_from_slice(&response.body);
            package.append(file, &text).map_err(kept)?;
            continue;
        }
        let data = Secret::parse(&response.body)
            .ok()
            .flatten()
            .and_then(|secret| secret.data);
        let whole = || response.json().ok().flatten().unwrap_or_default();
        seen.push(*member, data.map_or_else(whole, Json::Object));
    }
    if found && target != Target::Metrics {
        package.item(file, Json::Object(seen));
    }
    Ok(found)
}

fn kept(error: std::io::Error) -> Error {
    Error::File(format!("cannot write the package: {error}"))
}
