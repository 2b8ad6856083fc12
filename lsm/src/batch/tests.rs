use super::*;
use proptest::prelude::*;

fn sample() -> Batch {
    let mut batch = Batch::new();
    batch.drop_keyspace(KeyspaceId(9));
    batch.put(KeyspaceId(7), b"key", b"value");
    batch.delete(KeyspaceId(0x0102_0304), b"k");
    batch.put_new(KeyspaceId(7), b"n", b"v");
    batch.delete_present(KeyspaceId(7), b"n");
    batch.put_versioned(KeyspaceId(8), b"d", b"1", false);
    batch.put_versioned(KeyspaceId(8), b"e", b"2", true);
    batch
}

#[test]
fn golden() {
    let batch = sample();
    #[rustfmt::skip]
    let want = [
        3, 0, 0, 0, 7, 0, 0, 0,
        3, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0,
        1, 0, 3, 0, 7, 0, 0, 0, 5, 0, 0, 0, b'k', b'e', b'y', b'v', b'a', b'l', b'u', b'e',
        2, 0, 1, 0, 4, 3, 2, 1, 0, 0, 0, 0, b'k',
        1, 1, 1, 0, 7, 0, 0, 0, 1, 0, 0, 0, b'n', b'v',
        2, 1, 1, 0, 7, 0, 0, 0, 0, 0, 0, 0, b'n',
        1, 2, 1, 0, 8, 0, 0, 0, 1, 0, 0, 0, b'd', b'1',
        1, 3, 1, 0, 8, 0, 0, 0, 1, 0, 0, 0, b'e', b'2',
    ];
    assert_eq!(batch.payload(), want);
    let ops: Vec<_> = decode(&want).unwrap().collect();
    assert_eq!(
        ops,
        [
            Op::DropKeyspace(KeyspaceId(9)),
            Op::Put(KeyspaceId(7), b"key", b"value"),
            Op::Delete(KeyspaceId(0x0102_0304), b"k"),
            Op::Put(KeyspaceId(7), b"n", b"v"),
            Op::Delete(KeyspaceId(7), b"n"),
            Op::Put(KeyspaceId(8), b"d", b"1"),
            Op::Put(KeyspaceId(8), b"e", b"2"),
        ]
    );
    let told = || decode(&want).unwrap().told();
    assert_eq!(told().map(|told| told.moved).collect::<Vec<_>>(), [0, 0, 0, 1, -1, 0, 1]);
    assert_eq!(told().filter(|told| told.versioned).count(), 2);
    // No flag that an operation does not have.
    for (at, flags) in [(9, 1), (9, 2), (41, 2), (41, 4), (54, 4)] {
        let mut other = want;
        other[at] = flags;
        let refused = decode(&other).unwrap_err();
        assert!(matches!(refused, BatchError::Corrupt { .. }), "{at}: {refused}");
    }
}

#[test]
fn one_batch_takes_in_another_whole() {
    let (mut one, mut all) = (Batch::new(), sample());
    one.put(KeyspaceId(7), b"more", b"x");
    one.unread(KeyspaceId(7), b"more");
    one.require(KeyspaceId(7), b"more", crate::Expect::Absent);
    all.absorb(one.clone());
    assert_eq!(all.len(), 8);
    assert_eq!(all.ops().last(), Some(Op::Put(KeyspaceId(7), b"more", b"x")));
    assert_eq!((all.requires.len(), all.unread_keys().count()), (1, 1));
    assert_eq!(decode(all.payload()).unwrap().count(), 8);
    one.put(KeyspaceId(7), b"", b"");
    all.absorb(one);
    assert_eq!((all.check(), all.len()), (Err(BatchError::Key(0)), 8));
}

#[test]
fn values_before_are_told_and_are_no_operations() {
    let ks = KeyspaceId(7);
    let mut batch = Batch::new();
    batch.before(ks, b"k", b"old");
    batch.put(ks, b"k", b"v");
    let mark = batch.mark();
    batch.before(ks, b"g", b"");
    batch.delete_present(ks, b"g");
    #[rustfmt::skip]
    let want = [
        4, 0, 0, 0, 4, 0, 0, 0,
        4, 0, 1, 0, 7, 0, 0, 0, 3, 0, 0, 0, b'k', b'o', b'l', b'd',
        1, 0, 1, 0, 7, 0, 0, 0, 1, 0, 0, 0, b'k', b'v',
        4, 0, 1, 0, 7, 0, 0, 0, 0, 0, 0, 0, b'g',
        2, 1, 1, 0, 7, 0, 0, 0, 0, 0, 0, 0, b'g',
    ];
    assert_eq!(batch.payload(), want);
    let ops = decode(&want).unwrap();
    assert_eq!(ops.size_hint(), (2, Some(4)));
    let (put, gone) = (Op::Put(ks, b"k", b"v"), Op::Delete(ks, b"g"));
    assert_eq!(ops.clone().collect::<Vec<_>>(), [put, gone]);
    assert_eq!(ops.clone().told().map(|told| told.moved).collect::<Vec<_>>(), [0, -1]);
    let told: Vec<_> = ops.told().collect();
    assert_eq!(told[0], Told { op: put, moved: 0, versioned: false, before: Some(b"old") });
    assert_eq!(told[1], Told { op: gone, moved: -1, versioned: false, before: Some(b"") });
    // Taken away, they are not spoken of.
    let mut all = batch.clone();
    all.append(&batch).unwrap();
    assert_eq!(decode(all.payload()).unwrap().told().count(), 4);
    batch.truncate(mark);
    assert_eq!(decode(batch.payload()).unwrap().told().count(), 1);
    batch.clear();
    batch.put(ks, b"k", b"v");
    assert_eq!(batch.payload()[0], 3);

    let refused = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = want.to_vec();
        change(&mut bytes);
        assert!(matches!(decode(&bytes), Err(BatchError::Corrupt { .. })), "{bytes:?}");
    };
    refused(&|b| b[0] = 3);
    refused(&|b| b[9] = 1);
    refused(&|b| b[20] = b'x');
    refused(&|b| b[12] = 8);
    refused(&|b| b[24] = 4);
    refused(&|b| b[51] = 4);
    refused(&|b| {
        b.truncate(51);
        b[4] = 3;
    });
    let mut none = want[..8].to_vec();
    none[4] = 0;
    assert!(decode(&none).is_err(), "version 4 without a value before");
}

#[test]
fn limits_are_remembered_and_the_rest_is_kept_out() {
    let ks = KeyspaceId(1);
    let mut batch = Batch::new();
    batch.put(ks, &[0; MAX_KEY], b"fits");
    assert_eq!(batch.check(), Ok(()));
    batch.put(ks, &[0; MAX_KEY + 1], b"");
    batch.put(ks, b"", b"");
    assert_eq!(batch.check(), Err(BatchError::Key(MAX_KEY + 1)));
    assert_eq!(batch.len(), 1);
    batch.clear();
    batch.put(KeyspaceId(MAX_KEYSPACE), b"k", b"");
    assert_eq!(batch.check(), Err(BatchError::Keyspace(MAX_KEYSPACE)));
    batch.clear();
    batch.put(ks, b"k", &vec![0; MAX_BATCH_BYTES]);
    assert_eq!(batch.check(), Err(BatchError::TooLarge(MAX_BATCH_BYTES + 8 + 12 + 1)));
}

#[test]
fn every_cut_and_every_tail_is_refused() {
    let batch = sample();
    let bytes = batch.payload().to_vec();
    for end in 0..bytes.len() {
        assert!(decode(&bytes[..end]).is_err(), "cut at {end}");
    }
    let mut long = bytes;
    long.push(0);
    assert!(matches!(decode(&long), Err(BatchError::Corrupt { .. })));
    for version in [2, 5] {
        long[0] = version;
        assert_eq!(decode(&long).unwrap_err(), BatchError::Version(version));
    }
}

proptest! {
    #[test]
    fn what_decodes_encodes_to_the_same_bytes(
        images: bool, flips in prop::collection::vec((0usize..108, any::<u8>()), 0..4)
    ) {
        let mut batch = sample();
        if images {
            batch.before(KeyspaceId(7), b"n", b"w");
            batch.delete(KeyspaceId(7), b"n");
        }
        let mut bytes = batch.payload().to_vec();
        for (at, to) in flips {
            bytes[at] = to;
        }
        if let Ok(ops) = decode(&bytes) {
            let mut again = Batch::new();
            for Told { op, moved, versioned, before } in ops.told() {
                if let (Some(before), Op::Put(ks, k, _) | Op::Delete(ks, k)) = (before, op) {
                    again.before(ks, k, before);
                }
                match (op, moved) {
                    (Op::Put(ks, k, v), by) if versioned => {
                        again.put_versioned(ks, k, v, by > 0);
                    }
                    (Op::Put(ks, k, v), 0) => again.put(ks, k, v),
                    (Op::Put(ks, k, v), _) => again.put_new(ks, k, v),
                    (Op::Delete(ks, k), 0) => again.delete(ks, k),
                    (Op::Delete(ks, k), _) => again.delete_present(ks, k),
                    (Op::DropKeyspace(ks), _) => again.drop_keyspace(ks),
                }
            }
            prop_assert_eq!(again.check(), Ok(()));
            prop_assert_eq!(again.payload(), bytes);
        }
    }
}
