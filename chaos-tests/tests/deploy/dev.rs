//! `server -dev`: usable at once, by each of its flags.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::{SOON, eventually, ports};
use crate::shell::{binary, command, folder, must, texts};

/// From the start of the process to the end of the first `kv put`, on an optimised build and an idle machine. Tests build
/// without optimisation and share the machine, hence the factor.
const FIRST_PUT: Duration = Duration::from_secs(1);
const SLACK: u32 = 20;

/// A development server; killed when dropped.
struct Dev {
    process: Child,
    home: tempfile::TempDir,
    address: String,
}

impl Dev {
    fn start(flags: &[&str], variables: &[(&str, &str)]) -> Self {
        let home = folder();
        let address = format!("127.0.0.1:{}", ports::free(1)[0]);
        let log = std::fs::File::create(home.path().join("log")).unwrap();
        let process = command(binary(), home.path())
            .arg("server")
            .args(flags)
            .env("CONCLAVE_DEV_LISTEN_ADDRESS", &address)
            .envs(variables.iter().copied())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            process,
            home,
            address,
        }
    }

    fn client(&self, words: &[&str]) -> Command {
        let mut client = command(binary(), self.home.path());
        client
            .args(words)
            .env("VAULT_ADDR", format!("http://{}", self.address));
        client
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.home.path().join("log")).unwrap_or_default()
    }

    async fn ready(&self) {
        eventually("the banner", SOON, async || {
            let log = self.log();
            if log.contains("Development mode should NOT") {
                Ok(())
            } else {
                Err(log)
            }
        })
        .await;
    }

    /// Ends it as Ctrl-C does, and waits.
    fn stop(&mut self) {
        must(
            Command::new("kill")
                .arg("-INT")
                .arg(self.process.id().to_string()),
        );
        assert!(self.process.wait().unwrap().success());
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn the_first_secret_is_written_within_a_second() {
    let start = Instant::now();
    let dev = Dev::start(&["-dev", "-dev-root-token-id=root"], &[]);
    let put = ["kv", "put", "secret/a", "b=c"];
    while !dev
        .client(&put)
        .env("VAULT_TOKEN", "root")
        .output()
        .unwrap()
        .status
        .success()
    {
        assert!(start.elapsed() < FIRST_PUT * SLACK, "{}", dev.log());
    }
    assert!(start.elapsed() < FIRST_PUT * SLACK, "{:?}", start.elapsed());
}

#[tokio::test]
async fn the_token_is_stored_unless_told_otherwise() {
    let mut dev = Dev::start(&["-dev"], &[("VAULT_DEV_ROOT_TOKEN_ID", "chosen")]);
    dev.ready().await;
    let stored = dev.home.path().join(".vault-token");
    assert_eq!(std::fs::read_to_string(&stored).unwrap(), "chosen");
    must(&mut dev.client(&["kv", "put", "secret/a", "b=c"]));
    // Audit files may lie where the server was started and among temporary files.
    let refused = dev
        .client(&["audit", "enable", "file", "file_path=/var/lib/audit.log"])
        .output()
        .unwrap();
    assert!(!refused.status.success(), "elsewhere than allowed");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("audit_directories"), "{said}");
    let temporary = std::env::temp_dir().join(format!("conclave-test-audit-{}", dev.process.id()));
    must(&mut dev.client(&[
        "audit",
        "enable",
        "file",
        &format!("file_path={}", temporary.display()),
    ]));
    std::fs::remove_file(temporary).unwrap();
    dev.stop();

    let dev = Dev::start(&["-dev", "-dev-no-store-token"], &[]);
    dev.ready().await;
    assert!(!dev.home.path().join(".vault-token").exists());
}

#[tokio::test]
async fn kv_is_mounted_as_the_flags_say() {
    for (flags, expected) in [
        (["-dev", "-dev-kv-v1"], Some("map[version:1]")),
        (["-dev", "-dev-no-kv"], None),
        (["-dev", "-log-level=error"], Some("map[version:2]")),
    ] {
        let dev = Dev::start(&flags, &[("BAO_DEV_ROOT_TOKEN_ID", "root")]);
        dev.ready().await;
        let mounts = must(&mut dev.client(&["secrets", "list", "-detailed"]));
        let secret = mounts.lines().find(|line| line.starts_with("secret/"));
        match expected {
            Some(options) => assert!(secret.is_some_and(|line| line.contains(options)), "{mounts}"),
            None => assert!(secret.is_none(), "{mounts}"),
        }
    }
}

#[tokio::test]
async fn tls_is_made_for_the_run_or_kept_where_it_is_told() {
    let kept = folder();
    let flags = [
        "-dev-tls".to_owned(),
        format!("-dev-tls-cert-dir={}", kept.path().display()),
        format!("-dev-cluster-json={}/cluster.json", kept.path().display()),
        "-dev-root-token-id=root".to_owned(),
    ];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let mut dev = Dev::start(&flags, &[]);
    dev.ready().await;
    let ca = kept.path().join("ca.pem");
    assert!(
        dev.log()
            .contains(&format!("export VAULT_CACERT='{}'", ca.display())),
        "{}",
        dev.log()
    );
    secure(&dev, &ca);
    let known: serde_json::Value =
        serde_json::from_slice(&std::fs::read(kept.path().join("cluster.json")).unwrap()).unwrap();
    assert_eq!(
        known,
        serde_json::json!({"nodes": [{"api_address": format!("https://{}", dev.address)}],
            "ca_cert_path": ca, "root_token": "root"})
    );
    dev.stop();
    assert!(ca.exists(), "a named directory keeps its files");

    let mut dev = Dev::start(&["-dev-tls"], &[]);
    dev.ready().await;
    let log = dev.log();
    let (_, ca) = log
        .split_once("export VAULT_CACERT='")
        .expect("the authority's path");
    let ca = Path::new(ca.split('\'').next().unwrap());
    secure(&dev, ca);
    dev.stop();
    assert!(
        !ca.parent().unwrap().exists(),
        "what was made for the run goes with it"
    );
}

fn secure(dev: &Dev, ca: &Path) {
    let mut client = dev.client(&["kv", "put", "secret/a", "b=c"]);
    must(
        client
            .env("VAULT_ADDR", format!("https://{}", dev.address))
            .env("VAULT_CACERT", ca),
    );
}

#[test]
fn what_cannot_be_is_refused_and_what_has_no_effect_says_so() {
    let folder = folder();
    let config = folder.path().join("a.hcl");
    std::fs::write(&config, "storage \"inmem\" {}\n").unwrap();
    let config = format!("-config={}", config.display());
    for (flags, words) in [
        (vec!["-dev", "-recovery"], "-recovery is unsupported"),
        (vec!["-dev", config.as_str()], "leave those stanzas out"),
        (
            vec!["-dev", "-dev-listen-address=nowhere"],
            "-dev-listen-address: \"nowhere\" must be an address and a port",
        ),
        (
            vec!["-dev", "-no-such"],
            "flag provided but not defined: -no-such",
        ),
        (vec![], "Must specify at least one config path using -config"),
        (vec!["-log-file=x"], "-log-file has no effect"),
    ] {
        let output = command(binary(), folder.path())
            .arg("server")
            .args(&flags)
            .output()
            .unwrap();
        let (_, complained) = texts(&output);
        assert!(
            output.status.code() == Some(1) && complained.contains(words),
            "{flags:?}: {complained}"
        );
    }
}

/// A port for other nodes that is taken is named, as one for clients is.
#[test]
fn a_port_for_other_nodes_that_is_taken_is_named() {
    let folder = folder();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap();
    let config = format!(
        "storage \"inmem\" {{}}\noperations_address = \"\"\nlistener \"tcp\" {{\n  address = \"127.0.0.1:{}\"\n  \
         cluster_address = \"{taken}\"\n  tls_disable = true\n}}\n",
        ports::free(1)[0]
    );
    let file = folder.path().join("node.hcl");
    std::fs::write(&file, config).unwrap();
    let output = command(binary(), folder.path())
        .arg("server")
        .arg(format!("-config={}", file.display()))
        .output()
        .unwrap();
    let (_, complained) = texts(&output);
    let named = format!("{taken}: Address already in use");
    assert!(
        output.status.code() == Some(1) && complained.contains(&named),
        "{complained}"
    );
    assert!(!complained.contains("panicked"), "{complained}");
}
