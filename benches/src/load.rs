//! The run itself: prepare, warm up, count, report. Knows connections by what they do, not by what they speak.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::ask::{self, Ask};
use crate::error::Error;
use crate::target::Target;
use crate::{Options, Protocol, Work, grpc, http1};

/// What one connection saw.
struct Seen {
    latencies: Histogram<u64>,
    errors: u64,
}

/// One connection of either kind.
enum Connection {
    Http(http1::Connection),
    Grpc(Box<grpc::Connection>),
}

/// Runs the load and returns its report as one line of JSON.
pub async fn run(options: &Options) -> Result<String, Error> {
    let alpn: &[&[u8]] = match options.protocol {
        Protocol::Http => &[],
        Protocol::Grpc => &[grpc::ALPN],
    };
    let target = Target::new(&options.address, options.ca_cert.as_deref(), alpn)?;
    if options.protocol == Protocol::Grpc
        && !matches!(options.work, Work::Put | Work::Get | Work::Mixed | Work::Token)
    {
        return Err(Error::Setup("this work is done over HTTP alone".to_owned()));
    }
    let reads = [Work::Get, Work::Mixed, Work::Wrapped, Work::List];
    if !options.prepared && reads.contains(&options.work) {
        prepare(&target, options).await?;
    }
    let begin = Instant::now() + options.uncounted();
    let left = options
        .requests
        .map(|requests| Arc::new(AtomicU64::new(requests)));
    let shared = Arc::new(options.clone());
    let mut connections = JoinSet::new();
    for number in 0..options.connections {
        let (target, options, left) = (target.clone(), shared.clone(), left.clone());
        connections.spawn(async move { drive(&target, &options, number, begin, left).await });
    }
    let mut latencies = new_histogram()?;
    let mut errors = 0;
    while let Some(seen) = connections.join_next().await {
        let seen = seen.map_err(|error| Error::Setup(error.to_string()))??;
        latencies
            .add(&seen.latencies)
            .map_err(|error| Error::Setup(error.to_string()))?;
        errors += seen.errors;
    }
    let took = options.requests.map_or(options.counted(), |_| begin.elapsed());
    Ok(report(options, &latencies, errors, took))
}

fn new_histogram() -> Result<Histogram<u64>, Error> {
    // Microseconds, up to a minute, three significant digits.
    Histogram::new_with_bounds(1, 60_000_000, 3).map_err(|error| Error::Setup(error.to_string()))
}

/// Writes every key once, so that reads find something; each connection its share.
async fn prepare(target: &Target, options: &Options) -> Result<(), Error> {
    let shared = Arc::new(options.clone());
    let mut connections = JoinSet::new();
    for number in 0..options.connections {
        let (target, options) = (target.clone(), shared.clone());
        connections.spawn(async move {
            let mut connection = Connection::open(&target, &options).await?;
            for key in (number..options.keys).step_by(options.connections) {
                if !connection.put(&options, key, key).await? {
                    return Err(Error::Refused(format!("the first write of key {key}")));
                }
            }
            Ok(())
        });
    }
    while let Some(done) = connections.join_next().await {
        done.map_err(|error| Error::Setup(error.to_string()))??;
    }
    Ok(())
}

async fn drive(
    target: &Target,
    options: &Options,
    number: usize,
    begin: Instant,
    left: Option<Arc<AtomicU64>>,
) -> Result<Seen, Error> {
    let end = begin + options.counted();
    let mut connection = Connection::open(target, options).await?;
    let mut seen = Seen {
        latencies: new_histogram()?,
        errors: 0,
    };
    // A stride that is coprime to most key counts spreads the connections over the keys.
    let mut turn = number * 7919;
    loop {
        let started = Instant::now();
        if started >= end || left.as_deref().is_some_and(is_used_up) {
            return Ok(seen);
        }
        let done = connection.once(options, turn, started - begin).await?;
        turn += 1;
        if started >= begin {
            let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
            seen.latencies.saturating_record(micros);
            seen.errors += u64::from(!done);
        }
    }
}

/// Takes one of what is left; whether there was none.
fn is_used_up(left: &AtomicU64) -> bool {
    let taken = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
    taken.is_err()
}

/// How long a token is to live that is made so long after the start, in seconds.
fn life(options: &Options, turn: usize, elapsed: Duration) -> u64 {
    let turn = u64::try_from(turn).unwrap_or(0);
    let end = options.ends_in + turn % options.spread.max(1);
    end.saturating_sub(elapsed.as_secs()).max(1)
}

impl Connection {
    async fn open(target: &Target, options: &Options) -> Result<Self, Error> {
        Ok(match options.protocol {
            Protocol::Http => Self::Http(http1::Connection::open(target).await?),
            Protocol::Grpc => Self::Grpc(Box::new(grpc::Connection::open(target, options).await?)),
        })
    }

    /// One request of the wanted kind; whether the server did what was asked.
    async fn once(&mut self, options: &Options, turn: usize, elapsed: Duration) -> Result<bool, Error> {
        let connection = match self {
            Self::Http(connection) if options.work == Work::Ending => {
                let ask = Ask::ending(life(options, turn, elapsed));
                return connection.ask(options, &ask).await;
            }
            Self::Http(connection) if options.work == Work::Revoke => {
                return connection.revoke(options, &Ask::of(options, turn)).await;
            }
            Self::Http(connection) => return connection.ask(options, &Ask::of(options, turn)).await,
            Self::Grpc(connection) => connection,
        };
        let key = turn % options.keys.max(1);
        let writes = options.work == Work::Put || turn.is_multiple_of(10);
        match options.work {
            Work::Token => connection.token().await,
            Work::Put | Work::Mixed if writes => {
                connection.put(options, key, &ask::value(options, turn)).await
            }
            _ => connection.get(options, key).await,
        }
    }

    async fn put(&mut self, options: &Options, key: usize, seed: usize) -> Result<bool, Error> {
        match self {
            Self::Http(connection) => connection.ask(options, &Ask::put(options, key, seed)).await,
            Self::Grpc(connection) => connection.put(options, key, &ask::value(options, seed)).await,
        }
    }
}

fn report(options: &Options, latencies: &Histogram<u64>, errors: u64, took: Duration) -> String {
    let milliseconds = |quantile: f64| latencies.value_at_quantile(quantile) as f64 / 1000.0;
    let rate = latencies.len() as f64 / took.as_secs_f64().max(f64::EPSILON);
    json!({
        "work": format!("{:?}", options.work).to_lowercase(),
        "protocol": format!("{:?}", options.protocol).to_lowercase(),
        "connections": options.connections,
        "requests": latencies.len(),
        "errors": errors,
        "per_second": rate.round(),
        "p50_ms": milliseconds(0.5),
        "p90_ms": milliseconds(0.9),
        "p99_ms": milliseconds(0.99),
        "p999_ms": milliseconds(0.999),
        "max_ms": milliseconds(1.0),
    })
    .to_string()
}
