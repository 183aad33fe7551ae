//! What is given to Prometheus, Alertmanager and Grafana: their own tools take it, each alert has a test and a page that
//! says what to do, and a cluster whose nodes are scraped pages.

mod attacked;
mod each;
mod paging;
mod peers;

use std::collections::BTreeSet;
use std::process::Command;

use crate::harness::packages;
use crate::shell::{block, folder, must, read, root};

const ALERTS: &str = "deploy/observability/rules/alerts.yml";
const RECORDING: &str = "deploy/observability/rules/recording.yml";
const DASHBOARD: &str = "deploy/observability/grafana/conclave.json";
/// Grafana's types for its version 11.4.
const SDK: &str = "grafana-foundation-sdk==1769699520!11.4.0";

fn tool(name: &str, arguments: &[&str]) -> String {
    must(Command::new(name).current_dir(root()).args(arguments))
}

/// Names of alerts, in order.
fn alerts() -> Vec<String> {
    let text = read(ALERTS);
    let names = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "));
    names.map(str::to_owned).collect()
}

/// Names of our metrics in a text, without the ends that Prometheus gives to parts of a histogram, and of what is recorded.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':');
    words
        .filter(|word| word.starts_with("conclave_") || word.starts_with("conclave:"))
        .map(|word| word.strip_suffix("_bucket").unwrap_or(word).to_owned())
        .collect()
}

/// Names under which rules record what they worked out.
fn recorded() -> BTreeSet<String> {
    let text = read(RECORDING);
    let names = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- record: "));
    names.map(str::to_owned).collect()
}

#[test]
fn what_is_asked_for_and_never_recorded_is_seen() {
    let asked = r#"conclave:nosuch:rate5m{job="$job"} + rate(conclave_requests_bucket[5m])"#;
    let expected = ["conclave:nosuch:rate5m", "conclave_requests"];
    assert_eq!(metrics_in(asked), expected.map(str::to_owned).into());
    assert!(!recorded().contains("conclave:nosuch:rate5m"));
    for file in [ALERTS, DASHBOARD] {
        for name in metrics_in(&read(file)) {
            let known = !name.contains(':') || recorded().contains(&name);
            assert!(known, "{file} asks for {name}, which no rule records");
        }
    }
}

/// What the document has an operator do, so that a page's link opens.
#[test]
fn links_to_pages_are_made_whole_by_the_line_of_the_document() {
    let line = block("docs/observability.md", "runbook_url").replace("rules/", "");
    let folder = folder();
    for name in ["alerts.yml", "recording.yml"] {
        let text = read(&format!("deploy/observability/rules/{name}"));
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    must(
        Command::new("bash")
            .args(["-c", &line])
            .current_dir(folder.path()),
    );
    let text = std::fs::read_to_string(folder.path().join("alerts.yml")).unwrap();
    let urls = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("runbook_url: "));
    let urls: Vec<&str> = urls.collect();
    assert_eq!(urls.len(), alerts().len());
    for (url, name) in urls.iter().zip(alerts()) {
        assert!(
            url.starts_with("https://") && url.ends_with(&format!("/{name}.md")),
            "{url}"
        );
    }
    must(
        Command::new("promtool")
            .args(["check", "rules", "alerts.yml"])
            .current_dir(folder.path()),
    );
}

#[test]
fn rules_routes_and_settings_are_taken_by_the_tools_they_are_for() {
    tool(
        "promtool",
        &["check", "config", "deploy/observability/prometheus.yml"],
    );
    tool("promtool", &["check", "rules", RECORDING, ALERTS]);
    tool(
        "promtool",
        &["test", "rules", "deploy/observability/rules/tests.yml"],
    );
    let routes = "deploy/observability/alertmanager.yml";
    tool("amtool", &["check-config", routes]);
    for (labels, receivers) in [
        (
            ["alertname=ConclaveNoLeader", "severity=critical", "area=cluster"],
            "pager",
        ),
        (
            [
                "alertname=ConclavePasswordSpray",
                "severity=critical",
                "area=access",
            ],
            "security,pager",
        ),
        (
            ["alertname=ConclaveNodeSealed", "severity=warning", "area=cluster"],
            "tickets",
        ),
    ] {
        let config = format!("--config.file={routes}");
        let went = tool(
            "amtool",
            &[&["config", "routes", "test", &config][..], &labels].concat(),
        );
        assert_eq!(went.trim(), receivers, "{labels:?}");
    }
}

#[test]
fn every_alert_is_tested_and_has_a_page_that_says_what_to_do() {
    let (rules, tests) = (read(ALERTS), read("deploy/observability/rules/tests.yml"));
    let index = read("docs/runbooks/README.md");
    let names = alerts();
    assert!(names.len() > 40, "{} alerts", names.len());
    for name in &names {
        assert!(
            tests.contains(&format!("- name: {name}\n")),
            "{name} has no test in tests.yml"
        );
        let page = format!("docs/runbooks/{name}.md");
        assert!(
            rules.contains(&format!("runbook_url: {page}\n")),
            "{name} names no page"
        );
        let text = read(&page);
        for part in [format!("# {name}\n"), "\n## Look\n".into(), "\n## Do\n".into()] {
            assert!(text.contains(&part), "{page} lacks {part:?}");
        }
        assert!(
            index.contains(&format!("({name}.md)")),
            "{name} is not in the index"
        );
    }
    let pages = std::fs::read_dir(root().join("docs/runbooks")).unwrap();
    assert_eq!(pages.count(), names.len() + 1, "pages of alerts that are gone");
}

#[test]
fn the_dashboard_is_one_that_grafana_reads() {
    let python = packages::python("grafana", &[SDK]);
    let script = root().join("chaos-tests/tests/deploy/observability/grafana.py");
    let queries = must(Command::new(python).arg(script).arg(root().join(DASHBOARD)));
    assert!(queries.trim().parse::<usize>().unwrap() > 30, "{queries} queries");
}
