//! What an engine wants done outside the cluster: an account made, changed or dropped in somebody's database. An engine only
//! says what; who talks to the target, when, and what happens if the node dies meanwhile is no business of this file.

use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value};
use thiserror::Error as ThisError;
use zeroize::Zeroizing;

use crate::lease::LeaseSpec;
use crate::outcome::Reply;

/// Text that must not be shown and is wiped when it is dropped: statements with a password in them, connection strings.
pub type Hidden = Zeroizing<String>;

/// An effect: what is done outside, and what is answered when it is done.
#[derive(Clone, PartialEq)]
pub struct Effect {
    /// What is done.
    pub plan: Plan,
    /// The life of the account that the plan makes. Core keeps a lease of it: it is committed before the plan runs, and what
    /// is left of a plan that did not finish is dropped. `None`: the engine keeps the intent in its own rows and is asked to
    /// `settle` them.
    pub lease: Option<LeaseSpec>,
    /// What is answered; of an effect without a lease, `settle` decides.
    pub reply: Reply,
    /// What the engine needs to `settle`, handed back as it is.
    pub memo: Map<String, Value>,
    /// What its session at the target is called; `None`: a name of its own. An engine that tells a target the same thing until
    /// it is known to have heard gives all attempts one name: each ends those before it, so that none of them is heard late.
    pub session: Option<String>,
}

/// Shows what kind of thing is done, never how.
impl fmt::Debug for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Effect")
            .field("plan", &self.plan)
            .field("lease", &self.lease)
            .finish_non_exhaustive()
    }
}

/// One thing to be done in one target.
#[derive(Clone, PartialEq)]
pub struct Plan {
    /// Where.
    pub target: Target,
    /// What.
    pub action: Action,
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan")
            .field("driver", &self.target.driver)
            .field("action", &self.action.name())
            .finish_non_exhaustive()
    }
}

/// Which protocol a target speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Driver {
    /// PostgreSQL.
    Postgresql,
    /// MySQL and MariaDB.
    Mysql,
    /// Redis and Valkey.
    Redis,
    /// IAM and STS of Amazon Web Services. A statement is a request of the query protocol, as a form.
    Aws,
    /// RabbitMQ, by its management API. A statement is what is put where: a path beneath `api/`, a space, and JSON.
    RabbitMq,
    /// Kubernetes, by its API server. A statement is a verb, a path beneath the server's, and JSON.
    Kubernetes,
}

impl Driver {
    /// Its name in metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Postgresql => "postgresql",
            Self::Mysql => "mysql",
            Self::Redis => "redis",
            Self::Aws => "aws",
            Self::RabbitMq => "rabbitmq",
            Self::Kubernetes => "kubernetes",
        }
    }
}

/// A system outside, and how to log in to it.
#[derive(Clone, PartialEq)]
pub struct Target {
    /// What it is called within its mount: leases of one target wait for each other and for nobody else.
    pub name: String,
    /// What it speaks.
    pub driver: Driver,
    /// The same as `url` with credentials that may have taken the place of those, tried when those are refused: a change of
    /// them is under way and nobody knows yet how it ended.
    pub fallback: Option<Hidden>,
    /// How it is reached, credentials included, in the form its own clients read.
    pub url: Hidden,
    /// How it proves who it is.
    pub tls: TargetTls,
    /// Connections kept open to it at most.
    pub max_connections: u32,
    /// Another whenever it is to be reached anew: connections of a target with another epoch are used no more, on any node.
    pub epoch: String,
}

/// TLS to a target.
#[derive(Clone, Default, PartialEq)]
pub struct TargetTls {
    /// Authorities to trust, PEM; empty: those of the operating system.
    pub ca: String,
    /// Our certificate, PEM; empty: none.
    pub certificate: String,
    /// Its key, PEM.
    pub key: Hidden,
    /// The name its certificate must be for; empty: the host's.
    pub server_name: String,
}

/// What is done in a target.
#[derive(Clone, PartialEq)]
pub enum Action {
    /// Log in, and nothing else.
    Check,
    /// These statements, all or none where the target can. What the last of them tells is answered by targets that make
    /// credentials themselves.
    Run {
        /// In their order.
        statements: Vec<Hidden>,
    },
    /// Make an account by these statements, as `Run` runs them, unless one of this name is there: then nothing is done and
    /// [`Done::There`] said. Whoever has that name has it from somebody else.
    Make {
        /// Its name.
        account: String,
        /// In their order.
        statements: Vec<Hidden>,
    },
    /// Drop an account that may be there or not, and end its sessions.
    Drop {
        /// Its name.
        account: String,
        /// How; empty: as is usual for the target.
        statements: Vec<Hidden>,
        /// The session in which it may still be being made: it is ended first.
        session: String,
    },
    /// The names of accounts that begin so and, where the target keeps marks of accounts, bear this one.
    List {
        /// How they begin; empty: as they like.
        prefix: String,
        /// The mark, as the plan that made them set it; empty: any.
        mark: String,
    },
}

impl Action {
    /// Its name in metrics and logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Run { .. } => "run",
            Self::Make { .. } => "make",
            Self::Drop { .. } => "drop",
            Self::List { .. } => "list",
        }
    }
}

/// How the accounts that a mount made in one target are found there, lease or no lease.
#[derive(Clone, PartialEq)]
pub struct Census {
    /// Lists them: an [`Action::List`].
    pub plan: Plan,
    /// Whether all that is listed is of this mount for certain, by a mark that the target keeps. Otherwise it only looks so:
    /// another system that names accounts alike may have made it, and nothing is dropped on that alone.
    pub certain: bool,
    /// Accounts that the engine knows otherwise than by a lease: they stay.
    pub known: Vec<String>,
}

/// Within what a plan is carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// What the target calls the session.
    pub session: String,
    /// Whether other sessions of this name are ended before anything is asked, where the target has sessions.
    pub alone: bool,
    /// On the clock of `Targets::boot_time`: no call begins after it, and none that began goes on after it.
    pub until: Duration,
}

/// Why a plan was not carried out. Texts come from targets: they may name accounts and objects, never passwords.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[error("{text}")]
pub struct Failure {
    /// What is said of it.
    pub text: String,
    /// What may have been done all the same.
    pub done: Done,
}

/// What a plan that failed may have done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// Nothing, for certain: the target was not reached.
    Nothing,
    /// Nothing, for certain: the target did not let us in.
    Denied,
    /// Nothing, for certain: an account of the name that was to be made is there already, and is another's.
    There,
    /// The target answered, and refused.
    Refused,
    /// Nobody knows: no answer came.
    Unknown,
}

impl Done {
    /// Whether nothing was done, for certain.
    pub fn is_nothing(self) -> bool {
        matches!(self, Self::Nothing | Self::Denied | Self::There)
    }
}

impl Failure {
    /// A failure.
    pub fn new(done: Done, text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            done,
        }
    }
}

/// A lease that its engine is asked about.
pub struct Leased<'a> {
    /// What the engine kept.
    pub internal: &'a Map<String, Value>,
    /// The session in which its account may still be being made; empty for one that is made.
    pub session: &'a str,
}

/// The life that a renewed lease would be given now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Without an increment; 0: the mount's.
    pub ttl: crate::env::Millis,
    /// At most since it was issued; 0: the mount's.
    pub max_ttl: crate::env::Millis,
}
