//! Sessions fed by the piece, and by strangers.

use super::*;
use crate::packet::{HEADER_BYTES, Header};
use crate::{Key, ReplyWriter, Request, Status};
use proptest::prelude::*;

fn request(id: u64, request: Request<'_>) -> Vec<u8> {
    let mut packet = Vec::new();
    request.encode(id, &mut packet);
    packet
}

fn ping(id: u64) -> Vec<u8> {
    request(id, Request::Ping)
}

fn auth() -> Vec<u8> {
    request(1, Request::Auth { user: "ann", key: "secret" })
}

fn query(id: u64, bytes: usize) -> Vec<u8> {
    request(id, Request::Query { text: &"x".repeat(bytes), parameters: None })
}

fn cancel(id: u64) -> Vec<u8> {
    Header::cancel(id).to_bytes().to_vec()
}

/// A session that has authenticated.
fn open(limit: usize, most: usize) -> Server {
    let mut server = Server::new();
    let auth = auth();
    assert_eq!(server.feed(&auth), auth.len());
    server.advance(0);
    assert!(server.next_request().is_some());
    server.answered(1);
    server.open(limit, most);
    server
}

fn give(server: &mut Server, bytes: &[u8]) {
    assert_eq!(server.feed(bytes), bytes.len(), "there is room for them");
    server.advance(0);
}

fn ids(server: &Server) -> Vec<u64> {
    server.ready().map(|ticket| ticket.header.id).collect()
}

#[test]
fn requests_beyond_the_bound_are_not_taken_nor_read() {
    let mut server = open(1000, 2);
    give(&mut server, &(1..=5).flat_map(ping).collect::<Vec<_>>());
    assert_eq!((ids(&server), server.wants()), (vec![1, 2], 0));
    assert_eq!(server.feed(b"P"), 0);
    let (ticket, packet) = server.next_request().unwrap();
    assert_eq!((ticket.header.id, ticket.serial, packet), (1, 1, &ping(1)[..]));
    server.advance(0);
    assert_eq!(ids(&server), [2], "what is at work is in flight");
    server.answered(1);
    server.advance(0);
    assert_eq!(ids(&server), [2, 3]);
    let mut batch = server.detach();
    assert_eq!(batch.tickets().len(), 2);
    assert_eq!(batch.next_request().unwrap().1, ping(2));
    assert_eq!(batch.next_request().unwrap().1, ping(3));
    assert!(batch.next_request().is_none() && ids(&server).is_empty());
    server.answered(2);
    server.advance(7);
    assert_eq!(ids(&server), [4, 5]);
    assert!(server.ready().all(|ticket| ticket.arrived == 7));
}

#[test]
fn a_cancel_is_seen_while_all_that_may_be_is_in_flight() {
    let mut server = open(1000, 2);
    give(&mut server, &[ping(1), ping(2)].concat());
    server.next_request().unwrap();
    assert_eq!(server.wants(), HEADER_BYTES);
    give(&mut server, &[cancel(2), cancel(1), cancel(1), cancel(9)].concat());
    assert_eq!((server.cancelled(), server.cancelled()), (Some(1), None), "each is told once");
    assert!(server.next_request().unwrap().0.cancelled);
    give(&mut server, &cancel(2));
    assert_eq!(server.cancelled(), None, "it was cancelled before it was begun");
    // Whose first bytes may be those of a Cancel.
    give(&mut server, &ping(3)[..23]);
    assert_eq!(server.wants(), HEADER_BYTES);
    give(&mut server, &ping(3)[23..]);
    assert_eq!((server.wants(), ids(&server)), (0, vec![]));
    server.answered(2);
    server.advance(0);
    assert_eq!(ids(&server), [3]);
}

#[test]
fn what_was_answered_is_not_cancelled_and_what_has_one_id_is_together() {
    let mut server = open(1000, 9);
    give(&mut server, &[ping(1), ping(5), ping(5)].concat());
    server.detach();
    server.answered(1);
    give(&mut server, &[cancel(1), cancel(5)].concat());
    assert_eq!(
        [server.cancelled(), server.cancelled(), server.cancelled()],
        [Some(2), Some(3), None]
    );
}

#[test]
fn what_is_long_is_not_received_behind_a_request_at_work() {
    let long = query(2, 100_000);
    let mut server = open(200_000, 9);
    give(&mut server, &ping(1));
    server.next_request().unwrap();
    give(&mut server, &long[..HEADER_BYTES]);
    assert_eq!((server.wants(), server.feed(&long)), (0, 0));
    server.answered(1);
    assert_eq!(server.wants(), long.len());
    give(&mut server, &long[HEADER_BYTES..]);
    assert_eq!(ids(&server), [2]);
    // Short ones are, up to so many bytes.
    server.detach();
    let many: Vec<u8> = (0..4000).flat_map(|_| cancel(7)).collect();
    let taken = server.feed(&many);
    assert_eq!(taken, AHEAD_BYTES);
    server.advance(0);
    assert!(server.wants() > 0, "cancels take no room");
    let mut server = open(200_000, 1024);
    give(&mut server, &ping(1));
    server.detach();
    let short: Vec<u8> = (0..100).flat_map(|id| query(id, 1000)).collect();
    assert_eq!(server.feed(&short), AHEAD_BYTES);
    server.advance(0);
    assert_eq!((server.wants(), server.kept()), (0, AHEAD_BYTES));
}

#[test]
fn what_is_wrong_is_told_last() {
    let foreign = |id| {
        let mut packet = ping(id);
        packet[4] = 7;
        packet
    };
    let large = query(4, 1000);
    for (bytes, id, status, words) in [
        (&b"GET /"[..], 0, Status::BadPacket, "PLNK"),
        (&foreign(3)[..], 3, Status::UnknownVersion, "version 7"),
        (&large[..HEADER_BYTES], 4, Status::MessageTooLarge, "limits.max_message_size is 1000"),
    ] {
        let mut server = open(1000, 2);
        give(&mut server, &[&ping(1), bytes].concat());
        assert_eq!((server.last_word(), server.wants()), (None, 0));
        server.next_request().unwrap();
        assert_eq!(server.last_word(), None);
        server.answered(1);
        let fault = server.last_word().unwrap();
        assert_eq!((fault.id, fault.status), (id, status));
        assert!(fault.message.contains(words), "{}", fault.message);
        assert_eq!((server.last_word(), server.feed(&ping(9))), (None, 0));
    }
}

#[test]
fn the_first_packet_is_an_auth_of_4096_bytes() {
    let first = |bytes: &[u8]| {
        let mut server = Server::new();
        server.feed(bytes);
        server.advance(0);
        assert!(server.kept() <= AUTH_BYTES);
        (ids(&server), server.last_word().map(|fault| fault.status))
    };
    assert_eq!(first(&[auth(), ping(2)].concat()), (vec![1], None));
    assert_eq!(first(&ping(1)), (vec![], Some(Status::NotAuthenticated)));
    assert_eq!(first(&cancel(1)), (vec![], Some(Status::NotAuthenticated)));
    assert_eq!(first(&query(1, 5000)), (vec![], Some(Status::NotAuthenticated)));
    let of = |bytes: usize| {
        let rest = bytes - HEADER_BYTES - 4 - 3;
        request(1, Request::Auth { user: "ann", key: &"x".repeat(rest) })
    };
    assert_eq!(first(&of(AUTH_BYTES)), (vec![1], None));
    assert_eq!(first(&of(AUTH_BYTES + 1)), (vec![], Some(Status::MessageTooLarge)));
    let mut foreign = auth();
    foreign[4] = 0;
    assert_eq!(first(&foreign), (vec![], Some(Status::UnknownVersion)));
}

#[test]
fn a_lone_stream_has_one_packet() {
    let whole = |mut lone: Lone, bytes: &[u8]| {
        lone.feed(bytes);
        lone.end().map(|(header, packet)| (header.id, packet.len())).map_err(|fault| fault.status)
    };
    let packet = query(7, 50);
    let len = packet.len();
    assert_eq!(whole(Lone::request(len), &packet), Ok((7, len)));
    assert_eq!(whole(Lone::request(len - 1), &packet), Err(Status::MessageTooLarge));
    assert_eq!(whole(Lone::auth(), &auth()), Ok((1, auth().len())));
    assert_eq!(whole(Lone::auth(), &ping(1)), Err(Status::NotAuthenticated));
    assert_eq!(whole(Lone::request(9999), &cancel(1)), Err(Status::BadPacket));
    for cut in 0..len {
        assert_eq!(whole(Lone::request(len), &packet[..cut]), Err(Status::BadPacket));
    }
    let mut lone = Lone::request(9999);
    lone.feed(&[packet.clone(), packet].concat());
    assert_eq!((lone.kept(), lone.end().unwrap_err().id), (len + 1, 7));
}

#[test]
fn replies_come_in_order_or_not_at_all() {
    let empty = |id| {
        let mut packet = Vec::new();
        ReplyWriter::new(id, &mut packet).empty();
        packet
    };
    let mut replies = Replies::new(1000);
    replies.expect(1);
    replies.expect(2);
    replies.feed(&[empty(1), empty(3)].concat());
    assert_eq!(replies.next_reply(), Ok(Some(&empty(1)[..])));
    assert_eq!(replies.next_reply(), Err(BadReply::OutOfOrder { id: 3 }));
    let after = |bytes: &[u8]| {
        let mut replies = Replies::new(1000);
        replies.expect(1);
        replies.feed(bytes);
        assert!(replies.has_next());
        replies.next_reply().unwrap_err()
    };
    let mut word = Vec::new();
    Fault::new(0, Status::Busy, "later").write(&mut word);
    let message = "later".to_owned();
    assert_eq!(after(&word), BadReply::LastWord { status: Status::Busy, message });
    let mut large = Vec::new();
    Fault::new(1, Status::Busy, "x".repeat(977)).write(&mut large);
    assert_eq!(after(&large[..24]), BadReply::TooLarge { bytes: 1001, limit: 1000 });
    let mut foreign = empty(1);
    foreign[4] = 2;
    assert_eq!(after(&foreign), BadReply::Version(2));
    assert!(matches!(after(b"\x15\x03"), BadReply::Protocol(_)));
}

/// What a client may send, some of it wrong.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => (0u64..6).prop_map(ping),
        3 => (0u64..6, 0usize..200).prop_map(|(id, len)| query(id, len)),
        2 => (0u64..6).prop_map(cancel),
        1 => (0u64..6).prop_map(|id| request(id, Request::Read { store: "s", key: Key(7) })),
        1 => proptest::collection::vec(any::<u8>(), 0..40),
    ]
}

/// What comes of bytes that are fed in pieces of these lengths, if requests are answered
/// when nothing more is taken, and at the end.
fn events(bytes: &[u8], cuts: &[usize], most: usize) -> (Vec<Vec<u8>>, Option<Fault>) {
    let mut server = open(150, most);
    let (mut packets, mut left, mut cut) = (Vec::new(), bytes, cuts.iter().cycle());
    loop {
        let len = (*cut.next().unwrap()).clamp(1, left.len().max(1)).min(left.len());
        let taken = server.feed(&left[..len]);
        left = &left[taken..];
        server.advance(0);
        assert!(server.kept() <= 150 + AHEAD_BYTES);
        assert!(server.ready().count() <= most);
        if taken == 0 {
            let (before, mut begun) = (packets.len(), 0);
            // By turns as they are had.
            if packets.len() % 2 == 0 {
                let mut batch = server.detach();
                while let Some((_, packet)) = batch.next_request() {
                    packets.push(packet.to_vec());
                }
                begun = packets.len() - before;
            } else {
                while let Some((_, packet)) = server.next_request() {
                    packets.push(packet.to_vec());
                    begun += 1;
                }
            }
            server.answered(begun);
            while server.cancelled().is_some() {}
            server.advance(0);
            if let Some(fault) = server.last_word() {
                return (packets, Some(fault));
            }
            if begun == 0 && left.is_empty() {
                return (packets, None);
            }
        }
    }
}

/// Which requests are cancelled if none is begun.
fn cancels(bytes: &[u8], cuts: &[usize]) -> Vec<(u64, bool)> {
    let mut server = open(150, 1024);
    let (mut left, mut cut) = (bytes, cuts.iter().cycle());
    while !left.is_empty() {
        let len = (*cut.next().unwrap()).clamp(1, left.len());
        let taken = server.feed(&left[..len]);
        server.advance(0);
        left = if taken == 0 { &[] } else { &left[taken..] };
    }
    server.ready().map(|ticket| (ticket.header.id, ticket.cancelled)).collect()
}

proptest! {
    #[test]
    fn however_bytes_are_cut_the_same_comes_of_them(
        pieces in proptest::collection::vec(piece(), 0..30),
        cuts in proptest::collection::vec(1usize..300, 1..20),
        most in 1usize..5,
    ) {
        let bytes = pieces.concat();
        prop_assert_eq!(events(&bytes, &cuts, most), events(&bytes, &[1], most));
        prop_assert_eq!(cancels(&bytes, &cuts), cancels(&bytes, &[1]));
    }

    #[test]
    fn a_lone_stream_is_the_same_however_it_is_cut(
        pieces in proptest::collection::vec(piece(), 0..3),
        cuts in proptest::collection::vec(1usize..100, 1..9),
        auth in any::<bool>(),
    ) {
        let bytes = pieces.concat();
        let lone = || if auth { Lone::auth() } else { Lone::request(150) };
        let (mut whole, mut cut) = (lone(), lone());
        whole.feed(&bytes);
        let (mut left, mut cuts) = (&bytes[..], cuts.iter().cycle());
        while !left.is_empty() {
            let (now, rest) = left.split_at((*cuts.next().unwrap()).min(left.len()));
            cut.feed(now);
            left = rest;
        }
        prop_assert_eq!(whole.end(), cut.end());
        let most = if auth { AUTH_BYTES } else { 150 };
        prop_assert!(whole.kept() <= most + 1);
    }

    #[test]
    fn bytes_of_a_stranger_take_no_more_than_they_may(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        head in any::<bool>(),
    ) {
        let bytes = if head { [&crate::packet::MAGIC[..], &[1, 0], &bytes].concat() } else { bytes };
        let mut server = Server::new();
        while server.feed(&bytes) > 0 && server.kept() < AUTH_BYTES {
            server.advance(0);
        }
        prop_assert!(server.kept() <= AUTH_BYTES);
        let mut replies = Replies::new(100);
        replies.expect(0);
        for _ in 0..9 {
            replies.feed(&bytes);
            while let Ok(Some(_)) = replies.next_reply() {}
            prop_assert!(replies.received().len() <= 100 + AHEAD_BYTES);
        }
    }
}

#[test]
fn what_stands_behind_an_auth_may_be_longer_than_one_however_it_is_cut() {
    let long = query(2, 2 * AUTH_BYTES);
    for come in 0..=60 {
        let mut server = Server::new();
        let bytes = [&auth()[..], &long[..come.min(long.len())]].concat();
        assert_eq!(server.feed(&bytes), bytes.len());
        server.advance(0);
        assert!(server.next_request().is_some() && server.last_word().is_none(), "{come}");
        server.answered(1);
        server.open(1 << 20, 8);
        let mut rest = &long[come..];
        while !rest.is_empty() {
            server.advance(0);
            let taken = server.feed(rest);
            assert!(taken > 0, "{come}");
            rest = &rest[taken..];
        }
        server.advance(0);
        assert_eq!((ids(&server), server.last_word()), (vec![2], None), "{come}");
    }
}
