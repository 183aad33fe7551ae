//! Feeds libFuzzer's bytes to the target that `CONCLAVE_FUZZ` names.
#![no_main]

use std::sync::OnceLock;

use conclave_fuzz::{TARGETS, Target};

fn chosen() -> Target {
    static CHOSEN: OnceLock<Target> = OnceLock::new();
    *CHOSEN.get_or_init(|| {
        let name = std::env::var("CONCLAVE_FUZZ").expect("CONCLAVE_FUZZ names a target");
        let found = TARGETS.iter().find(|(known, _)| *known == name);
        found.unwrap_or_else(|| panic!("no target is called {name}")).1
    })
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| chosen()(bytes));
