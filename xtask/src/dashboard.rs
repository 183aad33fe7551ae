//! The Grafana dashboard, made from a table of panels, so that what is asked for stands in one place and a test can ask a
//! real Prometheus for each of it. Knows the names of metrics, not what counts them.

use serde_json::{Value, json};

/// Where it is kept, from the root of the tree.
pub const PATH: &str = "deploy/observability/grafana/conclave.json";

/// Cells of the grid in a line of it.
const WIDTH: u64 = 24;
/// Cells of a panel.
const PANEL: (u64, u64) = (8, 8);

/// A line of panels under one heading.
struct Section {
    title: &'static str,
    panels: &'static [Panel],
}

/// One picture.
struct Panel {
    title: &'static str,
    /// What is told when somebody points at it.
    about: &'static str,
    unit: &'static str,
    /// What is asked, and what the lines are called.
    queries: &'static [(&'static str, &'static str)],
}

const SECTIONS: &[Section] = &[
    Section {
        title: "Cluster",
        panels: &[
            Panel {
                title: "Sealed",
                about: "1: holds no keys",
                unit: "short",
                queries: &[(r#"conclave_sealed{job="$job"}"#, "{{instance}}")],
            },
            Panel {
                title: "Leader",
                about: "1: leads. The term rises with each election",
                unit: "short",
                queries: &[
                    (r#"conclave_raft_is_leader{job="$job"}"#, "{{instance}}"),
                    (r#"max(conclave_raft_term{job="$job"})"#, "term"),
                ],
            },
            Panel {
                title: "Voters and zones",
                about: "As the leader hears them, and how many more may be lost",
                unit: "short",
                queries: &[
                    (r#"max(conclave_raft_voters{job="$job"})"#, "voters"),
                    (
                        r#"max(conclave_raft_voters_reachable{job="$job"})"#,
                        "voters that answer",
                    ),
                    (
                        r#"max(conclave_raft_zones_reachable{job="$job"})"#,
                        "zones that answer",
                    ),
                    (
                        r#"max(conclave_raft_failure_tolerance{job="$job"})"#,
                        "may be lost",
                    ),
                ],
            },
            Panel {
                title: "Replication lag",
                about: "Entries the slowest voter lacks, and entries a node has not applied",
                unit: "short",
                queries: &[
                    (
                        r#"max(conclave_raft_replication_lag_entries{job="$job"})"#,
                        "slowest voter",
                    ),
                    (
                        r#"conclave_raft_committed_index{job="$job"} - conclave_raft_applied_index{job="$job"}"#,
                        "not applied: {{instance}}",
                    ),
                ],
            },
            Panel {
                title: "Room on disk",
                about: "Free where a node keeps its data",
                unit: "bytes",
                queries: &[(r#"conclave_disk_free_bytes{job="$job"}"#, "{{instance}}")],
            },
            Panel {
                title: "Memory",
                about: "Resident memory of the process",
                unit: "bytes",
                queries: &[(r#"process_resident_memory_bytes{job="$job"}"#, "{{instance}}")],
            },
        ],
    },
    Section {
        title: "Latency",
        panels: &[
            Panel {
                title: "Requests",
                about: "Answers a second, by status",
                unit: "reqps",
                queries: &[(r#"conclave:http_requests:rate5m{job="$job"}"#, "{{code}}")],
            },
            Panel {
                title: "99 of 100 requests take less than",
                about: "From the pipeline to the audited answer, by type of mount and operation",
                unit: "s",
                queries: &[(
                    r#"conclave:request_duration_seconds:p99_5m{job="$job"} > 0"#,
                    "{{operation}} at {{mount_type}}",
                )],
            },
            Panel {
                title: "Commit",
                about: "From a proposal to its result",
                unit: "s",
                queries: &[(
                    r#"conclave:raft_commit_duration_seconds:p99_5m{job="$job"}"#,
                    "p99",
                )],
            },
            Panel {
                title: "Disk",
                about: "Syncs of the log and writes of the applied state",
                unit: "s",
                queries: &[
                    (
                        r#"conclave:raft_log_sync_duration_seconds:p99_5m{job="$job"} > 0"#,
                        "sync p99: {{instance}}",
                    ),
                    (
                        r#"conclave:raft_apply_duration_seconds:p99_5m{job="$job"} > 0"#,
                        "apply p99: {{instance}}",
                    ),
                ],
            },
            Panel {
                title: "Errors",
                about: "Part of the requests that failed on the server's side, at unsealed nodes",
                unit: "percentunit",
                queries: &[(
                    r#"conclave:http_errors:ratio_rate5m{job="$job"} or on () vector(0)"#,
                    "errors",
                )],
            },
            Panel {
                title: "Under way, and tried again",
                about: "Requests being answered, and attempts that met a conflict",
                unit: "short",
                queries: &[
                    (r#"sum(conclave_requests_in_flight{job="$job"})"#, "in flight"),
                    (
                        r#"sum(rate(conclave_commit_conflicts_total{job="$job"}[5m]))"#,
                        "conflicts a second",
                    ),
                ],
            },
        ],
    },
    Section {
        title: "Leases",
        panels: &[
            Panel {
                title: "Leases",
                about: "By kind, counted once a minute",
                unit: "short",
                queries: &[(r#"max by (kind) (conclave_leases{job="$job"})"#, "{{kind}}")],
            },
            Panel {
                title: "Past their end",
                about: "Leases that are over and still there, revocations that failed, targets that are silent",
                unit: "short",
                queries: &[
                    (r#"max(conclave_leases_due{job="$job"})"#, "due"),
                    (
                        r#"sum(max by (engine) (conclave_leases_stuck{job="$job"})) or on () vector(0)"#,
                        "stuck",
                    ),
                    (
                        r#"max(conclave_targets_left_alone{job="$job"})"#,
                        "silent targets",
                    ),
                ],
            },
            Panel {
                title: "Ended",
                about: "Rows that were removed because their time had come, and how many could not be",
                unit: "short",
                queries: &[
                    (r#"sum(rate(conclave_expired_total{job="$job"}[5m]))"#, "a second"),
                    (r#"max(conclave_expiry_stuck{job="$job"})"#, "cannot be"),
                ],
            },
            Panel {
                title: "How late things end",
                about: "On the leader: from the deadline to the removal",
                unit: "s",
                queries: &[(
                    r#"conclave:lease_expiry_lag_seconds:p99_15m{job="$job"} > 0 or on () vector(0)"#,
                    "p99",
                )],
            },
        ],
    },
    Section {
        title: "Rotation",
        panels: &[
            Panel {
                title: "Rotations of credentials",
                about: "At their targets, by result; due ones wait to be begun, overdue ones failed when last tried",
                unit: "short",
                queries: &[
                    (
                        r#"sum by (result) (increase(conclave_rotations_total{job="$job"}[1h]))"#,
                        "{{result}} in an hour",
                    ),
                    (r#"max(conclave_rotation_due{job="$job"})"#, "due"),
                    (r#"max(conclave_rotation_overdue{job="$job"})"#, "overdue"),
                ],
            },
            Panel {
                title: "Age of the data key",
                about: "Since it was rotated",
                unit: "s",
                queries: &[(
                    r#"time() - max(conclave_keyring_rotated_timestamp_seconds{job="$job"} > 0)"#,
                    "age",
                )],
            },
            Panel {
                title: "Certificates end in",
                about: "The first of each node's listeners",
                unit: "s",
                queries: &[(
                    r#"(conclave_tls_cert_expiry_timestamp_seconds{job="$job"} > 0) - time()"#,
                    "{{instance}}",
                )],
            },
            Panel {
                title: "Last snapshot",
                about: "Since any node saved one; nothing if none did",
                unit: "s",
                queries: &[(
                    r#"time() - max(conclave_snapshot_last_success_timestamp_seconds{job="$job"} > 0)"#,
                    "age",
                )],
            },
            Panel {
                title: "Size of snapshots",
                about: "The last that each node saved; 0 if it saved none",
                unit: "bytes",
                queries: &[(r#"conclave_snapshot_last_size_bytes{job="$job"}"#, "{{instance}}")],
            },
            Panel {
                title: "Mean time to rotate",
                about: "From when a rotation was due, or to be tried again, until it was done; over a day",
                unit: "s",
                queries: &[(
                    r#"sum(increase(conclave_rotation_lag_seconds_sum{job="$job"}[1d])) / (sum(increase(conclave_rotation_lag_seconds_count{job="$job"}[1d])) > 0) or on () vector(0)"#,
                    "mean",
                )],
            },
        ],
    },
    Section {
        title: "Access",
        panels: &[
            Panel {
                title: "Logins and tokens",
                about: "By method and result",
                unit: "ops",
                queries: &[(
                    r#"sum by (method, result) (rate(conclave_auth_attempts_total{job="$job"}[5m]))"#,
                    "{{method}} {{result}}",
                )],
            },
            Panel {
                title: "Refused",
                about: "Denied by policies, locked out, held back by rate limits",
                unit: "ops",
                queries: &[
                    (
                        r#"sum by (reason) (rate(conclave_denied_requests_total{job="$job"}[5m]))"#,
                        "denied: {{reason}}",
                    ),
                    (
                        r#"sum(rate(conclave_auth_lockouts_total{job="$job"}[5m]))"#,
                        "locked out",
                    ),
                    (
                        r#"sum(rate(conclave_rate_limited_requests_total{job="$job"}[5m]))"#,
                        "rate limits",
                    ),
                ],
            },
            Panel {
                title: "Secrets read",
                about: "A second, by type of mount",
                unit: "ops",
                queries: &[(
                    r#"sum by (mount_type) (rate(conclave_secret_reads_total{job="$job"}[5m]))"#,
                    "{{mount_type}}",
                )],
            },
            Panel {
                title: "Audit",
                about: "Devices, and records that one did not take",
                unit: "short",
                queries: &[
                    (r#"min(conclave_audit_devices{job="$job"})"#, "devices"),
                    (
                        r#"sum(increase(conclave_audit_write_failures_total{job="$job"}[5m]))"#,
                        "failures in 5 min",
                    ),
                ],
            },
        ],
    },
    Section {
        title: "Anomalies",
        panels: &[
            Panel {
                title: "Found in an hour",
                about: "By rule",
                unit: "short",
                queries: &[(
                    r#"sum by (rule) (increase(conclave_anomalies_total{job="$job"}[1h]))"#,
                    "{{rule}}",
                )],
            },
            Panel {
                title: "Open",
                about: "Events of the last hour that nobody has acknowledged",
                unit: "short",
                queries: &[(
                    r#"max by (rule) (conclave_anomaly_active{job="$job"})"#,
                    "{{rule}}",
                )],
            },
            Panel {
                title: "Not looked at",
                about: "Requests that detection lost because there were too many",
                unit: "ops",
                queries: &[(
                    r#"sum by (stage) (rate(conclave_anomaly_requests_dropped_total{job="$job"}[5m]))"#,
                    "{{stage}}",
                )],
            },
        ],
    },
];

/// The dashboard as Grafana imports it.
pub fn text() -> String {
    let mut panels = Vec::new();
    let mut line = 0;
    let mut id = 0;
    for section in SECTIONS {
        id += 1;
        panels.push(json!({
            "id": id, "type": "row", "title": section.title, "collapsed": false, "panels": [],
            "gridPos": {"x": 0, "y": line, "w": WIDTH, "h": 1},
        }));
        line += 1;
        let mut column = 0;
        for panel in section.panels {
            if column + PANEL.0 > WIDTH {
                column = 0;
                line += PANEL.1;
            }
            id += 1;
            panels.push(picture(id, panel, (column, line)));
            column += PANEL.0;
        }
        line += PANEL.1;
    }
    let dashboard = json!({
        "uid": "conclave",
        "title": "Conclave",
        "description": "A cluster of Conclave: cluster, latency, leases, rotation, access, anomalies. Made by cargo xtask observability.",
        "tags": ["conclave"],
        "schemaVersion": 39,
        "version": 1,
        "editable": true,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [
            {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "hide": 0},
            {
                "name": "job", "label": "Cluster", "type": "query", "refresh": 2, "hide": 0, "sort": 1,
                "datasource": source(), "query": "label_values(conclave_build_info, job)",
            },
        ]},
        "annotations": {"list": []},
        "panels": panels,
    });
    format!("{dashboard:#}\n")
}

fn picture(id: u64, panel: &Panel, (x, y): (u64, u64)) -> Value {
    let targets: Vec<Value> = panel
        .queries
        .iter()
        .zip('A'..='Z')
        .map(|((query, legend), letter)| {
            json!({
                "refId": letter.to_string(), "datasource": source(), "expr": query, "legendFormat": legend,
                "range": true,
            })
        })
        .collect();
    json!({
        "id": id,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.about,
        "datasource": source(),
        "gridPos": {"x": x, "y": y, "w": PANEL.0, "h": PANEL.1},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {
            "legend": {"showLegend": true, "displayMode": "list", "placement": "bottom", "calcs": []},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        "targets": targets,
    })
}

fn source() -> Value {
    json!({"type": "prometheus", "uid": "${datasource}"})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_in_the_tree_is_what_this_makes() {
        let file = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../deploy/observability/grafana/conclave.json"
        );
        let kept = std::fs::read_to_string(file).unwrap_or_default();
        assert!(kept == text(), "{PATH} is old: run  cargo xtask observability");
    }
}
