//! The rules, their parameters with bounds and what holds where nobody says otherwise. Which values are good is shown by
//! `docs/anomalies.md`; what a rule looks at is in `detector/`.

use std::collections::BTreeSet;

use crate::error::Error;
use crate::params::{self, Param};
use crate::zone::{Hours, Zone};

/// A rule. There is one of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Too many failures to say who one is, from one network, under one name or at one mount.
    AuthFailureBurst,
    /// An identity is refused far more often than usual.
    DeniedSpike,
    /// An identity reads far more different secrets than usual.
    BulkRead,
    /// A canary was read.
    CanaryRead,
    /// An identity is active at an hour at which it never is.
    OffHoursAccess,
    /// An identity comes from a network from which it never came.
    NewSourceNetwork,
    /// An identity makes far more requests than usual.
    TrafficSpike,
    /// An identity that was silent for long is active again.
    DormantIdentity,
    /// An identity reads many paths that it never read.
    FirstUseOfPath,
    /// An identity lists far more than usual.
    WideList,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// Worth a look some time.
    Low,
    /// Worth a look today.
    Medium,
    /// Worth a look now.
    High,
    /// Wakes somebody up.
    Critical,
}

impl Severity {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Low, Self::Medium, Self::High, Self::Critical];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }

    /// By its name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|severity| severity.name() == name)
    }
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::AuthFailureBurst,
        Self::DeniedSpike,
        Self::BulkRead,
        Self::CanaryRead,
        Self::OffHoursAccess,
        Self::NewSourceNetwork,
        Self::TrafficSpike,
        Self::DormantIdentity,
        Self::FirstUseOfPath,
        Self::WideList,
    ];

    /// Its name, also as a label of metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::AuthFailureBurst => "auth_failure_burst",
            Self::DeniedSpike => "denied_spike",
            Self::BulkRead => "bulk_read",
            Self::CanaryRead => "canary_read",
            Self::OffHoursAccess => "off_hours_access",
            Self::NewSourceNetwork => "new_source_network",
            Self::TrafficSpike => "traffic_spike",
            Self::DormantIdentity => "dormant_identity",
            Self::FirstUseOfPath => "first_use_of_path",
            Self::WideList => "wide_list",
        }
    }

    /// By its name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// What it is about, in a sentence.
    pub fn about(self) -> &'static str {
        match self {
            Self::AuthFailureBurst => {
                "Logins or tokens fail too often from one network, under one name, or at one mount."
            }
            Self::DeniedSpike => "An identity is refused by policies far more often than usual.",
            Self::BulkRead => "An identity reads far more different secrets than usual.",
            Self::CanaryRead => "A secret that nobody should read was read, or somebody tried to.",
            Self::OffHoursAccess => {
                "An identity is active outside working hours, or at an hour at which it never is."
            }
            Self::NewSourceNetwork => "An identity comes from a network from which it never came.",
            Self::TrafficSpike => "An identity makes far more requests than is usual for it at this hour.",
            Self::DormantIdentity => "An identity that was silent for long is active again.",
            Self::FirstUseOfPath => "An identity reads many paths that it never read before.",
            Self::WideList => "An identity lists far more names or directories than usual.",
        }
    }

    /// How bad it is unless somebody says otherwise.
    pub fn severity(self) -> Severity {
        match self {
            Self::CanaryRead => Severity::Critical,
            Self::AuthFailureBurst | Self::BulkRead | Self::TrafficSpike => Severity::High,
            Self::DeniedSpike | Self::FirstUseOfPath | Self::NewSourceNetwork | Self::WideList => {
                Severity::Medium
            }
            Self::OffHoursAccess | Self::DormantIdentity => Severity::Low,
        }
    }

    /// Its parameters.
    pub const fn params(self) -> &'static [Param] {
        params::of(self)
    }
}

/// Where a rule holds; what is empty is everywhere. Groups of identities are known to who asks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// Numbers of namespaces.
    pub namespaces: BTreeSet<u32>,
    /// Numbers of mounts.
    pub mounts: BTreeSet<u32>,
}

impl Scope {
    /// Whether it holds there.
    pub fn covers(&self, namespace: u32, mount: u32) -> bool {
        (self.namespaces.is_empty() || self.namespaces.contains(&namespace))
            && (self.mounts.is_empty() || self.mounts.contains(&mount))
    }
}

/// A rule as it is set.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Which.
    pub kind: Kind,
    /// Whether it finds anything.
    pub enabled: bool,
    /// How bad what it finds is.
    pub severity: Severity,
    /// Where it holds.
    pub scope: Scope,
    /// Working hours, for the rule about them; without, it learns them.
    pub hours: Option<Hours>,
    params: Vec<f64>,
}

impl Rule {
    /// As it is unless somebody says otherwise.
    pub fn usual(kind: Kind) -> Self {
        Self {
            kind,
            enabled: true,
            severity: kind.severity(),
            scope: Scope::default(),
            hours: None,
            params: kind.params().iter().map(|param| param.usual).collect(),
        }
    }

    /// A parameter; 0 for one it does not have.
    pub fn param(&self, name: &str) -> f64 {
        let at = self.kind.params().iter().position(|param| param.name == name);
        at.and_then(|at| self.params.get(at)).copied().unwrap_or(0.0)
    }

    /// Sets a parameter.
    ///
    /// # Errors
    /// [`Error::UnknownParam`], [`Error::OutOfBounds`]
    pub fn set(&mut self, name: &str, value: f64) -> Result<(), Error> {
        let params = self.kind.params();
        let Some(at) = params.iter().position(|param| param.name == name) else {
            let known: Vec<_> = params.iter().map(|param| param.name).collect();
            return Err(Error::UnknownParam {
                rule: self.kind.name(),
                name: name.chars().take(64).collect(),
                known: known.join(", "),
            });
        };
        if let (Some(param), Some(slot)) = (params.get(at), self.params.get_mut(at)) {
            let (min, max) = param.bounds;
            if !(min..=max).contains(&value) {
                let name = param.name;
                return Err(Error::OutOfBounds { name, min, max });
            }
            *slot = value;
        }
        Ok(())
    }
}

/// What holds for all rules.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Minutes in which things are counted together.
    pub window_minutes: u64,
    /// Days for which an identity is only watched before what it does can be unusual.
    pub learning_days: u64,
    /// Where working hours are.
    pub zone: Zone,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            window_minutes: 10,
            learning_days: 7,
            zone: Zone::default(),
        }
    }
}

/// All rules as they are set.
#[derive(Debug, Clone)]
pub struct RuleSet {
    /// What holds for all.
    pub settings: Settings,
    rules: [Rule; 10],
}

impl Default for RuleSet {
    fn default() -> Self {
        Self {
            settings: Settings::default(),
            rules: Kind::ALL.map(Rule::usual),
        }
    }
}

impl RuleSet {
    /// One of them.
    pub fn rule(&self, kind: Kind) -> &Rule {
        // There is one of each, in the order of their names' list.
        let [
            auth,
            denied,
            bulk,
            canary,
            hours,
            network,
            traffic,
            dormant,
            first,
            lists,
        ] = &self.rules;
        match kind {
            Kind::AuthFailureBurst => auth,
            Kind::DeniedSpike => denied,
            Kind::BulkRead => bulk,
            Kind::CanaryRead => canary,
            Kind::OffHoursAccess => hours,
            Kind::NewSourceNetwork => network,
            Kind::TrafficSpike => traffic,
            Kind::DormantIdentity => dormant,
            Kind::FirstUseOfPath => first,
            Kind::WideList => lists,
        }
    }

    /// Puts one in the place of what it was.
    pub fn replace(&mut self, rule: Rule) {
        if let Some(slot) = self.rules.iter_mut().find(|known| known.kind == rule.kind) {
            *slot = rule;
        }
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_is_found_by_its_name_and_its_parameters_are_within_their_bounds() {
        let set = RuleSet::default();
        for kind in Kind::ALL {
            assert_eq!(Kind::parse(kind.name()), Some(kind));
            let mut rule = set.rule(kind).clone();
            assert_eq!(rule.kind, kind);
            for param in kind.params() {
                assert_eq!(rule.param(param.name), param.usual);
                rule.set(param.name, param.usual).unwrap();
                assert!(rule.set(param.name, param.bounds.1 + 1.0).is_err());
                assert!(rule.set(param.name, f64::NAN).is_err());
            }
            let unknown = rule.set("nosuch", 1.0).unwrap_err().to_string();
            assert!(unknown.contains(kind.name()), "{unknown}");
        }
        assert_eq!(Kind::parse("nosuch"), None);
        assert_eq!(Severity::parse("high"), Some(Severity::High));
    }
}
