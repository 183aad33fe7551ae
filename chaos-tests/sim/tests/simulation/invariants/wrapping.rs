//! A wrapped answer is taken once.

/// The token of an answer was shown twice; whether it was taken the first and the second time.
pub fn taken(first: bool, again: bool) -> Result<(), String> {
    match first && again {
        true => Err("wrapping: an answer was taken twice".to_owned()),
        false => Ok(()),
    }
}
