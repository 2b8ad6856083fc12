//! Many frames, each cheap for who sends it.

use super::*;

/// What a flood came to.
#[derive(Debug)]
struct Told {
    /// Of GOAWAY, if that was said.
    goaway: Option<u32>,
    resets: usize,
}

/// Sends `flood` until it is all sent, the server closes or takes no more; then reads
/// what was said until nothing comes.
async fn pour(stream: &mut TcpStream, flood: impl Iterator<Item = Vec<u8>>) -> Told {
    let mut told = Told { goaway: None, resets: 0 };
    for bytes in flood {
        match tokio::time::timeout(Duration::from_secs(1), stream.write_all(&bytes)).await {
            Ok(Ok(())) => {}
            // It was cut off, or nobody reads any more: the flood is over.
            Ok(Err(_)) | Err(_) => break,
        }
    }
    while let Ok(Ok((kind, _, payload))) =
        tokio::time::timeout(Duration::from_secs(1), next(stream)).await
    {
        match kind {
            GOAWAY => told.goaway = Some(u32::from_be_bytes(payload[4..8].try_into().unwrap())),
            RESET => told.resets += 1,
            _ => {}
        }
    }
    told
}

const CALM: u32 = 11;

/// Odd numbers: the streams of a client.
fn streams() -> impl Iterator<Item = u32> {
    (1..=0x7fff_ffff).step_by(2)
}

#[tokio::test(flavor = "multi_thread")]
async fn rapid_resets_are_ended_and_few_of_them_reach_the_handler() {
    let house = house(HttpOptions::default()).await;
    house.is_served().await;
    let (before, handled) = (resident(), house.handled.0.load(Ordering::SeqCst));
    let mut stream = house.open(&hello()).await;
    let pair = |at: u32| [get(at), frame(RESET, 0, at, &[0, 0, 0, 8])].concat();
    let told = pour(&mut stream, streams().take(100_000).map(pair)).await;
    assert_eq!(told.goaway, Some(CALM), "{told:?}");
    let handled = house.handled.0.load(Ordering::SeqCst) - handled;
    assert!(handled < 10_000, "{handled} of 100,000 were begun");
    assert!(resident() < before + GROWTH);
    house.is_served().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_never_ends_ends_by_its_size() {
    let house = house(HttpOptions::default()).await;
    house.is_served().await;
    let before = resident();
    let mut stream = house.open(&hello()).await;
    // 16 KiB a piece, of one header after the other.
    let field = [&[0, 1, b'a', 100][..], &[b'b'; 100]].concat();
    let piece = field.repeat(150);
    let first = [frame(HEADERS, 0, 1, GET)].into_iter();
    let rest = std::iter::repeat_with(|| frame(CONTINUATION, 0, 1, &piece)).take(20_000);
    let told = pour(&mut stream, first.chain(rest)).await;
    assert!(told.goaway.is_some(), "{told:?}");
    // The same with pieces of nothing.
    let mut stream = house.open(&hello()).await;
    let first = [frame(HEADERS, 0, 1, GET)].into_iter();
    let rest = std::iter::repeat_with(|| frame(CONTINUATION, 0, 1, &[])).take(2_000_000);
    let told = pour(&mut stream, first.chain(rest)).await;
    assert!(told.goaway.is_some(), "{told:?}");
    assert!(resident() < before + GROWTH);
    house.is_served().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_head_that_stands_for_a_large_one_is_refused() {
    let house = house(HttpOptions::default()).await;
    house.is_served().await;
    let (before, handled) = (resident(), house.handled.0.load(Ordering::SeqCst));
    let mut stream = house.open(&hello()).await;
    // One field of 4,000 bytes is remembered, then named 12,000 times: 48 MB for 12 KB.
    let mut bomb = GET.to_vec();
    bomb.extend([0x40, 1, b'a', 0x7f, 0xa1, 0x1e]);
    bomb.extend(vec![b'b'; 4000]);
    bomb.extend(vec![0xbe; 12_000]);
    let heads = streams().take(50).map(|at| frame(HEADERS, END_STREAM | END_HEADERS, at, &bomb));
    let told = pour(&mut stream, heads).await;
    assert_eq!(house.handled.0.load(Ordering::SeqCst), handled, "{told:?}");
    assert!(resident() < before + GROWTH);
    house.is_served().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_and_pings_whose_answers_are_not_read_are_not_piled_up() {
    let house = house(HttpOptions::default()).await;
    house.is_served().await;
    let before = resident();
    for one in [
        frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]),
        frame(PING, 0, 0, &[7; 8]),
        frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 9]),
        frame(WINDOW, 0, 0, &[0, 0, 0, 1]),
    ] {
        let mut stream = house.open(&hello()).await;
        let many = one.repeat(1000);
        // Tens of megabytes, if nobody stops it; nothing of what comes back is read.
        for _ in 0..2000 {
            let sent = stream.write_all(&many);
            if !matches!(tokio::time::timeout(Duration::from_secs(1), sent).await, Ok(Ok(()))) {
                break;
            }
        }
        assert!(resident() < before + GROWTH, "{}", one[3]);
        house.is_served().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_of_nothing_holds_its_responses_no_longer_than_allowed() {
    let options =
        HttpOptions { idle_timeout: Duration::from_millis(500), ..HttpOptions::default() };
    let house = house(HttpOptions { max_connections: 8, max_streams: 8, ..options }).await;
    let before = resident();
    let mut settings = PREFACE.to_vec();
    settings.extend(frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]));
    let mut block = vec![0x82, 0x86, 0x04, 6];
    block.extend_from_slice(b"/large\x01\x01h");
    let asked: Vec<u8> = streams()
        .take(8)
        .flat_map(|at| frame(HEADERS, END_STREAM | END_HEADERS, at, &block))
        .collect();
    let mut stream = house.open(&[settings, asked].concat()).await;
    house.is_served().await;
    assert!(resident() < before + GROWTH + (8 << 20));
    // It says something now and then, and takes nothing: it is cut off all the same.
    let ping = frame(PING, 0, 0, &[7; 8]);
    let pinging = async {
        while stream.write_all(&ping).await.is_ok() {
            tokio::time::sleep(SHORT).await;
        }
    };
    soon(pinging).await;
    house.is_served().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_of_nothing_cost_nothing() {
    let house = house(HttpOptions::default()).await;
    house.is_served().await;
    let before = resident();
    let mut head = vec![0x83];
    head.extend(&GET[1..]);
    let mut stream = house.open(&[hello(), frame(HEADERS, END_HEADERS, 1, &head)].concat()).await;
    let nothing = frame(DATA, 0, 1, &[]).repeat(1000);
    let told = pour(&mut stream, std::iter::repeat_n(nothing, 500)).await;
    assert!(resident() < before + GROWTH, "{told:?}");
    house.is_served().await;
}
