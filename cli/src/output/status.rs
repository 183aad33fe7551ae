//! Seal status as table and document. Knows the two answers it is made of, no command.

use conclave_client::http::{Fields, Json};

use super::table::with_header;
use crate::exit::Exit;
use crate::goval::plain;
use crate::ui::{Format, Ui};

/// `sys/seal-status`, with `sys/leader` beside it if it was asked.
pub struct SealStatus {
    /// The answer of `sys/seal-status`.
    pub seal: Fields,
    /// The answer of `sys/leader`.
    pub leader: Option<Fields>,
}

impl SealStatus {
    /// Whether the server is sealed.
    pub fn is_sealed(&self) -> bool {
        self.seal.get("sealed").and_then(Json::as_bool).unwrap_or(false)
    }

    /// The document that JSON and YAML print: the fields in the order of the original's struct.
    pub fn document(&self) -> Fields {
        const ALWAYS: [(&str, Empty); 10] = [
            ("type", Empty::Text),
            ("initialized", Empty::False),
            ("sealed", Empty::False),
            ("t", Empty::Zero),
            ("n", Empty::Zero),
            ("progress", Empty::Zero),
            ("nonce", Empty::Text),
            ("version", Empty::Text),
            ("commit_date", Empty::Text),
            ("migration", Empty::False),
        ];
        let mut out = Fields::new();
        for (name, empty) in ALWAYS {
            out.push(name, self.seal.get(name).cloned().unwrap_or_else(|| empty.json()));
        }
        let mut some = |of: &Fields, names: &[&str]| {
            for name in names {
                if let Some(value) = of.get(name).filter(|v| !is_empty(v)) {
                    out.push(*name, value.clone());
                }
            }
        };
        some(&self.seal, &["cluster_name", "cluster_id"]);
        out.push(
            "recovery_seal",
            self.seal
                .get("recovery_seal")
                .cloned()
                .unwrap_or(Json::Bool(false)),
        );
        let mut some = |of: &Fields, names: &[&str]| {
            for name in names {
                if let Some(value) = of.get(name).filter(|v| !is_empty(v)) {
                    out.push(*name, value.clone());
                }
            }
        };
        some(&self.seal, &["recovery_seal_type", "storage_type", "warnings"]);
        out.push(
            "build_date",
            self.seal.get("build_date").cloned().unwrap_or_else(|| "".into()),
        );
        if let Some(version) = self.seal.get("conclave_version") {
            out.push("conclave_version", version.clone());
        }
        for name in ["fingerprint", "join_address", "join_status"] {
            if let Some(value) = self.seal.get(name) {
                out.push(name, value.clone());
            }
        }
        if let Some(leader) = &self.leader {
            out.push(
                "ha_enabled",
                leader.get("ha_enabled").cloned().unwrap_or(Json::Bool(false)),
            );
            for name in LEADER_FIELDS {
                if let Some(value) = leader.get(name).filter(|v| !is_empty(v)) {
                    out.push(name, value.clone());
                }
            }
        }
        out
    }

    fn lines(&self) -> Vec<String> {
        let text = |name: &str| self.seal.get(name).map(plain).unwrap_or_default();
        let mut out = vec!["Key | Value".to_owned(), format!("Seal Type | {}", text("type"))];
        let recovery = self
            .seal
            .get("recovery_seal")
            .and_then(Json::as_bool)
            .unwrap_or(false);
        if recovery {
            out.push(format!("Recovery Seal Type | {}", text("recovery_seal_type")));
        }
        out.push(format!("Initialized | {}", text("initialized")));
        out.push(format!("Sealed | {}", text("sealed")));
        out.push(format!(
            "Total {}Shares | {}",
            if recovery { "Recovery " } else { "" },
            text("n")
        ));
        out.push(format!("Threshold | {}", text("t")));
        if self.is_sealed() {
            out.push(format!("Unseal Progress | {}/{}", text("progress"), text("t")));
            out.push(format!("Unseal Nonce | {}", text("nonce")));
        }
        for (title, name) in [
            ("Fingerprint", "fingerprint"),
            ("Joining", "join_address"),
            ("Join Status", "join_status"),
        ] {
            let value = text(name);
            if !value.is_empty() {
                out.push(format!("{title} | {value}"));
            }
        }
        if let Some(leader) = &self.leader {
            self.more_lines(&mut out, leader);
        }
        out
    }

    fn more_lines(&self, out: &mut Vec<String>, leader: &Fields) {
        let mut some = |title: &str, of: &Fields, name: &str| {
            if let Some(value) = of.get(name).filter(|v| !is_empty(v)) {
                out.push(format!("{title} | {}", plain(value)));
            }
        };
        some("Seal Migration in Progress", &self.seal, "migration");
        some("Version", &self.seal, "version");
        some("Conclave Version", &self.seal, "conclave_version");
        some("Commit Date", &self.seal, "commit_date");
        some("Storage Type", &self.seal, "storage_type");
        if self.seal.get("cluster_name").is_some_and(|n| !is_empty(n)) {
            some("Cluster Name", &self.seal, "cluster_name");
            some("Cluster ID", &self.seal, "cluster_id");
        }
        let truth = |name: &str| leader.get(name).and_then(Json::as_bool).unwrap_or(false);
        out.push(format!("HA Enabled | {}", truth("ha_enabled")));
        if truth("ha_enabled") && !self.is_sealed() {
            let text = |name: &str| leader.get(name).map(plain).unwrap_or_default();
            out.push(format!("HA Cluster | {}", text("leader_cluster_address")));
            out.push(format!(
                "HA Mode | {}",
                if truth("is_self") { "active" } else { "standby" }
            ));
            let since = leader.get("active_time").filter(|t| !is_empty(t)).map(plain);
            if let Some(since) = since.filter(|_| truth("is_self")) {
                out.push(format!("Active Since | {since}"));
            }
            if !truth("is_self") && leader.get("leader_address").is_some_and(|a| !is_empty(a)) {
                out.push(format!("Active Node Address | {}", text("leader_address")));
            }
        }
        for (title, name) in [
            ("Raft Committed Index", "raft_committed_index"),
            ("Raft Applied Index", "raft_applied_index"),
        ] {
            if let Some(value) = leader.get(name).filter(|v| !is_empty(v)) {
                out.push(format!("{title} | {}", plain(value)));
            }
        }
    }
}

const LEADER_FIELDS: [&str; 6] = [
    "is_self",
    "active_time",
    "leader_address",
    "leader_cluster_address",
    "raft_committed_index",
    "raft_applied_index",
];

#[derive(Clone, Copy)]
enum Empty {
    Text,
    False,
    Zero,
}

impl Empty {
    fn json(self) -> Json {
        match self {
            Self::Text => "".into(),
            Self::False => Json::Bool(false),
            Self::Zero => 0_i64.into(),
        }
    }
}

/// Whether Go would leave the field out; the zero time is one of these.
fn is_empty(value: &Json) -> bool {
    match value {
        Json::Null | Json::Bool(false) => true,
        Json::String(s) => s.is_empty() || s == "0001-01-01T00:00:00Z",
        Json::Number(n) => n == "0",
        Json::Array(items) => items.is_empty(),
        _ => false,
    }
}

/// Prints a seal status.
pub fn status(ui: &mut Ui, status: &SealStatus) -> Exit {
    if ui.format == Format::Table {
        ui.line(&with_header(&status.lines(), "|"));
        return Exit::OK;
    }
    super::value(ui, &Json::Object(status.document()))
}
