//! What anyone may show as a token or an accessor: its row's name is total and fit for a key, and nothing opens as a batch token
//! that this barrier did not seal.

use conclave_core::tokens::{accessor_name, name_of, open_batch};

use crate::envelope::barrier;

/// Characters of the name of a row: an HMAC in hexadecimal, after the number of a namespace.
const NAME: usize = 64;

pub fn run(bytes: &[u8]) {
    let shown = String::from_utf8_lossy(bytes);
    for shown in [shown.to_string(), format!("b.{shown}")] {
        if let Ok(Some(_)) = open_batch(barrier(), &shown) {
            panic!("a token that nobody sealed");
        }
        let names = [name_of(barrier(), &shown), accessor_name(barrier(), &shown)];
        assert_ne!(
            names,
            [
                name_of(barrier(), &format!("{shown}x")),
                accessor_name(barrier(), &format!("{shown}x")),
            ]
        );
        for name in names {
            assert!(name.len() >= NAME, "{name}");
            let plain = name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'~');
            assert!(plain, "{name}");
        }
    }
}
