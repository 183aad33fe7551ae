//! Rules about those who failed to say who they are, and about canaries.

use std::collections::BTreeMap;

use crate::act::Act;
use crate::finding::{Evidence, Finding, Subject};
use crate::key::Key;
use crate::rule::Kind;

use super::episodes::Telling;
use super::{Detector, Seen};

/// So many of them, in words.
fn many(count: u32, one: &str) -> String {
    format!("{count} {one}{}", if count == 1 { "" } else { "s" })
}

impl Detector {
    /// A login failed, or a token was none.
    pub(super) fn refused(&mut self, node: u64, seen: &mut Seen<'_>) {
        let fact = seen.fact;
        let place = (fact.namespace, fact.mount);
        let counts = self.failures.add(node, fact);
        let rule = self.rules.rule(Kind::AuthFailureBurst);
        let over = |count: u32, name: &str| f64::from(count) >= rule.param(name);
        let peak = self.failures.peaks.get(&place).copied().unwrap_or(0.0);
        let usual = f64::from(peak) * rule.param("factor");
        let of_mount = over(counts.of_mount, "per_mount") && f64::from(counts.of_mount) >= usual;
        let (of_source, of_name) = (
            over(counts.of_source, "per_source"),
            over(counts.of_name, "per_name"),
        );
        let minutes = self.rules.settings.window_minutes;
        // A rule looks at two at least.
        let what = match fact.act {
            Act::LoginFailed => "logins failed",
            _ => "requests showed no valid token",
        };
        let evidence = [
            ("failures_from_network", counts.of_source.into()),
            ("failures_under_name", counts.of_name.into()),
            ("failures_at_mount", counts.of_mount.into()),
            ("different_names", counts.names.into()),
            ("different_networks", counts.sources.into()),
            ("nodes", Evidence::from(counts.nodes)),
            ("most_at_mount_so_far", peak.into()),
            ("window_minutes", minutes.into()),
            ("last_network", self.names.of(fact.source).into()),
            ("last_name", self.names.of(fact.who).into()),
        ];
        if of_mount {
            self.failures.found(place);
            let key = (u64::from(place.0) << 32 | u64::from(place.1)) ^ 0x5eed;
            let text = format!(
                "{} {what} within {minutes} minutes, under {} from {} over {}",
                counts.of_mount,
                many(counts.names, "name"),
                many(counts.sources, "network"),
                many(counts.nodes, "node"),
            );
            self.tell(
                seen,
                (Kind::AuthFailureBurst, Subject::Mount, key),
                text,
                &evidence,
            );
        }
        if of_source {
            let text = format!(
                "{} {what} from one network within {minutes} minutes",
                counts.of_source
            );
            self.tell(
                seen,
                (Kind::AuthFailureBurst, Subject::Network, fact.source),
                text,
                &evidence,
            );
        }
        if of_name && fact.act == Act::LoginFailed {
            let text = format!(
                "{} {what} under one name within {minutes} minutes",
                counts.of_name
            );
            self.tell(
                seen,
                (Kind::AuthFailureBurst, Subject::Name, fact.who),
                text,
                &evidence,
            );
        }
    }

    /// A canary was touched.
    pub(super) fn canary(&mut self, seen: &mut Seen<'_>) {
        let path = self.names.of(seen.fact.what);
        let text = format!("read {path}, which nobody should");
        let evidence = [
            ("path", Evidence::from(path)),
            ("network", self.names.of(seen.fact.source).into()),
            ("requests", seen.fact.count.into()),
        ];
        self.tell(
            seen,
            (Kind::CanaryRead, Subject::Identity, seen.fact.who),
            text,
            &evidence,
        );
    }

    /// Says what was found, if it is new or goes on and the rule holds there. Whether the rule holds there.
    pub(super) fn tell(
        &mut self,
        seen: &mut Seen<'_>,
        (kind, subject, key): (Kind, Subject, Key),
        explanation: String,
        evidence: &[(&'static str, Evidence)],
    ) -> bool {
        let (rule, fact) = (self.rules.rule(kind), seen.fact);
        if !rule.enabled || !rule.scope.covers(fact.namespace, fact.mount) {
            return false;
        }
        // Each canary is a thing of its own.
        let episode = match kind {
            Kind::CanaryRead => key ^ fact.what.rotate_left(1),
            _ => key,
        };
        let telling = self.episodes.found((kind, episode), fact.at);
        if telling != Telling::Not {
            let evidence = evidence
                .iter()
                .map(|(name, what)| ((*name).to_owned(), what.clone()));
            seen.found.push(Finding {
                kind,
                severity: rule.severity,
                subject,
                key: episode,
                name: match subject {
                    // Numbers of mounts are told by who knows them.
                    Subject::Mount => String::new(),
                    _ => self.names.of(key),
                },
                token: fact.token,
                namespace: fact.namespace,
                mount: fact.mount,
                at: fact.at,
                again: telling == Telling::Again,
                explanation,
                evidence: evidence.collect::<BTreeMap<_, _>>(),
            });
        }
        true
    }
}
