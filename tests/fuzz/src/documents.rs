//! Documents, the order of their values, and packets.

use proto::Request;
use proto::doc::{Doc, Value};
use proto::order::{compare, order_key, order_key_desc};

/// Any bytes as a document: what parses can be walked to its end.
pub fn document(data: &[u8]) {
    let Ok(doc) = Doc::parse(data) else { return };
    fn walk(value: Value<'_>) -> usize {
        match value {
            Value::Doc(doc) => doc.iter().map(|(name, v)| name.len() + walk(v)).sum(),
            Value::Array(array) => array.iter().map(walk).sum(),
            _ => 1,
        }
    }
    std::hint::black_box(walk(Value::Doc(doc)));
}

/// A document's values against each other: bytes of index keys sort as the values
/// do, upwards and downwards, and no key begins another.
pub fn order(data: &[u8]) {
    let Ok(doc) = Doc::parse(data) else { return };
    let mut values: Vec<Option<Value<'_>>> = vec![None];
    values.extend(doc.iter().take(16).map(|(_, value)| Some(value)));
    let key = |value| {
        let (mut up, mut down) = (Vec::new(), Vec::new());
        order_key(value, &mut up);
        order_key_desc(value, &mut down);
        (up, down)
    };
    let keys: Vec<_> = values.iter().map(|value| key(*value)).collect();
    for (a, (up_a, down_a)) in values.iter().zip(&keys) {
        for (b, (up_b, down_b)) in values.iter().zip(&keys) {
            let order = compare(*a, *b);
            assert_eq!(order, up_a.cmp(up_b), "{a:?} {b:?}");
            assert_eq!(order.reverse(), down_a.cmp(down_b), "{a:?} {b:?}, downwards");
            assert!(order.is_eq() || !up_b.starts_with(up_a), "{a:?} begins {b:?}");
        }
    }
}

/// Any bytes as a packet: what decodes encodes and decodes to the same.
pub fn packet(data: &[u8]) {
    let Ok((id, request)) = Request::decode(data) else { return };
    let mut again = Vec::new();
    request.encode(id, &mut again);
    let (id_again, request_again) =
        Request::decode(&again).expect("what was encoded from a request is one");
    assert_eq!((id_again, format!("{request_again:?}")), (id, format!("{request:?}")));
}
