//! Drivers against the servers they are for, and against servers that answer nonsense.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    missing_docs
)]

mod aws;
mod harness;
mod hostile;
mod kubernetes;
#[allow(dead_code, reason = "clusters use the rest")]
mod kubernetes_server;
mod launch;
#[allow(dead_code, reason = "clusters use the rest")]
mod mariadb;
mod mysql;
#[allow(dead_code, reason = "clusters use the rest")]
mod pki;
mod postgres;
#[allow(dead_code, reason = "clusters use the rest")]
mod postgres_server;
mod rabbitmq;
#[allow(dead_code, reason = "clusters use the rest")]
mod rabbitmq_server;
mod redis;
#[allow(dead_code, reason = "clusters use the rest")]
mod redis_server;

use std::time::Duration;

use conclave_engine_api::{Action, Bounds, Done, Driver, Failure, Hidden, Plan, Target, TargetTls};
use conclave_targets::Targets;

/// Longer than anything takes that is meant to be done.
const LONG: Duration = Duration::from_secs(30);

/// A target, and the drivers of a node.
struct Scene {
    targets: Targets,
    target: Target,
}

impl Scene {
    fn new(driver: Driver, url: &str) -> Self {
        Self {
            targets: Targets::default(),
            target: Target {
                name: "t".to_owned(),
                driver,
                url: hidden(url),
                fallback: None,
                tls: TargetTls::default(),
                max_connections: 4,
                epoch: String::new(),
            },
        }
    }

    async fn act(&self, action: Action, session: &str, within: Duration) -> Result<Vec<String>, Failure> {
        self.act_as(action, (session, false), within).await
    }

    /// As the only session of its name: those that are there already end first.
    async fn act_alone(&self, action: Action, session: &str) -> Result<Vec<String>, Failure> {
        self.act_as(action, (session, true), LONG).await
    }

    async fn act_as(
        &self,
        action: Action,
        (session, alone): (&str, bool),
        within: Duration,
    ) -> Result<Vec<String>, Failure> {
        let bounds = Bounds {
            session: session.to_owned(),
            alone,
            until: Targets::boot_time() + within,
        };
        let plan = Plan {
            target: self.target.clone(),
            action,
        };
        self.targets.run(&plan, &bounds).await
    }

    async fn run(&self, statements: &[&str]) -> Result<Vec<String>, Failure> {
        self.act(run(statements), "conclave/1/1/run", LONG).await
    }

    async fn make(&self, account: &str, statements: &[&str]) -> Result<Vec<String>, Failure> {
        let action = Action::Make {
            account: account.to_owned(),
            statements: statements.iter().copied().map(hidden).collect(),
        };
        self.act(action, "conclave/1/1/make", LONG).await
    }

    async fn check(&self) -> Result<Vec<String>, Failure> {
        self.act(Action::Check, "conclave/1/1/check", LONG).await
    }

    async fn drop_account(
        &self,
        account: &str,
        statements: &[&str],
        session: &str,
    ) -> Result<Vec<String>, Failure> {
        let action = Action::Drop {
            account: account.to_owned(),
            statements: statements.iter().copied().map(hidden).collect(),
            session: session.to_owned(),
        };
        self.act(action, "conclave/1/2/sweep", LONG).await
    }

    async fn list(&self, prefix: &str) -> Vec<String> {
        let action = Action::List {
            prefix: prefix.to_owned(),
            mark: String::new(),
        };
        let mut listed = self.act(action, "conclave/1/1/list", LONG).await.unwrap();
        listed.sort();
        listed
    }
}

/// A statement that would take a minute does not outlive its bounds. A loaded machine may not even have sent it by then.
async fn ends_in_time(scene: &Scene, slow: &str) {
    for millis in [500, 2_000, 8_000] {
        let within = Duration::from_millis(millis);
        let failure = scene
            .act(run(&[slow]), "conclave/1/1/slow", within)
            .await
            .unwrap_err();
        if failure.done != Done::Nothing {
            return;
        }
    }
    panic!("it was never sent");
}

fn run(statements: &[&str]) -> Action {
    Action::Run {
        statements: statements.iter().copied().map(hidden).collect(),
    }
}

fn hidden(text: &str) -> Hidden {
    Hidden::new(text.to_owned())
}
