//! The keys of the references of OpenBao 2.7 and Vault 1.21, written down apart from the table that gives them their fates:
//! none may be unknown, and each fate must show when a file is read.

use super::keys::{AUDIT, Fate, LISTENER, LISTENER_TELEMETRY, RAFT, RETRY_JOIN, TELEMETRY, TOP, fate};
use super::read;

/// A table of keys.
type Table = &'static [(&'static str, Fate)];

const TOP_LEVEL: &str = "
    adaptive_overload_protection administrative_namespace_path allow_audit_log_prefixing allow_unauthenticated_workflows
    api_addr audit backend cache_size cloud cluster_addr cluster_cipher_suites cluster_name default_lease_ttl
    default_max_request_duration detect_deadlocks disable_cache disable_clustering disable_indexing disable_mlock
    disable_performance_standby disable_printable_check disable_sealwrap disable_sentinel_trace disable_ssct_tokens
    disable_standby_reads enable_multiseal enable_post_unseal_trace enable_raw_endpoint enable_response_header_hostname
    enable_response_header_raft_node_id enable_ui enable_unauthenticated_access entropy experiments feature_flags ha_backend
    ha_storage hsm imprecise_lease_role_tracking initialize introspection_endpoint kms kms_library license_path listener
    log_file log_format log_level log_requests_level log_rotate_bytes log_rotate_duration log_rotate_max_files
    max_lease_ttl observations pid_file plugin plugin_auto_download plugin_auto_register plugin_directory
    plugin_download_behavior plugin_download_max_size plugin_file_permissions plugin_file_uid plugin_tmpdir
    post_unseal_trace_directory raw_storage_endpoint remove_irrevocable_lease_after replication reporting
    request_limiter seal sentinel service_registration storage telemetry ui unsafe_allow_api_audit_creation
    unsafe_cross_namespace_identity unsafe_relative_paths user_lockout
";

const TCP_LISTENER: &str = "
    address agent_api allow_missing_index_header chroot_namespace cluster_address consistency_fallback_behavior
    consistency_max_index_wait consistency_missing_header_forward cors_allowed_headers cors_allowed_origins cors_enabled
    custom_response_headers disable_replication_status_endpoints disable_request_limiter
    disable_unauthed_generate_root_endpoints disable_unauthed_rekey_endpoints http_idle_timeout http_read_header_timeout
    http_read_timeout http_write_timeout inflight_requests_logging max_json_array_element_count max_json_depth
    max_json_object_entry_count max_json_string_value_length max_json_token max_request_duration max_request_json_memory
    max_request_json_strings max_request_size max_token_header_size profiling proxy_api proxy_protocol_authorized_addrs
    proxy_protocol_behavior purpose redact_addresses redact_cluster_name redact_version require_request_header role
    socket_group socket_mode socket_user telemetry tls_acme_ca_directory tls_acme_ca_root tls_acme_cache_path
    tls_acme_disable_alpn_challenge tls_acme_disable_http_challenge tls_acme_domains tls_acme_eab_key_id
    tls_acme_eab_mac_key tls_acme_email tls_acme_key_type tls_acme_test_ca_directory tls_auto_reload tls_cert_file
    tls_cipher_suites tls_client_ca_file tls_disable tls_disable_client_certs tls_key_file tls_max_version
    tls_min_version tls_prefer_server_cipher_suites tls_require_and_verify_client_cert unauthenticated_metrics_access
    x_forwarded_for_authorized_addrs x_forwarded_for_client_cert_header x_forwarded_for_client_cert_header_decoders
    x_forwarded_for_hop_skips x_forwarded_for_reject_not_authorized x_forwarded_for_reject_not_present
";

const TELEMETRY_BLOCK: &str = "
    add_lease_metrics_namespace_labels add_mount_point_rollback_metrics circonus_api_app circonus_api_token
    circonus_api_url circonus_broker_id circonus_broker_select_tag circonus_check_display_name
    circonus_check_force_metric_activation circonus_check_id circonus_check_instance_id circonus_check_search_tag
    circonus_check_tags circonus_submission_interval circonus_submission_url disable_hostname dogstatsd_addr
    dogstatsd_tags enable_hostname_label filter_default lease_metrics_epsilon maximum_gauge_cardinality metrics_prefix
    num_lease_metrics_buckets opentelemetry_disable prefix_filter prometheus_retention_time
    rollback_metrics_include_mount_point stackdriver_debug_logs stackdriver_location stackdriver_namespace
    stackdriver_project_id statsd_address statsite_address usage_gauge_period
";

const RAFT_STORAGE: &str = "
    autopilot_reconcile_interval autopilot_redundancy_zone autopilot_update_interval autopilot_upgrade_version
    max_entry_size max_mount_and_namespace_table_entry_size max_transaction_size node_id path performance_multiplier
    raft_log_verification_interval raft_log_verifier_enabled raft_wal retry_join retry_join_as_non_voter
    snapshot_interval snapshot_threshold trailing_logs
";

const RAFT_RETRY_JOIN: &str = "
    auto_join auto_join_port auto_join_scheme leader_api_addr leader_ca_cert leader_ca_cert_file leader_client_cert
    leader_client_cert_file leader_client_key leader_client_key_file leader_tls_servername
";

/// Ours alone.
const OWN: &str = "audit_directories audit_targets compare_interval join_token_file min_free operations_address otlp_ca_file otlp_endpoint \
     otlp_one_in peer_unseal vault_names zone";

#[test]
fn every_key_of_the_references_has_a_fate() {
    for (table, reference) in [
        (TOP, TOP_LEVEL),
        (LISTENER, TCP_LISTENER),
        (TELEMETRY, TELEMETRY_BLOCK),
        (RAFT, RAFT_STORAGE),
        (RETRY_JOIN, RAFT_RETRY_JOIN),
    ] {
        let reference: Vec<&str> = reference.split_whitespace().collect();
        let unknown: Vec<_> = reference
            .iter()
            .filter(|key| fate(table, key).is_none())
            .collect();
        assert!(unknown.is_empty(), "no fate: {unknown:?}");
        let own: Vec<&str> = OWN.split_whitespace().collect();
        let invented: Vec<_> = table
            .iter()
            .map(|(key, _)| *key)
            .filter(|key| !reference.contains(key) && !own.contains(key))
            .collect();
        assert!(invented.is_empty(), "in neither reference nor ours: {invented:?}");
    }
}

/// Blocks in which a key stands: what is before it, what is behind.
const PLACES: &[(Table, &str, &str)] = &[
    (TOP, "", ""),
    (LISTENER, "listener \"tcp\" {\n", "\n}"),
    (LISTENER_TELEMETRY, "listener \"tcp\" {\ntelemetry {\n", "\n}\n}"),
    (TELEMETRY, "telemetry {\n", "\n}"),
    (RAFT, "storage \"raft\" {\npath = \"/x\"\n", "\n}"),
    (
        RETRY_JOIN,
        "storage \"raft\" {\npath = \"/x\"\nretry_join {\n",
        "\n}\n}",
    ),
    (AUDIT, "audit \"file\" \"x\" {\n", "\n}"),
];

/// What reading one file with one key gives: warnings, or the error.
fn read_key(before: &str, key: &str, behind: &str) -> Result<Vec<String>, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.hcl");
    std::fs::write(&path, format!("{before}{key} = \"1\"{behind}\n")).unwrap();
    let read = read(&[path.to_string_lossy().into_owned()]);
    read.map(|(_, warnings)| warnings)
        .map_err(|error| error.to_string())
}

#[test]
fn each_fate_shows_when_a_file_is_read() {
    let mut seen = [0; 3];
    for (table, before, behind) in PLACES {
        for (key, fate) in *table {
            let line = before.lines().count() + 1;
            let got = read_key(before, key, behind);
            match fate {
                Fate::Refused(why) => {
                    seen[0] += 1;
                    let error = got.expect_err(key);
                    let expected = format!(":{line}:1: {key} is not supported: {why}");
                    assert!(error.contains(&expected), "{key}: {error}");
                }
                Fate::Ignored(why) => {
                    seen[1] += 1;
                    let expected = format!(":{line}: {key} has no effect: {why}");
                    match got {
                        Ok(warnings) => assert!(
                            warnings.iter().any(|w| w.contains(&expected)),
                            "{key}: {warnings:?}"
                        ),
                        // What is around it is not whole.
                        Err(error) => assert!(!error.contains(key), "{key}: {error}"),
                    }
                }
                Fate::Honoured => {
                    seen[2] += 1;
                    let said = got.map_or_else(|error| error, |warnings| warnings.join(" "));
                    let none = ["unknown key", "is not supported", "has no effect"];
                    assert!(none.iter().all(|words| !said.contains(words)), "{key}: {said}");
                }
            }
        }
    }
    assert!(
        seen.iter().all(|count| *count > 20),
        "refused, ignored, honoured: {seen:?}"
    );
}

#[test]
fn a_mistyped_key_is_named_with_its_nearest() {
    for (table, before, behind) in PLACES {
        for (key, _) in table.iter().filter(|(key, _)| key.len() > 6) {
            let mistyped = format!("{}_", key.split_at(key.len() - 1).0);
            if fate(table, &mistyped).is_some() {
                continue;
            }
            let error = read_key(before, &mistyped, behind).expect_err(key);
            let line = before.lines().count() + 1;
            assert!(
                error.contains(&format!(":{line}:1: unknown key {mistyped:?}; did you mean ")),
                "{key}: {error}"
            );
        }
    }
}
