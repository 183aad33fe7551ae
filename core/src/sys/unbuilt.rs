//! Paths of Vault's and OpenBao's API that are known and not built: callers are told so instead of "no such path".

use crate::error::Error;

/// Beneath `sys/`: a path, or with a slash at its end everything beneath.
const SYS: &[&str] = &[
    "audit-hash/",
    "control-group/",
    "external-keys/",
    "managed-keys/",
    "mfa/",
    "plugins/",
    "policies/egp",
    "policies/egp/",
    "policies/rgp",
    "policies/rgp/",
    "pprof",
    "pprof/",
    "raw",
    "raw/",
    "replication/",
    "storage/raft/snapshot-auto/",
    "sync/",
    "workflows/",
];

/// The same beneath `identity/`: tokens for others than this cluster.
const IDENTITY: &[&str] = &["oidc/"];

/// What is known and not built, as paths of requests; one that ends in a slash stands for everything beneath.
pub fn known() -> Vec<String> {
    SYS.iter().map(|path| format!("sys/{path}")).collect()
}

/// The error for a path beneath a mount of core's own that no route answers.
pub fn refusal(mount: &str, path: &str) -> Error {
    let known = match mount {
        "system" => SYS,
        "identity" => IDENTITY,
        _ => &[],
    };
    let path = path.trim_end_matches('/');
    let covers = |known: &&str| {
        known.strip_suffix('/').map_or(*known == path, |above| {
            path.strip_prefix(above).is_some_and(|rest| rest.starts_with('/'))
        })
    };
    if known.iter().any(covers) {
        return Error::Unsupported(format!("{path} is not built"));
    }
    Error::UnsupportedPath
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_paths_are_told_from_unknown_ones() {
        for path in ["pprof", "pprof/", "pprof/a/b", "sync/x"] {
            assert!(matches!(refusal("system", path), Error::Unsupported(_)), "{path}");
        }
        for path in ["namespace", "sync", "nosuch", "syncs/x"] {
            assert!(
                matches!(refusal("system", path), Error::UnsupportedPath),
                "{path}"
            );
        }
        assert!(matches!(refusal("token", "quotas/x"), Error::UnsupportedPath));
    }
}
