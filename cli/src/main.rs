//! Placeholder of a crate under construction.
fn main() {}
