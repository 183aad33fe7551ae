//! A ring beside the cluster's: what is sealed in it opens with its own keys alone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod common;

use common::{ID, Seeded, barrier};
use conclave_barrier::{Barrier, CLUSTER_RING, Error, Keyring, RingKeys, RootKey};

const TABLE: u8 = 0x16;
const RING: u16 = 7;
const CLOSED: Option<Error> = Some(Error::UnknownRing { ring: RING });
const TAMPERED: Option<Error> = Some(Error::Tampered { what: "sealed value" });

fn keys(seed: u64) -> Keyring {
    Keyring::generate_ring(RING, 1, &mut Seeded::new(seed))
}

fn with(cluster: &Barrier, keyring: Keyring) -> Barrier {
    cluster.beside([RingKeys::new(RING, keyring).unwrap()])
}

#[test]
fn the_clusters_keys_open_nothing_of_another_ring() {
    let cluster = barrier(1);
    let open = with(&cluster, keys(2));
    let value = open
        .seal_value(RING, TABLE, b"row", b"secret", &mut Seeded::new(3))
        .unwrap();
    let name = open.seal_segment(RING, b"parent", b"name").unwrap();
    assert_eq!(
        open.open_value(TABLE, b"row", &value).unwrap().expose(),
        b"secret"
    );
    assert_eq!(
        open.open_segment(RING, b"parent", &name).unwrap().expose(),
        b"name"
    );

    assert!(open.has_ring(RING) && !cluster.has_ring(RING));
    assert_eq!(cluster.open_value(TABLE, b"row", &value).err(), CLOSED);
    assert_eq!(cluster.open_segment(RING, b"parent", &name).err(), CLOSED);
    assert_eq!(cluster.seal_segment(RING, b"parent", b"name").err(), CLOSED);
    let sealed = cluster.seal_value(RING, TABLE, b"row", b"x", &mut Seeded::new(4));
    assert_eq!(sealed.err(), CLOSED);

    // Nor do they when the header is made to say that the value is the cluster's, or when the name is taken for one.
    let mut claimed = value.clone();
    claimed[2..4].copy_from_slice(&CLUSTER_RING.to_be_bytes());
    assert_eq!(cluster.open_value(TABLE, b"row", &claimed).err(), TAMPERED);
    assert!(cluster.open_segment(CLUSTER_RING, b"parent", &name).is_err());
    assert_ne!(
        name,
        cluster.seal_segment(CLUSTER_RING, b"parent", b"name").unwrap()
    );

    // Another root's keys in the same ring open as little.
    let other = with(&cluster, keys(5));
    assert_eq!(other.open_value(TABLE, b"row", &value).err(), TAMPERED);
    assert!(other.open_segment(RING, b"parent", &name).is_err());
}

#[test]
fn the_cluster_works_on_beside_a_ring() {
    let cluster = barrier(1);
    let open = with(&cluster, keys(2));
    let value = cluster
        .seal_value(CLUSTER_RING, TABLE, b"row", b"its own", &mut Seeded::new(3))
        .unwrap();
    assert_eq!(
        open.open_value(TABLE, b"row", &value).unwrap().expose(),
        b"its own"
    );
    assert_eq!(open.token_hmac(b"t"), cluster.token_hmac(b"t"));
    assert_eq!(
        open.seal_segment(CLUSTER_RING, b"p", b"n"),
        cluster.seal_segment(CLUSTER_RING, b"p", b"n")
    );
    // Nobody can put a ring in the place of the cluster's.
    let clusters = Keyring::generate(1, &mut Seeded::new(9));
    let usurper = cluster.beside([RingKeys::new(CLUSTER_RING, clusters).unwrap()]);
    assert_eq!(
        usurper.open_value(TABLE, b"row", &value).unwrap().expose(),
        b"its own"
    );
    assert!(usurper.ring_keys(CLUSTER_RING).is_none());
}

#[test]
fn a_ring_rotates_by_itself_and_is_sealed_under_its_own_root() {
    let cluster = barrier(1);
    let mut keyring = keys(2);
    let first = with(&cluster, keyring.clone())
        .seal_value(RING, TABLE, b"row", b"first", &mut Seeded::new(3))
        .unwrap();
    assert_eq!(keyring.rotate(RING, 2, &mut Seeded::new(4)), Ok(2));
    assert_eq!(
        keyring.rotate(CLUSTER_RING, 2, &mut Seeded::new(4)).err(),
        Some(Error::UnknownRing { ring: CLUSTER_RING })
    );
    let (own, clusters) = (
        RootKey::generate(&mut Seeded::new(5)),
        RootKey::generate(&mut Seeded::new(6)),
    );
    let blob = keyring.seal(&own, ID, &mut Seeded::new(7)).unwrap();
    assert!(matches!(
        Keyring::open(&clusters, ID, &blob),
        Err(Error::WrongKey { .. })
    ));
    let opened = Keyring::open(&own, ID, &blob).unwrap();
    let after = with(&cluster, opened.clone());
    assert_eq!(
        (after.active_term(RING), after.active_term(CLUSTER_RING)),
        (Ok(2), Ok(1))
    );
    assert_eq!(
        after.open_value(TABLE, b"row", &first).unwrap().expose(),
        b"first"
    );
    // It is no keyring of a cluster, and a cluster's is none of it.
    assert_eq!(
        Barrier::new(ID, opened).err(),
        Some(Error::UnknownRing { ring: CLUSTER_RING })
    );
    let clusters = Keyring::generate(1, &mut Seeded::new(8));
    assert_eq!(RingKeys::new(RING, clusters).err(), CLOSED);
}

#[test]
fn a_new_root_key_of_a_ring_is_told_to_who_has_its_keys_alone() {
    let root = RootKey::generate(&mut Seeded::new(5));
    let ring = keys(2);
    let handover = ring
        .seal_root_handover(RING, &root, 2, ID, &mut Seeded::new(6))
        .unwrap();
    let (told, generation) = keys(2).open_root_handover(ID, &handover).unwrap();
    assert!(told.is(&root));
    assert_eq!(generation, 2);
    let cluster = Keyring::generate(1, &mut Seeded::new(1));
    assert_eq!(cluster.open_root_handover(ID, &handover).err(), CLOSED);
    let tampered = Some(Error::Tampered {
        what: "root key handover",
    });
    assert_eq!(keys(3).open_root_handover(ID, &handover).err(), tampered);
    // Nor is the cluster's to be sealed with the keys of a ring.
    let wrong = ring.seal_root_handover(CLUSTER_RING, &root, 2, ID, &mut Seeded::new(6));
    assert_eq!(wrong.err(), Some(Error::UnknownRing { ring: CLUSTER_RING }));
}
