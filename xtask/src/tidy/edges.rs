//! The only edges between the crates. Cargo forbids what a manifest does not name; this forbids naming it.

use super::Finding;
use super::tree::{Member, Tree};

/// What a crate may depend on.
struct Edges {
    name: &'static str,
    /// Crates of this workspace that it may ship with.
    ship: &'static [&'static str],
    /// Further crates of this workspace that its tests may use.
    test: &'static [&'static str],
    /// Crates of others that its role rules out, tests excepted.
    never: &'static [&'static str],
}

/// Runtimes: what a crate without I/O and without async must not pull in.
const RUNTIMES: &[&str] = &[
    "tokio", "futures", "tonic", "hyper", "reqwest", "rocksdb", "openraft",
];
/// Transports: what the pipeline must not know.
const TRANSPORTS: &[&str] = &[
    "tonic",
    "hyper",
    "hyper-util",
    "http",
    "tower",
    "rustls",
    "tokio-rustls",
    "reqwest",
];
/// What a crate that only talks to a server must not pull in.
const STORES: &[&str] = &["rocksdb", "openraft"];

/// The table of DESIGN: a crate that is not here has no place yet, and a test fails until it has one.
const TABLE: &[Edges] = &[
    Edges {
        name: "conclave-proto",
        ship: &[],
        test: &[],
        never: STORES,
    },
    Edges {
        name: "conclave-hcl",
        ship: &[],
        test: &[],
        never: RUNTIMES,
    },
    Edges {
        name: "conclave-mem",
        ship: &[],
        test: &[],
        never: RUNTIMES,
    },
    Edges {
        name: "conclave-barrier",
        ship: &[],
        test: &[],
        never: RUNTIMES,
    },
    Edges {
        name: "base2histogram",
        ship: &[],
        test: &[],
        never: RUNTIMES,
    },
    Edges {
        name: "conclave-raft",
        ship: &["conclave-proto"],
        test: &[],
        never: &["chacha20poly1305", "aes-siv"],
    },
    Edges {
        name: "conclave-engine-api",
        ship: &[],
        test: &[],
        never: RUNTIMES,
    },
    Edges {
        name: "conclave-engines",
        ship: &["conclave-engine-api", "conclave-mem"],
        test: &[],
        never: STORES,
    },
    Edges {
        name: "conclave-anomaly",
        ship: &[],
        test: &[],
        never: RUNTIMES,
    },
    Edges {
        name: "conclave-core",
        ship: &[
            "conclave-anomaly",
            "conclave-engine-api",
            "conclave-barrier",
            "conclave-raft",
            "conclave-hcl",
        ],
        test: &["conclave-engines"],
        never: TRANSPORTS,
    },
    Edges {
        name: "conclave-targets",
        ship: &["conclave-engine-api"],
        test: &[],
        never: STORES,
    },
    Edges {
        name: "conclave-server",
        ship: &[
            "conclave-core",
            "conclave-targets",
            "conclave-engines",
            "conclave-raft",
            "conclave-proto",
            "conclave-hcl",
            "conclave-mem",
        ],
        test: &["conclave-client"],
        never: STORES,
    },
    Edges {
        name: "conclave-client",
        ship: &["conclave-proto"],
        test: &[],
        never: STORES,
    },
    Edges {
        name: "conclave-cli",
        ship: &[
            "conclave-anomaly",
            "conclave-client",
            "conclave-server",
            "conclave-hcl",
            "conclave-mem",
        ],
        test: &["conclave-proto"],
        never: STORES,
    },
    Edges {
        name: "conclave-chaos-tests",
        ship: &["conclave-client", "conclave-raft", "conclave-core"],
        test: &["conclave-proto", "conclave-chaos-shim", "conclave-barrier"],
        never: &[],
    },
    Edges {
        name: "conclave-chaos-sim",
        ship: &[],
        test: &[
            "conclave-raft",
            "conclave-core",
            "conclave-engines",
            "conclave-engine-api",
            "conclave-chaos-chance",
        ],
        never: &[],
    },
    Edges {
        name: "conclave-chaos-shim",
        ship: &[],
        test: &[],
        never: RUNTIMES,
    },
    Edges {
        name: "conclave-chaos-chance",
        ship: &[],
        test: &[],
        never: RUNTIMES,
    },
    Edges {
        name: "xtask",
        ship: &[],
        test: &[],
        never: RUNTIMES,
    },
];

/// Crates that may see everything: they measure it and nothing depends on them.
const MAY_SEE_ALL: &[&str] = &["conclave-benches", "conclave-fuzz"];

pub fn check(tree: &Tree) -> Vec<Finding> {
    let ours: Vec<&str> = tree.members.iter().map(|member| member.name.as_str()).collect();
    tree.members
        .iter()
        .flat_map(|member| check_member(member, &ours))
        .collect()
}

fn check_member(member: &Member, ours: &[&str]) -> Vec<Finding> {
    let manifest = format!("{}/Cargo.toml", member.dir);
    if MAY_SEE_ALL.contains(&member.name.as_str()) {
        return Vec::new();
    }
    let Some(edges) = TABLE.iter().find(|edges| edges.name == member.name) else {
        let what = format!(
            "crate {} is not in the table of edges: settle its place in DESIGN first",
            member.name
        );
        return vec![Finding::new(&manifest, 0, what)];
    };
    let ship = member.normal.iter().filter(|name| ours.contains(&name.as_str()));
    let ship = ship.filter(|name| !edges.ship.contains(&name.as_str()));
    let test = member.dev.iter().filter(|name| ours.contains(&name.as_str()));
    let test =
        test.filter(|name| !edges.ship.contains(&name.as_str()) && !edges.test.contains(&name.as_str()));
    let never = member
        .normal
        .iter()
        .filter(|name| edges.never.contains(&name.as_str()));
    let forbidden = |name: &String, why: &str| {
        Finding::new(
            &manifest,
            0,
            format!("{} must not depend on {name}: {why}", member.name),
        )
    };
    ship.map(|name| forbidden(name, "no such edge in DESIGN"))
        .chain(test.map(|name| forbidden(name, "no such edge in DESIGN, not even for tests")))
        .chain(never.map(|name| forbidden(name, "its role rules this crate out")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(members: &[(&str, &[&str], &[&str])]) -> Tree {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let member = |&(name, normal, dev): &(&str, &[&str], &[&str])| Member {
            name: name.to_owned(),
            dir: name.trim_start_matches("conclave-").to_owned(),
            normal: owned(normal),
            dev: owned(dev),
            ..Member::default()
        };
        Tree {
            files: Vec::new(),
            members: members.iter().map(member).collect(),
        }
    }

    #[test]
    fn raft_cannot_see_the_barrier() {
        let tree = tree(&[
            ("conclave-raft", &["conclave-barrier"], &[]),
            ("conclave-barrier", &[], &[]),
        ]);
        let found = check(&tree);
        assert_eq!(found.len(), 1);
        assert!(
            found[0]
                .what
                .contains("conclave-raft must not depend on conclave-barrier")
        );
    }

    #[test]
    fn tests_have_their_own_edges() {
        let engines = ("conclave-engines", &[][..], &[][..]);
        assert!(check(&tree(&[engines, ("conclave-core", &[], &["conclave-engines"])])).is_empty());
        assert_eq!(
            check(&tree(&[engines, ("conclave-core", &["conclave-engines"], &[])])).len(),
            1
        );
        assert_eq!(
            check(&tree(&[engines, ("conclave-raft", &[], &["conclave-engines"])])).len(),
            1
        );
    }

    #[test]
    fn core_has_no_transport_and_the_barrier_no_runtime() {
        assert_eq!(
            check(&tree(&[("conclave-core", &["tonic"], &["hyper"])])).len(),
            1
        );
        assert_eq!(check(&tree(&[("conclave-barrier", &["tokio"], &[])])).len(), 1);
    }

    #[test]
    fn an_unknown_crate_has_no_place() {
        assert_eq!(check(&tree(&[("conclave-extra", &[], &[])])).len(), 1);
        assert!(check(&tree(&[("conclave-benches", &["conclave-core"], &[])])).is_empty());
    }
}
