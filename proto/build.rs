//! Generates the Rust types of the protocols from `proto/`, with a pure-Rust compiler: no protoc is needed.

use std::path::Path;

/// What clients speak.
const PUBLIC: [&str; 6] = [
    "proto/conclave/v1/common.proto",
    "proto/conclave/v1/kv.proto",
    "proto/conclave/v1/logical.proto",
    "proto/conclave/v1/policy.proto",
    "proto/conclave/v1/sys.proto",
    "proto/conclave/v1/token.proto",
];
/// What nodes speak among themselves.
const INTERNAL: [&str; 1] = ["proto/conclave/internal/node.proto"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = INTERNAL.into_iter().chain(PUBLIC);
    for file in files.clone() {
        println!("cargo:rerun-if-changed={file}");
    }
    let descriptors = protox::compile(files, ["proto"])?;
    // `bytes` keeps payloads as slices of the received frame instead of copies. Lists of mounts are shown in order.
    tonic_prost_build::configure()
        .bytes(".")
        .btree_map(".conclave.v1")
        // Messages may hold secrets: they must not reach a log by `{:?}`.
        .skip_debug([".conclave.v1"])
        .compile_fds(descriptors)?;
    describe()
}

/// The public API as descriptors, for reflection.
fn describe() -> Result<(), Box<dyn std::error::Error>> {
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).open_files(PUBLIC)?;
    let out = std::env::var("OUT_DIR")?;
    std::fs::write(
        Path::new(&out).join("conclave.v1.bin"),
        compiler.encode_file_descriptor_set(),
    )?;
    Ok(())
}
