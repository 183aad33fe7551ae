//! Each alert goes the whole way once, from numbers that a real Prometheus scrapes through a real Alertmanager to whoever is to
//! hear of it. The numbers are made up here: no cluster is in all these troubles at once.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::peers::{Pages, Peers, exporter};
use super::{ALERTS, alerts};
use crate::harness::{SOON, eventually, ports};
use crate::shell::{folder, must, read};

/// For so long reads were few, before Prometheus was there: some alerts compare with the day that was.
const QUIET: Duration = Duration::from_secs(25 * 3600);
/// How bad an event may be, and whether that pages.
const SEVERITIES: [(&str, bool); 4] = [
    ("low", false),
    ("medium", false),
    ("high", true),
    ("critical", true),
];
/// Between two of its numbers of that time.
const STEP: u64 = 60;

/// A cluster in the gravest troubles, which hide others of it.
fn grave(_: u64) -> String {
    "conclave_initialized 1\nconclave_sealed 1\nconclave_raft_has_leader 0\nconclave_state_diverged 1\nconclave_disk_low 1\n\
     conclave_tls_cert_expiry_timestamp_seconds 86400\nconclave_raft_voters 3\n"
        .to_owned()
}

/// A node of another cluster that is only sealed.
fn sealed(_: u64) -> String {
    "conclave_initialized 1\nconclave_sealed 1\n".to_owned()
}

/// Its leader, in all other troubles.
fn troubled(scrape: u64) -> String {
    let ends = now() + 5 * 86_400;
    let mut page = format!(
        "conclave_initialized 1\nconclave_sealed 0\nconclave_raft_has_leader 1\nconclave_raft_is_leader 1\n\
         conclave_raft_term {scrape}\nconclave_raft_voters 3\nconclave_raft_failure_tolerance 0\nconclave_raft_zones 3\n\
         conclave_raft_zones_reachable 2\nconclave_raft_zone_largest_voters 2\n\
         conclave_raft_replication_lag_entries 20000\nconclave_tls_cert_expiry_timestamp_seconds {ends}\n\
         conclave_disk_free_bytes {free}\nprocess_open_fds 900\nprocess_max_fds 1000\nprocess_start_time_seconds 1\n\
         conclave_leases_due 2000\nconclave_leases_stuck{{engine=\"database\"}} 2\nconclave_targets_left_alone 1\n\
         conclave_expiry_stuck 1\n\
         conclave_rotation_overdue 1\nconclave_keyring_rotated_timestamp_seconds 1\nconclave_audit_devices 0\n\
         conclave_audit_devices_failing 1\nconclave_audit_acts_waiting 64\nconclave_audit_spool_filled_percent 60\n\
         conclave_snapshot_last_success_timestamp_seconds 1\n",
        free = 1_000_000_000_u64.saturating_sub(scrape * 1_000_000),
    );
    for (counter, each) in [
        (r#"conclave_http_requests_total{method="GET",code="500"}"#, 10),
        (r#"conclave_http_requests_total{method="GET",code="200"}"#, 10),
        (r#"conclave_lease_orphans_total{engine="database"}"#, 1),
        ("conclave_audit_write_failures_total", 1),
        (r#"conclave_secret_reads_total{mount_type="kv"}"#, 1000),
        (r#"conclave_anomaly_requests_dropped_total{stage="queue"}"#, 1),
        (
            r#"conclave_auth_attempts_total{method="userpass",result="failure"}"#,
            30,
        ),
        (
            r#"conclave_auth_attempts_total{method="token",result="failure"}"#,
            150,
        ),
        (r#"conclave_auth_lockouts_total{method="userpass"}"#, 5),
        (r#"conclave_denied_requests_total{reason="policy"}"#, 60),
    ] {
        page += &format!("{counter} {}\n", scrape * each);
    }
    for (name, labels) in [
        (
            "conclave_request_duration_seconds",
            r#"mount_type="kv",operation="read","#,
        ),
        ("conclave_raft_log_sync_duration_seconds", ""),
        ("conclave_lease_expiry_lag_seconds", ""),
    ] {
        for (bound, count) in [("0.001", 0), ("60", 0), ("300", scrape), ("+Inf", scrape)] {
            page += &format!("{name}_bucket{{{labels}le=\"{bound}\"}} {count}\n");
        }
    }
    for (number, rule) in rules().iter().enumerate() {
        let severity = SEVERITIES[number % SEVERITIES.len()].0;
        page += &format!("conclave_anomalies_total{{rule=\"{rule}\",severity=\"{severity}\"}} {scrape}\n");
    }
    page
}

/// Rules of anomalies, in the order of their alerts. Here they find in turn what is of each severity, whatever is theirs at first.
fn rules() -> Vec<String> {
    let text = read(ALERTS);
    let rules = text.split("conclave_anomalies_total{rule=\"").skip(1);
    rules
        .filter_map(|rule| Some(rule.split_once('"')?.0.to_owned()))
        .collect()
}

/// Seconds since 1970.
fn now() -> u64 {
    let now = Command::new("date").arg("+%s").output().expect("date");
    let now = String::from_utf8_lossy(&now.stdout);
    now.trim().parse().expect("seconds")
}

/// Gives Prometheus, which does not run yet, a day in which one secret was read a second.
fn quiet_day(folder: &Path) {
    let (now, mut page) = (now(), String::new());
    for at in (now - QUIET.as_secs()..now - 600).step_by(STEP as usize) {
        page += &format!("conclave:secret_reads:rate5m{{job=\"conclave-troubled\"}} 1 {at}\n");
    }
    let day = folder.join("day");
    std::fs::write(&day, page + "# EOF\n").expect("a file");
    must(
        Command::new("promtool")
            .args(["tsdb", "create-blocks-from", "openmetrics"])
            .arg(&day)
            .arg(folder.join("tsdb")),
    );
}

/// Names of the alerts of this severity.
fn of_severity(severity: &str) -> BTreeSet<String> {
    let (text, mut name, mut found) = (read(ALERTS), String::new(), BTreeSet::new());
    for line in text.lines().map(str::trim) {
        if let Some(alert) = line.strip_prefix("- alert: ") {
            alert.clone_into(&mut name);
        } else if line.strip_prefix("severity: ") == Some(severity) {
            found.insert(name.clone());
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_alert_reaches_whoever_is_to_hear_of_it() {
    let folder = folder();
    let pages = Pages::default();
    let nobody = format!("127.0.0.1:{}", ports::free(1)[0]);
    let jobs = [
        ("conclave-grave", vec![exporter(grave).await]),
        ("conclave-down", vec![nobody.clone()]),
        (
            "conclave-troubled",
            vec![exporter(sealed).await, exporter(troubled).await, nobody],
        ),
    ];
    quiet_day(folder.path());
    let _peers = Peers::start(folder.path(), &jobs, pages.listen().await);
    let expected: BTreeSet<String> = alerts().into_iter().collect();
    eventually("each alert reaches somebody", SOON * 2, async || {
        let came: BTreeSet<String> = pages.all().into_iter().map(|(_, alert)| alert).collect();
        let missing: Vec<&String> = expected.difference(&came).collect();
        if missing.is_empty() {
            Ok(())
        } else {
            Err(format!("{missing:?}"))
        }
    })
    .await;
    let mut critical = of_severity("critical");
    let anomalies = alerts()
        .into_iter()
        .filter(|name| name.starts_with("ConclaveAnomaly"))
        .zip(SEVERITIES.iter().cycle());
    critical.extend(anomalies.filter_map(|(alert, (_, pages))| pages.then_some(alert)));
    eventually("what is critical pages", SOON, async || {
        let paged: BTreeSet<String> = pages
            .all()
            .into_iter()
            .filter_map(|(who, alert)| (who == "pager").then_some(alert))
            .collect();
        let missing: Vec<&String> = critical.difference(&paged).collect();
        if missing.is_empty() {
            assert!(paged.is_subset(&critical), "{paged:?}");
            Ok(())
        } else {
            Err(format!("{missing:?}"))
        }
    })
    .await;
}
