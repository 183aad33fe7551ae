//! What the tool does that the original does not, and the scripts people have: against a real development server.
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

use std::path::Path;
use std::process::{Command, Output, Stdio};

use server::{Product, Server};

/// A home with a server.
struct Home {
    server: Server,
    home: tempfile::TempDir,
}

impl Home {
    fn new() -> Self {
        Self {
            server: Server::dev(Product::Bao),
            home: tempfile::tempdir().unwrap(),
        }
    }

    /// With a server of ours.
    fn ours() -> Self {
        Self {
            server: Server::dev(Product::Conclave),
            home: tempfile::tempdir().unwrap(),
        }
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", std::env::var("PATH").unwrap())
            .env("HOME", self.home.path())
            .env("VAULT_ADDR", &self.server.address)
            .env("VAULT_TOKEN", "root")
            .current_dir(self.home.path());
        command
    }

    fn run(&self, line: &str) -> Output {
        self.run_with(line, &[])
    }

    fn run_with(&self, line: &str, variables: &[(&str, &str)]) -> Output {
        let mut command = self.command(env!("CARGO_BIN_EXE_conclave"));
        command
            .args(line.split(' '))
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }
}

fn text(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn complaint(output: &Output) -> String {
    assert!(!output.status.success());
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn addresses_are_tried_in_turn_and_our_variables_win() {
    let home = Home::new();
    let list = format!("http://127.0.0.1:1, {}", home.server.address);
    let ours = [
        ("CONCLAVE_ADDR", list.as_str()),
        ("BAO_ADDR", "http://127.0.0.1:2"),
        ("BAO_TOKEN", "bad"),
    ];
    let put = home.run_with("kv put -format=json secret/a x=1", &ours[..2]);
    assert!(text(&put).contains("\"version\": 1"));
    assert!(complaint(&home.run_with("kv get secret/a", &ours)).contains("permission denied"));
    let right = [ours[0], ours[2], ("CONCLAVE_TOKEN", "root")];
    assert_eq!(text(&home.run_with("kv get -field=x secret/a", &right)), "1");
}

#[test]
fn whoami_tree_completion_and_manual() {
    let home = Home::new();
    for key in ["app/db", "app/web/tls", "top"] {
        text(&home.run(&format!("kv put secret/{key} x=1")));
    }
    assert_eq!(
        text(&home.run("kv tree secret")),
        "secret/\n├── app/\n│   ├── db\n│   └── web/\n│       └── tls\n└── top\n"
    );
    assert_eq!(
        text(&home.run("kv tree -format=json -mount=secret app")),
        "{\n  \"db\": null,\n  \"web/\": {\n    \"tls\": null\n  }\n}\n"
    );
    assert_eq!(
        complaint(&home.run("kv tree secret/none")),
        "No value found at secret/metadata/none\n"
    );
    assert_eq!(text(&home.run("whoami -field=policies")), "[root]");
    assert!(text(&home.run("completion bash")).contains("_conclave()"));
    let asked = [("COMP_LINE", "vault kv metadata p"), ("COMP_POINT", "19")];
    assert_eq!(text(&home.run_with("kv", &asked)), "patch\nput\n");
    assert!(text(&home.run("man")).contains(".TH conclave 1"));
    assert!(complaint(&home.run("completion tcsh")).contains("Unknown shell"));
}

#[test]
fn a_login_keeps_its_token_for_the_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let home = Home::new();
    text(&home.run_with("login -no-print root", &[("VAULT_TOKEN", "")]));
    let file = home.home.path().join(".vault-token");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "root");
    assert_eq!(
        std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert!(!Path::new(&home.home.path().join(".vault-token.tmp")).exists());
}

#[test]
fn a_failed_snapshot_leaves_no_file() {
    let home = Home::new();
    complaint(&home.run("operator raft snapshot save out.snap"));
    let left: Vec<_> = std::fs::read_dir(home.home.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn bytes_that_are_no_text_are_refused_rather_than_changed() {
    let home = Home::new();
    std::fs::write(home.home.path().join("key.bin"), [0xff, 0x00, 0xfe]).unwrap();
    assert!(complaint(&home.run("kv put secret/a x=@key.bin")).contains("not UTF-8"));
}

#[test]
fn output_that_cannot_be_written_is_an_error() {
    let home = Home::new();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = home
        .command(env!("CARGO_BIN_EXE_conclave"))
        .args(["print", "token"])
        .stdout(full)
        .output()
        .unwrap();
    assert_eq!(complaint(&output), "could not write to standard output\n");
}

#[test]
fn a_reader_who_has_seen_enough_is_no_error() {
    let home = Home::new();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = home
        .command(env!("CARGO_BIN_EXE_conclave"))
        .args(["print", "token"])
        .stdout(writer)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(141));
    assert!(output.stderr.is_empty());
}

#[test]
fn configurations_are_checked_without_a_server() {
    let home = tempfile::tempdir().unwrap();
    let validate = |text: &str| {
        let file = home.path().join("c.hcl");
        std::fs::write(&file, text).unwrap();
        let flag = format!("-config={}", file.display());
        let mut command = Command::new(env!("CARGO_BIN_EXE_conclave"));
        command
            .args(["operator", "validate-config", &flag])
            .output()
            .unwrap()
    };
    let data = home.path().display();
    let good = format!(
        "api_addr = \"https://10.0.0.1:8200\"\ncluster_addr = \"https://10.0.0.1:8201\"\nstorage \"raft\" {{\n  path = \
         \"{data}\"\n}}\nlistener \"tcp\" {{\n  address = \"127.0.0.1:8200\"\n  tls_disable = true\n}}\n"
    );
    assert_eq!(text(&validate(&good)), "Success! The configuration is valid\n");
    let unknown = format!("{good}nosuch = 1\n");
    assert!(complaint(&validate(&unknown)).contains("nosuch"));
    assert!(complaint(&validate("listener {")).starts_with("Could not parse configuration"));
}

#[test]
fn our_own_commands_speak_grpc() {
    let home = Home::ours();
    let made = text(&home.run("operator raft join-token -field=join_token"));
    assert!(made.starts_with("cj.") && !made.ends_with('\n'), "{made:?}");
    let bound = home.run("operator raft join-token -uses=2 -ttl=1m -bound-cidrs=10.0.0.0/8,::1 -format=json");
    let bound: serde_json::Value = serde_json::from_str(&text(&bound)).unwrap();
    assert_eq!(
        (&bound["ttl"], &bound["uses"], &bound["bound_cidrs"]),
        (&60.into(), &2.into(), &serde_json::json!(["10.0.0.0/8", "::1"]))
    );
    assert!(text(&home.run("operator raft join-token")).contains("ttl           10m"));
    let fingerprint = "ab".repeat(32);
    assert_eq!(
        text(&home.run(&format!("operator raft approve {fingerprint}"))),
        format!("Success! The node may join: {fingerprint}\n")
    );
    assert_eq!(
        text(&home.run("operator raft pending")),
        "No node waits for approval.\n"
    );
    assert_eq!(text(&home.run("operator raft pending -format=json")), "[]\n");
    let compared = text(&home.run("operator digest -cluster"));
    assert!(
        compared.starts_with("Node ") && !compared.contains("differs"),
        "{compared}"
    );

    let exit = |line: &str, variables: &[(&str, &str)]| {
        let output = home.run_with(line, variables);
        (output.status.code(), complaint(&output))
    };
    let (code, said) = exit("operator raft approve abc", &[]);
    assert!(
        code == Some(2) && said.contains("64 hexadecimal digits"),
        "{said}"
    );
    let (code, said) = exit("operator raft join-token -bound-cidrs=10.0.0.0/33", &[]);
    assert!(code == Some(2) && said.contains("10.0.0.0/33"), "{said}");
    for wrong in ["approve", "pending x", "join-token -uses=0", "join-token -ttl=0"] {
        let (code, said) = exit(&format!("operator raft {wrong}"), &[]);
        assert_eq!(code, Some(1), "{wrong}: {said}");
    }
    let (code, said) = exit("operator raft pending -output-curl-string", &[]);
    assert!(code == Some(1) && said.contains("speaks gRPC"), "{said}");
    let (code, said) = exit("operator raft pending", &[("BAO_TOKEN", "bad")]);
    assert!(code == Some(2) && said.ends_with("no valid token\n"), "{said}");

    // A node that is away is passed over, and our variables win.
    let list = format!("http://127.0.0.1:1, {}", home.server.address);
    let variables = [
        ("CONCLAVE_ADDR", list.as_str()),
        ("BAO_ADDR", "http://127.0.0.1:2"),
    ];
    text(&home.run_with("operator raft pending", &variables));
    let dead = [
        ("CONCLAVE_ADDR", "http://127.0.0.1:1"),
        ("VAULT_CLIENT_TIMEOUT", "1s"),
    ];
    let (code, said) = exit("operator raft pending", &dead);
    assert!(code == Some(2) && said.contains("127.0.0.1:1"), "{said}");

    assert_eq!(
        text(&home.run("operator seal -cluster")),
        "Success! All servers of the cluster are sealed.\n"
    );
    let (code, said) = exit("operator raft pending", &[]);
    assert!(code == Some(2) && said.contains("sealed"), "{said}");
}

#[test]
fn tls_is_checked_over_grpc_as_over_http() {
    let server = Server::raft(Product::Conclave);
    let authority = server.authority.clone().unwrap();
    let home = Home {
        server,
        home: tempfile::tempdir().unwrap(),
    };
    let other = home.home.path().join("other.pem");
    std::fs::write(&other, server::authority("other authority").0).unwrap();
    let folder = home.home.path().join("authorities");
    std::fs::create_dir(&folder).unwrap();
    std::fs::copy(&authority, folder.join("ca.pem")).unwrap();
    let ask = |flags: &str, seconds: &str| {
        let line = format!("operator raft pending {flags}");
        complaint(&home.run_with(line.trim(), &[("VAULT_CLIENT_TIMEOUT", seconds)]))
    };
    let (ca, other, folder) = (authority.display(), other.display(), folder.display());
    // Whom it trusts it asks; there is no cluster yet.
    for trusting in [
        format!("-ca-cert={ca}"),
        format!("-ca-path={folder}"),
        "-tls-skip-verify".to_owned(),
        format!("-ca-cert={ca} -tls-server-name=localhost"),
    ] {
        let said = ask(&trusting, "30s");
        assert!(said.contains("not initialized"), "{trusting}: {said}");
    }
    for (distrusting, why) in [
        (String::new(), "certificate"),
        (format!("-ca-cert={other}"), "invalid peer certificate"),
        (format!("-ca-cert={ca} -tls-server-name=elsewhere"), "elsewhere"),
        ("-ca-cert=none.pem".to_owned(), "no such file"),
        (
            format!("-ca-cert={ca} -client-cert={ca}"),
            "both client cert and client key",
        ),
    ] {
        let said = ask(&distrusting, "2s");
        assert!(said.contains(why), "{distrusting}: {said}");
    }
}

#[test]
fn secrets_reach_a_program_without_a_file_and_are_hidden_in_what_it_prints() {
    let home = Home::ours();
    let put = [
        "kv",
        "put",
        "secret/app",
        "db-password=hunter22",
        "pin=12",
        "quote=it's",
    ];
    let put = home
        .command(env!("CARGO_BIN_EXE_conclave"))
        .args(put)
        .output()
        .unwrap();
    text(&put);
    assert_eq!(
        text(&home.run("env -prefix=APP_ secret/app")),
        "export APP_DB_PASSWORD='hunter22'\nexport APP_PIN='12'\nexport APP_QUOTE='it'\\''s'\n"
    );
    assert_eq!(text(&home.run("export P=secret/app#pin")), "P='12'\n");
    assert_eq!(
        text(&home.run("export -format=json P=secret/app#pin")),
        "{\n  \"P\": \"12\"\n}\n"
    );
    let sh = |more: &[&str], script: &str| {
        let mut command = home.command(env!("CARGO_BIN_EXE_conclave"));
        command
            .arg("run")
            .args(more)
            .args(["secret/app", "--", "sh", "-c", script]);
        command.output().unwrap()
    };
    let shown = sh(&[], "echo $DB_PASSWORD $PIN; echo $DB_PASSWORD >&2; exit 7");
    assert_eq!(shown.status.code(), Some(7));
    assert_eq!(shown.stdout, b"*** 12\n");
    assert_eq!(shown.stderr, b"***\n");
    let whole = sh(&["-no-mask"], "echo $DB_PASSWORD; kill -TERM $$");
    assert_eq!(whole.stdout, b"hunter22\n");
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&whole.status),
        Some(15)
    );
    assert_eq!(sh(&[], "kill -TERM $$").status.code(), Some(128 + 15));
    let missing = home.run("run secret/app -- /nosuch/program");
    assert_eq!(missing.status.code(), Some(127));
    assert!(complaint(&home.run("run secret/app")).contains("Put -- before the program"));
    assert!(complaint(&home.run("env LD_PRELOAD=secret/app#pin")).contains("cannot be the name"));
    assert!(complaint(&home.run("env secret/none")).contains("No value found at secret/data/none"));
}

#[test]
fn versions_of_a_key_are_listed_and_compared() {
    let home = Home::ours();
    for fields in ["a=1 b=2", "a=1 b=3 c=4", "b=3"] {
        text(&home.run(&format!("kv put secret/app {fields}")));
    }
    text(&home.run("kv destroy -versions=1 secret/app"));
    let history = text(&home.run("kv history -format=json secret/app"));
    let history: serde_json::Value = serde_json::from_str(&history).unwrap();
    let states: Vec<_> = history
        .as_array()
        .unwrap()
        .iter()
        .map(|v| (&v["version"], &v["state"]))
        .collect();
    assert_eq!(
        serde_json::json!(states),
        serde_json::json!([[3, "there"], [2, "there"], [1, "destroyed"]])
    );
    assert_eq!(
        text(&home.run("kv diff secret/app")),
        "secret/data/app: version 2 to 3\n- a\n- c\n"
    );
    text(&home.run("kv put secret/app b=5 d=1"));
    assert_eq!(
        text(&home.run("kv diff -show-values -from=2 secret/app")),
        "secret/data/app: version 2 to 4\n- a: \"1\"\n~ b: \"3\" -> \"5\"\n- c: \"4\"\n+ d: \"1\"\n"
    );
    assert!(complaint(&home.run("kv diff -from=1 secret/app")).contains("in version 1"));
}

#[test]
fn policies_are_explained_and_tested() {
    let home = Home::ours();
    let file = |name: &str, text: &str| std::fs::write(home.home.path().join(name), text).unwrap();
    file(
        "app.hcl",
        "path \"secret/data/app/*\" { capabilities = [\"read\"] }\n",
    );
    file(
        "good",
        "# what an application does\nallow read secret/data/app/a\ndeny delete secret/data/app/a\n",
    );
    file("bad", "allow read secret/data/other\n");
    file("token", "nobody\n");
    text(&home.run("policy write app app.hcl"));

    let allowed = text(&home.run("policy explain -policy=app read secret/data/app/a"));
    assert!(
        allowed.contains("by the rule for secret/data/app/*\n  policy app: read"),
        "{allowed}"
    );
    let denied = home.run("policy explain -draft=app.hcl update secret/data/app/a");
    assert_eq!(denied.status.code(), Some(1));
    let told = String::from_utf8(denied.stdout).unwrap();
    assert!(told.contains("it grants read, and not update"), "{told}");
    assert!(told.contains("capabilities = [\"update\"]"), "{told}");
    let astray = home.run("policy explain -format=json -draft=app.hcl read secret/app/a");
    let told = String::from_utf8(astray.stdout).unwrap();
    assert!(
        told.contains("\"missing\": \"rule\"") && told.contains("beneath data/"),
        "{told}"
    );

    assert!(text(&home.run("policy test -policy=app good")).contains("2 of 2 expectations hold"));
    let wrong = home.run("policy test -policy=app bad");
    assert_eq!(wrong.status.code(), Some(1));
    let told = String::from_utf8(wrong.stdout).unwrap();
    assert!(
        told.contains("line 1: expected allow") && told.contains("0 of 1 expectations hold"),
        "{told}"
    );
    assert!(
        complaint(&home.run("policy explain -token=s.x read a")).contains("a command line is seen by others")
    );
    assert!(complaint(&home.run("policy explain -token=@token read a")).contains("bad token"));
}

/// Names of the commands that a help text lists.
fn listed(help: &str) -> Vec<String> {
    let heading = |line: &&str| line.ends_with("ommands:");
    let lines = help
        .lines()
        .skip_while(|line| !heading(line))
        .take_while(|line| !line.ends_with("Options:"));
    let name = |line: &str| Some(line.strip_prefix("    ")?.split_once(' ')?.0.to_owned());
    lines.filter_map(name).filter(|name| !name.is_empty()).collect()
}

/// `bao` tells what there is to know; whatever it has must be known here, if only to be refused by name.
#[test]
fn every_command_of_the_original_is_here_or_refused_by_name() {
    let home = Home::ours();
    let help = |program: &str, words: &[String]| {
        let output = home.command(program).args(words).arg("-h").output().unwrap();
        // The original prints some of it to standard error.
        format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
    };
    let (mut waiting, mut seen, mut refused) = (vec![Vec::<String>::new()], 0, Vec::new());
    while let Some(group) = waiting.pop() {
        let ours = listed(&help(env!("CARGO_BIN_EXE_conclave"), &group));
        for name in listed(&help("bao", &group)) {
            let mut words = group.clone();
            words.push(name.clone());
            seen += 1;
            if !ours.contains(&name) {
                let line = words.join(" ");
                let output = home.run(&line);
                assert_eq!(output.status.code(), Some(1), "{line}");
                let said = complaint(&output);
                assert!(
                    said.starts_with(&format!("unsupported: {}", words[0])),
                    "{line}: {said}"
                );
                refused.push(line);
            } else if GROUPS.contains(&name.as_str()) {
                waiting.push(words);
            }
        }
    }
    assert!(seen > 100, "{seen} commands were found");
    refused.sort();
    assert_eq!(refused, REFUSED);
}

/// Commands that have commands beneath them: only those are asked, each start of `bao` takes its time.
const GROUPS: [&str; 16] = [
    "audit",
    "auth",
    "kv",
    "lease",
    "metadata",
    "namespace",
    "operator",
    "plugin",
    "policy",
    "print",
    "raft",
    "autopilot",
    "secrets",
    "snapshot",
    "token",
    "transit",
];
/// What is not here, and is said not to be.
const REFUSED: [&str; 11] = [
    "agent",
    "operator migrate",
    "pki",
    "plugin deregister",
    "plugin init",
    "plugin prune",
    "plugin register",
    "plugin reload",
    "plugin reload-status",
    "proxy",
    "ssh",
];

/// From the setting to the answer that a browser looks at, and to the origin's end.
#[test]
fn pages_of_admitted_origins_may_ask() {
    let home = Home::ours();
    let asked = |origin: &str, more: &[&str]| {
        let mut curl = home.command("curl");
        let origin = format!("Origin: {origin}");
        let target = format!("{}/v1/sys/health", home.server.address);
        let output = curl
            .args(["--silent", "--include", "--header", &origin])
            .args(more)
            .arg(target)
            .output();
        text(&output.unwrap())
    };
    let allowed = "access-control-allow-origin: https://own.example";
    let answer = asked("https://own.example", &[]);
    assert!(
        answer.starts_with("HTTP/1.1 200") && !answer.contains("access-control"),
        "{answer}"
    );
    let written = home.run("write sys/config/cors allowed_origins=https://own.example allowed_headers=X-Own");
    assert!(written.status.success(), "{}", complaint(&written));
    let answer = asked("https://own.example", &[]);
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains(allowed),
        "{answer}"
    );
    let preflight = [
        "--request",
        "OPTIONS",
        "--header",
        "Access-Control-Request-Method: LIST",
    ];
    let answer = asked("https://own.example", &preflight);
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains("X-Own"),
        "{answer}"
    );
    let answer = asked("https://foreign.example", &[]);
    assert!(
        answer.starts_with("HTTP/1.1 403") && answer.contains("origin not allowed"),
        "{answer}"
    );
    assert!(home.run("delete sys/config/cors").status.success());
    let answer = asked("https://foreign.example", &[]);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
