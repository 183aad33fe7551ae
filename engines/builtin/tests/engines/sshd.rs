//! A real sshd that trusts keys of the ssh engine: who is let in by a certificate and who is not, as whom and with what rights;
//! and what a real client makes of a host's certificate.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use conclave_engine_api::Operation::{Read, Update};
use conclave_engine_api::testkit::Harness;
use conclave_engine_api::{Millis, Outcome};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{SOON, eventually, ports};
use crate::script;

/// Where Debian has it; it must be started by its whole path.
const SSHD: &str = "/usr/sbin/sshd";
const HOST: &str = "a.example.org";
const HOUR: Millis = 3_600_000;

struct Server {
    files: TempDir,
    port: u16,
    process: Child,
}

impl Server {
    /// Trusts the keys in `cas`, and shows a certificate of its own by the first of them.
    async fn start(files: TempDir, cas: &[String], host_certificate: &str) -> Self {
        let at = |name: &str| files.path().join(name);
        fs::write(at("trusted"), cas.concat()).unwrap();
        fs::write(at("host-cert.pub"), host_certificate).unwrap();
        let first = &cas[0];
        fs::write(at("known"), format!("@cert-authority *.example.org {first}")).unwrap();
        let config = format!(
            "ListenAddress 127.0.0.1\nHostKey {0}/host\nHostCertificate {0}/host-cert.pub\nTrustedUserCAKeys {0}/trusted\n\
             AuthorizedKeysFile none\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nUsePAM no\n\
             PermitRootLogin prohibit-password\nStrictModes no\nPidFile none\n",
            files.path().display()
        );
        fs::write(at("config"), config).unwrap();
        if rustix::process::geteuid().is_root() {
            fs::create_dir_all("/run/sshd").unwrap();
        }
        let port = ports::free(1)[0];
        let log = fs::File::create(at("log")).unwrap();
        let process = Command::new("setpriv")
            .args([
                "--pdeathsig",
                "KILL",
                "--",
                SSHD,
                "-D",
                "-e",
                "-p",
                &port.to_string(),
                "-f",
            ])
            .arg(at("config"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("sshd starts (deploy/packages.txt)");
        let server = Self { files, port, process };
        eventually("sshd answers", SOON, async || {
            std::net::TcpStream::connect(("127.0.0.1", port)).map(|_| ())
        })
        .await;
        server
    }

    /// What a command prints there, if this key and certificate let in.
    fn log_in(&self, key: &Path, certificate: &str) -> Result<String, String> {
        let file = self.files.path().join("shown-cert.pub");
        fs::write(&file, certificate).unwrap();
        let known = self.files.path().join("known");
        let told = Command::new("ssh")
            .args(["-F", "none", "-p", &self.port.to_string(), "-i"])
            .arg(key)
            .args(["-o", &format!("CertificateFile={}", file.display())])
            .args(["-o", &format!("UserKnownHostsFile={}", known.display())])
            .args(["-o", &format!("HostKeyAlias={HOST}")])
            .args([
                "-o",
                "IdentitiesOnly=yes",
                "-o",
                "IdentityAgent=none",
                "-o",
                "BatchMode=yes",
            ])
            .args([
                "-o",
                "GlobalKnownHostsFile=/dev/null",
                "-o",
                "StrictHostKeyChecking=yes",
            ])
            .args([&format!("{}@127.0.0.1", user()), "echo", "let", "in"])
            .stdin(Stdio::null())
            .output()
            .expect("ssh runs (deploy/packages.txt)");
        match told.status.success() {
            true => Ok(String::from_utf8_lossy(&told.stdout).trim().to_owned()),
            false => Err(String::from_utf8_lossy(&told.stderr).into_owned()),
        }
    }

    fn refuses(&self, key: &Path, certificate: &str) {
        let told = self.log_in(key, certificate).unwrap_err();
        assert!(told.contains("Permission denied"), "{told}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn user() -> String {
    said(Command::new("id").arg("-un"))
}

fn said(command: &mut Command) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = command.stdin(Stdio::null()).output().unwrap();
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    String::from_utf8_lossy(&stdout).trim().to_owned()
}

/// A key of ssh-keygen's own making: its file, and its public half.
fn keygen(files: &Path, name: &str, options: &[&str]) -> (PathBuf, String) {
    let file = files.join(name);
    said(
        Command::new("ssh-keygen")
            .args(["-q", "-N", "", "-C", ""])
            .args(options)
            .arg("-f")
            .arg(&file),
    );
    let public = fs::read_to_string(file.with_extension("pub")).unwrap();
    (file, public)
}

fn write(harness: &mut Harness<'_>, path: &str, data: Value) -> Value {
    match harness.ask("caller", Update, path, data).unwrap() {
        Outcome::Reply(reply) => Value::Object(reply.data.unwrap_or_default()),
        other => panic!("{other:?}"),
    }
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("no text: {value}"))
        .to_owned()
}

/// A mount of the engine whose key is this one, or one that it makes.
fn mounted<'e>(engine: &'e dyn conclave_engine_api::Engine, now: Millis, ca: Value) -> (Harness<'e>, String) {
    let mut harness = Harness::new(engine);
    harness.now = now;
    let public = text(&write(&mut harness, "config/ca", ca)["public_key"]);
    let roles = [
        (
            "people",
            json!({
                "key_type": "ca", "allow_user_certificates": true, "allowed_users": format!("{},other", user()), "ttl": "1h",
                "max_ttl": "2h", "allowed_critical_options": "force-command", "key_id_format": "{{role_name}}/{{token_display_name}}",
            }),
        ),
        (
            "hosts",
            json!({
                "key_type": "ca", "allow_host_certificates": true, "allowed_domains": "example.org", "allow_subdomains": true,
            }),
        ),
    ];
    for (name, role) in roles {
        write(&mut harness, &format!("roles/{name}"), role);
    }
    (harness, public)
}

fn sign(harness: &mut Harness<'_>, public: &str, principal: &str, more: Value) -> String {
    let mut asked = json!({"public_key": public, "valid_principals": principal});
    asked
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    text(&write(harness, "sign/people", asked)["signed_key"])
}

/// Kinds of keys that sign, each as ssh-keygen writes it: its own form, and those of other tools.
const CAS: [(&str, &[&str]); 7] = [
    ("ed25519", &["-t", "ed25519"]),
    ("rsa", &["-t", "rsa", "-b", "2048"]),
    ("rsa-pem", &["-t", "rsa", "-b", "2048", "-m", "PEM"]),
    ("rsa-pkcs8", &["-t", "rsa", "-b", "2048", "-m", "PKCS8"]),
    ("p256", &["-t", "ecdsa", "-b", "256"]),
    ("p384-pkcs8", &["-t", "ecdsa", "-b", "384", "-m", "PKCS8"]),
    ("p521-pem", &["-t", "ecdsa", "-b", "521", "-m", "PEM"]),
];

#[tokio::test]
async fn a_real_sshd_lets_in_whom_it_should() {
    let files = TempDir::new().unwrap();
    let dir = files.path().to_owned();
    let engine = script::engine("ssh");
    let now = said(Command::new("date").arg("+%s")).parse::<Millis>().unwrap() * 1000;
    let (mut ours, public) = mounted(&*engine, now, json!({"key_type": "ed25519"}));
    let (_, host) = keygen(&dir, "host", &["-t", "ed25519"]);
    let asked = json!({"public_key": host, "cert_type": "host", "valid_principals": HOST});
    let host = text(&write(&mut ours, "sign/hosts", asked)["signed_key"]);
    let mut trusted = vec![public.clone()];
    let mut brought = Vec::new();
    for (name, options) in CAS {
        let (file, public) = keygen(&dir, &format!("ca-{name}"), options);
        let private = fs::read_to_string(file).unwrap();
        let given = json!({"private_key": private, "public_key": public});
        let (harness, public) = mounted(&*engine, now, given);
        trusted.push(public);
        brought.push(harness);
    }
    let server = Server::start(files, &trusted, &host).await;

    let (key, line) = keygen(&dir, "me", &["-t", "ed25519"]);
    let good = sign(&mut ours, &line, &user(), json!({}));
    assert_eq!(server.log_in(&key, &good).unwrap(), "let in");
    shown_by_keygen(&dir, &good, now);
    for harness in &mut brought {
        assert_eq!(
            server
                .log_in(&key, &sign(harness, &line, &user(), json!({})))
                .unwrap(),
            "let in"
        );
    }
    for options in [&["-t", "rsa", "-b", "2048"][..], &["-t", "ecdsa", "-b", "384"]] {
        let (key, line) = keygen(&dir, options[1], options);
        assert_eq!(
            server
                .log_in(&key, &sign(&mut ours, &line, &user(), json!({})))
                .unwrap(),
            "let in"
        );
    }
    for kind in ["ed25519", "ec"] {
        let asked = json!({"valid_principals": user(), "key_type": kind});
        let issued = write(&mut ours, "issue/people", asked);
        let file = dir.join(format!("issued-{kind}"));
        fs::write(&file, text(&issued["private_key"])).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        // The client finds the key of a certificate by its public half.
        let public = said(Command::new("ssh-keygen").arg("-y").arg("-f").arg(&file));
        fs::write(file.with_extension("pub"), public).unwrap();
        assert_eq!(
            server.log_in(&file, &text(&issued["signed_key"])).unwrap(),
            "let in"
        );
    }
    let forced = json!({"critical_options": {"force-command": "echo forced"}});
    assert_eq!(
        server
            .log_in(&key, &sign(&mut ours, &line, &user(), forced))
            .unwrap(),
        "forced"
    );

    server.refuses(&key, &sign(&mut ours, &line, "other", json!({})));
    ours.now = now - 2 * HOUR;
    server.refuses(&key, &sign(&mut ours, &line, &user(), json!({})));
    ours.now = now + HOUR;
    server.refuses(&key, &sign(&mut ours, &line, &user(), json!({})));
    let (mut strangers, _) = mounted(&*engine, now, json!({"key_type": "ec"}));
    server.refuses(&key, &sign(&mut strangers, &line, &user(), json!({})));
    let (other, _) = keygen(&dir, "thief", &["-t", "ed25519"]);
    server.refuses(&other, &good);
}

/// What OpenSSH itself reads in a certificate.
fn shown_by_keygen(dir: &Path, certificate: &str, now: Millis) {
    let file = dir.join("look-cert.pub");
    fs::write(&file, certificate).unwrap();
    let shown = said(
        Command::new("ssh-keygen")
            .arg("-L")
            .arg("-f")
            .arg(&file)
            .env("TZ", "UTC"),
    );
    let at = |millis: Millis| {
        conclave_engine_api::format_time(millis)
            .trim_end_matches('Z')
            .to_owned()
    };
    let valid = format!("Valid: from {} to {}", at(now - 30_000), at(now + HOUR));
    for part in [
        "user certificate",
        "using ssh-ed25519",
        "Key ID: \"people/",
        &valid,
        &user(),
        "Critical Options: (none)",
    ] {
        assert!(shown.contains(part), "no {part} in {shown}");
    }
}

#[test]
fn the_public_key_is_a_file() {
    let engine = script::engine("ssh");
    let (mut harness, public) = mounted(&*engine, HOUR, json!({"key_type": "ed25519"}));
    let answered = harness.ask("", Read, "public_key", Value::Null).unwrap();
    let Outcome::Reply(reply) = answered else {
        panic!("{answered:?}");
    };
    assert_eq!(reply.raw.unwrap().bytes, public.into_bytes());
    assert!(engine.open_paths().contains(&"public_key"));
}
