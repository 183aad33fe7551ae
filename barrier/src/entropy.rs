//! The door through which randomness enters. It knows no source: the caller brings one.

/// A source of secret, uniformly distributed bytes.
///
/// `fill` cannot fail: keys made from bytes that are not random are worse than no process at all, so a source
/// that runs dry must end the process.
pub trait Entropy {
    /// Overwrites all of `out` with fresh random bytes.
    fn fill(&mut self, out: &mut [u8]);
}
