//! How long a token lives: what is asked for, within the bounds of mount, role and token. Knows no rows.

use conclave_engine_api::Millis;

use crate::catalog::MountRecord;
use crate::core::Settings;

/// What a mount gives, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Without a wish.
    pub default: Millis,
    /// At most.
    pub max: Millis,
}

impl Bounds {
    /// Those of a mount, never more than the system's.
    pub fn of(settings: &Settings, mount: &MountRecord) -> Self {
        let mount = mount.to_mount(settings.default_lease_ttl, settings.max_lease_ttl);
        let max = mount.max_lease_ttl.min(settings.max_lease_ttl);
        Self {
            default: mount.default_lease_ttl.min(max),
            max,
        }
    }
}

/// What is asked for, in milliseconds; 0: nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wish {
    /// By whoever renews.
    pub increment: Millis,
    /// By the role.
    pub ttl: Millis,
    /// At most since the token was made, by the role.
    pub max_ttl: Millis,
    /// At most since the token was made, by the token.
    pub explicit_max_ttl: Millis,
    /// Life that each renewal gives anew.
    pub period: Millis,
}

/// A life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Life {
    /// From now on.
    pub ttl: Millis,
    /// Said when it is less than was asked for.
    pub warning: Option<String>,
}

/// The life from `now` on of a token made at `created`.
pub fn life(bounds: Bounds, wish: &Wish, created: Millis, now: Millis) -> Life {
    let least = |a: Millis, b: Millis| if b == 0 { a } else { a.min(b) };
    let wanted = match (wish.period, wish.increment, wish.ttl) {
        (0, 0, 0) => bounds.default,
        (0, 0, ttl) => ttl,
        (0, increment, _) => increment,
        (period, ..) => period,
    };
    // However often it is renewed, a token ends no later than its bounds, counted from its making; a period counts anew.
    let mut latest = if wish.period > 0 {
        now.saturating_add(bounds.max)
    } else {
        created.saturating_add(least(bounds.max, wish.max_ttl))
    };
    if wish.explicit_max_ttl > 0 {
        latest = latest.min(created.saturating_add(wish.explicit_max_ttl));
    }
    let bound = latest.saturating_sub(now);
    Life {
        ttl: wanted.min(bound),
        warning: capped(wanted, bound),
    }
}

/// What is said of a life that was cut.
pub fn capped(wanted: Millis, bound: Millis) -> Option<String> {
    (wanted > bound).then(|| {
        let (wanted, bound) = (short(wanted), short(bound));
        format!(
            "TTL of {wanted:?} exceeded the effective max_ttl of {bound:?}; TTL value is capped accordingly"
        )
    })
}

/// In whole seconds, without the units that are zero at its end: `1h`, `59m59s`.
fn short(duration: Millis) -> String {
    let text = conclave_engine_api::format_duration(duration / 1000 * 1000);
    let text = text
        .strip_suffix("m0s")
        .map_or(text.clone(), |rest| format!("{rest}m"));
    text.strip_suffix("h0m")
        .map_or(text.clone(), |rest| format!("{rest}h"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Millis = 3_600_000;
    const MOUNT: Bounds = Bounds {
        default: 2 * HOUR,
        max: 10 * HOUR,
    };

    #[test]
    fn wishes_are_granted_within_bounds() {
        let ttl = |wish: Wish, age: Millis| life(MOUNT, &wish, 0, age).ttl;
        let none = Wish::default();
        assert_eq!(ttl(none, 0), 2 * HOUR);
        assert_eq!(ttl(Wish { ttl: HOUR, ..none }, 0), HOUR);
        assert_eq!(
            ttl(
                Wish {
                    ttl: 20 * HOUR,
                    ..none
                },
                0
            ),
            10 * HOUR
        );
        let bounded = Wish {
            ttl: HOUR,
            max_ttl: 3 * HOUR,
            ..none
        };
        assert_eq!(ttl(bounded, 2 * HOUR), HOUR);
        assert_eq!(ttl(bounded, 3 * HOUR - 1), 1);
        assert_eq!(ttl(bounded, 4 * HOUR), 0);
        let asked = Wish {
            increment: 5 * HOUR,
            ..bounded
        };
        assert_eq!(ttl(asked, HOUR), 2 * HOUR);
        let periodic = Wish {
            period: HOUR,
            max_ttl: HOUR,
            ..none
        };
        assert_eq!(ttl(periodic, 50 * HOUR), HOUR, "a period counts anew");
        let ending = Wish {
            explicit_max_ttl: 3 * HOUR,
            ..periodic
        };
        assert_eq!(ttl(ending, 2 * HOUR + HOUR / 2), HOUR / 2);
    }

    #[test]
    fn what_was_cut_is_spoken_of() {
        let said = |ttl| {
            life(
                MOUNT,
                &Wish {
                    ttl,
                    ..Wish::default()
                },
                0,
                9 * HOUR,
            )
            .warning
        };
        assert!(said(0).is_some(), "the mount's own too");
        assert_eq!(said(HOUR), None);
        let text = said(2 * HOUR).unwrap();
        assert!(text.contains("\"2h\"") && text.contains("\"1h\""), "{text}");
    }
}
