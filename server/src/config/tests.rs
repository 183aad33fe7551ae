//! What files say and what becomes of it: good ones, mistakes with their place, merging, environment.

use std::path::Path;

use super::*;
use crate::http::Trust;

const GOOD: &str = r#"
    cluster_addr = "https://127.0.0.1:8201"
    api_addr = "https://127.0.0.1:8200"
    zone = "a"
    disable_mlock = true
    listener "tcp" { address = "127.0.0.1:8200" tls_disable = true http_idle_timeout = "7s" }
    storage "raft" { path = "/data" node_id = "one" }
"#;

fn read_text(text: &str) -> Result<(Config, Vec<String>), Error> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.hcl");
    std::fs::write(&path, text).unwrap();
    let (config, warnings) = read(&[path.to_string_lossy().into_owned()])?;
    config.check()?;
    Ok((config, warnings))
}

fn with_listener(inside: &str) -> Result<TcpListener, Error> {
    let text = format!("storage \"inmem\" {{}}\nlistener \"tcp\" {{\n{inside}\n}}");
    read_text(&text).map(|(config, _)| config.listeners.into_iter().next().unwrap())
}

#[test]
fn a_usual_file() {
    let (config, warnings) = read_text(GOOD).unwrap();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let settings = config.into_settings().unwrap();
    assert_eq!(settings.node.cluster_addr, "127.0.0.1:8201");
    assert_eq!(settings.node.cluster_listen.to_string(), "127.0.0.1:8201");
    assert_eq!(
        (settings.node.name.as_str(), settings.node.zone.as_str()),
        ("one", "a")
    );
    let listener = settings.listeners.first().unwrap();
    assert!(listener.tls.is_none());
    assert_eq!(listener.http.timeouts.idle, Duration::from_secs(7));
    assert_eq!(settings.operations.unwrap().to_string(), "127.0.0.1:8202");
}

#[test]
fn json_says_the_same() {
    let (config, _) = read_text(
        r#"{"cluster_addr": "https://127.0.0.1:8201", "storage": {"raft": {"path": "/data"}},
            "listener": [{"tcp": {"address": "127.0.0.1:1", "tls_disable": "1"}}, {"tcp": {"tls_disable": 1}}]}"#,
    )
    .unwrap();
    let ports: Vec<u16> = config
        .listeners
        .iter()
        .map(|listener| listener.address.port())
        .collect();
    assert_eq!(ports, [1, 8200]);
}

#[test]
fn mistakes_are_named_with_their_place() {
    for (text, expected) in [
        (
            "api_adr = \"x\"",
            ":1:1: unknown key \"api_adr\"; did you mean api_addr?",
        ),
        (
            "\n  listener \"unix\" {}",
            ":2:3: listener \"unix\" is not supported",
        ),
        (
            "plugin_directory = \"/x\"",
            "plugin_directory is not supported: engines are compiled in",
        ),
        (
            "storage \"file\" { path = \"x\" }",
            "storage \"file\" is not supported",
        ),
        ("storage \"raft\" { }", "storage \"raft\" needs a path"),
        (
            "zone = \"a\"\npeer_unseal = \"sometimes\"",
            ":2:15: peer_unseal: \"sometimes\" is not known: use \"off\", \"ceremony\" or \"always\"",
        ),
        (
            "storage \"raft\" { path = \"x\" retry_join { auto_join = \"y\" } }",
            "auto_join is not supported",
        ),
        (
            "storage \"inmem\" {}\nstorage \"inmem\" {}",
            "storage is set twice",
        ),
        (
            "zone = \"a\"\n\n  default_lease_ttl = \"soon\"",
            ":3:23: default_lease_ttl must be a duration",
        ),
        ("seal \"awskms\" {}", "seal \"awskms\" is not supported"),
        (
            "telemetry { statsd_adress = \"x\" }",
            "did you mean statsd_address?",
        ),
        (
            "zone = \"a\"\nenable_unauthenticated_access = [\"everything\"]",
            ":2:33: enable_unauthenticated_access: \"everything\" is not known",
        ),
    ] {
        let error = read_text(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn mistakes_in_audit_devices_and_what_is_missing_are_named() {
    for (text, expected) in [
        (
            "audit \"pipe\" \"a\" {}",
            "audit \"pipe\" is not supported: audit devices are file, socket, syslog, http",
        ),
        ("audit \"file\" \"a\" { mode = \"0600\" }", "unknown key \"mode\""),
        ("audit \"file\" \"a\" { options { } }", "file_path is required"),
        (
            "audit \"file\" \"a\" { options { file_path = \"/a\" prefix = \"#!\" } }",
            "audit option prefix is refused",
        ),
        ("audit \"file\" \"a b\" { }", "the name of an audit device"),
        (
            "audit \"file\" \"a\" { options { file_path = \"/a\" filter = \"path = x\" } }",
            "audit option filter: character 6",
        ),
        (
            "audit \"file\" \"a\" { options { file_path = \"/a\" filter = \"path == x\" } }",
            "one must have none, or be the fallback",
        ),
        (
            "audit \"file\" \"a\" { options { file_path = \"/a\" } }\naudit \"file\" \"a/\" { options { file_path = \"/b\" } }",
            "declared twice",
        ),
        (
            "listener \"tcp\" {}\nstorage \"inmem\" {}\naudit \"file\" \"a\" { options { file_path = \"/a\" } }",
            "need audit_directories",
        ),
        (
            "user_lockout \"github\" { lockout_threshold = 3 }",
            "user_lockout \"github\": use \"all\"",
        ),
        (
            "user_lockout \"all\" { lockout_threshold = 0 }",
            "disable_lockout = true",
        ),
        (
            "user_lockout \"all\" { threshold = 3 }",
            "unknown key \"threshold\"",
        ),
        ("api_addr = \"https://x\"", "no listener"),
        ("listener \"tcp\" {}", "no storage"),
        (
            "listener \"tcp\" {}\nstorage \"raft\" { path = \"x\" }",
            "cluster_addr is required",
        ),
        (
            "listener \"tcp\" {}\nstorage \"inmem\" {}\nlog_level = \"loud\"",
            "unknown log level \"loud\"",
        ),
        (
            "listener \"tcp\" {}\nstorage \"inmem\" {}\nlog_format = \"xml\"",
            "unknown log format \"xml\"",
        ),
        ("a = [", ":1:"),
    ] {
        let error = read_text(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn listeners_are_checked() {
    for (inside, expected) in [
        (
            "tls_cert_fil = \"x\"",
            ":3:1: unknown key \"tls_cert_fil\"; did you mean tls_cert_file?",
        ),
        ("tls_cert_file = \"x\"", "go together"),
        ("tls_min_version = \"tls10\"", "TLS below 1.2 is not spoken"),
        (
            "tls_min_version = \"tls13\"\ntls_max_version = \"tls12\"",
            "above",
        ),
        (
            "tls_require_and_verify_client_cert = true",
            "needs a tls_client_ca_file",
        ),
        (
            "\nproxy_protocol_behavior = \"sometimes\"",
            ":4:27: proxy_protocol_behavior must be use_always",
        ),
        (
            "proxy_protocol_behavior = \"deny_unauthorized\"",
            "needs proxy_protocol_authorized_addrs",
        ),
        (
            "x_forwarded_for_authorized_addrs = \"10.0.0.0/99\"",
            "neither an IP address nor a CIDR block",
        ),
        (
            "x_forwarded_for_hop_skips = -1",
            ":3:29: x_forwarded_for_hop_skips must not be negative",
        ),
        (
            "max_request_size = -1",
            ":3:20: max_request_size must not be negative: requests are always bounded",
        ),
        (
            "address = \"127.0.0.1\"",
            ":3:11: address: \"127.0.0.1\" must be an address and a port",
        ),
        ("tls_disable = \"perhaps\"", "must be true or false"),
        ("custom_response_headers { default = {} }", "is not supported"),
    ] {
        let error = with_listener(inside).unwrap_err().to_string();
        assert!(error.contains(expected), "{inside}: {error}");
    }
}

#[test]
fn listeners_say_what_they_mean() {
    let listener = with_listener(
        r#"
        address = "127.0.0.1:9000"
        tls_disable = "true"
        max_request_size = 1000
        max_request_json_memory = 2000
        max_request_duration = "5s"
        proxy_protocol_behavior = "allow_authorized"
        proxy_protocol_authorized_addrs = "10.0.0.1, 10.0.0.2"
        x_forwarded_for_authorized_addrs = ["10.0.0.0/8"]
        x_forwarded_for_hop_skips = "1"
        x_forwarded_for_reject_not_present = false
        disable_unauthed_rekey_endpoints = false
        telemetry { unauthenticated_metrics_access = true }
        "#,
    )
    .unwrap();
    assert!(
        listener.tls_disable && listener.unauthenticated_rekey && !listener.unauthenticated_generate_root
    );
    assert_eq!(listener.cluster_address().to_string(), "127.0.0.1:9001");
    assert_eq!(listener.max_request_duration, Some(Duration::from_secs(5)));
    let http = listener.http;
    assert_eq!(
        (http.max_body, http.json.memory, http.open_metrics),
        (1000, 2000, true)
    );
    assert!(
        matches!(http.proxy, Trust::Listed(ref networks) if networks.contains("10.0.0.2".parse().unwrap()))
    );
    let forwarding = http.forwarding;
    assert!(forwarding.trusts("10.9.9.9".parse().unwrap()) && forwarding.hop_skips == 1);
    assert!(!forwarding.reject_not_present && forwarding.reject_not_authorized);
}

#[test]
fn directories_are_merged_in_order_of_names() {
    let dir = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    put(
        "20.json",
        r#"{"zone": "late", "listener": {"tcp": {"address": "127.0.0.1:2", "tls_disable": true}}}"#,
    );
    put(
        "10.hcl",
        "zone = \"early\"\nstorage \"inmem\" {}\nlistener \"tcp\" { address = \"127.0.0.1:1\" }",
    );
    put("notes.txt", "not read");
    let (config, _) = read(&[dir.path().to_string_lossy().into_owned()]).unwrap();
    assert_eq!(config.zone.as_deref(), Some("late"));
    let ports: Vec<u16> = config
        .listeners
        .iter()
        .map(|listener| listener.address.port())
        .collect();
    assert_eq!(ports, [1, 2]);
    let missing = dir.path().join("missing.hcl").to_string_lossy().into_owned();
    assert!(read(&[missing]).is_err() && read(&[]).is_err());
}

#[test]
fn the_environment_overrules_files() {
    let (mut config, _) = read_text(GOOD).unwrap();
    config.overrule(|name| {
        let value = match name {
            "VAULT_API_ADDR" => "https://vault",
            "BAO_API_ADDR" => "https://bao",
            "CONCLAVE_API_ADDR" => "https://conclave",
            "VAULT_RAFT_NODE_ID" => "two",
            "BAO_RAFT_PATH" => "/elsewhere",
            "BAO_CLUSTER_ADDR" => "",
            _ => return None,
        };
        Some(value.to_owned())
    });
    assert_eq!(config.api_addr.as_deref(), Some("https://conclave"));
    assert_eq!(
        config.cluster_addr.as_deref(),
        Some("https://127.0.0.1:8201"),
        "an empty variable says nothing"
    );
    let Some(Storage::Raft { path, node_id, .. }) = config.storage else {
        panic!("raft")
    };
    assert_eq!(
        (path.as_path(), node_id.as_deref()),
        (Path::new("/elsewhere"), Some("two"))
    );
}

#[test]
fn a_listener_on_all_addresses_is_reached_by_name() {
    let text = "cluster_addr = \"https://h:8201\"\nstorage \"raft\" { path = \"/x\" }\nlistener \"tcp\" { address = \":8200\" tls_disable = 1 }";
    let settings = read_text(text).unwrap().0.into_settings().unwrap();
    assert!(
        !settings.node.api_addr.contains("0.0.0.0"),
        "{}",
        settings.node.api_addr
    );
    assert!(settings.node.api_addr.starts_with("http://") && settings.node.api_addr.ends_with(":8200"));
}

#[test]
fn validation_reads_certificates() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("node.hcl");
    let text = format!(
        "storage \"inmem\" {{}}\nlistener \"tcp\" {{ tls_cert_file = \"{0}/c.pem\" tls_key_file = \"{0}/k.pem\" }}",
        dir.path().display()
    );
    std::fs::write(&config, text).unwrap();
    let error = validate(&[config.to_string_lossy().into_owned()]).unwrap_err();
    assert!(matches!(error, Error::Tls(_)), "{error}");
}

#[test]
fn audit_devices_are_declared_as_in_openbao() {
    let hcl = "audit_directories = [\"/var/log/c\"]\naudit \"file\" \"main\" {\n description = \"d\"\n options { \
               file_path = \"/var/log/c/a.log\" sync = true mode = \"0600\" }\n}";
    let json = r#"{"audit_directories": ["/var/log/c"], "audit": {"file": {"main": {"description": "d",
        "options": {"file_path": "/var/log/c/a.log", "sync": "true", "mode": "0600"}}}}}"#;
    for text in [hcl, json] {
        let rest = if text == hcl {
            format!("{GOOD}\n{text}")
        } else {
            let listener = r#""listener": {"tcp": {"tls_disable": true}}, "storage": {"inmem": {}}, "#;
            text.replacen('{', &format!("{{{listener}"), 1)
        };
        let (config, _) = read_text(&rest).unwrap();
        let [device] = config.audit_devices() else {
            panic!("{:?}", config.audit_devices())
        };
        assert_eq!(
            (device.path.as_str(), device.description.as_str()),
            ("main/", "d")
        );
        assert_eq!(device.options["file_path"], "/var/log/c/a.log");
        assert_eq!(device.options["sync"], "true");
    }
}

#[test]
fn a_node_may_join_without_a_vote_and_states_be_compared_more_often() {
    let text = |storage: &str| {
        format!(
            "compare_interval = \"10m\"\ncluster_addr = \"https://127.0.0.1:1\"\nlistener \"tcp\" {{}}\n\
             storage \"raft\" {{\n path = \"x\"\n retry_join {{ leader_api_addr = \"https://a\" }}\n \
             retry_join {{ leader_api_addr = \"https://b\" }}\n {storage}\n}}\n"
        )
    };
    let votes = |config: &Config| -> Vec<bool> {
        let Some(Storage::Raft { retry_join, .. }) = &config.storage else {
            panic!("no storage");
        };
        retry_join
            .iter()
            .map(|join| !join.target.contains_key("non_voter"))
            .collect()
    };
    let (mut config, warnings) = read_text(&text("")).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_eq!(config.dev_settings().compare_every, Duration::from_secs(600));
    assert_eq!(votes(&config), [true, true]);
    config.overrule(|name| (name == "BAO_RAFT_RETRY_JOIN_AS_NON_VOTER").then(|| "1".to_owned()));
    assert_eq!(votes(&config), [false, false]);
    let (config, _) = read_text(&text("retry_join_as_non_voter = true")).unwrap();
    assert_eq!(votes(&config), [false, false]);
    let (config, _) = read_text("listener \"tcp\" {}\nstorage \"inmem\" {}").unwrap();
    assert_eq!(config.dev_settings().compare_every, Duration::from_secs(3600));
}

#[test]
fn lockout_is_set_by_type_and_for_all() {
    let text = "listener \"tcp\" {}\nstorage \"inmem\" {}\n\
        user_lockout \"userpass\" { lockout_threshold = 3 }\n\
        user_lockout \"all\" { lockout_duration = \"1h\" disable_lockout = \"true\" }";
    let settings = read_text(text).unwrap().0.dev_settings().lockout;
    let seen = ["all", "userpass"].map(|kind| {
        let lockout = settings[kind];
        (
            lockout.threshold,
            lockout.duration,
            lockout.counter_reset,
            lockout.disabled,
        )
    });
    assert_eq!(
        seen,
        [(5, 3_600_000, 900_000, true), (3, 3_600_000, 900_000, true)]
    );
}
