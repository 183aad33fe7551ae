//! A real API server of Kubernetes with its store, on free ports of loopback; both gone when it is dropped. There are no
//! controllers and no nodes: accounts, rights and tokens are the API server's own.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::launch::{self, Daemon};
use super::pki::Authority;
use crate::harness::{eventually, ports};

/// Who may do everything, from a file of the server's.
pub const ADMIN: &str = "first-admin-token";
/// Where accounts are made.
pub const NAMESPACE: &str = "demo";
/// What bears it was made by us.
const OURS: &str = "labelSelector=app.kubernetes.io%2Fmanaged-by%3Dconclave";
/// Kinds of what is made for an account, by where they are listed.
const KINDS: [(&str, &str); 5] = [
    ("serviceaccounts", "api/v1"),
    ("rolebindings", RBAC),
    ("clusterrolebindings", RBAC),
    ("roles", RBAC),
    ("clusterroles", RBAC),
];
const RBAC: &str = "apis/rbac.authorization.k8s.io/v1";
/// For a first start from a slow, cold disk.
const START: Duration = Duration::from_secs(120);

/// A server.
pub struct Kubernetes {
    pub port: u16,
    /// Who signed its certificate.
    pub authority: Authority,
    store: u16,
    _etcd: Daemon,
    process: Option<Daemon>,
    files: TempDir,
}

impl Kubernetes {
    /// Makes and starts one, with a namespace in which a role lets pods be listed.
    pub async fn start() -> Self {
        let files = TempDir::with_prefix("conclave-kubernetes-").expect("a folder");
        let [port, store, peers] = ports::free(3)[..] else {
            panic!("three ports")
        };
        let authority = Authority::new();
        let (certificate, key) = authority.server("localhost");
        for (name, text) in [
            ("certificate", certificate.as_str()),
            ("key", &key),
            ("authority", authority.pem()),
            ("tokens", &format!("{ADMIN},admin,admin,\"system:masters\"\n")),
        ] {
            fs::write(files.path().join(name), text).expect("a file");
        }
        let signing = files.path().join("signing");
        launch::must(
            Command::new("openssl")
                .args(["genrsa", "-out"])
                .arg(&signing)
                .arg("2048"),
        );
        let at = |port: u16| format!("http://127.0.0.1:{port}");
        let mut etcd = launch::own("etcd");
        etcd.env("GOMAXPROCS", "1")
            .args(["--unsafe-no-fsync", "--data-dir"]);
        etcd.arg(files.path().join("etcd"));
        for (option, value) in [
            ("--listen-client-urls", at(store)),
            ("--advertise-client-urls", at(store)),
            ("--listen-peer-urls", at(peers)),
            ("--initial-advertise-peer-urls", at(peers)),
            ("--initial-cluster", format!("default={}", at(peers))),
        ] {
            etcd.args([option, &value]);
        }
        let mut server = Self {
            port,
            authority,
            store,
            _etcd: Daemon::start(&mut etcd, &files.path().join("store")),
            process: None,
            files,
        };
        server.run().await;
        server.furnish();
        server
    }

    /// Starts the API server again; its store goes on.
    pub async fn run(&mut self) {
        let file = |name: &str| self.files.path().join(name).display().to_string();
        let mut process = launch::own(&program().display().to_string());
        process.env("GOMAXPROCS", "2");
        for (option, value) in [
            ("etcd-servers", format!("http://127.0.0.1:{}", self.store)),
            ("secure-port", self.port.to_string()),
            ("insecure-port", "0".to_owned()),
            ("bind-address", "127.0.0.1".to_owned()),
            ("tls-cert-file", file("certificate")),
            ("tls-private-key-file", file("key")),
            ("token-auth-file", file("tokens")),
            (
                "service-account-issuer",
                "https://kubernetes.default.svc".to_owned(),
            ),
            ("service-account-signing-key-file", file("signing")),
            ("service-account-key-file", file("signing")),
            ("api-audiences", "https://kubernetes.default.svc".to_owned()),
            ("authorization-mode", "RBAC".to_owned()),
            // It would wait for a controller that is not there.
            ("disable-admission-plugins", "ServiceAccount".to_owned()),
            ("service-cluster-ip-range", "10.0.0.0/24".to_owned()),
        ] {
            process.arg(format!("--{option}={value}"));
        }
        self.process = Some(Daemon::start(&mut process, &self.files.path().join("console")));
        eventually("the API server is ready", START, async || {
            self.ask(ADMIN, "GET", "readyz", None).map(drop)
        })
        .await;
    }

    /// Stops the API server as a power failure would.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// What the tests need to be there.
    fn furnish(&self) {
        for name in [NAMESPACE, "other", "makers"] {
            let labels = json!({"name": name, "labels": {"env": name}});
            self.must("POST", "api/v1/namespaces", Some(json!({"metadata": labels})));
        }
        let pods = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]);
        for (path, name) in [
            (format!("{RBAC}/namespaces/{NAMESPACE}/roles"), "watcher"),
            (format!("{RBAC}/clusterroles"), "watcher"),
        ] {
            let role = json!({"metadata": {"name": name}, "rules": pods});
            self.must("POST", &path, Some(role));
        }
    }

    /// A token of an account that may make others, with the rights that the documentation names, and these besides.
    pub fn maker(&self, name: &str, more: &[&str]) -> String {
        let own = ["create", "get", "list", "delete"];
        let rbac: Vec<&str> = own.iter().chain(more).copied().collect();
        let bindings = ["rolebindings", "clusterrolebindings"];
        let rules = json!([
            {"apiGroups": [""], "resources": ["serviceaccounts"], "verbs": own},
            {"apiGroups": [""], "resources": ["serviceaccounts/token"], "verbs": ["create"]},
            {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"]},
            {"apiGroups": ["rbac.authorization.k8s.io"], "resources": bindings, "verbs": own},
            {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "clusterroles"], "verbs": rbac},
        ]);
        let metadata = json!({"name": name});
        let role = json!({"metadata": metadata, "rules": rules});
        self.must("POST", &format!("{RBAC}/clusterroles"), Some(role));
        let accounts = "api/v1/namespaces/makers/serviceaccounts";
        self.must("POST", accounts, Some(json!({"metadata": metadata})));
        let bound = json!({
            "metadata": metadata,
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": "makers"}],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        });
        self.must("POST", &format!("{RBAC}/clusterrolebindings"), Some(bound));
        self.token("makers", name)
    }

    /// A token of an account, from the server itself.
    pub fn token(&self, namespace: &str, name: &str) -> String {
        let path = format!("api/v1/namespaces/{namespace}/serviceaccounts/{name}/token");
        let asked = json!({"spec": {"audiences": [], "expirationSeconds": 7200}});
        let made: Value = serde_json::from_str(&self.must("POST", &path, Some(asked))).expect("a token");
        made["status"]["token"].as_str().expect("a token").to_owned()
    }

    /// Where it is.
    pub fn host(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    /// What it answers; if it refuses, its status, a space and the text.
    pub fn ask(&self, token: &str, method: &str, path: &str, body: Option<Value>) -> Result<String, String> {
        let mut client = Command::new("curl");
        client
            .args(["-sS", "--http1.1", "-w", "%{http_code}", "-X", method, "--cacert"])
            .arg(self.files.path().join("authority"))
            .args(["-H", &format!("authorization: Bearer {token}")])
            .arg(format!("{}/{path}", self.host()));
        if let Some(body) = body {
            client.args(["-H", "content-type: application/json", "-d", &body.to_string()]);
        }
        let asked = client.stdin(Stdio::null()).output().expect("curl runs");
        let said = String::from_utf8_lossy(&asked.stdout).into_owned();
        let at = said.len().saturating_sub(3);
        match (asked.status.success(), said.split_at(at)) {
            (true, (body, status)) if status.starts_with('2') => Ok(body.to_owned()),
            (_, (body, status)) => {
                let complaint = String::from_utf8_lossy(&asked.stderr);
                Err(format!("{status} {body}{complaint}"))
            }
        }
    }

    /// The same for who may do everything, and it must do it.
    pub fn must(&self, method: &str, path: &str, body: Option<Value>) -> String {
        let done = self.ask(ADMIN, method, path, body);
        done.expect("the API server does what its administrator asks")
    }

    /// Whether this token lets pods be listed in a namespace.
    pub fn lists_pods(&self, token: &str, namespace: &str) -> Result<(), String> {
        let path = format!("api/v1/namespaces/{namespace}/pods");
        self.ask(token, "GET", &path, None).map(drop)
    }

    /// What was made for accounts and is there, by its own lists: kind and name.
    pub fn objects(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (kind, group) in KINDS {
            let listed = self.must("GET", &format!("{group}/{kind}?{OURS}"), None);
            let listed: Value = serde_json::from_str(&listed).expect("a list");
            let items = listed["items"].as_array().expect("a list").iter();
            found.extend(items.map(|item| {
                let name = item["metadata"]["name"].as_str().expect("a name");
                format!("{kind} {name}")
            }));
        }
        found.sort();
        found
    }

    /// Of those the accounts.
    pub fn accounts(&self) -> Vec<String> {
        let objects = self.objects();
        let accounts = objects
            .iter()
            .filter_map(|object| object.strip_prefix("serviceaccounts "));
        accounts.map(str::to_owned).collect()
    }
}

/// What `chaos-tests/kube-apiserver.sh` built.
fn program() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    let program = cache
        .expect("a home")
        .join("conclave/peers/kube-apiserver-1.20.2");
    assert!(
        program.exists(),
        "{} is missing: chaos-tests/kube-apiserver.sh builds it in six minutes",
        program.display()
    );
    program
}
