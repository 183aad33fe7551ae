//! The wire protocols as generated types: nothing here is written by hand, and nothing here has behaviour.

/// The node-to-node protocol, package `conclave.internal`.
#[allow(
    missing_docs,
    unused_qualifications,
    clippy::all,
    clippy::indexing_slicing,
    clippy::too_many_lines
)]
pub mod internal {
    tonic::include_proto!("conclave.internal");
}

/// The public protocol, package `conclave.v1`. Its messages may hold secrets, so they have no `Debug`.
#[allow(
    missing_docs,
    unused_qualifications,
    clippy::all,
    clippy::indexing_slicing,
    clippy::too_many_lines
)]
pub mod v1 {
    tonic::include_proto!("conclave.v1");
}

/// The public protocol's description, as gRPC reflection serves it: an encoded `FileDescriptorSet`.
pub const PUBLIC_DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/conclave.v1.bin"));
