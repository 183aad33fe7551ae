//! Which token a command shows and what is said of it, which leases tokens have, and the way back when all tokens are lost:
//! against real servers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

#[path = "golden/server.rs"]
#[allow(dead_code)]
mod server;

use std::process::{Command, Output, Stdio};

use serde_json::Value;
use server::{Product, Server};

struct Home {
    server: Server,
    home: tempfile::TempDir,
}

impl Home {
    fn of(server: Server) -> Self {
        let home = tempfile::tempdir().unwrap();
        Self { server, home }
    }

    fn run(&self, line: &str, variables: &[(&str, &str)]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_conclave"));
        command
            .env_clear()
            .env("HOME", self.home.path())
            .env("VAULT_ADDR", &self.server.address)
            .envs(variables.iter().copied())
            .current_dir(self.home.path())
            .stdin(Stdio::null())
            .args(line.split(' '));
        if let Some(authority) = &self.server.authority {
            command.env("VAULT_CACERT", authority);
        }
        command.output().unwrap()
    }

    fn said(&self, line: &str, variables: &[(&str, &str)]) -> String {
        let output = self.run(line, variables);
        assert!(output.status.success(), "{line}: {}", complaint(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    fn told(&self, line: &str, variables: &[(&str, &str)]) -> Value {
        let variables: Vec<_> = variables
            .iter()
            .copied()
            .chain([("CONCLAVE_FORMAT", "json")])
            .collect();
        serde_json::from_str(&self.said(line, &variables)).unwrap()
    }
}

fn complaint(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn a_login_names_the_variable_that_wins_over_it() {
    let home = Home::of(Server::dev(Product::Conclave));
    for variable in ["VAULT_TOKEN", "BAO_TOKEN", "CONCLAVE_TOKEN"] {
        let output = home.run("login root", &[(variable, "other")]);
        assert!(output.status.success(), "{}", complaint(&output));
        let words: Vec<_> = complaint(&output).split_whitespace().map(str::to_owned).collect();
        let words = words.join(" ");
        assert!(
            words.contains(&format!("The {variable} environment variable is set!")),
            "{words}"
        );
        assert!(words.contains(&format!("please unset {variable} or")), "{words}");
    }
    let output = home.run("login root", &[]);
    assert_eq!(complaint(&output), "");
}

/// A script that sets `VAULT_TOKEN` for a command must not go on with the cluster's root token.
#[test]
fn the_local_clusters_token_is_in_one_variable() {
    let home = tempfile::tempdir().unwrap();
    let token = "s.of-the-cluster";
    std::fs::create_dir(home.path().join("secrets")).unwrap();
    std::fs::write(home.path().join("secrets/root-token"), token).unwrap();
    std::fs::write(home.path().join("port"), "18200").unwrap();
    let script = r#"eval "$("$ENV")"; echo "${CONCLAVE_TOKEN-none} ${BAO_TOKEN-none} $VAULT_TOKEN""#;
    let output = Command::new("bash")
        .args(["-e", "-c", script])
        .env(
            "ENV",
            concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/local/env.sh"),
        )
        .env("CONCLAVE_DEV_DIR", home.path())
        .envs([("CONCLAVE_TOKEN", "old"), ("BAO_TOKEN", "old")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", complaint(&output));
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        format!("none none {token}\n")
    );
}

#[test]
fn a_digest_that_nobody_answers_says_whom_it_asked() {
    let home = Home::of(Server::dev(Product::Conclave));
    let output = home.run("operator digest -operations=http://127.0.0.1:1", &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        complaint(&output).contains("CONCLAVE_OPERATIONS_ADDR"),
        "{}",
        complaint(&output)
    );
}

#[test]
fn leases_are_listed_by_directory() {
    let home = Home::of(Server::dev(Product::Conclave));
    let root = [("VAULT_TOKEN", "root")];
    let none = home.run("lease list database/creds", &root);
    assert_eq!(none.status.code(), Some(2));
    assert!(
        complaint(&none).contains("no leases beneath \"database/creds\""),
        "{}",
        complaint(&none)
    );
    home.said("token create -ttl=1h", &root);
    let keys = |line: &str| home.told(line, &root);
    assert_eq!(keys("lease list"), serde_json::json!(["auth/"]));
    assert_eq!(keys("lease list auth/token/"), serde_json::json!(["create/"]));
    let ids = keys("lease list auth/token/create");
    let id = ids[0].as_str().unwrap();
    assert_eq!(ids.as_array().unwrap().len(), 1);
    let line = format!("lease lookup auth/token/create/{id}");
    assert_eq!(home.told(&line, &root)["data"]["renewable"], true);
    assert!(
        home.said("lease list auth/token/create", &root)
            .starts_with("Keys\n----\n")
    );
    let powerless = home.said("token create -policy=default -field=token", &root);
    let denied = home.run("lease list", &[("VAULT_TOKEN", powerless.trim())]);
    assert!(complaint(&denied).contains("Code: 403"), "{}", complaint(&denied));
}

/// A server that is unsealed, its shares, and its root token.
fn founded(more: &str) -> (Home, Vec<String>, String) {
    let home = Home::of(Server::raft_with(Product::Conclave, more));
    let made = home.told("operator init -key-shares=3 -key-threshold=2", &[]);
    let shares = made["unseal_keys_b64"].as_array().unwrap();
    let shares: Vec<_> = shares
        .iter()
        .map(|share| share.as_str().unwrap().to_owned())
        .collect();
    for share in &shares[..2] {
        home.said(&format!("operator unseal {share}"), &[]);
    }
    let root = made["root_token"].as_str().unwrap().to_owned();
    (home, shares, root)
}

#[test]
fn shares_make_a_root_token_where_all_are_lost() {
    let (home, shares, root) = founded("enable_unauthenticated_access = [\"generate-root\"]\n");
    home.said("token revoke -self", &[("VAULT_TOKEN", &root)]);
    // Nobody has a token, or one that is none any more is still in a file or a variable.
    for variables in [&[][..], &[("VAULT_TOKEN", root.as_str())][..]] {
        let begun = home.told("operator generate-root -init", variables);
        let (nonce, otp) = (begun["nonce"].as_str().unwrap(), begun["otp"].as_str().unwrap());
        let status = home.told("operator generate-root -status", variables);
        assert_eq!(status["started"], true, "{status}");
        home.said(
            &format!("operator generate-root -cancel -nonce={nonce}"),
            variables,
        );
        let status = home.told("operator generate-root -status", variables);
        assert_eq!(status["started"], false, "{status}");
        assert_ne!(otp, "");
        let begun = home.told("operator generate-root -init", variables);
        let (nonce, otp) = (begun["nonce"].as_str().unwrap(), begun["otp"].as_str().unwrap());
        let mut given = Value::Null;
        for share in &shares[..2] {
            given = home.told(
                &format!("operator generate-root -nonce={nonce} {share}"),
                variables,
            );
        }
        assert_eq!(given["complete"], true, "{given}");
        let encoded = given["encoded_token"].as_str().unwrap();
        let decode = format!("operator generate-root -decode={encoded} -otp={otp}");
        let made = home.said(&decode, variables);
        let own = home.told("token lookup", &[("VAULT_TOKEN", made.trim())]);
        assert_eq!(own["data"]["policies"], serde_json::json!(["root"]));
    }
}

#[test]
fn shares_alone_make_no_root_token_unless_the_configuration_says_so() {
    let (home, _, root) = founded("");
    for variables in [&[][..], &[("VAULT_TOKEN", "none")][..]] {
        for act in ["-init", "-status", "-cancel", "-generate-otp"] {
            let output = home.run(&format!("operator generate-root {act}"), variables);
            let said = complaint(&output);
            assert_eq!(output.status.code(), Some(2), "{act}: {said}");
            assert!(
                said.contains("Code: 403") && said.contains("sys/generate-root-token/attempt"),
                "{act}: {said}"
            );
        }
    }
    let status = home.told("operator generate-root -status", &[("VAULT_TOKEN", &root)]);
    assert_eq!(status["started"], false);
}
