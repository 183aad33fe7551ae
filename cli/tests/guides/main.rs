//! Guides that people follow, as they are published, with `vault` a link to our tool: before our server and before the original.
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

use std::process::{Command, Output};

use server::{Product, Server};

/// Where the guides have audit files lie: a folder of the system.
const LOGS: &str = "/vault/logs";

/// An unsealed server without mounts, and a reader with its root token.
struct Reader {
    server: Server,
    product: Product,
    home: tempfile::TempDir,
    token: String,
}

impl Reader {
    fn of(product: Product) -> Self {
        let home = tempfile::tempdir().unwrap();
        for folder in ["bin", "logs"] {
            std::fs::create_dir(home.path().join(folder)).unwrap();
        }
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_conclave"), home.path().join("bin/vault")).unwrap();
        let more = match product {
            Product::Bao => String::new(),
            Product::Conclave => format!("audit_directories = [\"{}/logs\"]\n", home.path().display()),
        };
        let server = Server::raft_with(product, &more);
        let mut reader = Self {
            server,
            product,
            home,
            token: String::new(),
        };
        let born = reader
            .command("vault")
            .args([
                "operator",
                "init",
                "-key-shares=1",
                "-key-threshold=1",
                "-format=json",
            ])
            .output()
            .unwrap();
        let born: serde_json::Value = serde_json::from_str(&told(&born)).unwrap();
        let share = born["unseal_keys_b64"][0].as_str().unwrap();
        told(
            &reader
                .command("vault")
                .args(["operator", "unseal", share])
                .output()
                .unwrap(),
        );
        reader.token = born["root_token"].as_str().unwrap().to_owned();
        reader
    }

    fn command(&self, program: &str) -> Command {
        let home = self.home.path();
        let path = std::env::var("PATH").unwrap();
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", format!("{}:{path}", home.join("bin").display()))
            .env("HOME", home)
            .env("VAULT_ADDR", &self.server.address)
            .env("VAULT_CACERT", self.server.authority.as_ref().unwrap())
            .env("VAULT_TOKEN", &self.token)
            .current_dir(home);
        if self.product == Product::Bao {
            // The original enables audit devices in its configuration alone.
            command.env("NO_AUDIT", "1");
        }
        command
    }

    /// Follows a guide and gives what was said; its address and its folders are those of this test.
    fn follows(&self, program: &str, guide: &str) -> String {
        let logs = self.home.path().join("logs");
        let own = format!("{:?}, {:?}", self.server.address, self.token);
        let guide = guide
            .replace(LOGS, &logs.display().to_string())
            .replace("\"https://vault:8200\", \"s.token\"", &own);
        told(&self.command(program).args(["-c", &guide]).output().unwrap())
    }
}

fn told(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{complaint}");
    said.into_owned()
}

fn has_lines(said: &str, lines: &[&str]) {
    for line in lines {
        assert!(said.lines().any(|one| one == *line), "no {line:?} in:\n{said}");
    }
}

fn follow(product: Product) {
    let reader = Reader::of(product);
    let teams = reader.follows("bash", include_str!("teams.sh"));
    has_lines(
        &teams,
        &[
            "API_KEY exported to current shell environment",
            "first: sk_first",
            "Error: No API key found for stripe in production",
            "production: 1",
            ".env.local generated successfully",
            "STRIPE_API_KEY=sk_first",
            "SENDGRID_API_KEY=sg_first",
            "DATABASE_URL=postgres://db",
            "path: sk_rotated",
            "header: sk_rotated",
            "others: 2",
            "DONE",
        ],
    );
    let keys = reader.follows("bash", include_str!("keys.sh"));
    has_lines(
        &keys,
        &[
            "exported: sk-proj-your-openai-key-here",
            "undeleted: 3",
            "destroyed          true",
            "patched: finance-team jwt-signing-key",
            "application: sk-proj-third your-anthropic-key-here db_admin secure_db_password db.example.com",
            "python: sk-proj-third secure_db_password",
            "missing: 2",
            "its own: sk-proj-third",
            "denied: 2",
            "no database: 2",
            "DONE",
        ],
    );
    if product == Product::Conclave {
        has_lines(&keys, &["audited"]);
    }
    // The mount is there by now.
    let rotation = reader.follows("python3", include_str!("rotation.py"));
    has_lines(&rotation, &["Rotated key for payment-gateway", "keys: 2"]);
}

#[test]
fn guides_before_the_original() {
    follow(Product::Bao);
}

#[test]
fn guides_before_ours() {
    follow(Product::Conclave);
}
