//! What one decision costs with many rules. It prints, and asserts the answers only: times belong to `benches`.

use std::time::Instant;

use super::{acl, ask};
use crate::policy::Operation;

/// Rules of each of the three kinds, and one deny for ten of them.
const RULES: usize = 170;
const ROUNDS: usize = 20;

#[test]
fn five_hundred_rules() {
    let mut text = String::new();
    for n in 0..RULES {
        text += &format!("path \"secret/data/app{n}/config\" {{ capabilities = [\"read\"] }}\n");
        text += &format!("path \"secret/data/team{n}/*\" {{ capabilities = [\"read\", \"list\"] }}\n");
        text += &format!("path \"secret/data/env{n}/+/key\" {{ capabilities = [\"read\"] }}\n");
        if n % 10 == 0 {
            text += &format!("path \"secret/data/team{n}/hidden\" {{ capabilities = [\"deny\"] }}\n");
        }
    }
    let begin = Instant::now();
    let acl = acl(&[&text]);
    println!("parsed and compiled in {:?}", begin.elapsed());
    for (kind, path, expected) in [
        ("exact", "secret/data/app{n}/config", RULES),
        ("glob", "secret/data/team{n}/deep/down/key", RULES),
        ("wildcard", "secret/data/env{n}/any/key", RULES),
        ("denied", "secret/data/team{n}/HIDDEN", RULES - RULES.div_ceil(10)),
        ("nothing", "kv/other{n}/nothing", 0),
    ] {
        let paths: Vec<String> = (0..RULES).map(|n| path.replace("{n}", &n.to_string())).collect();
        let begin = Instant::now();
        let mut allowed = 0;
        for _ in 0..ROUNDS {
            allowed += paths
                .iter()
                .filter(|path| ask(&acl, Operation::Read, path).allowed)
                .count();
        }
        let each = begin.elapsed() / u32::try_from(ROUNDS * paths.len()).unwrap();
        println!("{kind}: {each:?} a decision");
        assert_eq!(allowed, expected * ROUNDS, "{kind}");
    }
}
