//! Where the binary under test and the SDK's example are: beside the test's own executable, built by the same command, unless another is named.

use std::path::PathBuf;

/// Names another binary to test.
const VARIABLE: &str = "CONCLAVE_BIN";

/// The path of `conclave`. Fails with the command that builds it.
pub fn conclave() -> PathBuf {
    if let Some(named) = std::env::var_os(VARIABLE) {
        return named.into();
    }
    beside("conclave", "cargo build -p conclave-cli")
}

/// The path of what is built beside the tests. Fails with the command that builds it.
pub fn beside(path: &str, build: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a running test has an executable");
    // target/debug/deps/cluster-HASH -> target/debug/PATH
    let built = own
        .ancestors()
        .nth(2)
        .expect("test executables lie in deps/")
        .join(path);
    assert!(
        built.is_file(),
        "{} is missing. Build it:  {build}",
        built.display()
    );
    built
}
