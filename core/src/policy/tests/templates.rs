//! Templates: what they stand for, what they must not become.

use super::{Acl, Operation, ask, policy};
use crate::error::Error;
use crate::policy::Values;

/// What is asked for, and its value.
struct Known(&'static [(&'static str, &'static str)]);

impl Values for Known {
    fn value(&self, directive: &str) -> Option<&str> {
        let known = self.0.iter().find(|(name, _)| *name == directive);
        known.map(|(_, value)| *value)
    }
}

fn acl(texts: &[&str], known: &'static [(&'static str, &'static str)]) -> Result<Acl, Error> {
    let policies: Vec<_> = texts.iter().map(|text| policy(text)).collect();
    Acl::of(&policies, 0, Some(&Known(known)))
}

const READ: &str = "{ capabilities = [\"read\"] }";

#[test]
fn templates_are_filled_in_for_who_asks() {
    let text = format!(
        "path \"a/{{{{identity.entity.id}}}}/{{{{ identity.entity.name }}}}/*\" {READ}\npath \"b/{{{{none}}}}\" {READ}"
    );
    let acl = acl(
        &[&text],
        &[("identity.entity.id", "7"), ("identity.entity.name", "a b")],
    )
    .unwrap();
    for (path, allowed) in [
        ("a/7/a b/x", true),
        ("a/7/a b/", true),
        ("a/8/a b/x", false),
        ("a/7/c/x", false),
        ("b/", false),
        ("b/{{none}}", false),
    ] {
        assert_eq!(ask(&acl, Operation::Read, path).allowed, allowed, "{path}");
    }
}

#[test]
fn a_value_never_reaches_further_than_the_rule_was_written() {
    let text = format!("path \"a/{{{{v}}}}\" {READ}\npath \"free\" {READ}");
    for value in ["*", "x*", "+", "x/y", "/"] {
        let known: &'static [(&str, &str)] = Box::leak(Box::new([("v", value)]));
        assert!(
            matches!(acl(&[&text], known), Err(Error::Denied { .. })),
            "{value}"
        );
    }
    // Nothing is no value: `a/{{v}}*` must not become `a/*`.
    let open = format!("path \"a/{{{{v}}}}*\" {READ}");
    let empty = acl(&[&open], &[("v", "")]).unwrap();
    assert!(!ask(&empty, Operation::Read, "a/x").allowed);
    // Braces of a value are letters.
    let braces = acl(&[&text], &[("v", "{{w}}"), ("w", "x")]).unwrap();
    assert!(ask(&braces, Operation::Read, "a/{{w}}").allowed);
    assert!(!ask(&braces, Operation::Read, "a/x").allowed);
}

#[test]
fn what_a_template_becomes_counts_like_what_is_written() {
    let templated = format!("path \"a/{{{{v}}}}\" {READ}");
    let deny = "path \"a/x\" { capabilities = [\"deny\"] }";
    let denied = acl(&[&templated, deny], &[("v", "x")]).unwrap();
    assert!(!ask(&denied, Operation::Read, "a/x").allowed);
    let own = "path \"a/{{v}}\" { capabilities = [\"deny\"] }\npath \"a/*\" { capabilities = [\"read\"] }";
    let own = acl(&[own], &[("v", "x")]).unwrap();
    assert!(!ask(&own, Operation::Read, "a/x").allowed);
    assert!(
        !ask(&own, Operation::Read, "a/X").allowed,
        "a deny counts in every case"
    );
    assert!(ask(&own, Operation::Read, "a/y").allowed);
}
