//! The numbers that rules go by: what they are from the start, their bounds, and what they mean.

use crate::rule::Kind;

/// A number that a rule goes by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Param {
    /// Its name.
    pub name: &'static str,
    /// What it is unless somebody says otherwise.
    pub usual: f64,
    /// Least and most.
    pub bounds: (f64, f64),
    /// What it does, with its unit.
    pub help: &'static str,
}

const fn param(name: &'static str, usual: f64, min: f64, max: f64, help: &'static str) -> Param {
    Param {
        name,
        usual,
        bounds: (min, max),
        help,
    }
}

/// Counts within a window.
const MANY: f64 = 1_000_000.0;
const FACTOR: &str = "times what is usual at most";

const AUTH_FAILURE_BURST: &[Param] = &[
    param(
        "per_source",
        20.0,
        2.0,
        MANY,
        "failures from one network within the window",
    ),
    param(
        "per_name",
        10.0,
        2.0,
        MANY,
        "failures under one name within the window",
    ),
    param(
        "per_mount",
        30.0,
        2.0,
        MANY,
        "failures at one mount within the window",
    ),
    param(
        "factor",
        3.0,
        1.0,
        100.0,
        "times the most that failed at a mount so far",
    ),
];
const DENIED_SPIKE: &[Param] = &[
    param("min", 15.0, 1.0, MANY, "refusals within the window, at least"),
    param("factor", 3.0, 1.0, 100.0, FACTOR),
];
const BULK_READ: &[Param] = &[
    param(
        "min",
        30.0,
        1.0,
        MANY,
        "different secrets within the window, at least",
    ),
    param("factor", 2.5, 1.0, 100.0, FACTOR),
    param(
        "day_min",
        100.0,
        1.0,
        MANY,
        "different secrets within a day, at least",
    ),
    param("day_factor", 2.5, 1.0, 100.0, "times the usual day"),
];
const OFF_HOURS_ACCESS: &[Param] = &[
    param("min", 3.0, 1.0, MANY, "requests within the window, at least"),
    param(
        "days",
        10.0,
        2.0,
        365.0,
        "days on which an identity was seen, before its hours are known",
    ),
];
const NEW_SOURCE_NETWORK: &[Param] = &[
    param(
        "days",
        8.0,
        1.0,
        365.0,
        "days on which an identity was seen, before its networks are known",
    ),
    param(
        "shared",
        3.0,
        1.0,
        1000.0,
        "identities that make a network one of everybody's",
    ),
];
const TRAFFIC_SPIKE: &[Param] = &[
    param("min", 200.0, 1.0, MANY, "requests within the window, at least"),
    param("factor", 3.0, 1.0, 100.0, FACTOR),
    param(
        "deviations",
        6.0,
        1.0,
        100.0,
        "deviations above the mean of the hour",
    ),
];
const DORMANT_IDENTITY: &[Param] = &[param("days", 30.0, 1.0, 3650.0, "days of silence")];
const FIRST_USE_OF_PATH: &[Param] = &[
    param(
        "min",
        10.0,
        1.0,
        MANY,
        "paths read for the first time within the window, at least",
    ),
    param("factor", 2.0, 1.0, 100.0, FACTOR),
];
const WIDE_LIST: &[Param] = &[
    param(
        "names",
        2000.0,
        1.0,
        1e9,
        "names told within the window, at least",
    ),
    param(
        "directories",
        20.0,
        1.0,
        MANY,
        "different directories within the window, at least",
    ),
    param("factor", 3.0, 1.0, 100.0, FACTOR),
];

/// The parameters of a rule.
pub const fn of(kind: Kind) -> &'static [Param] {
    match kind {
        Kind::AuthFailureBurst => AUTH_FAILURE_BURST,
        Kind::DeniedSpike => DENIED_SPIKE,
        Kind::BulkRead => BULK_READ,
        Kind::CanaryRead => &[],
        Kind::OffHoursAccess => OFF_HOURS_ACCESS,
        Kind::NewSourceNetwork => NEW_SOURCE_NETWORK,
        Kind::TrafficSpike => TRAFFIC_SPIKE,
        Kind::DormantIdentity => DORMANT_IDENTITY,
        Kind::FirstUseOfPath => FIRST_USE_OF_PATH,
        Kind::WideList => WIDE_LIST,
    }
}
