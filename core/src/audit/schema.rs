//! Which numbers and booleans of a request's or an answer's data are shown in the clear: an allow list. Everything else is
//! a keyed hash: a PIN is a number. Texts are hashed always.

/// Which numbers and booleans may be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Open {
    /// None.
    Nothing,
    /// Those that core's own routes take and answer.
    Core,
    /// The same, and which node did it: of what nobody asked for.
    Act,
    /// Those of users and roles of auth methods.
    Logins,
    /// Those that stand beside the secrets of KV version 2, never inside `data`.
    Versions,
}

impl Open {
    /// By the mount's type and version.
    pub fn of(kind: &str, version: Option<&str>) -> Self {
        match (kind, version) {
            ("system" | "token", _) => Self::Core,
            ("userpass" | "approle", _) => Self::Logins,
            ("kv", Some("2")) => Self::Versions,
            _ => Self::Nothing,
        }
    }

    /// Whether a number or boolean of this name is shown.
    pub fn shows(self, name: &str) -> bool {
        match self {
            Self::Nothing => false,
            Self::Core => CORE.contains(&name),
            Self::Act => name == "node" || CORE.contains(&name),
            Self::Logins => LOGINS.contains(&name),
            Self::Versions => VERSIONS.contains(&name),
        }
    }

    /// What is allowed inside a member.
    pub fn beneath(self, name: &str) -> Self {
        match (self, name) {
            (Self::Core, "config") => Self::Core,
            (Self::Versions, "metadata" | "options") => Self::Versions,
            _ => Self::Nothing,
        }
    }
}

/// Numbers and booleans of `sys/` and `auth/token/` that are settings or progress.
const CORE: &[&str] = &[
    "complete",
    "default_lease_ttl",
    "enabled",
    "encryptions",
    "external_entropy_access",
    "force",
    "force_no_cache",
    "lease_duration",
    "local",
    "max_lease_ttl",
    "max_operations",
    "n",
    "no_default_policy",
    "no_parent",
    "non_voter",
    "num_uses",
    "progress",
    "renewable",
    "require_verification",
    "required",
    "retry",
    "seal_wrap",
    "sealed",
    "secret_shares",
    "secret_threshold",
    "started",
    "t",
    "term",
    "uses",
    "verification_required",
];

/// Numbers and booleans of users and roles: settings, never what somebody shows.
const LOGINS: &[&str] = &[
    "bind_secret_id",
    "local_secret_ids",
    "secret_id_num_uses",
    "secret_id_ttl",
    "token_explicit_max_ttl",
    "token_max_ttl",
    "token_no_default_policy",
    "token_num_uses",
    "token_period",
    "token_strictly_bind_ip",
    "token_ttl",
];

/// Numbers and booleans of KV version 2 beside the secret.
const VERSIONS: &[&str] = &[
    "cas",
    "cas_required",
    "current_version",
    "destroyed",
    "max_versions",
    "oldest_version",
    "version",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::hashed::{HashedMap, Hasher};
    use serde_json::{Value, json};

    fn shown(open: Open, value: &Value) -> Value {
        let hasher = Hasher::new(b"key");
        serde_json::to_value(HashedMap::new(&hasher, value.as_object().unwrap(), open)).unwrap()
    }

    #[test]
    fn only_what_is_listed_is_shown() {
        let hash = |text: &str| serde_json::to_value(Hasher::new(b"key").hash(text.as_bytes())).unwrap();
        let told = json!({"num_uses": 3, "pin": 90125, "config": {"max_lease_ttl": 7, "x": 1}, "n": "7"});
        let want = json!({
            "num_uses": 3,
            "pin": hash("90125"),
            "config": {"max_lease_ttl": 7, "x": hash("1")},
            "n": hash("7"),
        });
        assert_eq!(shown(Open::Core, &told), want);
        let told = json!({"token_ttl": 60, "password": 90125, "secret_id": 7});
        let want = json!({"token_ttl": 60, "password": hash("90125"), "secret_id": hash("7")});
        for kind in ["userpass", "approle"] {
            assert_eq!(shown(Open::of(kind, None), &told), want);
        }
        // A secret's own members are hashed, whatever they are called.
        let secret = json!({"data": {"version": 5, "metadata": {"cas": 1}}, "options": {"cas": 2}});
        let want =
            json!({"data": {"version": hash("5"), "metadata": {"cas": hash("1")}}, "options": {"cas": 2}});
        assert_eq!(shown(Open::of("kv", Some("2")), &secret), want);
        for open in [
            Open::of("kv", Some("1")),
            Open::of("kv", None),
            Open::of("transit", None),
        ] {
            let secret = json!({"version": 5, "metadata": {"version": 7}, "list": [true]});
            let want =
                json!({"version": hash("5"), "metadata": {"version": hash("7")}, "list": [hash("true")]});
            assert_eq!(shown(open, &secret), want);
        }
    }
}
