//! One node's heart: its engines, its seal, its devices and numbers, held together. No behaviour of its own: requests are
//! answered by the pipeline, the rest lives in the parts.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use conclave_engine_api::{Class, Engine, Millis};
use conclave_raft::node::Offload;

use crate::acts::Ledger;
use crate::admission::Admissions;
use crate::anomaly::Watch;
use crate::audit::{Declared, Devices};
use crate::auth::{Hashing, LockoutSettings};
use crate::autopilot::Autopilot;
use crate::backup::Backups;
use crate::catalog::{Category, MountRecord};
use crate::ceremony::Ceremonies;
use crate::divergence::Divergence;
use crate::heads::Heads;
use crate::inflight::InFlight;
use crate::jobs::{LowWater, Turns};
use crate::latch::Latches;
use crate::launcher::Launcher;
use crate::leases::Outside;
use crate::logs::Logs;
use crate::metrics::Metrics;
use crate::quota::Quotas;
use crate::room::Room;
use crate::seal::{PeerUnseal, Seal};
use crate::watch::Seats;
use crate::workshop::Workshop;

/// Settings of a node that core needs.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Shown to clients; names a cluster founded by this node.
    pub cluster_name: String,
    /// The Vault-compatible version clients are told, for example `2.7.2`.
    pub vault_version: String,
    /// Conclave's own version.
    pub conclave_version: String,
    /// When this build was made, RFC 3339; empty if unknown.
    pub build_date: String,
    /// `raft`, or `inmem` for a development server.
    pub storage_type: String,
    /// Life of leases and tokens that name none.
    pub default_lease_ttl: Millis,
    /// Longest life.
    pub max_lease_ttl: Millis,
    /// Directories in which audit files may be made.
    pub audit_directories: Vec<PathBuf>,
    /// Targets that audit devices enabled over the API may have.
    pub audit_targets: Vec<String>,
    /// Audit devices that this node's configuration declares.
    pub audit_devices: Vec<Declared>,
    /// How often the ends of audit chains are committed, if they moved.
    pub audit_heads_every: Duration,
    /// How much that a node did by itself may wait for an audit device, in commands, before it does nothing more of the kind.
    pub acts_waiting: usize,
    /// Whether `sys/rekey/*` answers without a token. Shares are needed all the same.
    pub unauthenticated_rekey: bool,
    /// Whether `sys/generate-root/*` answers without a token, for clusters to which every token is lost. Shares are needed
    /// all the same.
    pub unauthenticated_generate_root: bool,
    /// Whether members open each other.
    pub peer_unseal: PeerUnseal,
    /// When names are locked out whose logins fail, by type of auth method; `all` for the others.
    pub lockout: HashMap<String, LockoutSettings>,
    /// How often the leader has the members compare their states; zero for never.
    pub compare_every: Duration,
    /// What operators may see of this node's configuration: nothing secret.
    pub shown: serde_json::Map<String, serde_json::Value>,
}

/// Types of mounts that core answers itself.
const OWN_KINDS: [&str; 3] = ["system", "token", "identity"];

/// Between two comparisons of the members' states unless a node is told otherwise.
const COMPARE_EVERY: Duration = Duration::from_secs(3600);

/// Between two commits of the ends of audit chains.
const AUDIT_HEADS_EVERY: Duration = Duration::from_secs(60);

/// Most commands of a node's own that wait for their records.
const ACTS_WAITING: usize = 4096;

/// When this version was made, as clients of Vault read it.
const RELEASED: &str = "2026-11-22T00:00:00Z";

impl Default for Settings {
    fn default() -> Self {
        const MONTH: Millis = 768 * 3_600_000;
        Self {
            cluster_name: "conclave".to_owned(),
            vault_version: "2.7.2".to_owned(),
            conclave_version: env!("CARGO_PKG_VERSION").to_owned(),
            build_date: RELEASED.to_owned(),
            storage_type: "raft".to_owned(),
            default_lease_ttl: MONTH,
            max_lease_ttl: MONTH,
            audit_directories: Vec::new(),
            audit_targets: Vec::new(),
            audit_heads_every: AUDIT_HEADS_EVERY,
            acts_waiting: ACTS_WAITING,
            audit_devices: Vec::new(),
            unauthenticated_rekey: false,
            unauthenticated_generate_root: false,
            peer_unseal: PeerUnseal::default(),
            lockout: HashMap::new(),
            compare_every: COMPARE_EVERY,
            shown: serde_json::Map::new(),
        }
    }
}

/// One node.
pub struct Core {
    pub(crate) engines: HashMap<&'static str, Arc<dyn Engine>>,
    pub(crate) methods: HashMap<&'static str, Arc<dyn Engine>>,
    pub(crate) launcher: Arc<dyn Launcher>,
    pub(crate) offload: Arc<dyn Offload>,
    pub(crate) settings: Settings,
    pub(crate) seal: Seal,
    pub(crate) ceremonies: Ceremonies,
    pub(crate) logs: Arc<dyn Logs>,
    pub(crate) audit: Devices,
    pub(crate) heads: Heads,
    pub(crate) acts: Ledger,
    pub(crate) backups: Backups,
    pub(crate) hashing: Hashing,
    pub(crate) latches: Latches,
    pub(crate) admissions: Admissions,
    pub(crate) divergence: Divergence,
    pub(crate) in_flight: InFlight,
    pub(crate) quotas: Quotas,
    pub(crate) metrics: Metrics,
    pub(crate) room: Room,
    pub(crate) workshop: Workshop,
    pub(crate) outside: Outside,
    pub(crate) watch: Watch,
    pub(crate) watches: Seats,
    pub(crate) autopilot: Autopilot,
    pub(crate) rewraps: Turns,
    pub(crate) low_water: LowWater,
}

impl Core {
    /// A node that belongs to no cluster yet; `start` makes it take part in the one it remembers.
    pub fn new(
        settings: Settings,
        engines: Vec<Arc<dyn Engine>>,
        launcher: Arc<dyn Launcher>,
        registry: &prometheus::Registry,
    ) -> Result<Arc<Self>, crate::Error> {
        let (methods, engines) = engines
            .into_iter()
            .map(|engine| (engine.kind(), engine))
            .partition(|(_, engine)| engine.class() == Class::Auth);
        let metrics = metrics(registry, &engines, &methods)?;
        Ok(Arc::new(Self {
            engines,
            methods,
            outside: Outside::new(launcher.targets(), registry)?,
            logs: launcher.logs(),
            offload: launcher.offload(),
            audit: Devices::new(&settings, launcher.as_ref(), registry)?,
            acts: Ledger::new(settings.acts_waiting, registry)?,
            launcher,
            settings,
            seal: Seal::default(),
            ceremonies: Ceremonies::default(),
            heads: Heads::default(),
            backups: Backups::default(),
            hashing: Hashing::default(),
            latches: Latches::default(),
            admissions: Admissions::default(),
            divergence: Divergence::default(),
            in_flight: InFlight::default(),
            quotas: Quotas::default(),
            metrics,
            room: Room::default(),
            workshop: Workshop::default(),
            watch: Watch::new(registry)?,
            watches: Seats::new(registry)?,
            autopilot: Autopilot::default(),
            rewraps: Turns::default(),
            low_water: LowWater::default(),
        }))
    }

    /// The engine or auth method behind a mount, if it is built.
    pub(crate) fn engine_of(&self, mount: &MountRecord) -> Option<&Arc<dyn Engine>> {
        match mount.category {
            Category::Secret => self.engines.get(mount.kind.as_str()),
            Category::Auth => self.methods.get(mount.kind.as_str()),
        }
    }
}

/// The numbers of a node with these engines and auth methods.
fn metrics(
    registry: &prometheus::Registry,
    engines: &HashMap<&'static str, Arc<dyn Engine>>,
    methods: &HashMap<&'static str, Arc<dyn Engine>>,
) -> Result<Metrics, crate::Error> {
    let kinds = engines.keys().chain(methods.keys()).copied();
    Metrics::new(registry, kinds.chain(OWN_KINDS), methods.keys().copied())
}
