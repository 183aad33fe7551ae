//! hvac does everything that is built, from an empty server to a sealed one: the same script before both servers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

#[path = "../golden/server.rs"]
#[allow(dead_code)]
mod server;

use std::process::Command;

use server::{Product, Server};

fn run(product: Product, name: &str) {
    let home = tempfile::tempdir().unwrap();
    let more = match product {
        Product::Bao => String::new(),
        Product::Conclave => format!("audit_directories = [\"{}\"]\n", home.path().display()),
    };
    let server = Server::raft_with(product, &more);
    let output = Command::new("python3")
        .args(["-c", include_str!("all.py"), name])
        .arg(home.path().join("audit.log"))
        .env_remove("VAULT_TOKEN")
        .env("HOME", home.path())
        .env("VAULT_ADDR", &server.address)
        .env("VAULT_CACERT", server.authority.as_ref().unwrap())
        .output()
        .expect("python3 with hvac: pip install hvac==2.4.0");
    let told = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told == "done\n", "{told}{complaint}");
}

#[test]
fn hvac_before_the_original() {
    run(Product::Bao, "bao");
}

#[test]
fn hvac_before_ours() {
    run(Product::Conclave, "conclave");
}
