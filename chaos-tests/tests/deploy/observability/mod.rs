//! What is given to Prometheus, Alertmanager and Grafana: their own tools take it, each alert has a test and a page that
//! says what to do, and a cluster whose nodes are scraped pages.

mod attacked;
mod each;
mod paging;
mod peers;

use std::collections::BTreeSet;
use std::process::Command;

use crate::harness::packages;
use crate::shell::{must, read, root};

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

/// Names of our metrics in a text, without the ends that Prometheus gives to parts of a histogram.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':');
    words
        .filter(|word| word.starts_with("conclave_") && !word.contains(':'))
        .map(|word| word.strip_suffix("_bucket").unwrap_or(word).to_owned())
        .collect()
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
