//! What an engine tells whoever watches its paths: out of the rows that a command changed, what happened to which key. It must
//! not know how the rows are kept, nor who watches.

/// A row that a command wrote or removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedRow {
    /// Its path.
    pub path: String,
    /// Whether it was removed.
    pub removed: bool,
}

/// Something that happened to a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happening {
    /// The key, as users name it beneath the mount.
    pub key: String,
    /// What happened.
    pub what: What,
    /// The versions that it happened to, ascending, where the rows tell.
    pub versions: Vec<u64>,
}

/// What happened to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum What {
    /// It was given a value: a new version, where there are versions.
    Written,
    /// Anything but its values was changed: versions were deleted or brought back, or settings were written.
    Changed,
    /// Values of versions were removed for ever; that they were is still told.
    Destroyed,
    /// It is gone with all there was of it.
    Removed,
}

impl What {
    /// Every one of them.
    pub const ALL: [Self; 4] = [Self::Written, Self::Changed, Self::Destroyed, Self::Removed];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::Changed => "changed",
            Self::Destroyed => "destroyed",
            Self::Removed => "removed",
        }
    }
}
