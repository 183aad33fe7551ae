//! The run itself: prepare, warm up, count, report. Knows connections by what they do, not by what they speak.

use std::sync::Arc;

use hdrhistogram::Histogram;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;

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
    if !options.prepared && matches!(options.work, Work::Get | Work::Mixed) {
        prepare(&target, options).await?;
    }
    let begin = Instant::now() + options.uncounted();
    let end = begin + options.counted();
    let shared = Arc::new(options.clone());
    let mut connections = JoinSet::new();
    for number in 0..options.connections {
        let (target, options) = (target.clone(), shared.clone());
        connections.spawn(async move { drive(&target, &options, number, begin, end).await });
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
    Ok(report(options, &latencies, errors))
}

fn new_histogram() -> Result<Histogram<u64>, Error> {
    // Microseconds, up to a minute, three significant digits.
    Histogram::new_with_bounds(1, 60_000_000, 3).map_err(|error| Error::Setup(error.to_string()))
}

/// Writes every key once, so that reads find something.
async fn prepare(target: &Target, options: &Options) -> Result<(), Error> {
    let mut connection = Connection::open(target, options).await?;
    for key in 0..options.keys {
        if !connection.put(options, key, key).await? {
            return Err(Error::Refused(format!("the first write of key {key}")));
        }
    }
    Ok(())
}

async fn drive(
    target: &Target,
    options: &Options,
    number: usize,
    begin: Instant,
    end: Instant,
) -> Result<Seen, Error> {
    let mut connection = Connection::open(target, options).await?;
    let mut seen = Seen {
        latencies: new_histogram()?,
        errors: 0,
    };
    // A stride that is coprime to most key counts spreads the connections over the keys.
    let mut turn = number * 7919;
    loop {
        let started = Instant::now();
        if started >= end {
            return Ok(seen);
        }
        let done = connection.once(options, turn).await?;
        turn += 1;
        if started >= begin {
            let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
            seen.latencies.saturating_record(micros);
            seen.errors += u64::from(!done);
        }
    }
}

impl Connection {
    async fn open(target: &Target, options: &Options) -> Result<Self, Error> {
        Ok(match options.protocol {
            Protocol::Http => Self::Http(http1::Connection::open(target).await?),
            Protocol::Grpc => Self::Grpc(Box::new(grpc::Connection::open(target, options).await?)),
        })
    }

    /// One request of the wanted kind; whether the server did what was asked.
    async fn once(&mut self, options: &Options, turn: usize) -> Result<bool, Error> {
        let key = turn % options.keys.max(1);
        match options.work {
            Work::Put => self.put(options, key, turn).await,
            Work::Mixed if turn.is_multiple_of(10) => self.put(options, key, turn).await,
            Work::Get | Work::Mixed => match self {
                Self::Http(connection) => connection.get(options, key).await,
                Self::Grpc(connection) => connection.get(options, key).await,
            },
            Work::Token => match self {
                Self::Http(connection) => connection.token(options).await,
                Self::Grpc(connection) => connection.token().await,
            },
        }
    }

    async fn put(&mut self, options: &Options, key: usize, seed: usize) -> Result<bool, Error> {
        let value = format!("{seed:0>width$}", width = options.value_bytes);
        match self {
            Self::Http(connection) => connection.put(options, key, &value).await,
            Self::Grpc(connection) => connection.put(options, key, &value).await,
        }
    }
}

fn report(options: &Options, latencies: &Histogram<u64>, errors: u64) -> String {
    let milliseconds = |quantile: f64| latencies.value_at_quantile(quantile) as f64 / 1000.0;
    let rate = latencies.len() as f64 / options.counted().as_secs_f64();
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
