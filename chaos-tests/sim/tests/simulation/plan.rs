//! What a seed says: how large the cluster is, how fast its network and clocks are, which faults it meets.

use std::time::Duration;

use conclave_raft::node::{SnapshotPolicy, Timings};

use crate::dice::Dice;

/// What goes wrong in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A minority can neither hear nor be heard.
    Split,
    /// One node cannot be heard by another, which it hears.
    OneWay,
    /// The leader alone is cut off.
    IsolateLeader,
    /// Messages between two nodes wait and then all arrive.
    Hold,
    /// A process dies; its machine goes on.
    Kill,
    /// A machine loses power.
    PowerLoss,
    /// All machines lose power at once.
    Blackout,
    /// A node is stopped in good order and started again.
    Restart,
    /// Messages between two nodes take long.
    SlowLink,
    /// A disk takes long.
    SlowDisk,
    /// A disk refuses a sync.
    BrokenDisk,
    /// A wall clock jumps.
    ClockJump,
    /// Leadership is handed over.
    Transfer,
    /// A voter becomes a learner and votes again later.
    Demote,
    /// A member is removed for good and a new one takes its place.
    Replace,
    /// A node neither wants to lead nor stands for election, as a sealed one.
    Unwilling,
    /// All machines are off for hours or months.
    DarkPeriod,
    /// A disk is put back to what it was earlier. Alone in a run: two such disks of three are beyond what Raft bears.
    SetBack,
    /// A node is away until its log is compacted under it.
    LongAbsence,
    /// An operator seals a node of a vault.
    Seal,
    /// An operator seals a whole vault.
    SealAll,
    /// A vault's data key is rotated.
    RotateKey,
}

/// One seed in so many runs a vault: the layers above replication, with keys, tokens, policies and secrets.
const VAULT: u64 = 5;
/// Faults that vaults meet.
pub const VAULT_FAULTS: &[Fault] = &[
    Fault::Split,
    Fault::OneWay,
    Fault::IsolateLeader,
    Fault::Hold,
    Fault::Kill,
    Fault::PowerLoss,
    Fault::Blackout,
    Fault::Restart,
    Fault::SlowLink,
    Fault::SlowDisk,
    Fault::BrokenDisk,
    Fault::ClockJump,
    Fault::Transfer,
    Fault::LongAbsence,
    Fault::DarkPeriod,
    Fault::Seal,
    Fault::SealAll,
    Fault::RotateKey,
];

pub const FAULTS: &[Fault] = &[
    Fault::Split,
    Fault::OneWay,
    Fault::IsolateLeader,
    Fault::Hold,
    Fault::Kill,
    Fault::PowerLoss,
    Fault::Blackout,
    Fault::Restart,
    Fault::SlowLink,
    Fault::SlowDisk,
    Fault::BrokenDisk,
    Fault::ClockJump,
    Fault::Transfer,
    Fault::Demote,
    Fault::Replace,
    Fault::Unwilling,
    Fault::LongAbsence,
    Fault::DarkPeriod,
    Fault::SetBack,
];

impl Fault {
    pub fn name(self) -> &'static str {
        match self {
            Self::Split => "split",
            Self::OneWay => "one-way partition",
            Self::IsolateLeader => "leader isolated",
            Self::Hold => "messages held",
            Self::Kill => "kill",
            Self::PowerLoss => "power loss",
            Self::Blackout => "blackout",
            Self::Restart => "restart",
            Self::SlowLink => "slow link",
            Self::SlowDisk => "slow disk",
            Self::BrokenDisk => "broken disk",
            Self::ClockJump => "clock jump",
            Self::Transfer => "leader transfer",
            Self::Demote => "demotion",
            Self::Replace => "member replaced",
            Self::Unwilling => "unwilling node",
            Self::LongAbsence => "long absence",
            Self::DarkPeriod => "dark period",
            Self::SetBack => "disk set back",
            Self::Seal => "node sealed",
            Self::SealAll => "vault sealed",
            Self::RotateKey => "key rotated",
        }
    }
}

/// Further things that must have happened in a run of many seeds, besides each fault.
pub const EFFECTS: &[&str] = &[
    "snapshot made",
    "snapshot installed",
    "log purged",
    "unsynced log lost",
    "unsynced state lost",
    "failed sync",
    "membership changed",
    "leader elected",
    "unknown outcome",
    "conflict",
    "all sealed",
    "removed and still running",
    "member forgotten",
    "vault opened again",
    "token revoked",
    "token expired",
    "guarded read",
    "guard held",
    "answer wrapped",
    "answer unwrapped",
    "account asked for",
    "account dropped",
    "lease renewed",
    "lease revoked",
    "target not reached",
    "answer of a target lost",
    "password read",
    "password changed",
];

/// A bug put back in, to prove that some invariant notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// A sync of the log promises what it did not do.
    SkipSync,
    /// A sync of the log answers before it is done.
    EarlyAck,
    /// A vote does not survive a loss of power.
    ForgottenVote,
    /// Reads are answered from whatever the node has.
    StaleRead,
    /// Expectations do not reach the log.
    LostExpectation,
    /// One node computes another state from the same log.
    DivergentApply,
    /// A command whose outcome is unknown is sent again as if it were new.
    BlindRetry,
}

pub const MUTANTS: &[(Mutant, &str)] = &[
    (Mutant::SkipSync, "skip-sync"),
    (Mutant::EarlyAck, "early-ack"),
    (Mutant::ForgottenVote, "forgotten-vote"),
    (Mutant::StaleRead, "stale-read"),
    (Mutant::LostExpectation, "lost-expectation"),
    (Mutant::DivergentApply, "divergent-apply"),
    (Mutant::BlindRetry, "blind-retry"),
];

#[derive(Debug, Clone)]
pub struct Plan {
    pub seed: u64,
    pub mutant: Option<Mutant>,
    /// Whether each message gets a line of the trace.
    pub wire: bool,
    /// Whether the nodes are a vault: the layers above replication run on them too.
    pub vault: bool,
    /// Voters at the beginning.
    pub size: usize,
    pub timings: Timings,
    /// Resolution of simulated time: messages arrive at its multiples.
    pub tick: Duration,
    /// How long a message takes.
    pub latency: (Duration, Duration),
    pub snapshots: SnapshotPolicy,
    /// How long clients work while things go wrong.
    pub work: Duration,
    /// Clients on each node.
    pub clients: u64,
    /// Longest pause of a client between two operations, in milliseconds.
    pub pause: u64,
    /// Registers that clients work on.
    pub keys: u64,
    /// Whether no node ever wants to lead, as when all are sealed.
    pub sealed: bool,
    /// Kinds of faults of this run.
    pub faults: Vec<Fault>,
    /// Longest pause between two faults, in milliseconds.
    pub calm: u64,
    /// How far clocks run from true time, in millionths.
    pub drift: u64,
    /// Whether nodes run in another order each tick.
    pub random_order: bool,
}

impl Plan {
    pub fn new(seed: u64, mutant: Option<Mutant>) -> Self {
        let mut dice = Dice::new(seed);
        let fast = dice.percent(70);
        let timings = Timings::default();
        // Elections that take half as long leave time for twice as many faults.
        let timings = match fast {
            true => Timings {
                heartbeat: timings.heartbeat / 2,
                election_min: timings.election_min / 2,
                election_max: timings.election_max / 2,
                retry: timings.retry / 2,
                outcome: timings.outcome / 4,
            },
            false => Timings {
                outcome: timings.outcome / 2,
                ..timings
            },
        };
        let entries = dice.between(30, 300);
        let fewest = dice.between(1, 3);
        let mut faults = FAULTS.to_vec();
        faults.retain(|fault| *fault != Fault::SetBack);
        dice.shuffle(&mut faults);
        // Some runs meet one kind of trouble over and over, some a little of everything.
        faults.truncate(usize::try_from(dice.between(fewest, 8)).unwrap());
        faults.sort();
        if seed % 20 == 10 {
            faults = vec![Fault::SetBack];
        }
        let vault = seed % VAULT == 3;
        if vault {
            let mut dice = dice.fork(VAULT);
            faults = VAULT_FAULTS.to_vec();
            dice.shuffle(&mut faults);
            faults.truncate(usize::try_from(dice.between(2, 8)).unwrap());
            faults.sort();
        }
        Self {
            seed,
            mutant,
            wire: false,
            vault,
            size: if dice.percent(65) { 3 } else { 5 },
            timings,
            tick: dice.millis(1, 5),
            latency: (Duration::ZERO, dice.millis(2, 40)),
            snapshots: SnapshotPolicy {
                entries,
                bytes: 1 << 20,
                keep: dice.between(1, entries / 4),
                ..SnapshotPolicy::default()
            },
            work: dice.millis(5_000, 14_000),
            clients: dice.between(1, 2),
            pause: dice.between(60, 400),
            keys: dice.between(1, 6),
            sealed: dice.percent(8) && !vault,
            faults,
            calm: dice.between(300, 3_000),
            drift: dice.below(200),
            random_order: dice.percent(50),
        }
    }

    pub fn dice(&self) -> Dice {
        Dice::new(self.seed)
    }
}
