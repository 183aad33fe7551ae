//! The password that is shown of an account that stays opens it, unless a rotation is said to be under way.

/// A password was shown without such a word; whether the account had it at some moment since it was asked for.
pub fn shown(opens: bool) -> Result<(), String> {
    match opens {
        true => Ok(()),
        false => Err("rotations: a password is shown that does not open its account".to_owned()),
    }
}
