//! Generates the Rust types of the protocols from `proto/`, with a pure-Rust compiler: no protoc is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = ["proto/conclave/internal/node.proto"];
    for file in files {
        println!("cargo:rerun-if-changed={file}");
    }
    let descriptors = protox::compile(files, ["proto"])?;
    // `bytes` keeps payloads as slices of the received frame instead of copies.
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors)?;
    Ok(())
}
