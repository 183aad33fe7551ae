//! Namespaces: rooms within the cluster, each with mounts, policies and tokens of its own, nested to any depth. Which there
//! are, which one a request means, and how one ends. It must not know what is kept in them.

pub(crate) mod close;
pub mod id;
pub mod located;
mod name;
mod place;
mod record;
pub(crate) mod stored;
mod tree;

pub(crate) use close::{CLOSING_PREFIX, close_step};
pub use name::{check_name, check_segment, path_of_header};
pub use place::{Place, namespace_of};
pub use record::NamespaceRecord;
pub use tree::{Node, Tree};

/// Row of the next namespace's number, among the root's configuration.
pub const NEXT_NUMBER: &str = "next-namespace";
/// Directory of namespaces by number, among the root's configuration.
pub const RECORDS: &str = "namespace/";

/// How many seals were made beneath a namespace that lies right beneath the root, by its number, among the root's configuration.
const SEALS_MADE: &str = "seals-made/";

/// The row that counts the seals beneath a namespace.
pub fn seals_made_of(number: u32) -> String {
    format!("{SEALS_MADE}{number}")
}

/// The row of a namespace.
pub fn row_of(number: u32) -> String {
    format!("{RECORDS}{number}")
}
