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

/// Keys at the top level. Blocks are among them.
pub const TOP: &[(&str, Fate)] = &[
    ("listener", Honoured),
    ("storage", Honoured),
    ("backend", Honoured),
    ("cluster_name", Honoured),
    ("cluster_addr", Honoured),
    ("api_addr", Honoured),
    ("zone", Honoured),
    ("operations_address", Honoured),
    ("audit_directories", Honoured),
    ("default_lease_ttl", Honoured),
    ("max_lease_ttl", Honoured),
    ("log_level", Honoured),
    ("log_format", Honoured),
    ("disable_mlock", Ignored(NO_MLOCK)),
    ("disable_cache", Ignored(NO_CACHE)),
    ("cache_size", Ignored(NO_CACHE)),
    ("ui", Ignored("this build has no web interface")),
    (
        "telemetry",
        Ignored("numbers are served at /metrics of the operations address"),
    ),
    (
        "enable_response_header_hostname",
        Ignored("no answer names the host"),
    ),
    (
        "enable_response_header_raft_node_id",
        Ignored("no answer names the node"),
    ),
    (
        "disable_standby_reads",
        Ignored("reads are linearizable on every node"),
    ),
    (
        "disable_sealwrap",
        Ignored("everything is sealed once, by the barrier"),
    ),
    (
        "disable_performance_standby",
        Ignored("every unsealed node serves"),
    ),
    (
        "disable_printable_check",
        Ignored("paths are checked by one canonicaliser"),
    ),
    (
        "allow_audit_log_prefixing",
        Refused("a prefix chosen over the API turns an audit file into a script"),
    ),
    (
        "unsafe_allow_api_audit_creation",
        Ignored("audit files may be made over the API inside audit_directories"),
    ),
    ("raw_storage_endpoint", Refused("rows are not served raw")),
    ("introspection_endpoint", Ignored(NOT_YET)),
    ("detect_deadlocks", Ignored("no such locks are used")),
    ("imprecise_lease_role_tracking", Ignored(NOT_YET)),
    ("license_path", Ignored("no licence is needed")),
    (
        "pid_file",
        Refused("let the supervisor know the process: systemd does; a stale file helps nobody"),
    ),
    (
        "plugin_directory",
        Refused("engines are compiled in; nothing is executed"),
    ),
    ("plugin_file_uid", Ignored("engines are compiled in")),
    ("plugin_file_permissions", Ignored("engines are compiled in")),
    ("plugin", Refused("engines are compiled in; nothing is executed")),
    ("plugin_auto_download", Ignored("engines are compiled in")),
    ("plugin_auto_register", Ignored("engines are compiled in")),
    ("plugin_download_behavior", Ignored("engines are compiled in")),
    (
        "seal",
        Refused("only the Shamir seal is built, and it needs no block"),
    ),
    ("ha_storage", Refused("the cluster replicates itself")),
    ("service_registration", Refused(NOT_YET)),
    (
        "user_lockout",
        Ignored("no login method of this build knows users"),
    ),
    (
        "audit",
        Refused("declare audit devices with `audit enable`; their files must lie in audit_directories"),
    ),
    ("initialize", Refused("initialize once with `operator init`")),
    ("entropy", Refused("randomness is the operating system's")),
    ("kms_library", Refused("only the Shamir seal is built")),
    (
        "log_file",
        Ignored("the log goes to standard error; let the supervisor keep it"),
    ),
    ("log_rotate_duration", Ignored("the log goes to standard error")),
    ("log_rotate_bytes", Ignored("the log goes to standard error")),
    ("log_rotate_max_files", Ignored("the log goes to standard error")),
    (
        "log_requests_level",
        Ignored("requests are recorded by audit devices"),
    ),
    ("experiments", Ignored("there are none")),
    ("enable_ui", Ignored("this build has no web interface")),
    ("max_entry_size", Ignored("an entry is at most 1 MiB")),
];

/// Keys of `listener "tcp"`.
pub const LISTENER: &[(&str, Fate)] = &[
    ("address", Honoured),
    ("cluster_address", Honoured),
    ("tls_disable", Honoured),
    ("tls_cert_file", Honoured),
    ("tls_key_file", Honoured),
    ("tls_client_ca_file", Honoured),
    ("tls_require_and_verify_client_cert", Honoured),
    ("tls_min_version", Honoured),
    ("tls_max_version", Honoured),
    ("tls_cipher_suites", Honoured),
    ("tls_disable_client_certs", Honoured),
    ("http_idle_timeout", Honoured),
    ("http_read_header_timeout", Honoured),
    ("http_read_timeout", Honoured),
    ("http_write_timeout", Honoured),
    ("max_request_size", Honoured),
    ("max_request_duration", Honoured),
    ("x_forwarded_for_authorized_addrs", Honoured),
    ("x_forwarded_for_hop_skips", Honoured),
    ("x_forwarded_for_reject_not_authorized", Honoured),
    ("x_forwarded_for_reject_not_present", Honoured),
    ("telemetry", Honoured),
    (
        "max_request_json_memory",
        Ignored("the size, depth and number of members of a body are bounded"),
    ),
    (
        "max_request_json_strings",
        Ignored("the size, depth and number of members of a body are bounded"),
    ),
    ("max_json_depth", Ignored("bodies nest at most 128 levels")),
    (
        "max_json_object_entry_count",
        Ignored("the number of members of a body is bounded"),
    ),
    (
        "max_json_string_value_length",
        Ignored("the size of a body is bounded"),
    ),
    ("max_token_header_size", Ignored("a token is at most 8 KiB")),
    ("proxy_protocol_behavior", Honoured),
    ("proxy_protocol_authorized_addrs", Honoured),
    (
        "tls_prefer_server_cipher_suites",
        Ignored("the server's order always counts"),
    ),
    (
        "tls_auto_reload",
        Ignored("changed certificates are always taken up"),
    ),
    ("tls_acme_ca_directory", Refused(NOT_YET)),
    (
        "disable_unauthed_rekey_endpoints",
        Ignored("a rekey is bound to its nonce"),
    ),
    (
        "disable_unauthed_generate_root_endpoints",
        Ignored("generating a root token is bound to its nonce"),
    ),
    ("unauthenticated_metrics_access", Honoured),
    ("custom_response_headers", Refused(NOT_YET)),
    ("profiling", Ignored(NOT_YET)),
    ("inflight_requests_logging", Ignored(NOT_YET)),
    ("agent_api", Refused("this is a server")),
    ("role", Refused("this is a server")),
    (
        "chroot_namespace",
        Refused("this build has the root namespace only"),
    ),
    ("redact_addresses", Ignored(NOT_YET)),
    ("redact_cluster_name", Ignored(NOT_YET)),
    ("redact_version", Ignored(NOT_YET)),
    ("require_request_header", Refused("this is a server")),
    (
        "allow_missing_index_header",
        Ignored("reads are linearizable on every node"),
    ),
    (
        "consistency_fallback_behavior",
        Ignored("reads are linearizable on every node"),
    ),
    (
        "consistency_missing_header_forward",
        Ignored("reads are linearizable on every node"),
    ),
    (
        "consistency_max_index_wait",
        Ignored("reads are linearizable on every node"),
    ),
];

/// Keys of `storage "raft"`.
pub const RAFT: &[(&str, Fate)] = &[
    ("path", Honoured),
    ("node_id", Honoured),
    (
        "performance_multiplier",
        Ignored("elections start after 0.6 to 1.2 s without a leader"),
    ),
    (
        "trailing_logs",
        Ignored("the log keeps what a short absence needs"),
    ),
    (
        "snapshot_threshold",
        Ignored("snapshots are made by size and age of the log"),
    ),
    (
        "snapshot_interval",
        Ignored("snapshots are made by size and age of the log"),
    ),
    ("max_entry_size", Ignored("an entry is at most 1 MiB")),
    ("max_transaction_size", Ignored("a transaction is at most 8 MiB")),
    (
        "retry_join",
        Refused("a node is admitted once, by `operator raft join` with a join token"),
    ),
    (
        "retry_join_as_non_voter",
        Refused("permanent non-voters are not built"),
    ),
    (
        "autopilot_reconcile_interval",
        Ignored("learners are promoted as soon as they have caught up"),
    ),
    (
        "autopilot_update_interval",
        Ignored("learners are promoted as soon as they have caught up"),
    ),
    ("autopilot_redundancy_zone", Ignored("set zone at the top level")),
    ("autopilot_upgrade_version", Ignored(NOT_YET)),
    (
        "raft_log_verifier_enabled",
        Ignored("every entry carries a checksum"),
    ),
    (
        "raft_log_verification_interval",
        Ignored("every entry carries a checksum"),
    ),
    ("raft_wal", Ignored("there is one kind of log")),
];

/// The fate of a key, if it is known.
pub fn fate(table: &[(&str, Fate)], key: &str) -> Option<Fate> {
    table
        .iter()
        .find(|(known, _)| *known == key)
        .map(|(_, fate)| *fate)
}

/// The known key that looks most like a wrong one.
pub fn nearest<'t>(table: &[(&'t str, Fate)], key: &str) -> Option<&'t str> {
    table
        .iter()
        .map(|(known, _)| (distance(known, key), *known))
        .min()
        .filter(|(far, _)| *far <= 3)
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
    }

    #[test]
    fn no_key_stands_twice() {
        for table in [TOP, LISTENER, RAFT] {
            for (key, _) in table {
                assert_eq!(table.iter().filter(|(other, _)| other == key).count(), 1, "{key}");
            }
        }
    }
}
