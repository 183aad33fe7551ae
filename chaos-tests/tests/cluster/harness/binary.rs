//! Where the binary under test is: beside the test's own executable, built by the same command, unless another is named.

use std::path::PathBuf;

/// Names another binary to test.
const VARIABLE: &str = "CONCLAVE_BIN";

/// The path of `conclave`. Fails with the command that builds it.
pub fn conclave() -> PathBuf {
    if let Some(named) = std::env::var_os(VARIABLE) {
        return named.into();
    }
    let own = std::env::current_exe().expect("a running test has an executable");
    // target/debug/deps/cluster-HASH -> target/debug/conclave
    let built = own
        .ancestors()
        .nth(2)
        .expect("test executables lie in deps/")
        .join("conclave");
    assert!(
        built.is_file(),
        "{} is missing. Build it:  cargo build -p conclave-cli",
        built.display()
    );
    built
}
