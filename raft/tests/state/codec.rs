//! The formats of commands and batches: golden bytes, round trips, limits, and totality on damaged input.

use bytes::Bytes;
use conclave_raft::codec::{
    Batch, CLUSTER_VERSION, MAX_BATCH_COMMANDS, MAX_COMMAND, MAX_EXPECTATIONS, MAX_KEY, MAX_OPS, MAX_TEXT,
    MAX_VALUE, decode_batch, decode_command, encode_batch, encode_command,
};
use conclave_raft::{Command, Condition, Error, Expect, NodeRecord, Op, Origin};
use proptest::prelude::*;

use crate::rig::golden;

fn command(expect: Vec<Expect>, ops: Vec<Op>) -> Command {
    let origin = Origin {
        node: 1,
        incarnation: 2,
        sequence: 3,
    };
    Command {
        origin,
        oldest_term: 4,
        now_used: 1_700_000_000_000,
        expect,
        ops,
    }
}

fn key(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

fn node() -> NodeRecord {
    NodeRecord {
        key_hash: [7; 32],
        name: "n1".into(),
        zone: "a".into(),
        cluster_addr: "10.0.0.1:8201".into(),
        api_addr: "https://n1:8200".into(),
    }
}

/// One command with every condition and every operation.
fn everything() -> Command {
    let condition = |condition| Expect {
        key: key("\u{1}\u{5}k"),
        condition,
    };
    command(
        vec![
            condition(Condition::Revision(9)),
            condition(Condition::Absent),
            condition(Condition::Present),
            condition(Condition::Generation(8)),
        ],
        vec![
            Op::Put {
                key: key("\u{1}\u{5}put"),
                kind: 3,
                term: 4,
                deadline: 5,
                new_generation: true,
                value: key("value"),
            },
            Op::Delete {
                key: key("\u{1}\u{5}delete"),
            },
            Op::Touch {
                key: key("\u{1}\u{5}touch"),
            },
            Op::Rewrap {
                key: key("\u{1}\u{5}rewrap"),
                revision: 6,
                term: 7,
                value: key("again"),
            },
            Op::Add {
                key: key("\u{1}\u{5}add"),
                delta: -1,
                floor: i64::MIN,
                ceiling: i64::MAX,
            },
            Op::DuePut {
                queue: 8,
                deadline: 9,
                key: key("\u{1}\u{5}due"),
            },
            Op::DueDelete {
                queue: 8,
                deadline: 9,
                key: key("\u{1}\u{5}due"),
            },
            Op::SetMinTerm { term: 10 },
            Op::RegisterNode { node: node() },
            Op::BeginIncarnation {
                node: 1,
                incarnation: 11,
                instance: [12; 16],
                last_log_index: 13,
            },
            Op::ForgetNode { node: 14 },
            Op::AdvanceClock,
            Op::RaiseVersion { version: 1 },
        ],
    )
}

#[test]
fn golden_bytes_of_format_1() {
    let encoded = encode_command(&everything()).unwrap();
    golden("command.v1.bin", &encoded);
    assert_eq!(decode_command(&encoded).unwrap(), everything());
    let small = encode_command(&command(vec![], vec![Op::AdvanceClock])).unwrap();
    let batch = encode_batch(1_700_000_000_001, &[small.clone(), encoded.clone()]).unwrap();
    golden("batch.v1.bin", &batch);
    let decoded = decode_batch(&batch).unwrap();
    assert_eq!(
        decoded,
        Batch {
            proposed_at: 1_700_000_000_001,
            commands: vec![small, encoded.clone()]
        }
    );
    let adopt = Op::AdoptStaged {
        id: [15; 16],
        chunks: 16,
        digest: [17; 32],
    };
    let adopt = command(vec![], vec![adopt]);
    let encoded = encode_command(&adopt).unwrap();
    golden("adopt.v1.bin", &encoded);
    assert_eq!(decode_command(&encoded).unwrap(), adopt);
}

#[test]
fn decoded_values_share_the_batch() {
    let value = Bytes::from(vec![5; 100_000]);
    let put = Op::Put {
        key: key("\u{1}\u{5}k"),
        kind: 1,
        term: 0,
        deadline: 0,
        new_generation: false,
        value,
    };
    let batch = encode_batch(1, &[encode_command(&command(vec![], vec![put])).unwrap()]).unwrap();
    let span = batch.as_ptr() as usize..batch.as_ptr() as usize + batch.len();
    let decoded = decode_command(&decode_batch(&batch).unwrap().commands[0]).unwrap();
    let Op::Put { value, .. } = &decoded.ops[0] else {
        panic!("not a put")
    };
    assert!(span.contains(&(value.as_ptr() as usize)));
}

#[test]
fn every_truncation_is_an_error() {
    let encoded = encode_command(&everything()).unwrap();
    for length in 0..encoded.len() {
        let error = decode_command(&encoded.slice(..length)).unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. }), "{length}: {error}");
    }
    let longer = [encoded.as_ref(), b"x"].concat();
    assert!(matches!(
        decode_command(&Bytes::from(longer)),
        Err(Error::Corrupt { .. })
    ));
}

#[test]
fn another_format_is_named_not_skipped() {
    let mut encoded = encode_command(&everything()).unwrap().to_vec();
    encoded[1] = 2;
    let error = decode_command(&Bytes::from(encoded)).unwrap_err();
    assert!(matches!(
        error,
        Error::UnknownFormat {
            what: "command",
            format: 2
        }
    ));
    let mut batch = encode_batch(1, &[]).unwrap().to_vec();
    batch[0] = 1;
    let error = decode_batch(&Bytes::from(batch)).unwrap_err();
    assert!(matches!(
        error,
        Error::UnknownFormat {
            what: "batch",
            format: 257
        }
    ));
}

#[test]
fn limits_hold_when_encoding() {
    let refused = |command: &Command| matches!(encode_command(command), Err(Error::Limit(_)));
    let put = |key_bytes: usize, value_bytes: usize| Op::Put {
        key: vec![1; key_bytes].into(),
        kind: 1,
        term: 0,
        deadline: 0,
        new_generation: false,
        value: vec![1; value_bytes].into(),
    };
    assert!(encode_command(&command(vec![], vec![put(MAX_KEY, MAX_VALUE)])).is_ok());
    assert!(refused(&command(vec![], vec![put(MAX_KEY + 1, 0)])));
    assert!(refused(&command(vec![], vec![put(2, MAX_VALUE + 1)])));
    assert!(
        refused(&command(vec![], vec![put(2, MAX_VALUE); 8])),
        "above MAX_COMMAND"
    );
    assert!(encode_command(&command(vec![], vec![Op::AdvanceClock; MAX_OPS])).is_ok());
    assert!(refused(&command(vec![], vec![Op::AdvanceClock; MAX_OPS + 1])));
    let expect = Expect {
        key: key("\u{1}\u{5}"),
        condition: Condition::Absent,
    };
    assert!(encode_command(&command(vec![expect.clone(); MAX_EXPECTATIONS], vec![])).is_ok());
    assert!(refused(&command(vec![expect; MAX_EXPECTATIONS + 1], vec![])));
    assert!(refused(&command(
        vec![],
        vec![Op::RaiseVersion {
            version: CLUSTER_VERSION + 1
        }]
    )));
    let long = NodeRecord {
        name: "x".repeat(MAX_TEXT + 1),
        ..node()
    };
    assert!(refused(&command(vec![], vec![Op::RegisterNode { node: long }])));
    assert!(encode_batch(1, &vec![Bytes::new(); MAX_BATCH_COMMANDS]).is_ok());
    assert!(matches!(
        encode_batch(1, &vec![Bytes::new(); MAX_BATCH_COMMANDS + 1]),
        Err(Error::Limit(_))
    ));
    let greatest = Bytes::from(vec![0; MAX_COMMAND]);
    assert!(encode_batch(1, std::slice::from_ref(&greatest)).is_ok());
    assert!(matches!(
        encode_batch(1, &[greatest.clone(), greatest]),
        Err(Error::Limit(_))
    ));
    assert!(matches!(
        encode_batch(1, &[Bytes::from(vec![0; MAX_COMMAND + 1])]),
        Err(Error::Limit(_))
    ));
}

#[test]
fn a_count_does_not_allocate_what_is_not_there() {
    // A batch that claims the most commands, and a command that claims the most operations, in a few bytes.
    let mut batch = encode_batch(1, &[]).unwrap().to_vec();
    batch[10..14].copy_from_slice(&(MAX_BATCH_COMMANDS as u32).to_be_bytes());
    assert!(matches!(
        decode_batch(&Bytes::from(batch.clone())),
        Err(Error::Corrupt { .. })
    ));
    batch[10..14].copy_from_slice(&u32::MAX.to_be_bytes());
    assert!(matches!(
        decode_batch(&Bytes::from(batch)),
        Err(Error::Corrupt { .. })
    ));
}

fn any_key() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

fn any_op() -> impl Strategy<Value = Op> {
    let value = prop::collection::vec(any::<u8>(), 0..200).prop_map(Bytes::from);
    prop_oneof![
        (
            any_key(),
            any::<u8>(),
            any::<u32>(),
            any::<u64>(),
            any::<bool>(),
            value.clone()
        )
            .prop_map(|(key, kind, term, deadline, new_generation, value)| Op::Put {
                key,
                kind,
                term,
                deadline,
                new_generation,
                value
            }),
        any_key().prop_map(|key| Op::Delete { key }),
        any_key().prop_map(|key| Op::Touch { key }),
        (any_key(), any::<u64>(), any::<u32>(), value).prop_map(|(key, revision, term, value)| Op::Rewrap {
            key,
            revision,
            term,
            value
        }),
        (any_key(), any::<i64>(), any::<i64>(), any::<i64>()).prop_map(|(key, delta, floor, ceiling)| {
            Op::Add {
                key,
                delta,
                floor,
                ceiling,
            }
        }),
        (any::<u64>(), any::<u64>(), any_key()).prop_map(|(queue, deadline, key)| Op::DuePut {
            queue,
            deadline,
            key
        }),
        (any::<u64>(), any::<u64>(), any_key()).prop_map(|(queue, deadline, key)| Op::DueDelete {
            queue,
            deadline,
            key
        }),
        any::<u32>().prop_map(|term| Op::SetMinTerm { term }),
        (any::<[u8; 32]>(), ".{0,20}", ".{0,20}").prop_map(|(key_hash, name, zone)| Op::RegisterNode {
            node: NodeRecord {
                key_hash,
                name,
                zone,
                ..node()
            }
        }),
        (any::<u64>(), any::<u64>(), any::<[u8; 16]>(), any::<u64>()).prop_map(
            |(node, incarnation, instance, last_log_index)| {
                Op::BeginIncarnation {
                    node,
                    incarnation,
                    instance,
                    last_log_index,
                }
            }
        ),
        any::<u64>().prop_map(|node| Op::ForgetNode { node }),
        Just(Op::AdvanceClock),
        (0..=CLUSTER_VERSION).prop_map(|version| Op::RaiseVersion { version }),
        (any::<[u8; 16]>(), any::<u32>(), any::<[u8; 32]>())
            .prop_map(|(id, chunks, digest)| Op::AdoptStaged { id, chunks, digest }),
    ]
}

fn any_command() -> impl Strategy<Value = Command> {
    let condition = prop_oneof![
        any::<u64>().prop_map(Condition::Revision),
        Just(Condition::Absent),
        Just(Condition::Present),
        any::<u64>().prop_map(Condition::Generation),
    ];
    let expect = (any_key(), condition).prop_map(|(key, condition)| Expect { key, condition });
    let origin = any::<(u64, u64, u64)>().prop_map(|(node, incarnation, sequence)| Origin {
        node,
        incarnation,
        sequence,
    });
    (
        origin,
        any::<u32>(),
        any::<u64>(),
        prop::collection::vec(expect, 0..6),
        prop::collection::vec(any_op(), 0..12),
    )
        .prop_map(|(origin, oldest_term, now_used, expect, ops)| Command {
            origin,
            oldest_term,
            now_used,
            expect,
            ops,
        })
}

proptest! {
    #[test]
    fn what_is_encoded_decodes_to_the_same(commands in prop::collection::vec(any_command(), 0..5), at in any::<u64>()) {
        let encoded: Vec<Bytes> = commands.iter().map(|command| encode_command(command).unwrap()).collect();
        let batch = decode_batch(&encode_batch(at, &encoded).unwrap()).unwrap();
        prop_assert_eq!(batch.proposed_at, at);
        let decoded: Vec<Command> = batch.commands.iter().map(|bytes| decode_command(bytes).unwrap()).collect();
        prop_assert_eq!(decoded, commands);
    }

    #[test]
    fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let bytes = Bytes::from(bytes);
        let _ = decode_command(&bytes);
        let _ = decode_batch(&bytes);
    }

    #[test]
    fn damage_is_an_error_or_another_value_with_one_encoding(
        command in any_command(),
        at in any::<prop::sample::Index>(),
        flip in 1..=255u8,
    ) {
        let mut bytes = encode_command(&command).unwrap().to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        let bytes = Bytes::from(bytes);
        if let Ok(decoded) = decode_command(&bytes) {
            prop_assert_ne!(&decoded, &command);
            // `RaiseVersion` decodes above what this build would write, so that apply can stop on it.
            if let Ok(again) = encode_command(&decoded) {
                prop_assert_eq!(again, bytes);
            }
        }
    }
}
