//! Envelopes and sealed names from a disk that somebody else wrote: nothing opens that this barrier did not seal.

use std::sync::OnceLock;

use conclave_barrier::{Barrier, BarrierId, Entropy, Envelope, Keyring};

/// The same keys in every run: a finding must come back.
struct Fixed(u64);

impl Entropy for Fixed {
    fn fill(&mut self, out: &mut [u8]) {
        for byte in out {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = self.0.to_be_bytes().first().copied().unwrap_or(0);
        }
    }
}

/// One that only this process has.
pub fn barrier() -> &'static Barrier {
    static BARRIER: OnceLock<Barrier> = OnceLock::new();
    BARRIER.get_or_init(|| {
        let mut entropy = Fixed(1);
        let id = BarrierId::from_slice(&[7; 16]).expect("an id");
        Barrier::new(id, Keyring::generate(0, &mut entropy)).expect("a barrier")
    })
}

pub fn run(bytes: &[u8]) {
    if let Ok(envelope) = Envelope::parse(bytes) {
        assert_eq!(Envelope::term_of(bytes).ok(), Some(envelope.term()));
        assert!(envelope.plaintext_len() < bytes.len());
    }
    assert!(
        barrier().open_value(1, b"key", bytes).is_err(),
        "a value that nobody sealed"
    );
    assert!(
        barrier().open_segment(0, b"parent", bytes).is_err(),
        "a name that nobody sealed"
    );
    // What is sealed opens in its place alone.
    let mut entropy = Fixed(2);
    let sealed = barrier()
        .seal_value(0, 1, b"key", bytes, &mut entropy)
        .expect("a small value");
    let opened = barrier()
        .open_value(1, b"key", &sealed)
        .expect("its own envelope");
    assert_eq!(opened.expose(), bytes);
    assert!(barrier().open_value(2, b"key", &sealed).is_err());
    assert!(barrier().open_value(1, b"other", &sealed).is_err());
}
