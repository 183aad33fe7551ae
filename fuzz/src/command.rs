//! What a member sends to the log: commands and batches. What decodes has one encoding, and it is these bytes; only the step to a
//! version that this build does not know is read, so that it stops, and never written.

use bytes::Bytes;
use conclave_raft::Op;
use conclave_raft::codec::{CLUSTER_VERSION, decode_batch, decode_command, encode_batch, encode_command};

pub fn run(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    if let Ok(command) = decode_command(&bytes) {
        let stops = |op: &Op| matches!(op, Op::RaiseVersion { version } if *version > CLUSTER_VERSION);
        match encode_command(&command) {
            Ok(again) => assert_eq!(again, bytes, "two encodings of one command"),
            Err(error) => assert!(
                command.ops.iter().any(stops),
                "it decodes and does not encode: {error}"
            ),
        }
    }
    if let Ok(batch) = decode_batch(&bytes) {
        let again = encode_batch(batch.proposed_at, &batch.commands).expect("what decodes encodes");
        assert_eq!(again, bytes, "two encodings of one batch");
        for command in &batch.commands {
            let _ = decode_command(command);
        }
    }
}
