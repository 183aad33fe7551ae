//! Rules of quotas, for rates and for leases: what is stored, and which of them concerns a request. It must not know buckets.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use conclave_engine_api::{Millis, Page};

use crate::catalog::{CONFIG, decode_record};
use crate::error::Error;
use crate::store::Opened;

/// Where rate limits are stored, by name.
pub const LIMITS: &str = "quota/rate-limit/";
/// Where bounds on leases are stored, by name.
pub const LEASE_COUNTS: &str = "quota/lease-count/";
/// Where their settings are stored.
pub const SETTINGS: &str = "quota/config";

/// Paths that no rule concerns unless `sys/quotas/config` says otherwise: the way to find out what is wrong, and out of it.
pub const EXEMPT: [&str; 7] = [
    "sys/generate-recovery-token/attempt",
    "sys/generate-recovery-token/update",
    "sys/generate-root/attempt",
    "sys/generate-root/update",
    "sys/health",
    "sys/seal-status",
    "sys/unseal",
];

/// Whose requests share a bucket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GroupBy {
    /// Those from one address.
    #[default]
    Ip,
    /// All: the limit is collective.
    None,
}

/// A rate limit as stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RateLimit {
    /// Its name.
    pub name: String,
    /// Empty for everything; a namespace or a mount with its slash; a path; or what paths begin with and a `*`.
    pub path: String,
    /// A role of that mount, an auth method's: the limit is for logins that name it. Empty for none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub role: String,
    /// Requests in each interval; more than nothing.
    pub rate: f64,
    /// Milliseconds, at least a second.
    pub interval: Millis,
    /// For how long nothing passes once the limit is exceeded; 0: until there is something left again.
    pub block: Millis,
    /// Whether that of a namespace holds in those beneath it as well.
    pub inheritable: bool,
    /// Whose requests share a bucket.
    #[serde(default)]
    pub group_by: GroupBy,
}

impl RateLimit {
    /// What may be used at once.
    pub fn capacity(&self) -> f64 {
        self.rate.max(1.0)
    }
}

/// A bound on how many leases there are, as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseCount {
    /// Its name.
    pub name: String,
    /// What its leases are counted under: one that is removed and made again counts anew.
    pub id: String,
    /// As that of a rate limit.
    pub path: String,
    /// As that of a rate limit: tokens are counted that such logins made.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub role: String,
    /// Whether it counts the tokens of an auth method's logins, not leases of secrets: its path is that of such a method, or
    /// leads into one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub logins: bool,
    /// Most leases.
    pub max_leases: i64,
    /// As that of a rate limit.
    pub inheritable: bool,
}

/// `sys/quotas/config` as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Paths that no rule concerns, each exactly or with a `*` at its end.
    pub exempt: Vec<String>,
    /// Whether refused requests are recorded by audit devices.
    pub audit: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            exempt: EXEMPT.map(str::to_owned).to_vec(),
            audit: false,
        }
    }
}

/// All rules, ready to be asked.
#[derive(Debug, Default)]
pub struct Rules {
    /// By name.
    pub limits: Vec<Arc<RateLimit>>,
    /// Those for leases, by name.
    pub lease_counts: Vec<Arc<LeaseCount>>,
    /// What holds for all of them.
    pub settings: Settings,
}

impl Rules {
    /// Reads those of a view.
    pub fn load(opened: &Opened) -> Result<Self, Error> {
        let config = opened.space(CONFIG);
        let mut rules = Self::default();
        if let Some(row) = config.row(SETTINGS)? {
            rules.settings = decode_record(&row.value)?;
        }
        for name in config.names(LIMITS, &Page::default())? {
            if let Some(row) = config.row(&format!("{LIMITS}{name}"))? {
                rules.limits.push(Arc::new(decode_record(&row.value)?));
            }
        }
        for name in config.names(LEASE_COUNTS, &Page::default())? {
            if let Some(row) = config.row(&format!("{LEASE_COUNTS}{name}"))? {
                rules.lease_counts.push(Arc::new(decode_record(&row.value)?));
            }
        }
        Ok(rules)
    }

    /// Whether there is none for rates.
    pub fn is_empty(&self) -> bool {
        self.limits.is_empty()
    }

    /// Whether there is one for the rate of a role of this mount.
    pub fn limits_roles_of(&self, mount: &str) -> bool {
        let of_roles = |rule: &Arc<RateLimit>| !rule.role.is_empty() && rule.path == mount;
        self.limits.iter().any(of_roles)
    }

    /// Whether there is one that counts what logins make.
    pub fn counts_logins(&self) -> bool {
        self.lease_counts.iter().any(|rule| rule.logins)
    }

    /// The rule for a request: the one for the role that it names, else for exactly its path, else for the longest beginning of
    /// it, else for its mount, else for its namespace, else for the nearest one above that hands its own down.
    pub fn concerning(&self, asked: &Asked<'_>) -> Option<&Arc<RateLimit>> {
        if self.limits.is_empty()
            || self
                .settings
                .exempt
                .iter()
                .any(|exempt| covers(exempt, asked.path))
        {
            return None;
        }
        self.limits
            .iter()
            .filter_map(|rule| {
                let weight = asked.weight((&rule.path, &rule.role), rule.inheritable)?;
                Some((weight, rule))
            })
            .max_by_key(|(weight, _)| *weight)
            .map(|(_, rule)| rule)
    }
}

impl Rules {
    /// The bound that counts a lease of what is asked for; found as rate limits are.
    pub fn counting(&self, asked: &Asked<'_>) -> Option<&Arc<LeaseCount>> {
        self.closest(asked, false)
    }

    /// The bound that counts a token which a login makes; the same way.
    pub fn counting_login(&self, asked: &Asked<'_>) -> Option<&Arc<LeaseCount>> {
        self.closest(asked, true)
    }

    fn closest(&self, asked: &Asked<'_>, logins: bool) -> Option<&Arc<LeaseCount>> {
        let rules = self.lease_counts.iter();
        rules
            .filter(|rule| rule.logins == logins)
            .filter_map(|rule| {
                let weight = asked.weight((&rule.path, &rule.role), rule.inheritable)?;
                Some((weight, rule))
            })
            .max_by_key(|(weight, _)| *weight)
            .map(|(_, rule)| rule)
    }
}

/// What rules are looked for. Paths are those from the root on.
pub struct Asked<'a> {
    /// Its path.
    pub path: &'a str,
    /// Its mount's, with a slash; `None`: it leads to none.
    pub mount: Option<&'a str>,
    /// The role that it names, if it is a login; `None`: none, or no rule asks.
    pub role: Option<&'a str>,
    /// Its namespace's, with a slash; empty: the root.
    pub namespace: &'a str,
}

impl Asked<'_> {
    /// How closely a rule's path and role describe it; `None`: not at all.
    fn weight(&self, (rule, role): (&str, &str), inheritable: bool) -> Option<(u8, usize)> {
        if !role.is_empty() {
            let is_it = self.mount == Some(rule) && self.role == Some(role);
            return is_it.then_some((4, rule.len()));
        }
        // Those of a namespace begin with a namespace: they end in a slash, or are empty.
        let is_above = (rule.is_empty() || rule.ends_with('/')) && self.namespace.starts_with(rule);
        match rule.strip_suffix('*') {
            _ if rule == self.namespace || inheritable && is_above => Some((0, rule.len())),
            Some(head) => self.path.starts_with(head).then_some((2, head.len())),
            None if self.mount == Some(rule) => Some((1, rule.len())),
            None => {
                let is_it = rule.trim_end_matches('/') == self.path.trim_end_matches('/');
                is_it.then_some((3, rule.len()))
            }
        }
    }
}

fn covers(pattern: &str, path: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(head) => path.starts_with(head),
        None => pattern == path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Those of namespaces that hand them down end in `+`.
    fn rules(paths: &[&str]) -> Rules {
        let limit = |path: &&str| {
            Arc::new(RateLimit {
                name: format!("<{path}>"),
                path: path.trim_end_matches('+').to_owned(),
                role: String::new(),
                rate: 1.0,
                interval: 1000,
                block: 0,
                inheritable: path.ends_with('+'),
                group_by: GroupBy::Ip,
            })
        };
        Rules {
            limits: paths.iter().map(limit).collect(),
            lease_counts: Vec::new(),
            settings: Settings::default(),
        }
    }

    #[test]
    fn the_closest_rule_concerns_a_request() {
        let rules = rules(&[
            "",
            "secret/",
            "secret/data/*",
            "secret/data/a/*",
            "secret/data/a/b",
            "auth/token/",
        ]);
        for (path, mount, expected) in [
            ("secret/data/a/b", Some("secret/"), Some("<secret/data/a/b>")),
            ("secret/data/a/c", Some("secret/"), Some("<secret/data/a/*>")),
            ("secret/data/b", Some("secret/"), Some("<secret/data/*>")),
            ("secret/config", Some("secret/"), Some("<secret/>")),
            ("auth/token/create", Some("auth/token/"), Some("<auth/token/>")),
            ("other/x", Some("other/"), Some("<>")),
            ("nowhere", None, Some("<>")),
            ("sys/health", Some("sys/"), None),
        ] {
            assert_eq!(found(&rules, path, mount, ""), expected, "{path}");
        }
    }

    fn found<'r>(rules: &'r Rules, path: &str, mount: Option<&str>, namespace: &str) -> Option<&'r str> {
        let asked = Asked {
            path,
            mount,
            role: None,
            namespace,
        };
        rules.concerning(&asked).map(|rule| rule.name.as_str())
    }

    #[test]
    fn a_namespace_s_rule_concerns_what_is_in_it_and_beneath_it_if_it_is_handed_down() {
        let own = rules(&["", "a/", "a/kv/", "a/kv/x*", "b/+", "b/c/d/"]);
        for (path, mount, namespace, expected) in [
            ("kv/x", Some("kv/"), "", Some("<>")),
            ("a/other/x", Some("a/other/"), "a/", Some("<a/>")),
            ("a/nowhere", None, "a/", Some("<a/>")),
            ("a/kv/y", Some("a/kv/"), "a/", Some("<a/kv/>")),
            ("a/kv/xy", Some("a/kv/"), "a/", Some("<a/kv/x*>")),
            ("a/b/kv/x", Some("a/b/kv/"), "a/b/", None),
            ("aa/kv/x", Some("aa/kv/"), "aa/", None),
            ("b/kv/x", Some("b/kv/"), "b/", Some("<b/+>")),
            ("b/c/kv/x", Some("b/c/kv/"), "b/c/", Some("<b/+>")),
            ("b/c/d/kv/x", Some("b/c/d/kv/"), "b/c/d/", Some("<b/c/d/>")),
            ("b/c/d/e/kv/x", Some("b/c/d/e/kv/"), "b/c/d/e/", Some("<b/+>")),
        ] {
            assert_eq!(found(&own, path, mount, namespace), expected, "{path}");
        }
        // That of the root is handed down unless somebody says otherwise.
        let all = rules(&["+", "a/"]);
        for (path, namespace, expected) in [
            ("kv/x", "", "<+>"),
            ("a/kv/x", "a/", "<a/>"),
            ("a/b/kv/x", "a/b/", "<+>"),
        ] {
            assert_eq!(found(&all, path, None, namespace), Some(expected), "{path}");
        }
    }

    #[test]
    fn the_rule_of_a_role_is_closer_than_any_path() {
        let mut all = rules(&["", "auth/a/", "auth/a/login", "auth/a/l*"]);
        let of = |name: &str, path: &str, role: &str| {
            Arc::new(RateLimit {
                name: name.to_owned(),
                path: path.to_owned(),
                role: role.to_owned(),
                ..RateLimit::clone(&all.limits[0])
            })
        };
        let (web, elsewhere) = (of("web", "auth/a/", "web"), of("elsewhere", "auth/b/", "web"));
        all.limits.splice(0..0, [web, elsewhere]);
        assert!(all.limits_roles_of("auth/a/") && !all.limits_roles_of("auth/"));
        for (mount, role, expected) in [
            ("auth/a/", Some("web"), "web"),
            ("auth/a/", Some("job"), "<auth/a/login>"),
            ("auth/a/", None, "<auth/a/login>"),
            ("auth/b/", Some("web"), "elsewhere"),
            ("auth/b/", Some("job"), "<>"),
            ("auth/c/", Some("web"), "<>"),
        ] {
            let path = format!("{mount}login");
            let asked = Asked {
                path: &path,
                mount: Some(mount),
                role,
                namespace: "",
            };
            let found = all.concerning(&asked).map(|rule| rule.name.as_str());
            assert_eq!(found, Some(expected), "{mount} {role:?}");
        }
    }

    #[test]
    fn what_is_exempt_is_concerned_by_no_rule() {
        let mut rules = rules(&[""]);
        rules.settings.exempt = vec!["sys/*".to_owned(), "a/b".to_owned()];
        assert!(found(&rules, "sys/mounts", Some("sys/"), "").is_none());
        assert!(found(&rules, "a/b", None, "").is_none());
        assert!(found(&rules, "a/b/c", None, "").is_some());
    }
}
