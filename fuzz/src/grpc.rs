//! Messages of both protocols from whoever holds a connection: decoded or refused, and never larger than what was sent.

use conclave_proto::{internal, v1};
use prost::Message;

pub fn run(bytes: &[u8]) {
    check::<internal::AppendRequest>(bytes);
    check::<internal::VoteRequest>(bytes);
    check::<internal::SnapshotFrame>(bytes);
    check::<internal::TransferLeaderRequest>(bytes);
    check::<internal::DoorRequest>(bytes);
    check::<internal::PeerRequest>(bytes);
    check::<internal::ProbeResponse>(bytes);
    check::<v1::UnsealRequest>(bytes);
    check::<v1::InitRequest>(bytes);
    check::<v1::EnableMountRequest>(bytes);
}

/// What decodes can be sent on, and decodes to the same.
fn check<M: Message + Default + PartialEq>(bytes: &[u8]) {
    let Ok(message) = M::decode(bytes) else { return };
    let sent = message.encode_to_vec();
    let again = M::decode(sent.as_slice()).expect("its own encoding");
    assert!(again == message, "it changed on the way");
}
