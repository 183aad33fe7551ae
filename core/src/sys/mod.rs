//! `sys/`: the cluster's own surface. One file a subject; this one holds the table and what answers without a token.

mod admit;
pub(crate) mod anomaly;
mod anonymous;
mod audit;
mod audited_headers;
mod autopilot;
mod browsers;
mod capabilities;
mod counters;
mod effects;
mod explain;
mod generate_root;
mod host;
mod inflight;
mod inspect;
mod join;
mod keys;
mod lease_counts;
mod leases;
mod locked;
mod logs;
pub(crate) mod mounts;
mod namespace_seal;
mod namespaces;
#[cfg(feature = "next-format")]
mod next_format;
mod open;
mod openapi;
pub mod passwords;
mod plugins;
mod policies;
mod quotas;
mod raft;
mod remount;
mod rotate_root;
pub(crate) mod scope;
mod seal;
mod snapshot;
mod tools;
mod tune;
mod ui;
pub(crate) mod unbuilt;
mod wrapping;

pub(crate) use admit::{WAITING, admission_due};
pub use join::JoinStep;
pub use open::without_token;
pub(crate) use open::{object, uuid_text};
pub(crate) use policies::normal_names;

use conclave_engine_api::Operation::{Delete, List, Patch, Read, Scan, Update};

use crate::routes::{Route, act, for_callers, rows, sudo};

/// Everything beneath `sys/` that needs a token.
pub const ROUTES: &[Route] = &[
    rows("mounts", &[Read], mounts::list),
    rows("mounts/*path", &[Read], mounts::read),
    rows("mounts/*path", &[Update], mounts::enable),
    rows("mounts/*path", &[Delete], mounts::disable),
    sudo(rows("remount", &[Update], remount::remount)),
    rows("remount/status/:id", &[Read], remount::status),
    rows("auth", &[Read], mounts::list_auth),
    sudo(rows("auth/*path", &[Read], mounts::read)),
    sudo(rows("auth/*path", &[Update], mounts::enable_auth)),
    sudo(rows("auth/*path", &[Delete], mounts::disable_auth)),
    rows("locked-users", &[Read], locked::list),
    rows("locked-users/:accessor/unlock/*alias", &[Update], locked::unlock),
    rows("internal/counters/tokens", &[Read], counters::tokens),
    rows("internal/counters/entities", &[Read], counters::entities),
    rows("internal/counters/requests", &[Read], counters::requests),
    sudo(rows("internal/inspect/router/:tag", &[Read], inspect::router)),
    sudo(rows("internal/inspect/request", &[Read], inspect::request)),
    sudo(rows("config/cors", &[Read], browsers::cors)),
    sudo(rows("config/cors", &[Update, Delete], browsers::change_cors)),
    sudo(rows("config/ui/headers", &[List], browsers::page_headers)),
    sudo(rows("config/ui/headers/:header", &[Read], browsers::page_header)),
    sudo(rows(
        "config/ui/headers/:header",
        &[Update],
        browsers::set_page_header,
    )),
    sudo(rows(
        "config/ui/headers/:header",
        &[Delete],
        browsers::remove_page_header,
    )),
    rows("config/state/sanitized", &[Read], host::configuration),
    rows("config/reload/:subsystem", &[Update], host::reload),
    rows("plugins/catalog", &[Read], plugins::all),
    sudo(rows("plugins/catalog/:type", &[List], plugins::of_type)),
    sudo(rows("plugins/catalog/:type/:name", &[Read], plugins::read)),
    sudo(rows(
        "plugins/catalog/:type/:name",
        &[Update, Delete],
        plugins::unbuilt,
    )),
    act("effects", &[Read], effects::status),
    sudo(act("effects", &[Update], effects::change)),
    for_callers(rows("internal/specs/openapi", &[Read, Update], openapi::document)),
    for_callers(rows("internal/ui/mounts", &[Read], ui::mounts)),
    for_callers(rows("internal/ui/mounts/*path", &[Read], ui::mount)),
    for_callers(rows("internal/ui/resultant-acl", &[Read], ui::resultant_acl)),
    for_callers(rows("internal/ui/namespaces", &[Read], ui::namespaces)),
    act("loggers", &[Read], logs::list),
    act("loggers", &[Update], logs::write),
    act("loggers", &[Delete], logs::reset),
    act("loggers/:name", &[Read], logs::read),
    act("loggers/:name", &[Update], logs::write),
    act("loggers/:name", &[Delete], logs::reset),
    act("monitor", &[Read], logs::monitor),
    rows("namespaces", &[List, Scan], namespaces::list),
    rows("namespaces/api-lock/lock", &[Update], namespaces::lock),
    rows("namespaces/api-lock/lock/*path", &[Update], namespaces::lock),
    rows("namespaces/api-lock/unlock", &[Update], namespaces::unlock),
    rows("namespaces/api-lock/unlock/*path", &[Update], namespaces::unlock),
    act("namespaces/:name/seal", &[Update], namespace_seal::seal),
    act("namespaces/:name/unseal", &[Update], namespace_seal::unseal),
    act(
        "namespaces/:name/seal-status",
        &[Read],
        namespace_seal::seal_status,
    ),
    sudo(rows(
        "namespaces/:name/delete-sealed",
        &[Delete],
        namespace_seal::delete_sealed,
    )),
    rows("namespaces/*name", &[Read], namespaces::read),
    rows("namespaces/*name", &[Update], namespaces::write),
    rows("namespaces/*name", &[Patch], namespaces::patch),
    rows("namespaces/*name", &[Delete], namespaces::delete),
    rows("policy", &[Read, List], policies::list),
    rows("policy/:name", &[Read], policies::read_legacy),
    rows("policy/:name", &[Update], policies::write),
    rows("policy/:name", &[Delete], policies::delete),
    rows("policies/acl", &[List], policies::list_keys),
    rows("policies/acl/:name", &[Read], policies::read),
    rows("policies/acl/:name", &[Update], policies::write),
    rows("policies/acl/:name", &[Patch], policies::write),
    rows("policies/acl/:name", &[Delete], policies::delete),
    rows("policies/detailed/acl", &[List], policies::list_detailed),
    rows("policies/explain", &[Update], explain::explain),
    rows("policies/password", &[List], passwords::list),
    rows("policies/password/:name", &[Read], passwords::read),
    rows("policies/password/:name", &[Update], passwords::write),
    rows("policies/password/:name", &[Delete], passwords::delete),
    rows("policies/password/:name/generate", &[Read], passwords::generate),
    rows("capabilities", &[Update], capabilities::of_token),
    rows("capabilities-self", &[Update], capabilities::of_self),
    rows("capabilities-accessor", &[Update], capabilities::of_accessor),
    sudo(rows("audit", &[Read], audit::list)),
    sudo(rows("audit/*path", &[Update], audit::enable)),
    sudo(rows("audit/*path", &[Delete], audit::disable)),
    rows("audit-hash/*path", &[Update], audit::hash),
    sudo(rows("audit-heads", &[Read], audit::heads)),
    sudo(rows("audit-status", &[Read], audit::status)),
    sudo(rows(
        "config/auditing/request-headers",
        &[Read],
        audited_headers::list,
    )),
    sudo(rows(
        "config/auditing/request-headers/:header",
        &[Read],
        audited_headers::read,
    )),
    sudo(rows(
        "config/auditing/request-headers/:header",
        &[Update],
        audited_headers::write,
    )),
    sudo(rows(
        "config/auditing/request-headers/:header",
        &[Delete],
        audited_headers::delete,
    )),
    rows("leases/lookup", &[Update], leases::lookup),
    act("leases/renew", &[Update], leases::renew),
    act("leases/renew/*lease_id", &[Update], leases::renew),
    act("leases/revoke", &[Update], leases::revoke),
    act("leases/revoke/*lease_id", &[Update], leases::revoke),
    sudo(rows("leases/lookup", &[List], leases::list)),
    sudo(rows("leases/lookup/*prefix", &[List], leases::list)),
    sudo(act(
        "leases/revoke-prefix/*prefix",
        &[Update],
        leases::revoke_prefix,
    )),
    sudo(act(
        "leases/revoke-force/*prefix",
        &[Update],
        leases::revoke_force,
    )),
    rows("leases", &[Read], leases::stuck),
    rows("leases/count", &[Read], leases::count),
    rows("leases/tidy", &[Update], leases::tidy),
    sudo(act("leases/reconcile", &[Update], leases::reconcile)),
    rows("key-status", &[Read], keys::status),
    sudo(act("rotate", &[Update], keys::rotate)),
    sudo(act("rotate/keyring", &[Update], keys::rotate)),
    sudo(rows("rotate/config", &[Read], keys::settings)),
    sudo(rows("rotate/config", &[Update], keys::change_settings)),
    sudo(rows("rotate/keyring/config", &[Read], keys::settings)),
    sudo(rows("rotate/keyring/config", &[Update], keys::change_settings)),
    sudo(rows("rotate/root", &[Update], rotate_root::without_shares)),
    act("rotate/root/init", &[Read], rotate_root::status),
    sudo(act("rotate/root/init", &[Update], rotate_root::begin)),
    sudo(act("rotate/root/init", &[Delete], rotate_root::cancel)),
    act("rotate/root/update", &[Update], rotate_root::update),
    act("rotate/root/verify", &[Read], rotate_root::verification),
    act("rotate/root/verify", &[Update], rotate_root::verify),
    act("rotate/root/verify", &[Delete], rotate_root::restart_verification),
    sudo(rows("rotate/root/backup", &[Read, Delete], rotate_root::backup)),
    sudo(rows(
        "rotate/recovery/backup",
        &[Read, Delete],
        rotate_root::recovery_backup,
    )),
    sudo(rows(
        "rekey/recovery-key-backup",
        &[Read, Delete],
        rotate_root::recovery_backup,
    )),
    rows(
        "rotate/recovery/*step",
        &[Read, Update, Delete],
        rotate_root::recovery,
    ),
    sudo(rows("rekey/backup", &[Read, Delete], rotate_root::backup)),
    act("rekey/init", &[Read], rotate_root::status),
    sudo(act("rekey/init", &[Update], rotate_root::begin)),
    sudo(act("rekey/init", &[Delete], rotate_root::cancel)),
    act("rekey/update", &[Update], rotate_root::update),
    act("rekey/verify", &[Read], rotate_root::verification),
    act("rekey/verify", &[Update], rotate_root::verify),
    act("rekey/verify", &[Delete], rotate_root::restart_verification),
    rows(
        "rekey-recovery-key/*step",
        &[Read, Update, Delete],
        rotate_root::recovery,
    ),
    act("generate-root-token/attempt", &[Read], generate_root::status),
    sudo(act(
        "generate-root-token/attempt",
        &[Update],
        generate_root::begin,
    )),
    sudo(act(
        "generate-root-token/attempt",
        &[Delete],
        generate_root::cancel,
    )),
    act("generate-root-token/update", &[Update], generate_root::update),
    act("generate-root/attempt", &[Read], generate_root::status),
    sudo(act("generate-root/attempt", &[Update], generate_root::begin)),
    sudo(act("generate-root/attempt", &[Delete], generate_root::cancel)),
    act("generate-root/update", &[Update], generate_root::update),
    rows("decode-token", &[Update], generate_root::decode),
    sudo(act("seal", &[Update], seal::seal)),
    sudo(act("step-down", &[Update], raft::step_down)),
    #[cfg(feature = "next-format")]
    sudo(act("next-format", &[Update], next_format::commit)),
    rows("ha-status", &[Read], raft::ha_status),
    rows("storage/raft/configuration", &[Read], raft::configuration),
    act("storage/raft/autopilot/state", &[Read], autopilot::state),
    rows(
        "storage/raft/autopilot/configuration",
        &[Read],
        autopilot::configuration,
    ),
    rows(
        "storage/raft/autopilot/configuration",
        &[Update],
        autopilot::change_configuration,
    ),
    act("storage/raft/remove-peer", &[Update], raft::remove_peer),
    act("storage/raft/promote", &[Update], raft::promote),
    act("storage/raft/demote", &[Update], raft::demote),
    rows("storage/raft/join-token", &[Update], admit::new_join_token),
    rows("storage/raft/approve", &[Update], admit::approve),
    sudo(act("storage/raft/compare", &[Update], raft::compare)),
    act("storage/raft/pending", &[Read, List], admit::pending),
    sudo(act("storage/raft/snapshot", &[Read], snapshot::save)),
    sudo(act("storage/raft/snapshot", &[Update], snapshot::restore)),
    sudo(act(
        "storage/raft/snapshot-force",
        &[Update],
        snapshot::restore_forced,
    )),
    sudo(rows("anomaly/config", &[Read], anomaly::config)),
    sudo(rows("anomaly/config", &[Update], anomaly::change_config)),
    sudo(rows("anomaly/rules", &[List], anomaly::rules)),
    sudo(rows("anomaly/rules/:name", &[Read], anomaly::rule)),
    sudo(rows("anomaly/rules/:name", &[Update], anomaly::change_rule)),
    sudo(rows("anomaly/rules/:name", &[Delete], anomaly::reset_rule)),
    sudo(rows("anomaly/canaries", &[List], anomaly::canaries)),
    sudo(rows("anomaly/canaries/*path", &[Read], anomaly::canary)),
    sudo(rows("anomaly/canaries/*path", &[Update], anomaly::plant)),
    sudo(rows("anomaly/canaries/*path", &[Delete], anomaly::remove)),
    sudo(rows("anomaly/mute", &[List], anomaly::mutes)),
    sudo(rows("anomaly/mute/:name", &[Read], anomaly::muted)),
    sudo(rows("anomaly/mute/:name", &[Update], anomaly::mute)),
    sudo(rows("anomaly/mute/:name", &[Delete], anomaly::unmute)),
    sudo(rows("anomaly/limits", &[List], anomaly::limits)),
    sudo(rows("anomaly/limits/:name", &[Read], anomaly::limit)),
    sudo(rows("anomaly/limits/:name", &[Delete], anomaly::lift)),
    sudo(rows("anomaly/holds", &[List], anomaly::holds)),
    sudo(rows("anomaly/holds/:entity_id", &[Read], anomaly::hold)),
    sudo(rows("anomaly/holds/:entity_id", &[Delete], anomaly::release)),
    sudo(rows("anomaly/webhooks", &[List], anomaly::webhooks)),
    sudo(rows("anomaly/webhooks/:name", &[Read], anomaly::webhook)),
    sudo(rows("anomaly/webhooks/:name", &[Update], anomaly::change_webhook)),
    sudo(rows("anomaly/webhooks/:name", &[Delete], anomaly::remove_webhook)),
    sudo(rows("anomaly/events", &[List], anomaly::events)),
    sudo(rows("anomaly/events/:id", &[Read], anomaly::event)),
    sudo(rows("anomaly/ack/:id", &[Update], anomaly::acknowledge)),
    sudo(rows("anomaly/access/*path", &[Read], anomaly::access)),
    sudo(rows("anomaly/unused/*path", &[Read], anomaly::unused)),
    sudo(rows("anomaly/identities/:entity", &[Read], anomaly::identity)),
    sudo(rows("anomaly/orphaned", &[Read], anomaly::orphaned)),
    sudo(act("anomaly/baseline", &[Read], anomaly::status)),
    sudo(act("anomaly/baseline/:entity", &[Read], anomaly::baseline)),
    sudo(act("anomaly/dormant", &[Read], anomaly::dormant)),
    for_callers(rows("watch/*path", &[Read], crate::watch::open)),
    rows("wrapping/wrap", &[Update], wrapping::wrap),
    rows("wrapping/unwrap", &[Update], wrapping::unwrap),
    rows("wrapping/rewrap", &[Update], wrapping::rewrap),
    rows("tools/random", &[Update], tools::random),
    rows("tools/random/:first", &[Update], tools::random),
    rows("tools/random/:first/:second", &[Update], tools::random),
    rows("tools/hash", &[Update], tools::hash),
    rows("tools/hash/:algorithm", &[Update], tools::hash),
    rows("quotas/config", &[Read], quotas::settings),
    rows("quotas/config", &[Update], quotas::change_settings),
    rows("quotas/lease-count", &[List], lease_counts::list),
    rows("quotas/lease-count/:name", &[Read], lease_counts::read),
    rows("quotas/lease-count/:name", &[Update], lease_counts::write),
    rows("quotas/lease-count/:name", &[Delete], lease_counts::delete),
    rows("quotas/rate-limit", &[List], quotas::list),
    rows("quotas/rate-limit/:name", &[Read], quotas::read),
    rows("quotas/rate-limit/:name", &[Update], quotas::write),
    rows("quotas/rate-limit/:name", &[Delete], quotas::delete),
    sudo(rows("in-flight-req", &[Read], inflight::list)),
    rows("host-info", &[Read], host::info),
    rows("metrics", &[Read], host::metrics),
    rows("version-history", &[List], host::versions),
];
