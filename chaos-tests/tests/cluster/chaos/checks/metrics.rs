//! Counters never fall within the life of a process.

use std::collections::{BTreeMap, HashSet};

use crate::harness::Cluster;

/// What each node's counters were when somebody looked last, and in which process.
#[derive(Default)]
pub struct Counters {
    last: Vec<(u32, BTreeMap<String, f64>)>,
}

impl Counters {
    /// Looks at all nodes.
    pub async fn look(&mut self, cluster: &Cluster) {
        self.last.resize_with(cluster.nodes.len(), Default::default);
        for (node, last) in cluster.nodes.iter().zip(&mut self.last) {
            let now = counters(&node.metrics().await);
            assert!(!now.is_empty(), "{} has no counters", node.name);
            let (process, before) = std::mem::replace(last, (node.pid(), now));
            if process != last.0 {
                continue;
            }
            for (name, was) in before {
                let is = last.1.get(&name).copied();
                assert!(
                    is.is_some_and(|is| is >= was),
                    "FELL: {name} of {} was {was} and is {is:?}",
                    node.name
                );
            }
        }
    }
}

/// Counters, and the counts of histograms, by name and labels.
fn counters(page: &str) -> BTreeMap<String, f64> {
    let mut growing = HashSet::new();
    let mut found = BTreeMap::new();
    for line in page.lines() {
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            if let Some((name, kind)) = kind.split_once(' ') {
                match kind {
                    "counter" => drop(growing.insert(name.to_owned())),
                    "histogram" => growing.extend(["_bucket", "_count"].map(|end| format!("{name}{end}"))),
                    _ => {}
                }
            }
            continue;
        }
        let name = line.split(['{', ' ']).next().unwrap_or_default();
        if growing.contains(name)
            && let Some((series, value)) = line.rsplit_once(' ')
            && let Ok(value) = value.parse()
        {
            found.insert(series.to_owned(), value);
        }
    }
    found
}
