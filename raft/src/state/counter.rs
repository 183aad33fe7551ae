//! Counter rows: a clear i64, big-endian, changed by `Op::Add` within bounds. This file must not know what is counted.

use bytes::Bytes;

use crate::state::Row;

/// The value of a counter row; 0 where there is none.
///
/// # Errors
/// `None` if the row is not a counter.
pub fn counter_value(row: Option<&Row>) -> Option<i64> {
    let Some(row) = row else { return Some(0) };
    let bytes: [u8; 8] = row.value.as_ref().try_into().ok()?;
    Some(i64::from_be_bytes(bytes))
}

/// The value of a counter row, for a store.
pub(crate) fn encode_counter(value: i64) -> Bytes {
    Bytes::copy_from_slice(&value.to_be_bytes())
}

/// `current + delta`, unless it leaves `floor..=ceiling` or an i64.
pub(crate) fn add_within(current: i64, delta: i64, floor: i64, ceiling: i64) -> Option<i64> {
    let sum = current.checked_add(delta)?;
    (floor..=ceiling).contains(&sum).then_some(sum)
}
