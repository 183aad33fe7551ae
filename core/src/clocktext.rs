//! Points in time as clients read them.

use conclave_engine_api::Millis;

/// RFC 3339 in UTC, as Go prints it.
pub fn rfc3339(at: Millis) -> String {
    let millis = i64::try_from(at).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(millis)
        .unwrap_or(jiff::Timestamp::MAX)
        .to_string()
}
