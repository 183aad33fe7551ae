//! A client in another language, generated from `proto/` by the tools its users have: Python's grpcio over TLS.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::support::{ROOT, tls};

/// What the client is made of, pinned: a release of theirs must not break a build of ours.
const PACKAGES: [&str; 2] = ["grpcio==1.85.1", "grpcio-tools==1.85.1"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_puts_and_gets_over_tls() {
    let server = tls().await;
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let ran = tokio::task::spawn_blocking({
        let (address, ca) = (server.api_addr.clone(), server.ca_cert.clone().unwrap());
        let python = environment();
        move || {
            Command::new(python)
                .arg(here.join("tests/grpc/client.py"))
                .arg(address.trim_start_matches("https://"))
                .arg(ca)
                .arg(here.join("../proto/proto"))
                .arg(ROOT)
                .output()
                .unwrap()
        }
    });
    let ran = ran.await.unwrap();
    let (said, complained) = (
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr),
    );
    assert!(ran.status.success(), "{said}{complained}");
    assert_eq!(said.trim(), "ok");
    server.server.stop().await;
}

/// Python with the packages, in a virtual environment that is made once.
fn environment() -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python-grpc");
    let python = dir.join("bin/python");
    let ready = dir.join(PACKAGES.join("+"));
    if ready.exists() {
        return python;
    }
    let by_hand = format!(
        "python3 -m venv {} && {} -m pip install {}",
        dir.display(),
        python.display(),
        PACKAGES.join(" ")
    );
    let run = |command: &mut Command| {
        let ran = command.output();
        let done = ran.as_ref().is_ok_and(|ran| ran.status.success());
        let said = ran.map_or_else(
            |error| error.to_string(),
            |ran| String::from_utf8_lossy(&ran.stderr).into_owned(),
        );
        assert!(
            done,
            "the environment of the Python client cannot be made; try:\n    {by_hand}\n{said}"
        );
    };
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&dir));
    run(Command::new(&python)
        .args(["-m", "pip", "install", "--quiet"])
        .args(PACKAGES));
    std::fs::write(ready, "").unwrap();
    python
}
