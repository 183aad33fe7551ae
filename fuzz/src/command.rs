//! What a member sends to the log: commands and batches. What decodes has one encoding, and it is these bytes.

use bytes::Bytes;
use conclave_raft::codec::{decode_batch, decode_command, encode_batch, encode_command};

pub fn run(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    if let Ok(command) = decode_command(&bytes) {
        let again = encode_command(&command).expect("what decodes encodes");
        assert_eq!(again, bytes, "two encodings of one command");
    }
    if let Ok(batch) = decode_batch(&bytes) {
        let again = encode_batch(batch.proposed_at, &batch.commands).expect("what decodes encodes");
        assert_eq!(again, bytes, "two encodings of one batch");
        for command in &batch.commands {
            let _ = decode_command(command);
        }
    }
}
