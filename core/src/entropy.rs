//! The operating system's randomness, for the two contracts that ask for it. The only file of core that may draw any.

use conclave_barrier as barrier;
use conclave_engine_api as api;

/// Bytes from the operating system.
pub struct OsEntropy;

impl OsEntropy {
    fn draw(out: &mut [u8]) {
        // A system that cannot give random bytes cannot keep a secret: there is nothing safe to go on with.
        #[allow(clippy::disallowed_methods)]
        if getrandom::fill(out).is_err() {
            std::process::abort();
        }
    }
}

impl barrier::Entropy for OsEntropy {
    fn fill(&mut self, out: &mut [u8]) {
        Self::draw(out);
    }
}

impl api::Entropy for OsEntropy {
    fn fill(&mut self, out: &mut [u8]) {
        Self::draw(out);
    }
}
