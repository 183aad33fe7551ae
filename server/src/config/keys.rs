//! Every key of OpenBao's and Vault's configuration reference, and what becomes of it here: honoured, accepted with a warning
//! that says why it has no effect, or refused with the reason. A key in neither reference is an error.

/// What becomes of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It has its documented effect.
    Honoured,
    /// It has no effect here; why.
    Ignored(&'static str),
    /// It cannot be had; why.
    Refused(&'static str),
}

use Fate::{Honoured, Ignored, Refused};

const NO_MLOCK: &str = "keys are held in memory that is kept out of core files; switch swap off instead";
const NO_CACHE: &str = "what is derived from the store is always that of the current revision";
const NOT_YET: &str = "this build does not have it";
const COMPILED_IN: &str = "engines are compiled in; nothing is executed";
const SUPERVISED: &str = "the log goes to standard error; let the supervisor keep it";
const PULLED: &str = "numbers are pulled from /metrics, not pushed";
const LINEARIZABLE: &str = "reads are linearizable on every node";
const BOUNDED: &str = "size, depth and number of values of a body are bounded";
const SIZED: &str = "snapshots are made by size and age of the log";
const PROMOTED: &str = "learners are promoted as soon as they have caught up";
const CHECKSUMMED: &str = "every entry carries a checksum";
const NO_SOCKET: &str = "there is no listener on a Unix socket";
const AGENT: &str = "this is a server";
/// Keys of traces.
const TRACES: Fate = match cfg!(feature = "otlp") {
    true => Honoured,
    false => Refused("this build sends no traces: build it with --features otlp"),
};

/// Keys at the top level. Blocks are among them.
pub const TOP: &[(&str, Fate)] = &[
    ("api_addr", Honoured),
    ("audit", Honoured),
    ("audit_directories", Honoured),
    ("audit_targets", Honoured),
    ("backend", Honoured),
    ("cluster_addr", Honoured),
    ("cluster_name", Honoured),
    ("compare_interval", Honoured),
    ("default_lease_ttl", Honoured),
    ("default_max_request_duration", Honoured),
    ("enable_unauthenticated_access", Honoured),
    ("listener", Honoured),
    ("log_format", Honoured),
    ("log_level", Honoured),
    ("max_lease_ttl", Honoured),
    ("operations_address", Honoured),
    ("peer_unseal", Honoured),
    ("pid_file", Honoured),
    ("seal", Honoured),
    ("storage", Honoured),
    ("user_lockout", Honoured),
    ("telemetry", Honoured),
    ("zone", Honoured),
    (
        "adaptive_overload_protection",
        Ignored("requests under way are bounded"),
    ),
    (
        "administrative_namespace_path",
        Ignored("what is the cluster's answers in the root namespace alone"),
    ),
    (
        "allow_audit_log_prefixing",
        Refused("a prefix chosen over the API turns an audit file into a script"),
    ),
    ("allow_unauthenticated_workflows", Ignored(NOT_YET)),
    ("cache_size", Ignored(NO_CACHE)),
    ("cloud", Ignored("nothing is reported to anybody")),
    (
        "cluster_cipher_suites",
        Ignored("nodes speak TLS 1.3 to each other"),
    ),
    ("detect_deadlocks", Ignored("no such locks are used")),
    ("disable_cache", Ignored(NO_CACHE)),
    (
        "disable_clustering",
        Refused("a node always speaks to its cluster; one node alone is a cluster of one"),
    ),
    ("disable_indexing", Ignored("there is no such index")),
    ("disable_mlock", Ignored(NO_MLOCK)),
    (
        "disable_performance_standby",
        Ignored("every unsealed node serves"),
    ),
    (
        "disable_printable_check",
        Ignored("paths are checked by one canonicaliser"),
    ),
    (
        "disable_sealwrap",
        Ignored("everything is sealed once, by the barrier"),
    ),
    ("disable_sentinel_trace", Ignored(NOT_YET)),
    ("disable_ssct_tokens", Ignored("tokens carry no state")),
    ("disable_standby_reads", Ignored(LINEARIZABLE)),
    ("enable_multiseal", Refused("this build has the Shamir seal")),
    ("enable_post_unseal_trace", Ignored("there is no such trace")),
    ("enable_raw_endpoint", Refused("rows are not served raw")),
    (
        "enable_response_header_hostname",
        Ignored("no answer names the host"),
    ),
    (
        "enable_response_header_raft_node_id",
        Ignored("no answer names the node"),
    ),
    ("enable_ui", Ignored("this build has no web interface")),
    ("entropy", Refused("randomness is the operating system's")),
    ("experiments", Ignored("there are none")),
    ("feature_flags", Ignored("there are none")),
    ("ha_backend", Refused("the cluster replicates itself")),
    ("ha_storage", Refused("the cluster replicates itself")),
    ("hsm", Refused("this build has the Shamir seal")),
    ("imprecise_lease_role_tracking", Ignored(NOT_YET)),
    ("initialize", Refused("initialize once with `operator init`")),
    ("introspection_endpoint", Ignored(NOT_YET)),
    ("kms", Refused("this build has the Shamir seal")),
    ("kms_library", Refused("this build has the Shamir seal")),
    ("license_path", Ignored("no licence is needed")),
    ("log_file", Ignored(SUPERVISED)),
    (
        "log_requests_level",
        Ignored("requests are recorded by audit devices"),
    ),
    ("log_rotate_bytes", Ignored(SUPERVISED)),
    ("log_rotate_duration", Ignored(SUPERVISED)),
    ("log_rotate_max_files", Ignored(SUPERVISED)),
    ("observations", Ignored(NOT_YET)),
    ("plugin", Refused(COMPILED_IN)),
    ("plugin_auto_download", Ignored(COMPILED_IN)),
    ("plugin_auto_register", Ignored(COMPILED_IN)),
    ("plugin_directory", Refused(COMPILED_IN)),
    ("plugin_download_behavior", Ignored(COMPILED_IN)),
    ("plugin_download_max_size", Ignored(COMPILED_IN)),
    ("plugin_file_permissions", Ignored(COMPILED_IN)),
    ("plugin_file_uid", Ignored(COMPILED_IN)),
    ("plugin_tmpdir", Ignored(COMPILED_IN)),
    ("post_unseal_trace_directory", Ignored("there is no such trace")),
    ("raw_storage_endpoint", Refused("rows are not served raw")),
    (
        "remove_irrevocable_lease_after",
        Refused("a lease is never given up on"),
    ),
    ("replication", Refused(NOT_YET)),
    ("reporting", Ignored("nothing is reported to anybody")),
    ("request_limiter", Ignored("requests under way are bounded")),
    ("sentinel", Refused(NOT_YET)),
    ("service_registration", Refused(NOT_YET)),
    ("ui", Ignored("this build has no web interface")),
    (
        "unsafe_allow_api_audit_creation",
        Ignored("audit files are made over the API inside audit_directories only"),
    ),
    (
        "unsafe_cross_namespace_identity",
        Ignored("identities stay within their namespace"),
    ),
    (
        "unsafe_relative_paths",
        Refused("a path means what it says: none with `..` is taken"),
    ),
];

/// Keys of `listener "tcp"`.
pub const LISTENER: &[(&str, Fate)] = &[
    ("address", Honoured),
    ("cluster_address", Honoured),
    ("disable_unauthed_generate_root_endpoints", Honoured),
    ("disable_unauthed_rekey_endpoints", Honoured),
    ("http_idle_timeout", Honoured),
    ("http_read_header_timeout", Honoured),
    ("http_read_timeout", Honoured),
    ("http_write_timeout", Honoured),
    ("max_request_duration", Honoured),
    ("max_request_json_memory", Honoured),
    ("max_request_size", Honoured),
    ("proxy_protocol_authorized_addrs", Honoured),
    ("proxy_protocol_behavior", Honoured),
    ("telemetry", Honoured),
    ("tls_cert_file", Honoured),
    ("tls_cipher_suites", Honoured),
    ("tls_client_ca_file", Honoured),
    ("tls_disable", Honoured),
    ("tls_disable_client_certs", Honoured),
    ("tls_key_file", Honoured),
    ("tls_max_version", Honoured),
    ("tls_min_version", Honoured),
    ("tls_require_and_verify_client_cert", Honoured),
    ("unauthenticated_metrics_access", Honoured),
    ("x_forwarded_for_authorized_addrs", Honoured),
    ("x_forwarded_for_hop_skips", Honoured),
    ("x_forwarded_for_reject_not_authorized", Honoured),
    ("x_forwarded_for_reject_not_present", Honoured),
    ("agent_api", Refused(AGENT)),
    ("allow_missing_index_header", Ignored(LINEARIZABLE)),
    ("chroot_namespace", Refused("a listener serves all namespaces")),
    ("consistency_fallback_behavior", Ignored(LINEARIZABLE)),
    ("consistency_max_index_wait", Ignored(LINEARIZABLE)),
    ("consistency_missing_header_forward", Ignored(LINEARIZABLE)),
    ("cors_allowed_headers", Refused(NOT_YET)),
    ("cors_allowed_origins", Refused(NOT_YET)),
    ("cors_enabled", Refused(NOT_YET)),
    ("custom_response_headers", Refused(NOT_YET)),
    (
        "disable_replication_status_endpoints",
        Ignored("there are no such endpoints"),
    ),
    (
        "disable_request_limiter",
        Ignored("requests under way are bounded"),
    ),
    ("inflight_requests_logging", Ignored(NOT_YET)),
    ("max_json_array_element_count", Ignored(BOUNDED)),
    ("max_json_depth", Ignored("bodies nest at most 128 levels")),
    ("max_json_object_entry_count", Ignored(BOUNDED)),
    ("max_json_string_value_length", Ignored(BOUNDED)),
    ("max_json_token", Ignored(BOUNDED)),
    (
        "max_request_json_strings",
        Ignored("a body holds at most 100,000 values and keys"),
    ),
    ("max_token_header_size", Ignored("a token is at most 8 KiB")),
    ("profiling", Ignored(NOT_YET)),
    ("proxy_api", Refused(AGENT)),
    ("purpose", Refused(AGENT)),
    ("redact_addresses", Refused(NOT_YET)),
    ("redact_cluster_name", Refused(NOT_YET)),
    ("redact_version", Refused(NOT_YET)),
    ("require_request_header", Refused(AGENT)),
    ("role", Refused(AGENT)),
    ("socket_group", Refused(NO_SOCKET)),
    ("socket_mode", Refused(NO_SOCKET)),
    ("socket_user", Refused(NO_SOCKET)),
    ("tls_acme_ca_directory", Refused(NOT_YET)),
    ("tls_acme_ca_root", Refused(NOT_YET)),
    ("tls_acme_cache_path", Refused(NOT_YET)),
    ("tls_acme_disable_alpn_challenge", Refused(NOT_YET)),
    ("tls_acme_disable_http_challenge", Refused(NOT_YET)),
    ("tls_acme_domains", Refused(NOT_YET)),
    ("tls_acme_eab_key_id", Refused(NOT_YET)),
    ("tls_acme_eab_mac_key", Refused(NOT_YET)),
    ("tls_acme_email", Refused(NOT_YET)),
    ("tls_acme_key_type", Refused(NOT_YET)),
    ("tls_acme_test_ca_directory", Refused(NOT_YET)),
    (
        "tls_auto_reload",
        Ignored("changed certificates are always taken up"),
    ),
    (
        "tls_prefer_server_cipher_suites",
        Ignored("the server's order always counts"),
    ),
    ("x_forwarded_for_client_cert_header", Refused(NOT_YET)),
    ("x_forwarded_for_client_cert_header_decoders", Refused(NOT_YET)),
];

/// Keys of `user_lockout "TYPE"`.
pub const USER_LOCKOUT: &[(&str, Fate)] = &[
    ("disable_lockout", Honoured),
    ("lockout_counter_reset", Honoured),
    ("lockout_duration", Honoured),
    ("lockout_threshold", Honoured),
];

/// Keys of `audit "type" "name"`.
pub const AUDIT: &[(&str, Fate)] = &[
    ("description", Honoured),
    ("options", Honoured),
    ("local", Ignored("a declared device is this node's alone")),
];

/// Keys of `telemetry` inside a listener.
pub const LISTENER_TELEMETRY: &[(&str, Fate)] = &[("unauthenticated_metrics_access", Honoured)];

/// Keys of `storage "raft"`.
pub const RAFT: &[(&str, Fate)] = &[
    ("min_free", Honoured),
    ("node_id", Honoured),
    ("path", Honoured),
    ("retry_join", Honoured),
    ("autopilot_reconcile_interval", Ignored(PROMOTED)),
    ("autopilot_redundancy_zone", Ignored("set zone at the top level")),
    ("autopilot_update_interval", Ignored(PROMOTED)),
    ("autopilot_upgrade_version", Ignored(NOT_YET)),
    ("max_entry_size", Ignored("an entry is at most 1 MiB")),
    (
        "max_mount_and_namespace_table_entry_size",
        Ignored("mounts are rows of their own"),
    ),
    ("max_transaction_size", Ignored("a transaction is at most 8 MiB")),
    (
        "performance_multiplier",
        Ignored("elections start after 0.6 to 1.2 s without a leader"),
    ),
    ("raft_log_verification_interval", Ignored(CHECKSUMMED)),
    ("raft_log_verifier_enabled", Ignored(CHECKSUMMED)),
    ("raft_wal", Ignored("there is one kind of log")),
    ("retry_join_as_non_voter", Honoured),
    ("snapshot_interval", Ignored(SIZED)),
    ("snapshot_threshold", Ignored(SIZED)),
    (
        "trailing_logs",
        Ignored("the log keeps what a short absence needs"),
    ),
];

/// Keys of `retry_join` inside `storage "raft"`.
pub const RETRY_JOIN: &[(&str, Fate)] = &[
    ("join_token_file", Honoured),
    ("leader_api_addr", Honoured),
    ("leader_ca_cert", Honoured),
    ("leader_ca_cert_file", Honoured),
    ("leader_tls_servername", Honoured),
    (
        "auto_join",
        Refused("name the members: clouds are not asked for them"),
    ),
    (
        "auto_join_port",
        Refused("name the members: clouds are not asked for them"),
    ),
    (
        "auto_join_scheme",
        Refused("name the members: clouds are not asked for them"),
    ),
    (
        "leader_client_cert",
        Refused("a joiner proves itself by its join token"),
    ),
    (
        "leader_client_cert_file",
        Refused("a joiner proves itself by its join token"),
    ),
    (
        "leader_client_key",
        Refused("a joiner proves itself by its join token"),
    ),
    (
        "leader_client_key_file",
        Refused("a joiner proves itself by its join token"),
    ),
];

/// Keys of `telemetry`.
pub const TELEMETRY: &[(&str, Fate)] = &[
    ("vault_names", Honoured),
    ("otlp_ca_file", TRACES),
    ("otlp_endpoint", TRACES),
    ("otlp_one_in", TRACES),
    ("add_lease_metrics_namespace_labels", Ignored(PULLED)),
    ("add_mount_point_rollback_metrics", Ignored(PULLED)),
    ("circonus_api_app", Ignored(PULLED)),
    ("circonus_api_token", Ignored(PULLED)),
    ("circonus_api_url", Ignored(PULLED)),
    ("circonus_broker_id", Ignored(PULLED)),
    ("circonus_broker_select_tag", Ignored(PULLED)),
    ("circonus_check_display_name", Ignored(PULLED)),
    ("circonus_check_force_metric_activation", Ignored(PULLED)),
    ("circonus_check_id", Ignored(PULLED)),
    ("circonus_check_instance_id", Ignored(PULLED)),
    ("circonus_check_search_tag", Ignored(PULLED)),
    ("circonus_check_tags", Ignored(PULLED)),
    ("circonus_submission_interval", Ignored(PULLED)),
    ("circonus_submission_url", Ignored(PULLED)),
    ("disable_hostname", Ignored(PULLED)),
    ("dogstatsd_addr", Ignored(PULLED)),
    ("dogstatsd_tags", Ignored(PULLED)),
    ("enable_hostname_label", Ignored(PULLED)),
    ("filter_default", Ignored(PULLED)),
    ("lease_metrics_epsilon", Ignored(PULLED)),
    (
        "maximum_gauge_cardinality",
        Ignored("no label has values without bound"),
    ),
    (
        "metrics_prefix",
        Ignored("every number begins with conclave_; vault_names tells them under Vault's names too"),
    ),
    ("num_lease_metrics_buckets", Ignored(PULLED)),
    ("opentelemetry_disable", Ignored(PULLED)),
    ("prefix_filter", Ignored(PULLED)),
    (
        "prometheus_retention_time",
        Ignored("numbers are never forgotten while the process runs"),
    ),
    ("rollback_metrics_include_mount_point", Ignored(PULLED)),
    ("stackdriver_debug_logs", Ignored(PULLED)),
    ("stackdriver_location", Ignored(PULLED)),
    ("stackdriver_namespace", Ignored(PULLED)),
    ("stackdriver_project_id", Ignored(PULLED)),
    ("statsd_address", Ignored(PULLED)),
    ("statsite_address", Ignored(PULLED)),
    ("usage_gauge_period", Ignored(PULLED)),
];

/// The fate of a key, if it is known.
pub fn fate(table: &[(&str, Fate)], key: &str) -> Option<Fate> {
    table
        .iter()
        .find(|(known, _)| *known == key)
        .map(|(_, fate)| *fate)
}

/// The known key that looks most like a wrong one: at least half of the word is right.
pub fn nearest<'t>(table: &[(&'t str, Fate)], key: &str) -> Option<&'t str> {
    table
        .iter()
        .map(|(known, _)| (distance(known, key), *known))
        .min()
        .filter(|(far, _)| *far <= 3 && far * 2 <= key.chars().count())
        .map(|(_, known)| known)
}

/// Edits that turn one word into the other (Levenshtein 1966).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut next = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let (up, left) = (
                row.get(j + 1).copied().unwrap_or(0),
                next.get(j).copied().unwrap_or(0),
            );
            let diagonal = row.get(j).copied().unwrap_or(0) + usize::from(x != *y);
            next.push(diagonal.min(up + 1).min(left + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_keys_find_their_neighbour() {
        assert_eq!(nearest(TOP, "api_adr"), Some("api_addr"));
        assert_eq!(nearest(LISTENER, "tls_cert_fil"), Some("tls_cert_file"));
        assert_eq!(nearest(TOP, "something_else_entirely"), None);
        assert_eq!(nearest(TOP, "foo"), None, "three letters off, of three");
        assert_eq!(nearest(TOP, "sael"), Some("seal"));
    }

    #[test]
    fn no_key_stands_twice() {
        for table in [TOP, LISTENER, RAFT, RETRY_JOIN, TELEMETRY] {
            for (key, _) in table {
                assert_eq!(table.iter().filter(|(other, _)| other == key).count(), 1, "{key}");
            }
        }
    }
}
