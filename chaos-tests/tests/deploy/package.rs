//! The Debian package and the systemd unit in it.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::harness::{SOON, ports};
use crate::shell::{binary, cargo_elsewhere, command, folder, must, read, root};

/// Makes the package of the binary under test in `dir`.
pub fn made(dir: &Path) -> PathBuf {
    let mut make = command(root().join("deploy/package.sh"), dir);
    make.arg(dir)
        .env("PATH", cargo_elsewhere(dir))
        .env("DEB_COMPRESSION", "none");
    PathBuf::from(must(&mut make).trim())
}

#[test]
fn a_package_holds_what_a_host_needs_and_owns_nothing_by_accident() {
    let folder = folder();
    let package = made(folder.path());
    let listed = must(Command::new("dpkg-deb").arg("--contents").arg(&package));
    for (mode, path) in [
        ("-rwxr-xr-x root/root", "./usr/bin/conclave"),
        ("-rw-r--r-- root/root", "./lib/systemd/system/conclave.service"),
        ("-rw-r----- root/root", "./etc/conclave/conclave.hcl"),
        ("drwxr-x--- root/root", "./etc/conclave/tls/"),
        ("-rw-r--r-- root/root", "./usr/share/man/man1/conclave.1.gz"),
        (
            "-rw-r--r-- root/root",
            "./usr/share/man/man1/conclave-operator-unseal.1.gz",
        ),
        (
            "-rw-r--r-- root/root",
            "./usr/share/bash-completion/completions/conclave",
        ),
    ] {
        let is_there = |line: &&str| line.starts_with(mode) && line.ends_with(&format!(" {path}"));
        assert!(
            listed.lines().any(|line| is_there(&line)),
            "{mode} {path} in\n{listed}"
        );
    }
    let unpacked = folder.path().join("unpacked");
    must(
        Command::new("dpkg-deb")
            .arg("--extract")
            .arg(&package)
            .arg(&unpacked),
    );
    let unit = std::fs::read_to_string(unpacked.join("lib/systemd/system/conclave.service")).unwrap();
    assert!(
        unit.contains("=/usr/bin/conclave server -config=") && !unit.contains("/usr/local"),
        "{unit}"
    );
    let same = must(Command::new(unpacked.join("usr/bin/conclave")).arg("version"));
    assert_eq!(same, must(Command::new(binary()).arg("version")));
}

#[test]
fn make_install_puts_what_cargo_built_below_its_prefix() {
    let folder = folder();
    let stage = folder.path().join("stage");
    let mut make = command("make", folder.path());
    make.args(["--no-print-directory", "install", "PREFIX=/opt/conclave"])
        .arg(format!("DESTDIR={}", stage.display()))
        .env("PATH", cargo_elsewhere(folder.path()));
    must(&mut make);
    let below = stage.join("opt/conclave");
    let version = |program: &Path| must(Command::new(program).arg("version"));
    assert_eq!(version(&below.join("bin/conclave")), version(&binary()));
    let text =
        |path: &str| std::fs::read_to_string(below.join(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
    for shell in [
        "bash-completion/completions/conclave",
        "zsh/site-functions/_conclave",
        "fish/vendor_completions.d/conclave.fish",
    ] {
        assert!(text(&format!("share/{shell}")).contains("unseal"), "{shell}");
    }
    for page in ["conclave.1", "conclave-kv-put.1", "conclave-operator-unseal.1"] {
        assert!(text(&format!("share/man/man1/{page}")).contains(".TH"), "{page}");
    }
    let unit = text("lib/systemd/system/conclave.service");
    assert!(
        unit.contains("=/opt/conclave/bin/conclave server -config="),
        "{unit}"
    );
    assert!(!unit.contains("/usr/local"), "{unit}");
}

#[test]
fn the_packages_configuration_lacks_only_what_the_host_must_say() {
    let folder = folder();
    let text = read("deploy/debian/conclave.hcl");
    // Certificates come from the administrator; here the check of the rest is enough.
    let text: String = text
        .lines()
        .filter(|line| !line.contains("tls_"))
        .map(|line| format!("{line}\n"))
        .collect();
    let file = folder.path().join("conclave.hcl");
    std::fs::write(&file, text).unwrap();
    let check = |address: Option<&str>| {
        let mut check = command(binary(), folder.path());
        check
            .args(["operator", "validate-config"])
            .arg(format!("-config={}", file.display()));
        if let Some(address) = address {
            check.env("CONCLAVE_CLUSTER_ADDR", address);
        }
        check.output().unwrap()
    };
    let refused = check(None);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("cluster_addr is required"));
    assert!(check(Some("https://n1:8201")).status.success());
}

/// The unit's commands must be ones the binary takes, and systemd must find nothing to complain of.
#[test]
fn the_unit_is_one_systemd_takes() {
    let folder = folder();
    let unit = read("deploy/systemd/conclave.service")
        .replace("/usr/local/bin/conclave", &binary().display().to_string());
    let file = folder.path().join("conclave.service");
    std::fs::write(&file, &unit).unwrap();
    let verified = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .arg(&file)
        .output();
    let verified = verified.expect("systemd-analyze of the package systemd");
    let complained = String::from_utf8_lossy(&verified.stderr);
    assert!(verified.status.success() && complained.is_empty(), "{complained}");
    // Exposure from 0 to 100, as systemd counts it: whoever opens something more shows it here.
    let mut security = Command::new("systemd-analyze");
    security
        .args(["security", "--offline=yes", "--threshold=15"])
        .arg(&file);
    let told = must(&mut security);
    eprintln!("{}", told.lines().last().unwrap_or_default());
    let with = folder.path().join("conclave.service.d");
    std::fs::create_dir(&with).unwrap();
    let credentials = read("deploy/systemd/conclave.service.d/credentials.conf");
    std::fs::write(with.join("credentials.conf"), credentials).unwrap();
    let verified = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .arg(&file)
        .output()
        .unwrap();
    let complained = String::from_utf8_lossy(&verified.stderr);
    assert!(verified.status.success() && complained.is_empty(), "{complained}");

    let started = unit
        .lines()
        .find_map(|line| line.strip_prefix("ExecStartPre="))
        .expect("a check before the start");
    let mut words = started.split(' ');
    let mut check = command(words.next().unwrap(), folder.path());
    let missing = folder.path().join("missing.hcl").display().to_string();
    let words = words.map(|word| word.replace("/etc/conclave/conclave.hcl", &missing));
    let output = check.args(words).output().unwrap();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(
        complained.contains("missing.hcl"),
        "it looks at the file of the unit: {complained}"
    );
}

/// What systemd hears of a node: that it serves, that it lives, that it ends.
#[test]
fn a_node_tells_its_supervisor_how_it_is() {
    let folder = folder();
    let heard = UnixDatagram::bind(folder.path().join("notify")).unwrap();
    heard.set_read_timeout(Some(SOON)).unwrap();
    let port = ports::free(1)[0];
    let config = format!(
        "storage \"inmem\" {{}}\noperations_address = \"\"\nlistener \"tcp\" {{\n  address = \"127.0.0.1:{port}\"\n  \
         cluster_address = \"127.0.0.1:0\"\n  tls_disable = true\n}}\n"
    );
    let file = folder.path().join("node.hcl");
    std::fs::write(&file, config).unwrap();
    let mut node = command("setpriv", folder.path())
        .args(["--pdeathsig", "KILL", "--"])
        .arg(binary())
        .arg("server")
        .arg(format!("-config={}", file.display()))
        .env("NOTIFY_SOCKET", folder.path().join("notify"))
        .env("WATCHDOG_USEC", "1000000")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let until = |word: &str| {
        let mut piece = [0; 4096];
        loop {
            let length = heard
                .recv(&mut piece)
                .unwrap_or_else(|error| panic!("no {word}: {error}"));
            if String::from_utf8_lossy(&piece[..length]).contains(word) {
                break;
            }
        }
    };
    until("READY=1");
    until("WATCHDOG=1");
    until("WATCHDOG=1");
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&node),
        rustix::process::Signal::TERM,
    )
    .unwrap();
    until("STOPPING=1");
    assert!(node.wait().unwrap().success());
}
