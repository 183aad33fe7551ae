//! The wire protocols as generated types: nothing here is written by hand, and nothing here has behaviour.

/// The node-to-node protocol, package `conclave.internal`.
#[allow(missing_docs, unused_qualifications, clippy::all, clippy::indexing_slicing, clippy::too_many_lines)]
pub mod internal {
    tonic::include_proto!("conclave.internal");
}
