//! A policy is in force before the secret that was written after it: nobody reads by the old one what was written under the new.

/// The guarded secret begins with this while its policy may let it be read, and with the other while it must not.
pub const OPEN: &str = "open";
pub const CLOSED: &str = "closed";

/// A reader whom the policy lets in now and then saw this.
pub fn seen(value: &str) -> Result<(), String> {
    match value == OPEN {
        true => Ok(()),
        false => Err(format!(
            "policies: a reader saw {value:?}, which was written under a policy that denies it"
        )),
    }
}
