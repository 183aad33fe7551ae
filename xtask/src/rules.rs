//! The rules of Prometheus as the resource that its operator for Kubernetes reads, and as the chart takes them: the same text.
//! Knows that a file of rules is one list of groups, and nothing of what they say.

use std::fmt::Write;

/// Where it is kept, from the root of the tree.
pub const PATH: &str = "deploy/kubernetes/monitoring/prometheusrule.yaml";
/// Where those of the chart are kept.
pub const CHART_PATH: &str = "deploy/helm/conclave/files/rules.yaml";
/// What it is made of.
pub const SOURCES: [&str; 2] = [
    "deploy/observability/rules/recording.yml",
    "deploy/observability/rules/alerts.yml",
];

const HEAD: &str = "\
# Made by cargo xtask observability from deploy/observability/rules.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: conclave
  labels:
    app.kubernetes.io/name: conclave
spec:
  groups:
";

const CHART_HEAD: &str = "\
# Made by cargo xtask observability from deploy/observability/rules.
groups:
";

/// The resource with the groups of these files, or the number of the file that has none.
pub fn text(sources: &[String]) -> Result<String, usize> {
    joined(HEAD, "  ", sources)
}

/// What the chart puts into such a resource.
pub fn of_chart(sources: &[String]) -> Result<String, usize> {
    joined(CHART_HEAD, "", sources)
}

fn joined(head: &str, indent: &str, sources: &[String]) -> Result<String, usize> {
    let mut text = head.to_owned();
    for (number, source) in sources.iter().enumerate() {
        let (_, groups) = source.split_once("\ngroups:\n").ok_or(number)?;
        for line in groups.lines() {
            let indent = if line.is_empty() { "" } else { indent };
            // A String takes whatever is written to it.
            let _ = writeln!(text, "{indent}{line}");
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_in_the_tree_are_what_this_makes() {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../");
        let read = |path: &str| std::fs::read_to_string(format!("{root}{path}")).unwrap_or_default();
        let sources = SOURCES.map(read);
        for (path, made) in [(PATH, text(&sources)), (CHART_PATH, of_chart(&sources))] {
            let made = made.expect("files of rules");
            assert!(
                read(path) == made,
                "{path} is old: run  cargo xtask observability"
            );
        }
        assert_eq!(text(&["rules:\n".to_owned()]), Err(0));
    }
}
