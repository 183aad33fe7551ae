//! What of `sys/` answers in which namespace. The root has all of it; the others what is listed here, so that whatever is
//! added later is the root's alone until somebody says otherwise.

use crate::catalog::MountRecord;
use crate::error::Error;
use crate::store::layout::{ROOT_NAMESPACE, owner_of, ring_of};

/// What every namespace has of its own: a path, or with a slash at its end everything beneath.
const EVERYWHERE: &[&str] = &[
    "auth",
    "auth/",
    "capabilities",
    "capabilities-accessor",
    "capabilities-self",
    "decode-token",
    "ha-status",
    "internal/specs/",
    "internal/ui/",
    "leases",
    "leases/",
    "locked-users",
    "locked-users/",
    "mfa/",
    "mounts",
    "mounts/",
    "namespaces",
    "namespaces/",
    "plugins/",
    "policies/",
    "policy",
    "policy/",
    "remount",
    "remount/",
    "tools/",
    "version-history",
    "watch/",
    "wrapping/",
];
/// What is the node's, with the words the original has for it.
const OF_NODES: &[&str] = &[
    "generate-root/",
    "health",
    "in-flight-req",
    "init",
    "metrics",
    "pprof",
    "pprof/",
    "raw",
    "raw/",
    "rekey/",
    "rekey-recovery-key/",
    "seal",
    "step-down",
    "storage/",
    "unseal",
];
/// What only a namespace with keys of its own has.
const OF_SEALS: &[&str] = &["generate-root-token/", "key-status", "rotate", "rotate/"];
/// What is the cluster's.
const OF_CLUSTER: &[&str] = &[
    "audit",
    "audit/",
    "audit-hash/",
    "audit-heads",
    "audit-status",
    "config/",
    "host-info",
    "internal/",
    "loggers",
    "loggers/",
    "monitor",
    "quotas/",
];

/// Refuses a path beneath `mount`, if it is the `sys/` of a namespace, that the root alone answers.
///
/// # Errors
/// [`Error::Invalid`] in the original's words.
pub fn check(mount: &MountRecord, path: &str) -> Result<(), Error> {
    if mount.namespace == ROOT_NAMESPACE || mount.kind != "system" {
        return Ok(());
    }
    let path = path.trim_end_matches('/');
    let within = |listed: &[&str]| listed.iter().any(|known| covers(known, path));
    if mount.namespace == owner_of(ring_of(mount.namespace)) && within(OF_SEALS) {
        return Ok(());
    }
    Err(Error::invalid(match () {
        () if within(EVERYWHERE) => return Ok(()),
        () if within(OF_NODES) => "operation unavailable in namespaces",
        () if within(OF_SEALS) => "namespace is not sealable",
        () if within(OF_CLUSTER)
            || super::ROUTES
                .iter()
                .any(|route| matches_route(route.pattern, path)) =>
        {
            "operation only available in root namespace"
        }
        () => return Ok(()),
    }))
}

fn matches_route(pattern: &'static str, path: &str) -> bool {
    crate::routes::matches(pattern, path).is_some()
}

fn covers(known: &str, path: &str) -> bool {
    known.strip_suffix('/').map_or(known == path, |above| {
        path.strip_prefix(above).is_some_and(|rest| rest.starts_with('/'))
    })
}
