//! `docs/production.md`: its commands, extracted from it, on four machines that are network namespaces.

use crate::package;
use crate::shell::{command, folder, root, texts};

/// What the script answers to anybody but root.
const NOT_ROOT: i32 = 77;

#[test]
fn cluster_three_hosts_from_package_to_unsealed() {
    let folder = folder();
    let package = package::made(folder.path());
    let machines = folder.path().join("machines");
    std::fs::create_dir(&machines).expect("a folder");
    let output = command(root().join("chaos-tests/tests/deploy/hosts/lab"), folder.path())
        .arg(root().join("docs/production.md"))
        .arg(package)
        .arg(machines)
        .output()
        .expect("the script runs");
    let (said, complained) = texts(&output);
    if output.status.code() == Some(NOT_ROOT) {
        eprintln!("not run: network namespaces and mounts of one's own need root");
        return;
    }
    assert!(output.status.success(), "{said}\n{complained}");
    assert!(said.contains("unsealed after 12 commands"), "{said}");
    assert!(said.ends_with("all as the document says\n"), "{said}");
}
