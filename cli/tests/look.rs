//! How operators look at a node: its log as it comes, a package of what it says of itself, and what is told of a server that
//! was not started. Against a real development server.
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

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use serde_json::Value;
use server::{Product, Server};

/// How long something may take on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn command(server: &Server, home: &tempfile::TempDir, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_conclave"));
    command
        .env_clear()
        .env("HOME", home.path())
        .env("VAULT_ADDR", &server.address)
        .env("VAULT_TOKEN", "root")
        .current_dir(home.path())
        .stdin(Stdio::null())
        .args(line.split(' '));
    command
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn the_log_of_a_node_is_turned_and_followed_without_what_is_secret() {
    let (server, home) = (Server::dev(Product::Conclave), tempfile::tempdir().unwrap());
    let run = |line: &str| command(&server, &home, line).output().unwrap();
    let mut follower = command(&server, &home, "monitor -log-level=trace -log-format=json")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    let (told, tell) = channel();
    let reader = std::thread::spawn(move || {
        let mut all = String::new();
        for line in lines.map_while(Result::ok) {
            if line.contains("what is logged was changed") {
                let _ = told.send(line.clone());
            }
            all.push_str(&line);
        }
        all
    });
    // Nobody knows when the follower is there: it is told until it hears.
    let mut tries = 0;
    let line = loop {
        text(&run("write sys/loggers/core.seal level=debug"));
        match tell.recv_timeout(Duration::from_millis(200)) {
            Ok(line) => break line,
            Err(RecvTimeoutError::Timeout) => tries += 1,
            Err(error) => panic!("the follower is gone: {error}"),
        }
        assert!(tries < 300, "the follower heard nothing");
    };
    let object: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (&object["logger"], &object["level"]),
        (&"core.seal".into(), &"debug".into())
    );
    assert_eq!(text(&run("read -field=core.seal sys/loggers")), "debug");
    let marker = "canary-of-the-log-4417aa";
    text(&run(&format!("kv put secret/{marker}-path value={marker}-value")));
    text(&run(&format!("token create -id={marker}-token")));
    let refused = command(&server, &home, "kv get secret/x")
        .env("VAULT_TOKEN", format!("{marker}-unknown"))
        .output()
        .unwrap();
    assert!(!refused.status.success());
    text(&run("delete sys/loggers/core.seal"));
    // It may have heard more than one of the turns before.
    while !tell.recv_timeout(PATIENCE).unwrap().contains("as configured") {}
    assert_eq!(text(&run("read -field=core.seal sys/loggers")), "warn");
    // The server ends what is followed when it stops.
    drop(server);
    assert!(follower.wait().unwrap().code().is_some());
    let all = reader.join().unwrap();
    assert!(!all.contains(marker), "{all}");
}

#[test]
fn what_happens_to_keys_is_printed_as_it_happens() {
    let (server, home) = (Server::dev(Product::Conclave), tempfile::tempdir().unwrap());
    let run = |line: &str| command(&server, &home, line).output().unwrap();
    let follow = |line: &str| {
        let mut follower = command(&server, &home, line)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(follower.stdout.take().unwrap()).lines();
        (follower, lines.map_while(Result::ok))
    };
    let (mut table, mut rows) = follow("kv watch secret/app/");
    let opened = rows.next().unwrap();
    let (said, revision) = opened.rsplit_once(' ').unwrap();
    assert_eq!(said, "Watching secret/app/ after revision");
    text(&run("kv put secret/app/db x=canary"));
    text(&run("kv put secret/other x=canary"));
    text(&run("kv delete secret/app/db"));
    let table_of = |row: String| row.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(
        table_of(rows.next().unwrap()),
        ["Revision", "Event", "Path", "Versions"]
    );
    assert_eq!(
        table_of(rows.next().unwrap())[1..],
        ["written", "secret/app/db", "1"]
    );
    assert_eq!(table_of(rows.next().unwrap())[1..], ["changed", "secret/app/db"]);
    let again = format!("kv watch -format=json -mount=secret -after={revision} app/db");
    let (mut json, mut objects) = follow(&again);
    let object: Value = serde_json::from_str(&objects.next().unwrap()).unwrap();
    assert!(object["revision"].as_u64() > revision.parse().ok());
    let told = serde_json::json!({
        "revision": object["revision"], "event": "written", "mount": "secret/", "path": "app/db", "versions": [1]
    });
    assert_eq!(object, told);
    let refused = run("kv watch nowhere/");
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("no handler for route"),
        "{refused:?}"
    );
    for follower in [&mut table, &mut json] {
        follower.kill().unwrap();
        follower.wait().unwrap();
    }
}

#[test]
fn a_node_is_looked_at_for_a_while_and_what_is_missing_is_named() {
    let (server, home) = (Server::dev(Product::Conclave), tempfile::tempdir().unwrap());
    let look = "debug -duration=5s -interval=5s -metrics-interval=5s";
    let whole = command(&server, &home, &format!("{look} -output=whole"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let part = command(
        &server,
        &home,
        &format!("{look} -output=part -compress=false -target=config,server-status"),
    )
    .env("VAULT_TOKEN", "nobody")
    .output()
    .unwrap();
    assert!(text(&part).contains("Success! Bundle written to: part\n"));
    assert!(
        String::from_utf8_lossy(&part.stderr)
            .contains("Not captured: sys/config/state/sanitized: * permission denied")
    );
    let read = |name: &str| -> Value {
        serde_json::from_slice(&std::fs::read(home.path().join("part").join(name)).unwrap()).unwrap()
    };
    let index = read("index.json");
    assert_eq!(
        index["output"]["files"],
        serde_json::json!(["server_status.json"])
    );
    assert_eq!(index["errors"][0]["target"], "sys/config/state/sanitized");
    assert_eq!(read("server_status.json")[0]["health"]["sealed"], false);
    assert!(text(&whole.wait_with_output().unwrap()).contains("whole.tar.gz"));
    let listed = Command::new("tar")
        .arg("tzf")
        .arg(home.path().join("whole.tar.gz"))
        .output()
        .unwrap();
    let mut names: Vec<String> = text(&listed).lines().map(str::to_owned).collect();
    names.sort();
    let expected = [
        "conclave.log",
        "config.json",
        "host_info.json",
        "index.json",
        "metrics.prom",
        "replication_status.json",
        "requests.json",
        "server_status.json",
    ];
    assert_eq!(names, expected.map(|name| format!("whole/{name}")));
    let again = command(&server, &home, &format!("{look} -output=part"))
        .output()
        .unwrap();
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stderr).contains("output directory already exists"));
}

#[test]
fn a_server_that_would_not_start_is_told_of_by_the_exit_code() {
    let home = tempfile::tempdir().unwrap();
    let diagnose = |line: &str| {
        Command::new(env!("CARGO_BIN_EXE_conclave"))
            .env_clear()
            .env("HOME", home.path())
            .current_dir(home.path())
            .args(["operator", "diagnose"])
            .args(line.split(' ').filter(|word| !word.is_empty()))
            .output()
            .unwrap()
    };
    let write = |text: &str| std::fs::write(home.path().join("node.hcl"), text).unwrap();
    assert_eq!(diagnose("").status.code(), Some(3));
    write("nosuch = 1");
    assert_eq!(diagnose("-config=node.hcl").status.code(), Some(4));
    let node = "cluster_addr = \"https://127.0.0.1:8201\"\naudit_directories = [\".\"]\nstorage \"raft\" { path = \"data\" }\n";
    write(&format!("{node}listener \"tcp\" {{ tls_disable = true }}"));
    let warned = diagnose("-config=node.hcl -skip=listener -format=json");
    assert_eq!(warned.status.code(), Some(2), "{warned:?}");
    let told: Value = serde_json::from_slice(&warned.stdout).unwrap();
    assert_eq!(
        (&told["status"], &told["name"]),
        (&"warn".into(), &"Conclave Diagnose".into())
    );
    write(&format!(
        "{node}listener \"tcp\" {{\n tls_cert_file = \"none.pem\"\n tls_key_file = \"none.key\"\n}}"
    ));
    let failed = diagnose("-config=node.hcl -skip=listener");
    assert_eq!(failed.status.code(), Some(1), "{failed:?}");
    let said = String::from_utf8_lossy(&failed.stdout);
    assert!(
        said.contains("[ failure ] Check Listener TLS") && said.contains("none.pem"),
        "{said}"
    );
}
