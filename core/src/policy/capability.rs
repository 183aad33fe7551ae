//! The set of capabilities of a rule. It must not know paths.

use std::ops::{BitOr, BitOrAssign};

use conclave_engine_api::Operation;

/// A set of capabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Capabilities(u16);

impl Capabilities {
    /// None.
    pub const NONE: Self = Self(0);
    /// Access is refused, whatever else is granted.
    pub const DENY: Self = Self(1);
    /// Write something new.
    pub const CREATE: Self = Self(1 << 1);
    /// Read.
    pub const READ: Self = Self(1 << 2);
    /// Write something that exists.
    pub const UPDATE: Self = Self(1 << 3);
    /// Delete.
    pub const DELETE: Self = Self(1 << 4);
    /// List names.
    pub const LIST: Self = Self(1 << 5);
    /// Use root-protected paths.
    pub const SUDO: Self = Self(1 << 6);
    /// Change parts.
    pub const PATCH: Self = Self(1 << 7);
    /// List names at any depth.
    pub const SCAN: Self = Self(1 << 8);

    /// All but deny, in the order of their names: so `sys/capabilities` lists them.
    const GRANTS: [(Self, &'static str); 8] = [
        (Self::CREATE, "create"),
        (Self::DELETE, "delete"),
        (Self::LIST, "list"),
        (Self::PATCH, "patch"),
        (Self::READ, "read"),
        (Self::SCAN, "scan"),
        (Self::SUDO, "sudo"),
        (Self::UPDATE, "update"),
    ];

    /// The capability of this name; names are lower case.
    pub fn named(name: &str) -> Option<Self> {
        if name == "deny" {
            return Some(Self::DENY);
        }
        Self::GRANTS
            .iter()
            .find(|(_, grant)| *grant == name)
            .map(|(capability, _)| *capability)
    }

    /// What the keyword of the old `policy = ".."` stands for.
    pub fn legacy(keyword: &str) -> Option<Self> {
        let read = Self::READ | Self::LIST;
        let write = read | Self::CREATE | Self::UPDATE | Self::DELETE;
        match keyword {
            "deny" => Some(Self::DENY),
            "read" => Some(read),
            "write" => Some(write),
            "sudo" => Some(write | Self::SUDO),
            _ => None,
        }
    }

    /// What an operation needs; nothing for help.
    pub fn needed(operation: Operation) -> Self {
        match operation {
            Operation::Create => Self::CREATE,
            Operation::Read => Self::READ,
            Operation::Update => Self::UPDATE,
            Operation::Patch => Self::PATCH,
            Operation::Delete => Self::DELETE,
            Operation::List => Self::LIST,
            Operation::Scan => Self::SCAN,
            Operation::Help => Self::NONE,
        }
    }

    /// Whether all of `other` are in this set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether this set denies.
    pub fn denies(self) -> bool {
        self.contains(Self::DENY)
    }

    /// The names as `sys/capabilities` answers them: `deny` alone if denied or empty.
    pub fn names(self) -> Vec<&'static str> {
        let granted: Vec<_> = Self::GRANTS
            .iter()
            .filter(|(one, _)| self.contains(*one))
            .map(|(_, name)| *name)
            .collect();
        if self.denies() || granted.is_empty() {
            vec!["deny"]
        } else {
            granted
        }
    }

    /// Deny alone if this set denies, else the set.
    #[must_use]
    pub fn settled(self) -> Self {
        if self.denies() { Self::DENY } else { self }
    }
}

impl BitOr for Capabilities {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Capabilities {
    fn bitor_assign(&mut self, other: Self) {
        *self = *self | other;
    }
}
