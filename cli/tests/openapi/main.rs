//! Requests that schemathesis makes up from the OpenAPI document of a server, most of them wrong: each gets an answer that
//! is no failure of the server.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

#[path = "../../../chaos-tests/tests/cluster/harness/packages.rs"]
#[allow(dead_code)]
mod packages;
#[path = "../golden/server.rs"]
#[allow(dead_code)]
mod server;

use std::process::{Command, Output};

use server::{Product, Server};

/// Paths that end the server's service or the token that asks, after which nothing could be tried; and those whose answers go on.
const LEFT_OUT: &str = "^/sys/(seal|step-down|init|unseal|rekey|generate-root|rotate|storage|audit|remount|quotas|config\
                        |namespaces/api-lock|monitor|watch)|revoke-self|token/revoke";
/// Besides the defaults of a development server.
const ENGINES: [&str; 6] = [
    "transit",
    "database",
    "aws",
    "rabbitmq",
    "kubernetes",
    "-path=plain kv",
];
const METHODS: [&str; 2] = ["userpass", "approle"];
/// What is not built says 501; every other answer from 500 on fails a check.
const CHECKS: &str =
    "[checks.not_a_server_error]\nexpected-statuses = [\"2xx\", \"3xx\", \"4xx\", \"501\"]\n";

fn conclave(server: &Server, arguments: &str) -> Output {
    let ran = Command::new(env!("CARGO_BIN_EXE_conclave"))
        .args(arguments.split(' '))
        .env("VAULT_ADDR", &server.address)
        .env("VAULT_TOKEN", "root")
        .output()
        .unwrap();
    assert!(ran.status.success(), "{arguments}: {ran:?}");
    ran
}

/// `CONCLAVE_SCHEMATHESIS_EXAMPLES` requests at random of each operation, after those at the bounds of what it takes.
#[test]
fn made_up_requests_get_answers() {
    let server = Server::dev(Product::Conclave);
    for engine in ENGINES {
        conclave(&server, &format!("secrets enable {engine}"));
    }
    for method in METHODS {
        conclave(&server, &format!("auth enable {method}"));
    }
    let document = conclave(&server, "read -format=json sys/internal/specs/openapi").stdout;
    let document: serde_json::Value = serde_json::from_slice(&document).unwrap();
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("openapi.json"), document["data"].to_string()).unwrap();
    std::fs::write(home.path().join("schemathesis.toml"), CHECKS).unwrap();
    let examples = std::env::var("CONCLAVE_SCHEMATHESIS_EXAMPLES").unwrap_or_else(|_| "3".to_owned());
    let python = packages::python("schemathesis", &["schemathesis==4.32.5"]);
    let ran = Command::new(python.with_file_name("schemathesis"))
        .args(["run", "openapi.json", "--checks", "not_a_server_error"])
        .args(["--url", &format!("{}/v1", server.address)])
        .args(["-H", "X-Vault-Token: root", "--exclude-path-regex", LEFT_OUT])
        .args(["--phases", "coverage,fuzzing", "--mode", "all", "-n", &examples])
        .args(["--request-timeout", "30", "--continue-on-failure", "--seed", "1"])
        .current_dir(home.path())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{told}");
    let tried = told.lines().find_map(|line| {
        line.trim()
            .strip_suffix(" passed")?
            .split(' ')
            .next()?
            .parse::<u32>()
            .ok()
    });
    assert!(tried.is_some_and(|tried| tried > 3_000), "{told}");
    conclave(&server, "kv put secret/after a=b");
    conclave(&server, "kv get secret/after");
}
