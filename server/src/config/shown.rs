//! What operators may see of a node's configuration over the API: settings as the files and the environment state them,
//! without what could be secret (tokens and keys of members to join, options of audit devices).

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::Config;
use super::listener::TcpListener;
use super::storage::Storage;

impl Config {
    /// As Vault names it, with what is ours beside it.
    pub(super) fn shown(&self) -> Map<String, Value> {
        let seconds = |time: Option<Duration>| time.map_or(0, |time| time.as_secs());
        let mut opened = Vec::new();
        if self.unauthenticated_rekey {
            opened.push("rekey");
        }
        if self.unauthenticated_generate_root {
            opened.push("generate-root");
        }
        let listeners: Vec<Value> = self.listeners.iter().map(listener).collect();
        let shown = json!({
            "api_addr": self.api_addr.as_deref().unwrap_or_default(),
            "audit_directories": self.audit_directories,
            "audit_targets": self.audit_targets.len(),
            "cluster_addr": self.cluster_addr.as_deref().unwrap_or_default(),
            "cluster_name": self.cluster_name.as_deref().unwrap_or_default(),
            "compare_interval": seconds(self.compare_interval),
            "default_lease_ttl": seconds(self.default_lease_ttl),
            "default_max_request_duration": seconds(self.max_request_duration),
            "enable_unauthenticated_access": opened,
            "listeners": listeners,
            "log_format": self.log_format.as_deref().unwrap_or_default(),
            "log_level": self.log_level.as_deref().unwrap_or_default(),
            "max_lease_ttl": seconds(self.max_lease_ttl),
            "operations_address": self.operations_address.as_deref().unwrap_or_default(),
            "pid_file": self.pid_file.as_deref().unwrap_or("".as_ref()),
            "seals": [{"type": "shamir", "disabled": false}],
            "storage": storage(self.storage.as_ref()),
            "telemetry": {"vault_names": self.vault_names},
            "zone": self.zone.as_deref().unwrap_or_default(),
        });
        match shown {
            Value::Object(shown) => shown,
            _ => Map::new(),
        }
    }
}

fn listener(listener: &TcpListener) -> Value {
    json!({
        "type": "tcp",
        "config": {
            "address": listener.address.to_string(),
            "cluster_address": listener.cluster_address().to_string(),
            "tls_disable": listener.tls_disable,
            "tls_cert_file": listener.files.certificate,
            "tls_require_and_verify_client_cert": listener.files.require_client,
        },
    })
}

fn storage(storage: Option<&Storage>) -> Value {
    match storage {
        Some(Storage::Raft {
            path,
            node_id,
            min_free,
            retry_join,
        }) => {
            let joined = retry_join.iter().map(|join| join.target.get("leader_api_addr"));
            json!({
                "type": "raft",
                "path": path,
                "node_id": node_id.as_deref().unwrap_or_default(),
                "min_free": min_free,
                "retry_join": joined.collect::<Vec<_>>(),
            })
        }
        Some(Storage::InMemory) | None => json!({"type": "inmem"}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_secret_is_not_shown() {
        let text = r#"
            cluster_addr = "https://127.0.0.1:8201"
            audit_directories = ["/var/log"]
            audit_targets = ["https://collector.example/marker-in-a-target"]
            audit "http" "far" {
              options { uri = "https://collector.example/marker-in-an-option" }
            }
            storage "raft" {
              path = "/var/lib/conclave"
              retry_join {
                leader_api_addr = "https://a:8200"
                leader_ca_cert = "marker-of-an-authority"
                join_token_file = "/run/marker-of-a-token"
              }
            }
            listener "tcp" { tls_disable = true }
        "#;
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("node.hcl");
        std::fs::write(&file, text).unwrap();
        let (config, _) = super::super::read(&[file.display().to_string()]).unwrap();
        let shown = Value::Object(config.shown()).to_string();
        assert!(
            shown.contains("https://a:8200") && shown.contains("/var/lib/conclave"),
            "{shown}"
        );
        assert!(!shown.contains("marker"), "{shown}");
    }
}
