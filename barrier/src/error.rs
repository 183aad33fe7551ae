//! The one error type of this crate. No variant carries a key, a share, a name or a plaintext.

/// Why the barrier refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The input ends before the format says it does.
    #[error("{what} is cut short")]
    Truncated {
        /// Which format was being read.
        what: &'static str,
    },
    /// The input goes on after its end.
    #[error("{what} has trailing bytes")]
    TrailingBytes {
        /// Which format was being read.
        what: &'static str,
    },
    /// A format number this build does not know. It is never skipped: a newer build wrote it.
    #[error("{what} has format {format}, which this build does not know")]
    UnknownFormat {
        /// Which format was being read.
        what: &'static str,
        /// The number found.
        format: u8,
    },
    /// A cipher suite this build does not know.
    #[error("{what} uses cipher suite {suite}, which this build does not know")]
    UnknownSuite {
        /// Which format was being read.
        what: &'static str,
        /// The number found.
        suite: u8,
    },
    /// Well-formed so far as lengths go, but its fields contradict each other.
    #[error("{what} is malformed: {reason}")]
    Malformed {
        /// Which format was being read.
        what: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Longer than allowed.
    #[error("{what} exceeds the limit of {limit}")]
    TooLarge {
        /// What is too large or too many.
        what: &'static str,
        /// The limit, in bytes or in items, as `what` says.
        limit: usize,
    },
    /// Not a known ring of data keys.
    #[error("ring {ring} has no keys")]
    UnknownRing {
        /// The ring asked for.
        ring: u16,
    },
    /// The keyring holds no key of this term: it is older than the value, or the term was dropped.
    #[error("ring {ring} has no key of term {term}")]
    UnknownTerm {
        /// The ring asked for.
        ring: u16,
        /// The term asked for.
        term: u32,
    },
    /// A term that may not become `min_term`, or below which terms may not be dropped.
    #[error("term {term} is outside {lowest}..={highest}")]
    TermOutOfRange {
        /// The term asked for.
        term: u32,
        /// The lowest legal term.
        lowest: u32,
        /// The highest legal term.
        highest: u32,
    },
    /// A counter (term or generation) has reached its end.
    #[error("{what} is exhausted")]
    Exhausted {
        /// The counter.
        what: &'static str,
    },
    /// The ciphertext does not authenticate: it was altered, moved to another place, or made by another barrier.
    #[error("{what} does not authenticate: altered, moved, or of another barrier")]
    Tampered {
        /// What was opened.
        what: &'static str,
    },
    /// The key offered is not the one that sealed this, as its commitment shows.
    #[error("{what} was sealed under another key")]
    WrongKey {
        /// What was opened.
        what: &'static str,
    },
    /// A key of the wrong length.
    #[error("{what} must have {expected} bytes, not {found}")]
    KeyLength {
        /// Which key.
        what: &'static str,
        /// The legal length in bytes.
        expected: usize,
        /// The length found, in bytes.
        found: usize,
    },
    /// A seal of a kind that is reserved but not built.
    #[error("seals of kind {kind} are not supported")]
    UnsupportedSeal {
        /// The kind's name.
        kind: &'static str,
    },
    /// Numbers of shares and threshold that make no sharing.
    #[error("{threshold} of {shares} shares: {reason}")]
    ShareNumbers {
        /// Shares asked for.
        shares: u8,
        /// Threshold asked for.
        threshold: u8,
        /// What is wrong with them.
        reason: &'static str,
    },
    /// Not a share of this seal at this generation: mistyped, of another cluster, or from before a rekey.
    #[error("not a share of seal generation {generation}")]
    NotAShare {
        /// The seal's current generation.
        generation: u64,
    },
    /// The same share (or two with the same x) where distinct ones are needed.
    #[error("the same share was given twice")]
    DuplicateShare,
    /// Fewer shares than the threshold.
    #[error("{given} of {needed} shares given")]
    TooFewShares {
        /// How many were given.
        given: usize,
        /// How many are needed.
        needed: usize,
    },
    /// A share whose x is zero or that is too short or of another length than the rest.
    #[error("share is malformed: {reason}")]
    MalformedShare {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Shares were being gathered for another seal or for an earlier generation of it.
    #[error("the shares gathered belong to another seal or generation; start again")]
    StaleProgress,
    /// A public key that is not a point to agree with (for instance one of small order).
    #[error("the peer's public key is not usable")]
    BadPublicKey,
    /// A primitive refused an input of legal size; no input is known to cause it.
    #[error("{primitive} failed")]
    Primitive {
        /// The algorithm.
        primitive: &'static str,
    },
}
