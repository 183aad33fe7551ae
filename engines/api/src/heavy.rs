//! Arithmetic too heavy for a request's thread, such as hashing a password. An engine names what it needs and how it is
//! computed, and is asked again with the answer. Knows no threads.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

/// What is computed: bytes in, bytes out, nothing else touched.
pub type Computation = Arc<dyn Fn() -> Zeroizing<Vec<u8>> + Send + Sync>;

/// A question of heavy arithmetic.
#[derive(Clone)]
pub struct Heavy {
    /// What the answer is found by when the engine is asked again. Two questions of one request have two names.
    pub name: String,
    /// How it is computed.
    pub run: Computation,
}

impl Heavy {
    /// A question.
    pub fn new(
        name: impl Into<String>,
        run: impl Fn() -> Zeroizing<Vec<u8>> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            run: Arc::new(run),
        }
    }
}

impl PartialEq for Heavy {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

/// Names may be made of what is hashed: not shown.
impl fmt::Debug for Heavy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heavy").finish_non_exhaustive()
    }
}

/// What was computed for a request so far, by name. Wiped with the request.
pub type Answers = BTreeMap<String, Zeroizing<Vec<u8>>>;
