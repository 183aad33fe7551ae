//! Audit files of a real process: declared in its configuration, there while it is sealed, opened again when told, and
//! without one that takes the record nothing is done.

mod burst;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{AUDIT, Api, Cluster, SOON, conclave, eventually, ports};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_audit() {
    let mut cluster = Cluster::formed().await;
    let directory = cluster.files().join(AUDIT);
    fs::create_dir_all(&directory).expect("a directory");
    for number in [1, 2] {
        let node = &mut cluster.nodes[number];
        let file = directory.join(format!("{}.log", node.name));
        node.configure(&format!(
            "audit \"file\" \"own\" {{\n options {{ file_path = \"{}\" sync = \"{}\" }}\n}}",
            file.display(),
            number == 1
        ));
        node.kill();
        node.start().await;
    }
    let file = directory.join(format!("{}.log", cluster.nodes[1].name));
    cluster.give_shares(&[1, 1, 1]).await;
    cluster.all_unsealed(&[0, 1, 2]).await;
    let steps = of_path(&file, "sys/unseal");
    assert!(steps.len() >= 6, "each share's request and response: {steps:?}");
    for step in &steps {
        assert!(step["request"].get("data").is_none(), "{step}");
    }
    let shares = fs::read_to_string(&file).expect("the file");
    assert!(cluster.shares.iter().all(|share| !shares.contains(share)));

    let api = cluster.api(1);
    let secret = json!({"data": {"value": "not-for-the-log"}});
    api.must("POST", "secret/data/a", secret.clone()).await;
    let hashed = api
        .must("POST", "sys/audit-hash/own", json!({"input": "not-for-the-log"}))
        .await;
    let text = fs::read_to_string(&file).expect("the file");
    assert!(!text.contains("not-for-the-log"));
    assert!(text.contains(hashed["hash"].as_str().expect("a hash")));

    // Log rotation: moved away, then told.
    let moved = directory.join("moved.log");
    fs::rename(&file, &moved).expect("moved");
    api.must("POST", "secret/data/moved", secret.clone()).await;
    assert_eq!(of_path(&moved, "secret/data/moved").len(), 2, "until it is told");
    cluster.nodes[1].hang_up();
    eventually("the file is made anew", SOON, async || {
        if file.exists() { Ok(()) } else { Err("not yet") }
    })
    .await;
    api.must("POST", "secret/data/b", secret.clone()).await;
    assert_eq!(of_path(&file, "secret/data/b").len(), 2);
    assert!(of_path(&moved, "secret/data/b").is_empty());
    // Removed, and nobody told: what is written to a file without a name would be lost unseen.
    fs::remove_file(&file).expect("removed");
    api.must("POST", "secret/data/removed", secret.clone()).await;
    assert_eq!(of_path(&file, "secret/data/removed").len(), 2);

    // No directory, no record, no request; node 0 has no device and goes on.
    fs::remove_dir_all(&directory).expect("removed");
    let refused = api.call("POST", "secret/data/c", Some(secret.clone())).await;
    let refused = refused.expect("an answer");
    assert_eq!(refused.status, 500, "{}", refused.text());
    assert!(refused.text().contains("nothing was done"), "{}", refused.text());
    let other = cluster.api(0);
    assert_eq!(other.get("secret/data/c").await.status, 404);
    other.must("POST", "secret/data/c", secret.clone()).await;
    let numbers = cluster.nodes[1].metrics().await;
    assert!(numbers.contains("conclave_audit_devices 1"), "{numbers}");
    assert!(!numbers.contains("conclave_audit_write_failures_total 0"));
    let health = cluster.nodes[0].api.get("sys/health").await.body;
    assert_eq!(health["audit_devices"], "none");
    fs::create_dir(&directory).expect("a directory");
    api.must("POST", "secret/data/d", secret).await;
    cluster.assert_alive();
}

/// The records of a file that are about one path.
fn of_path(file: &Path, path: &str) -> Vec<Value> {
    let text = fs::read_to_string(file).expect("the file");
    // A last line without an end is being written.
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    whole
        .map(|line| serde_json::from_str::<Value>(line).expect("a record"))
        .filter(|record| record["request"]["path"] == path)
        .collect()
}

/// A node whose records go into a file, to a real syslog server that must take them, the same over TLS, and to a web server
/// that hangs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_audit_devices() {
    let mut cluster = Cluster::prepared(1);
    let directory = cluster.files().join(AUDIT);
    fs::create_dir_all(&directory).expect("a directory");
    let [port, private] = ports::free(2)[..] else {
        panic!("two ports")
    };
    let mut syslog = Syslog::start(&cluster, [port, private]);
    let sink = Sink::start(cluster.files()).await;
    let file = directory.join("own.log");
    cluster.nodes[0].configure(&format!(
        "audit_targets = [\"http://{sink}/\"]
         audit \"file\" \"own\" {{\n options {{ file_path = \"{file}\" }}\n}}
         audit \"syslog\" \"sys\" {{\n options {{ address = \"tcp://127.0.0.1:{port}\" policy = \"must\" }}\n}}
         audit \"syslog\" \"tls\" {{\n options {{ address = \"tls://127.0.0.1:{private}\" ca_file = \"{ca}\" }}\n}}
         audit \"syslog\" \"strange\" {{\n options {{ address = \"tls://127.0.0.1:{private}\" }}\n}}",
        sink = sink.address,
        file = file.display(),
        ca = cluster.ca().display()
    ));
    cluster.nodes[0].start().await;
    cluster.form().await;
    let api = cluster.api(0);
    enable_web(&api, &sink).await;

    // The web server takes connections and never answers: it is told of, and nobody waits for it.
    for at in 0..40 {
        let secret = json!({"data": {"value": format!("canary-{at}")}});
        api.must("POST", &format!("secret/data/burst-{at}"), secret).await;
    }
    eventually("the sink is told of", SOON, async || {
        let status = api.get("sys/audit-status").await.body["data"]["devices"]["web/"].clone();
        match status["healthy"] == false {
            true => Ok(()),
            false => Err(status),
        }
    })
    .await;
    let health = cluster.nodes[0].api.get("sys/health").await;
    assert_eq!(health.body["audit_devices"], "degraded", "{}", health.text());
    wait_for(&syslog.out, "secret/data/burst-39").await;
    sink.answer();
    wait_for(&sink.out, "secret/data/burst-39").await;
    wait_for(&syslog.private, "secret/data/burst-39").await;
    nobody_strange_is_told(&api).await;

    // The syslog server goes: its records wait on disk, and come when it is back.
    syslog.has_written_all(&file).await;
    syslog.stop();
    for at in 0..10 {
        let path = format!("secret/data/dark-{at}");
        api.must("POST", &path, json!({"data": {"k": "v"}})).await;
    }
    syslog.run();
    wait_for(&syslog.out, "secret/data/dark-9").await;

    // Killed and back: the chain goes on.
    cluster.nodes[0].kill();
    cluster.nodes[0].start().await;
    cluster.give_shares(&[0, 0, 0]).await;
    cluster.all_unsealed(&[0]).await;
    let last = json!({"data": {"k": "v"}});
    cluster.api(0).must("POST", "secret/data/last", last).await;
    wait_for(&syslog.out, "secret/data/last").await;
    wait_for(&sink.out, "secret/data/last").await;
    wait_for(&syslog.private, "secret/data/last").await;
    assert_verified(&cluster, &file, &[&syslog.out, &syslog.private, &sink.out]).await;
    let strangers = fs::read_to_string(&syslog.private).expect("what came over TLS");
    assert!(
        !strangers.contains(":strange/"),
        "a server that nobody vouches for"
    );
    cluster.assert_alive();
}

/// A server whose authority the system does not know gets no record; whoever asks is told why.
async fn nobody_strange_is_told(api: &Api) {
    eventually("the certificate is refused", SOON, async || {
        let status = api.get("sys/audit-status").await.body["data"]["devices"]["strange/"].clone();
        let trouble = status["trouble"].as_str().unwrap_or_default().to_owned();
        match trouble.contains("certificate") {
            true => Ok(()),
            false => Err(status),
        }
    })
    .await;
}

/// Enables a device that posts to `sink`, whose password is not shown again, and none that posts elsewhere.
async fn enable_web(api: &Api, sink: &Sink) {
    let elsewhere = json!({"type": "http", "options": {"uri": "http://127.0.0.1:9/"}});
    let refused = api.call("POST", "sys/audit/none", Some(elsewhere)).await;
    assert_eq!(
        refused.expect("an answer").status,
        400,
        "no target of this node's"
    );
    let uri = format!("http://{}/in", sink.address);
    let headers = "{\"Authorization\":[\"Bearer not-for-the-list\"]}";
    let options = json!({"uri": uri, "headers": headers, "write_timeout": "500ms"});
    let device = json!({"type": "http", "options": options});
    api.must("POST", "sys/audit/web", device).await;
    let listed = api.get("sys/audit").await;
    assert!(!listed.text().contains("not-for-the-list"), "{}", listed.text());
}

/// The node's file agrees with the heads that the cluster has, and what was collected is whole and holds no secret.
async fn assert_verified(cluster: &Cluster, file: &Path, collected: &[&Path]) {
    let heads = cluster.files().join("heads.json");
    let api = cluster.api(0);
    eventually("heads are committed", SOON, async || {
        let told = api.get("sys/audit-heads").await;
        fs::write(&heads, told.body.to_string()).expect("a file");
        match told.text().contains(":own/") {
            true => Ok(()),
            false => Err(told.text()),
        }
    })
    .await;
    let heads = format!("-heads={}", heads.display());
    verify(&[&heads, &file.display().to_string()]).expect("the file is whole");
    for out in collected {
        let text = fs::read_to_string(out).expect("what was collected");
        assert!(!text.contains("canary-") && !cluster.shares.iter().any(|share| text.contains(share)));
        verify(&["-collected", &out.display().to_string()]).expect("what was collected is whole");
    }
    // One digit of one record.
    let text = fs::read_to_string(file).expect("the file");
    let found = text.lines().position(|line| line.contains("secret/data/dark-5"));
    let number = 1 + found.expect("a record");
    let changed = cluster.files().join("changed.log");
    let forged = text.replacen("secret/data/dark-5", "secret/data/dark-6", 1);
    fs::write(&changed, forged).expect("a file");
    let told = verify(&[&changed.display().to_string()]).expect_err("it was changed");
    let named = told.contains(&format!("changed.log:{number}:"));
    assert!(named && told.contains("was altered"), "{told}");
}

/// What `audit verify` says; an error unless all is whole.
fn verify(args: &[&str]) -> Result<String, String> {
    let ran = Command::new(conclave())
        .args(["audit", "verify"])
        .args(args)
        .output();
    let ran = ran.expect("conclave runs");
    let told = format!(
        "{}{}",
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr)
    );
    if ran.status.success() { Ok(told) } else { Err(told) }
}

async fn wait_for(file: &Path, text: &str) {
    eventually("a collector has a record", SOON, async || {
        let has = fs::read_to_string(file).unwrap_or_default();
        match has.contains(text) {
            true => Ok(()),
            false => Err(format!("{text} is not among {} bytes", has.len())),
        }
    })
    .await;
}

/// A real rsyslog that writes what it gets into a file, and into another what comes over TLS.
struct Syslog {
    folder: PathBuf,
    out: PathBuf,
    private: PathBuf,
    process: Option<Child>,
}

impl Syslog {
    /// On these ports, without TLS and with the first node's certificate.
    fn start(cluster: &Cluster, [port, private_port]: [u16; 2]) -> Self {
        let folder = cluster.files().join("rsyslog");
        fs::create_dir_all(&folder).expect("a directory");
        let (out, private) = (folder.join("out.log"), folder.join("private.log"));
        let own = cluster.tls().join(&cluster.nodes[0].name).display().to_string();
        let config = format!(
            "global(workDirectory=\"{folder}\" maxMessageSize=\"1m\" defaultNetstreamDriverCAFile=\"{ca}\"
                    defaultNetstreamDriverCertFile=\"{own}.pem\" defaultNetstreamDriverKeyFile=\"{own}-key.pem\")
             module(load=\"imtcp\")
             template(name=\"raw\" type=\"string\" string=\"%msg%\\n\")
             ruleset(name=\"keep\") {{ action(type=\"omfile\" file=\"{out}\" template=\"raw\") }}
             ruleset(name=\"private\") {{ action(type=\"omfile\" file=\"{private}\" template=\"raw\") }}
             input(type=\"imtcp\" address=\"127.0.0.1\" port=\"{port}\" ruleset=\"keep\")
             input(type=\"imtcp\" address=\"127.0.0.1\" port=\"{private_port}\" ruleset=\"private\"
                   streamDriver.name=\"gtls\" streamDriver.mode=\"1\" streamDriver.authMode=\"anon\")\n",
            folder = folder.display(),
            out = out.display(),
            private = private.display(),
            ca = cluster.ca().display()
        );
        fs::write(folder.join("rsyslog.conf"), config).expect("a file");
        let mut syslog = Self {
            folder,
            out,
            private,
            process: None,
        };
        syslog.run();
        syslog
    }

    fn run(&mut self) {
        let folder = &self.folder;
        let process = Command::new("/usr/sbin/rsyslogd")
            .arg("-n")
            .arg("-f")
            .arg(folder.join("rsyslog.conf"))
            .arg("-i")
            .arg(folder.join("pid"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.process = Some(process.expect("rsyslogd runs: deploy/packages.txt names it"));
    }

    /// Waits until it has all that is in `file`. What it took and has not written goes with it when it is killed: it acknowledges
    /// nothing.
    async fn has_written_all(&self, file: &Path) {
        eventually("the syslog server has written all", SOON, async || {
            let lines = |file: &Path| fs::read_to_string(file).unwrap_or_default().lines().count();
            let [kept, plain, private] = [file, &self.out, &self.private].map(lines);
            if kept == plain && kept == private {
                Ok(())
            } else {
                Err([kept, plain, private])
            }
        })
        .await;
    }

    fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("it ran");
            process.wait().expect("it ends");
        }
    }
}

impl Drop for Syslog {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A web server that keeps what is posted to it in a file, and answers once it is told to.
struct Sink {
    address: std::net::SocketAddr,
    answers: tokio::sync::watch::Sender<bool>,
    out: PathBuf,
}

impl Sink {
    async fn start(root: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (answers, answering) = tokio::sync::watch::channel(false);
        let out = root.join("sink.log");
        let kept = Arc::new(Mutex::new(fs::File::create(&out).expect("a file")));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, answering.clone(), kept.clone()));
            }
        });
        Self {
            address,
            answers,
            out,
        }
    }

    fn answer(&self) {
        self.answers.send_replace(true);
    }
}

/// One connection: heads with a length, bodies, short answers.
async fn serve(
    stream: TcpStream,
    mut answers: tokio::sync::watch::Receiver<bool>,
    kept: Arc<Mutex<fs::File>>,
) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                return;
            }
            if let Some((_, number)) = line.to_lowercase().split_once("content-length:") {
                length = number.trim().parse().expect("a length");
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        if stream.read_exact(&mut body).await.is_err() || answers.wait_for(|answers| *answers).await.is_err()
        {
            return;
        }
        kept.lock().expect("no panic").write_all(&body).expect("written");
        let answer = b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n";
        if stream.write_all(answer).await.is_err() {
            return;
        }
    }
}
