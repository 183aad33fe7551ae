//! The auth methods: who logs in, by what, and what their token may be. None knows another, and none sees a token.

pub(crate) mod approle;
mod names;
mod old_names;
pub(crate) mod userpass;
