//! Which records a device takes: an expression over what a record shows of its request, in the language of Vault's filters
//! (a part of go-bexpr's). It must not know who writes records or what becomes of those that are passed over.

mod parse;
mod pattern;

use std::borrow::Cow;

use crate::error::Error;

use pattern::Pattern;

/// What of a record an expression may ask for, as the record shows it; empty where the record has none.
pub struct Subject<'a> {
    /// Type of the mount that answers.
    pub mount_type: Cow<'a, str>,
    /// Its place, after that of its namespace, with trailing slash.
    pub mount_point: Cow<'a, str>,
    /// Path of the namespace, with trailing slash; empty for the root.
    pub namespace: &'a str,
    /// What is asked for.
    pub operation: &'a str,
    /// Of what.
    pub path: &'a str,
}

/// An expression, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter(Test);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    All(Vec<Test>),
    Any(Vec<Test>),
    Not(Box<Test>),
    Holds(Member, How),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Member {
    MountType,
    MountPoint,
    Namespace,
    Operation,
    Path,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum How {
    Equals(String),
    Contains(String),
    Matches(Pattern),
    IsEmpty,
}

impl Filter {
    /// Reads an expression.
    ///
    /// # Errors
    /// [`Error::Invalid`] names the place and what is wrong there.
    pub fn read(text: &str) -> Result<Self, Error> {
        parse::read(text)
            .map(Self)
            .map_err(|wrong| Error::invalid(format!("audit option filter: {wrong}")))
    }

    /// Whether a record about `subject` is to be taken.
    pub fn takes(&self, subject: &Subject<'_>) -> bool {
        self.0.holds(subject)
    }
}

impl Test {
    fn holds(&self, subject: &Subject<'_>) -> bool {
        match self {
            Self::All(tests) => tests.iter().all(|test| test.holds(subject)),
            Self::Any(tests) => tests.iter().any(|test| test.holds(subject)),
            Self::Not(test) => !test.holds(subject),
            Self::Holds(member, how) => how.holds(member.of(subject)),
        }
    }
}

impl Member {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "mount_type" => Self::MountType,
            "mount_point" => Self::MountPoint,
            "namespace" => Self::Namespace,
            "operation" => Self::Operation,
            "path" => Self::Path,
            _ => return None,
        })
    }

    fn of<'s>(self, subject: &'s Subject<'_>) -> &'s str {
        match self {
            Self::MountType => &subject.mount_type,
            Self::MountPoint => &subject.mount_point,
            Self::Namespace => subject.namespace,
            Self::Operation => subject.operation,
            Self::Path => subject.path,
        }
    }
}

impl How {
    fn holds(&self, text: &str) -> bool {
        match self {
            Self::Equals(wanted) => text == wanted,
            Self::Contains(part) => text.contains(part.as_str()),
            Self::Matches(pattern) => pattern.matches(text),
            Self::IsEmpty => text.is_empty(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes(filter: &str) -> bool {
        let subject = Subject {
            mount_type: "kv".into(),
            mount_point: "team/secret/".into(),
            namespace: "team/",
            operation: "read",
            path: "secret/data/app/db",
        };
        Filter::read(filter).unwrap().takes(&subject)
    }

    #[test]
    fn expressions_say_what_they_say_in_vault() {
        for yes in [
            "mount_type == kv",
            "mount_type==\"kv\"",
            "mount_type == `kv`",
            "\"/mount_type\" == kv",
            "namespace != \"\"",
            "namespace is not empty and operation == read",
            "not operation == update",
            "not (operation == update or operation == delete)",
            "operation == update or mount_type == kv and path contains app",
            "\"data/app\" in path",
            "\"other\" not in path",
            "path not contains other",
            "path matches \"^secret/data/\"",
            "path matches \"app\"",
            "path matches \"^secret/.*/db$\"",
            "path matches \"\\\\/db$\"",
            "path not matches \"^app\"",
            "mount_point == \"team/secret/\"",
            "( operation == read )",
        ] {
            assert!(takes(yes), "{yes}");
        }
        for no in [
            "mount_type != kv",
            "mount_type == KV",
            "namespace is empty",
            "operation == update and mount_type == kv",
            "(operation == update or mount_type == kv) and path contains other",
            "not operation == read or mount_type == pki",
            "path matches \"^data\"",
            "path matches \"^secret$\"",
            "path matches \"db.*app\"",
        ] {
            assert!(!takes(no), "{no}");
        }
    }

    #[test]
    fn what_is_no_expression_is_refused_with_its_place() {
        let deep = format!("{}path == a{}", "(".repeat(40), ")".repeat(40));
        let long = format!("path == \"{}\"", "x".repeat(5000));
        for (bad, said) in [
            ("", "empty"),
            ("   ", "empty"),
            ("path", "character 5: after \"path\""),
            ("path ==", "a value"),
            ("path == \"a", "no end"),
            ("path == a b", "character 11: \"b\" stands after the end"),
            ("path = a", "character 6: '='"),
            (
                "colour == red",
                "\"colour\" is nothing that can be asked for: mount_type,",
            ),
            ("path == a and", "ends where"),
            ("(path == a", "\")\" is missing"),
            ("path == a)", "stands after the end"),
            ("path is full", "empty"),
            ("path matches \"a(b)\"", "not supported"),
            ("path matches \"[ab]\"", "not supported"),
            ("path matches \"a.b\"", "not supported"),
            ("path == \"\\x41\"", "escape"),
            ("a in colour", "\"colour\""),
            (deep.as_str(), "deep"),
            (long.as_str(), "4096"),
        ] {
            let error = Filter::read(bad).unwrap_err();
            assert!(matches!(error, Error::Invalid(_)), "{bad}");
            let error = error.to_string();
            assert!(
                error.starts_with("audit option filter") && error.contains(said),
                "{bad}: {error}"
            );
        }
    }
}
