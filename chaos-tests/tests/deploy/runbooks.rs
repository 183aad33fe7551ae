//! The commands of the runbooks, as they stand there, on a real cluster: whoever is paged at night types them. Each is run, or
//! stands in a table here that says why not; none is left out for being of a kind that nobody thought of.

use std::collections::BTreeSet;
use std::process::Output;

use serde_json::{Value, json};

use crate::harness::{AUDIT, Cluster, SOON, eventually};
use crate::shell::{binary, command, read, root, texts};

/// Programs of the host, of which nothing is asked here.
const HOST: [&str; 10] = [
    "df",
    "du",
    "grep",
    "iostat",
    "journalctl",
    "kubectl",
    "ls",
    "openssl",
    "ss",
    "systemctl",
];
/// What is named and not run: it is known as a command.
const NAMED: [(&str, &str); 5] = [
    (
        "conclave operator tls create-cert",
        "named without whom it is for",
    ),
    ("conclave operator unseal", "asks for a share at the terminal"),
    ("conclave operator seal", "ends the test"),
    ("conclave policy explain", "named without what it explains"),
    ("conclave status", "named beside the block that has it whole"),
];
/// What a command says that cannot be done here, beside the exit code for answers that are no success.
const REFUSED: [(&str, &str); 3] = [
    ("conclave list database/static-roles", "No value found"),
    ("conclave write -f database/rotate-role/NAME", "Code: 400"),
    ("conclave operator raft remove-peer NAME", "Code: 400"),
];

/// A command, and the page that it is of.
struct Typed {
    page: String,
    line: String,
}

/// Every command of ours on the pages: lines of blocks, and what stands in a sentence as code.
fn typed() -> Vec<Typed> {
    let pages = std::fs::read_dir(root().join("docs/runbooks")).unwrap();
    let names: BTreeSet<String> = pages
        .map(|page| page.unwrap().file_name().into_string().unwrap())
        .collect();
    let mut typed = Vec::new();
    for page in names {
        let text = read(&format!("docs/runbooks/{page}"));
        for (number, part) in text.split("```").enumerate() {
            let lines = if number % 2 == 1 {
                block(&page, part)
            } else {
                spans(part)
            };
            typed.extend(lines.into_iter().map(|line| Typed {
                page: page.clone(),
                line,
            }));
        }
    }
    typed
}

/// Lines of a block that run `conclave`; one that ends with a pipe goes on.
fn block(page: &str, block: &str) -> Vec<String> {
    let (_, lines) = block.split_once('\n').expect("lines");
    let lines = lines.replace("|\n", "|");
    let mut ours = Vec::new();
    for line in lines.lines() {
        let line = line.split("  #").next().unwrap_or_default().trim();
        let starts = ["conclave ", "for ", "for node in n1 n2 n3; do conclave "];
        if starts.iter().any(|start| line.starts_with(start)) {
            assert!(line.contains("conclave "), "{page}: {line}");
            ours.push(line.to_owned());
        } else {
            let program = line.split(' ').next().unwrap_or_default();
            assert!(
                line.is_empty() || HOST.contains(&program),
                "{page}: who runs {line:?}?"
            );
        }
    }
    ours
}

/// Code in sentences that is a command of ours.
fn spans(text: &str) -> Vec<String> {
    let text = text.replace('\n', " ");
    let codes = text.split('`').skip(1).step_by(2);
    let ours = codes.filter(|code| code.starts_with("conclave "));
    ours.map(str::to_owned).collect()
}

/// What stands for names that pages leave open.
struct Names {
    event: String,
    entity: String,
    accessor: String,
    mount: String,
    folder: String,
    url: String,
}

impl Names {
    /// The line with something there is in each place.
    fn fill(&self, line: &str) -> String {
        let (mut filled, mut rest) = (line.to_owned(), line.to_owned());
        for (place, value) in [
            ("locked-users/ACCESSOR", format!("locked-users/{}", self.mount)),
            ("unlock/NAME", "unlock/ada".to_owned()),
            ("audit disable NAME", "audit disable other".to_owned()),
            ("rotate-role/NAME", "rotate-role/nobody".to_owned()),
            ("remove-peer NAME", "remove-peer nobody".to_owned()),
            ("creds/ROLE", "creds/nobody".to_owned()),
            ("rules write RULE", "rules write bulk_read".to_owned()),
            ("severity=LEVEL", "severity=critical".to_owned()),
            ("audit-hash/DEVICE", "audit-hash/kept".to_owned()),
            ("who-read PATH", "who-read secret/team".to_owned()),
            ("EVENT", self.event.clone()),
            ("ENTITY", self.entity.clone()),
            ("ACCESSOR", self.accessor.clone()),
            ("/var/log/conclave", format!("{}/{AUDIT}", self.folder)),
            ("/backup", self.folder.clone()),
            ("https://$node:8200", self.url.clone()),
        ] {
            filled = filled.replace(place, &value);
            rest = rest.replace(place, "");
        }
        let open = rest
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .find(|word| word.len() > 2 && word.bytes().all(|byte| byte.is_ascii_uppercase()));
        assert_eq!(open, None, "{line}: nothing is known to put there");
        filled
    }
}

/// Something of what pages are about: two devices, somebody who read a canary, engines that are named.
async fn prepare(cluster: &Cluster) -> Names {
    let api = cluster.api(0);
    let folder = cluster.files().display().to_string();
    std::fs::create_dir_all(cluster.files().join(AUDIT)).expect("a folder");
    for name in ["kept", "other"] {
        let options = json!({"file_path": format!("{folder}/{AUDIT}/{name}.log")});
        let device = json!({"type": "file", "options": options});
        api.must("PUT", &format!("sys/audit/{name}"), device).await;
    }
    api.must("POST", "sys/mounts/database", json!({"type": "database"}))
        .await;
    api.must("POST", "sys/auth/userpass", json!({"type": "userpass"}))
        .await;
    let policy = json!({"policy": "path \"secret/*\" { capabilities = [\"read\"] }"});
    api.must("POST", "sys/policies/acl/reader", policy).await;
    let user = json!({"password": "open sesame", "token_policies": "reader"});
    api.must("POST", "auth/userpass/users/ada", user).await;
    api.must("POST", "secret/data/team", json!({"data": {"n": 1}}))
        .await;
    api.must("POST", "sys/anomaly/canaries/secret/team", json!({}))
        .await;
    let login = Some(json!({"password": "open sesame"}));
    let login = api
        .with_token("")
        .call("POST", "auth/userpass/login/ada", login)
        .await;
    let login = login.expect("an answer").body;
    let text = |name: &str| login["auth"][name].as_str().expect(name).to_owned();
    let ada = api.with_token(&text("client_token"));
    assert!(ada.get("secret/data/team").await.is_good());
    let event = eventually("an event", SOON, async || {
        let listed = api.call("LIST", "sys/anomaly/events", None).await;
        let listed = listed.expect("an answer").body;
        let event = listed["data"]["keys"][0].as_str().map(str::to_owned);
        event.ok_or(listed)
    });
    let event = event.await;
    let mounts: Value = api.get("sys/auth").await.into_data();
    Names {
        event,
        entity: text("entity_id"),
        accessor: text("accessor"),
        mount: mounts["userpass/"]["accessor"]
            .as_str()
            .expect("an accessor")
            .to_owned(),
        folder,
        url: cluster.nodes[0].url.clone(),
    }
}

fn run(cluster: &Cluster, line: &str) -> Output {
    let path = std::env::var("PATH").expect("a path");
    let programs = binary().parent().expect("a folder").display().to_string();
    let urls: Vec<&str> = cluster.nodes.iter().map(|node| node.url.as_str()).collect();
    command("timeout", cluster.files())
        .args(["60", "bash", "-o", "pipefail", "-c", line])
        .env("PATH", format!("{programs}:{path}"))
        .env("CONCLAVE_ADDR", urls.join(","))
        .env("CONCLAVE_OPERATIONS_ADDR", &cluster.nodes[0].operations)
        .env("VAULT_CACERT", cluster.ca())
        .env("VAULT_TOKEN", &cluster.root)
        .output()
        .expect("bash")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_takes_the_commands_of_the_runbooks() {
    let mut cluster = Cluster::formed().await;
    let names = prepare(&cluster).await;
    let (mut done, mut named, mut refused) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut wrong = Vec::new();
    for Typed { page, line } in typed() {
        let of = |(typed, _): &&(&str, &str)| *typed == line;
        if let Some((typed, _)) = NAMED.iter().find(of) {
            let help = run(&cluster, &format!("{typed} -help"));
            assert!(help.status.success(), "{page}: {typed}");
            named.insert(*typed);
            continue;
        }
        if !done.insert(line.clone()) {
            continue;
        }
        let output = run(&cluster, &names.fill(&line));
        let (said, complained) = texts(&output);
        let good = match REFUSED.iter().find(of) {
            Some((typed, why)) => {
                refused.insert(*typed);
                output.status.code() == Some(2) && complained.contains(why)
            }
            None => output.status.success() && !complained.contains("unsupported"),
        };
        if !good {
            wrong.push(format!("{page}: {line}: {}\n{said}{complained}", output.status));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(done.len() > 30, "{} commands", done.len());
    assert_eq!(named.len(), NAMED.len(), "only {named:?} are named");
    assert_eq!(refused.len(), REFUSED.len(), "only {refused:?} stand there");
    cluster.assert_alive();
}
