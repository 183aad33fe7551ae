//! Rules about identities: each compares what somebody does with what is usual for them. What is usual is learned after the
//! comparison, and reluctantly where a rule found something.

use crate::act::Act;
use crate::finding::{Evidence, Subject};
use crate::key::Key;
use crate::rule::Kind;

use super::activity::{Activity, Totals};
use super::profile::{MAX_NETWORKS, Profile};
use super::{Detector, MAX_ACTIVE, Seen};

/// Whose habits are not known yet may do so many times the least that a rule looks at.
const UNKNOWN: f64 = 5.0;
const DAY_MILLIS: u64 = 86_400_000;

impl Detector {
    /// Somebody did something.
    pub(super) fn person(&mut self, seen: &mut Seen<'_>) {
        let (who, at) = (seen.fact.who, seen.fact.at);
        if !self.profiles.contains_key(&who) {
            self.make_room();
        }
        let mut profile = self
            .profiles
            .remove(&who)
            .unwrap_or_else(|| Box::new(Profile::new(at)));
        let learned = profile.is_learned(at, self.rules.settings.learning_days);
        self.dormant(seen, &profile);
        profile.seen(at, seen.local);
        self.network(seen, &mut profile);
        let fresh = self.is_fresh(seen, &mut profile);
        let index = self.clock.index;
        let crowded = self.active.len() >= MAX_ACTIVE && !self.active.contains_key(&who);
        if !crowded {
            let mut activity = self.active.remove(&who).unwrap_or_default();
            let ended = activity.move_to(index);
            self.profiles.insert(who, profile);
            self.learn(who, ended);
            // It was put back a line above.
            profile = self
                .profiles
                .remove(&who)
                .unwrap_or_else(|| Box::new(Profile::new(at)));
            activity.add(seen.fact, fresh);
            let totals = activity.totals();
            self.compare(seen, (&profile, learned), &mut activity, &totals);
            self.off_hours(seen, (&profile, learned), &totals);
            self.active.insert(who, activity);
        }
        profile.keeps_hour(seen.local);
        self.profiles.insert(who, profile);
        self.dirty.profile(who);
    }

    fn dormant(&mut self, seen: &mut Seen<'_>, profile: &Profile) {
        let silent = seen.fact.at.saturating_sub(profile.last) / DAY_MILLIS;
        if profile.days > 0 && silent as f64 >= self.rules.rule(Kind::DormantIdentity).param("days") {
            let text = format!("active again after {silent} days of silence");
            let evidence = [
                ("silent_days", silent.into()),
                ("network", Evidence::from(self.names.of(seen.fact.source))),
                ("path", self.names.of(seen.fact.what).into()),
            ];
            self.tell(
                seen,
                (Kind::DormantIdentity, Subject::Identity, seen.fact.who),
                text,
                &evidence,
            );
        }
    }

    fn network(&mut self, seen: &mut Seen<'_>, profile: &mut Profile) {
        let network = seen.fact.source;
        if network == 0 {
            return;
        }
        if let Some((_, day)) = profile.networks.iter_mut().find(|(known, _)| *known == network) {
            *day = seen.local.day;
            return;
        }
        let rule = self.rules.rule(Kind::NewSourceNetwork);
        let shared = self.networks.get(&network).copied().unwrap_or(0);
        let known = f64::from(profile.days) > rule.param("days")
            && profile.is_learned(seen.fact.at, self.rules.settings.learning_days);
        if known && !profile.roams && f64::from(shared) < rule.param("shared") {
            let mut before = profile.networks.clone();
            before.sort_unstable_by_key(|(_, day)| std::cmp::Reverse(*day));
            let before: Vec<String> = before
                .iter()
                .take(4)
                .map(|(known, _)| self.names.of(*known))
                .collect();
            let text = format!(
                "came from {} for the first time in {} days",
                self.names.of(network),
                profile.days
            );
            let evidence = [
                ("network", Evidence::from(self.names.of(network))),
                ("networks_so_far", before.into()),
                ("identities_in_network", u32::from(shared).into()),
                ("days_known", profile.days.into()),
            ];
            self.tell(
                seen,
                (Kind::NewSourceNetwork, Subject::Identity, seen.fact.who),
                text,
                &evidence,
            );
        }
        if profile.networks.len() >= MAX_NETWORKS {
            profile.roams = true;
            return;
        }
        profile.networks.push((network, seen.local.day));
        self.share_network(network);
        self.dirty.rest();
    }

    /// Whether this path is read for the first time.
    fn is_fresh(&mut self, seen: &Seen<'_>, profile: &mut Profile) -> bool {
        let fact = seen.fact;
        if !matches!(fact.act, Act::Read | Act::Canary) || fact.what == 0 {
            return false;
        }
        profile.today.add(fact.what);
        let pair = pair(fact.who, fact.what);
        let known = self.pairs.count(pair) > 0;
        self.pairs.add(pair, 1);
        !known
    }

    /// Compares a window with the most that was usual.
    fn compare(
        &mut self,
        seen: &mut Seen<'_>,
        (profile, learned): (&Profile, bool),
        activity: &mut Activity,
        totals: &Totals,
    ) {
        let rules = self.rules.clone();
        let minutes = rules.settings.window_minutes;
        let usual = |kind: Kind, min: &str, factor: &str, peak: f32| {
            let rule = rules.rule(kind);
            match learned {
                true => rule.param(min).max(f64::from(peak) * rule.param(factor)),
                false => rule.param(min) * UNKNOWN,
            }
        };
        let peaks = profile.peaks;
        let today = profile.today.count();
        let slot = seen.local.slot();
        let mut check = |kind: Kind, what: &str, (count, peak): (u32, f32), limit: f64| {
            if f64::from(count) < limit {
                return;
            }
            let path = self.names.of(seen.fact.what);
            let evidence = [
                ("count", Evidence::from(count)),
                ("usual_at_most", peak.into()),
                ("limit", (limit as f32).into()),
                ("requests", totals.requests.into()),
                ("different_secrets", totals.secrets.into()),
                ("paths_never_read_before", totals.fresh.into()),
                ("refused", totals.denied.into()),
                ("different_secrets_today", today.into()),
                ("days_known", profile.days.into()),
                ("window_minutes", minutes.into()),
                ("last_path", path.into()),
                ("network", self.names.of(seen.fact.source).into()),
            ];
            let text = format!(
                "{count} {what} within {minutes} minutes; usual are {:.0} at most",
                peak.ceil()
            );
            if self.tell(seen, (kind, Subject::Identity, seen.fact.who), text, &evidence) {
                activity.found(kind);
            }
        };
        let bulk = usual(Kind::BulkRead, "min", "factor", peaks.secrets);
        let secrets = (totals.secrets, peaks.secrets);
        check(Kind::BulkRead, "different secrets read", secrets, bulk);
        if learned {
            let fresh = usual(Kind::FirstUseOfPath, "min", "factor", peaks.fresh);
            let paths = (totals.fresh, peaks.fresh);
            check(Kind::FirstUseOfPath, "paths never read before", paths, fresh);
            let (mean, deviation) = profile.rhythm.usual(slot);
            let deviations = rules.rule(Kind::TrafficSpike).param("deviations");
            let spike = usual(Kind::TrafficSpike, "min", "factor", mean)
                .max(f64::from(mean) + deviations * f64::from(deviation))
                .max(f64::from(peaks.requests) * 1.5);
            check(Kind::TrafficSpike, "requests", (totals.requests, mean), spike);
        }
        let denied = usual(Kind::DeniedSpike, "min", "factor", peaks.denied);
        let refused = (totals.denied, peaks.denied);
        check(Kind::DeniedSpike, "requests refused", refused, denied);
        let names = usual(Kind::WideList, "names", "factor", peaks.listed);
        check(
            Kind::WideList,
            "names listed",
            (totals.listed, peaks.listed),
            names,
        );
        let directories = usual(Kind::WideList, "directories", "factor", peaks.directories);
        let listed = (totals.directories, peaks.directories);
        check(Kind::WideList, "directories listed", listed, directories);
        if learned {
            self.day(seen, profile, activity, today);
        }
    }

    /// Compares a day with the most that was usual: what is read too slowly for a window shows here.
    fn day(&mut self, seen: &mut Seen<'_>, profile: &Profile, activity: &mut Activity, today: u32) {
        let rule = self.rules.rule(Kind::BulkRead);
        let peak = profile.peaks.day;
        let limit = rule
            .param("day_min")
            .max(f64::from(peak) * rule.param("day_factor"));
        if f64::from(today) < limit {
            return;
        }
        let evidence = [
            ("different_secrets_today", Evidence::from(today)),
            ("usual_at_most", peak.into()),
            ("limit", (limit as f32).into()),
            ("days_known", profile.days.into()),
            ("last_path", self.names.of(seen.fact.what).into()),
            ("network", self.names.of(seen.fact.source).into()),
        ];
        let text = format!(
            "{today} different secrets read today; usual are {:.0} at most",
            peak.ceil()
        );
        let who = (Kind::BulkRead, Subject::Identity, seen.fact.who);
        if self.tell(seen, who, text, &evidence) {
            activity.found(Kind::BulkRead);
        }
    }

    fn off_hours(&mut self, seen: &mut Seen<'_>, (profile, learned): (&Profile, bool), totals: &Totals) {
        /// Who was active at more hours of such a day than this has no working hours.
        const MAX_HOURS: usize = 15;
        /// Weekends that must have passed before being there on one is unusual.
        const WEEKENDS: u64 = 2;
        let rule = self.rules.rule(Kind::OffHoursAccess);
        if f64::from(totals.requests) < rule.param("min") {
            return;
        }
        let local = seen.local;
        let weekend = local.is_weekend();
        let why = if let Some(hours) = &rule.hours {
            if hours.contain(local) {
                return;
            }
            format!("working hours are {}", hours.as_str())
        } else {
            let hours = profile.hours_of_day(weekend);
            let days = rule.param("days");
            let weeks = seen.fact.at.saturating_sub(profile.first) / (7 * DAY_MILLIS);
            let known = learned && f64::from(profile.days) >= days && (!weekend || weeks >= WEEKENDS);
            // Once in a quarter is not a habit.
            let seldom = f64::from(profile.days_around(local)) <= f64::from(profile.days) / 60.0;
            if !known || !seldom || profile.hours_of_day(false) > MAX_HOURS || hours > MAX_HOURS {
                return;
            }
            format!(
                "it was hardly ever active at such an hour in {} days",
                profile.days
            )
        };
        let time = format!(
            "{}, {:02} o'clock",
            DAY_NAMES.get(usize::from(local.weekday)).unwrap_or(&""),
            local.hour
        );
        let evidence = [
            ("local_time", Evidence::from(time.clone())),
            ("time_zone", self.rules.settings.zone.as_str().to_owned().into()),
            ("requests", totals.requests.into()),
            (
                "hours_it_was_ever_active",
                Evidence::from(profile.hours_of_day(weekend) as u64),
            ),
            ("days_known", profile.days.into()),
            ("network", self.names.of(seen.fact.source).into()),
        ];
        let text = format!("active on {time}; {why}");
        self.tell(
            seen,
            (Kind::OffHoursAccess, Subject::Identity, seen.fact.who),
            text,
            &evidence,
        );
    }
}

const DAY_NAMES: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];

/// An identity and a path together.
fn pair(who: Key, what: Key) -> Key {
    (who ^ what.rotate_left(23)).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ what
}
