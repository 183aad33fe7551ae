//! The run itself: prepare, warm up, count, report.

use std::sync::Arc;

use bytes::Bytes;
use hdrhistogram::Histogram;
use http::Method;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::connection::{Connection, Target};
use crate::error::Error;
use crate::{Options, Work};

/// What one connection saw.
struct Seen {
    latencies: Histogram<u64>,
    errors: u64,
}

/// Runs the load and returns its report as one line of JSON.
pub async fn run(options: &Options) -> Result<String, Error> {
    let target = Target::new(&options.address, options.ca_cert.as_deref())?;
    if options.work != Work::Put && options.work != Work::Token {
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
    let mut connection = target.connect().await?;
    for key in 0..options.keys {
        let path = data_path(options, key);
        let status = connection
            .send(&Method::POST, &path, &options.token, body(options, key))
            .await?;
        if status != 200 {
            return Err(Error::Refused {
                status,
                what: "a first write".to_owned(),
            });
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
    let mut connection = target.connect().await?;
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
        let status = once(&mut connection, options, turn).await?;
        turn += 1;
        if started >= begin {
            let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
            seen.latencies.saturating_record(micros);
            seen.errors += u64::from(!matches!(status, 200 | 204));
        }
    }
}

async fn once(connection: &mut Connection, options: &Options, turn: usize) -> Result<u16, Error> {
    let key = turn % options.keys.max(1);
    let put = match options.work {
        Work::Put => true,
        Work::Get => false,
        Work::Mixed => turn.is_multiple_of(10),
        Work::Token => {
            let body = Bytes::from_static(br#"{"ttl":"1h","policies":["default"]}"#);
            return connection
                .send(&Method::POST, "/v1/auth/token/create", &options.token, body)
                .await;
        }
    };
    let path = data_path(options, key);
    if put {
        connection
            .send(&Method::POST, &path, &options.token, body(options, turn))
            .await
    } else {
        connection
            .send(&Method::GET, &path, &options.token, Bytes::new())
            .await
    }
}

fn data_path(options: &Options, key: usize) -> String {
    format!("/v1/{}/data/load/key-{key}", options.mount)
}

fn body(options: &Options, seed: usize) -> Bytes {
    let value = format!("{seed:0>width$}", width = options.value_bytes);
    Bytes::from(json!({"data": {"value": value}}).to_string())
}

fn report(options: &Options, latencies: &Histogram<u64>, errors: u64) -> String {
    let milliseconds = |quantile: f64| latencies.value_at_quantile(quantile) as f64 / 1000.0;
    let rate = latencies.len() as f64 / options.counted().as_secs_f64();
    json!({
        "work": format!("{:?}", options.work).to_lowercase(),
        "connections": options.connections,
        "requests": latencies.len(),
        "errors": errors,
        "per_second": rate.round(),
        "p50_ms": milliseconds(0.5),
        "p99_ms": milliseconds(0.99),
        "max_ms": milliseconds(1.0),
    })
    .to_string()
}
