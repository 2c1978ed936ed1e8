//! What one client can cost by HTTP/2, and what it gets when it tries.

use std::time::Duration;

use futures_util::future::join_all;
use http_body_util::BodyExt as _;

use super::{
    Harbour, PATIENCE, USUAL,
    ask::Many,
    wire::{
        CONTINUATION, END_HEADERS, END_STREAM, HEADERS, RST_STREAM, SETTINGS, WINDOW_UPDATE, Wire,
        block, frame, word,
    },
};

/// The numbers of settings (RFC 9113, 6.5.2).
const MAX_CONCURRENT_STREAMS: u16 = 3;
const INITIAL_WINDOW_SIZE: u16 = 4;
/// Error codes (RFC 9113, 7).
const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;
const ENHANCE_YOUR_CALM: u32 = 11;

impl Harbour {
    async fn is_well(&self) -> bool {
        Many::open(self).await.get("/api/v1/apps").await.0 == 200
    }
}

#[tokio::test]
async fn a_connection_carries_so_many_requests_at_once() {
    let harbour = Harbour::start().await;
    let mut wire = Wire::open(&harbour, &[]).await;
    let settings = wire.until(|frame| frame.kind == SETTINGS).await.unwrap();
    let pairs: Vec<_> = settings.payload.chunks(6).collect();
    let most = pairs.iter().find(|pair| pair[..2] == MAX_CONCURRENT_STREAMS.to_be_bytes());
    let most = word(&most.expect("it says no limit")[2..]);
    assert_eq!(most, 32);
    for number in 0..most {
        wire.get(2 * number + 1, "/api/v1/events").await.unwrap();
    }
    wire.get(2 * most + 1, "/api/v1/events").await.unwrap();
    let refused = wire.until(|frame| frame.kind == RST_STREAM).await.unwrap();
    assert_eq!((refused.stream, word(&refused.payload)), (2 * most + 1, REFUSED_STREAM));
    // Who takes one back has room for another.
    wire.send(&frame(RST_STREAM, 0, 1, &CANCEL.to_be_bytes())).await.unwrap();
    let next = 2 * most + 3;
    wire.get(next, "/livez").await.unwrap();
    let answered = wire.until(|frame| frame.stream == next).await.unwrap();
    assert_eq!(answered.kind, HEADERS);
    assert!(harbour.is_well().await);
}

/// Fault H08, by many streams: they are bounded in all, and come back when a client is gone.
#[tokio::test]
async fn streams_of_a_connection_that_ended_are_free_again() {
    let harbour = Harbour::with(USUAL, |settings| settings.streams_max = 4).await;
    let many = Many::open(&harbour).await;
    let mut open = Vec::new();
    for _ in 0..4 {
        let answer = many.ask("GET", "/api/v1/events", &[]).await.unwrap();
        assert_eq!(answer.status(), 200);
        open.push(answer);
    }
    let (status, body) = many.get("/api/v1/events").await;
    assert_eq!(status, 503);
    assert!(body.contains("server.too-many-streams"), "{body}");
    assert!(harbour.figure("berth_http_problems_total{code=\"server.too-many-streams\"} 1"));
    drop((open, many));
    let again = async {
        let many = Many::open(&harbour).await;
        while many.ask("GET", "/api/v1/events", &[]).await.unwrap().status() != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, again).await.expect("the places of a lost client are lost");
}

/// A change that was begun is recorded, though the client takes its request back.
#[tokio::test]
async fn a_change_that_is_taken_back_is_recorded_as_it_went() {
    let state = tempfile::tempdir().unwrap();
    let harbour = Harbour::with(USUAL, |settings| {
        settings.access.audit = Some(std::sync::Arc::new(berth::audit::Log::new(state.path())));
    })
    .await;
    let held = harbour.stage.held.write().await;
    let mut wire = Wire::open(&harbour, &[]).await;
    let head = wire.head_of("POST", "/api/v1/apps/chat/stop");
    wire.send(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &head)).await.unwrap();
    let waiting = async {
        while harbour.stage.asked.lock().unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("it was never asked");
    wire.send(&frame(RST_STREAM, 0, 1, &CANCEL.to_be_bytes())).await.unwrap();
    // What is answered now was read after that.
    for stream in [3, 5] {
        wire.get(stream, "/livez").await.unwrap();
        wire.until(|frame| frame.stream == stream).await.unwrap();
    }
    drop(held);
    let records = || berth::audit::verify(state.path()).unwrap().records;
    let waiting = async {
        while records() == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("it was not recorded");
    assert_eq!(records(), 1);
}

#[tokio::test]
async fn an_address_has_so_many_requests_under_way() {
    let harbour =
        Harbour::with(USUAL, |settings| settings.connections_per_address = Some(16)).await;
    let mut open = Vec::new();
    for _ in 0..5 {
        let many = Many::open(&harbour).await;
        let asked = (0..28).map(|_| many.ask("GET", "/api/v1/events", &[]));
        let answers: Vec<_> = join_all(asked).await.into_iter().map(Result::unwrap).collect();
        open.push((many, answers));
    }
    let answers = open.iter().flat_map(|(_, answers)| answers);
    let (good, refused): (Vec<_>, Vec<_>) = answers.partition(|answer| answer.status() == 200);
    assert_eq!((good.len(), refused.len()), (128, 12));
    assert!(refused.iter().all(|answer| answer.status() == 429), "{refused:?}");
    assert!(refused.iter().all(|answer| answer.headers().contains_key("retry-after")));
    drop(open);
    let well = async { while !harbour.is_well().await {} };
    tokio::time::timeout(PATIENCE, well).await.expect("its places are lost");
}

/// CVE-2023-44487: asking and taking back costs the client nothing.
#[tokio::test]
async fn who_asks_and_takes_back_again_and_again_is_hung_up_on() {
    let harbour = Harbour::start().await;
    let mut wire = Wire::open(&harbour, &[]).await;
    let head = wire.head("/api/v1/apps");
    let mut pairs: u32 = 0;
    // Ten thousand are taken back in a second by one connection of such a flood.
    while pairs < 100_000 {
        let mut bytes = Vec::new();
        for _ in 0..50 {
            let stream = 2 * pairs + 1;
            bytes.extend(frame(HEADERS, END_STREAM | END_HEADERS, stream, &head));
            bytes.extend(frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes()));
            pairs += 1;
        }
        if wire.send(&bytes).await.is_err() {
            break;
        }
    }
    let code = wire.end().await;
    assert!(pairs < 100_000, "it was never hung up on");
    assert!(matches!(code, None | Some(ENHANCE_YOUR_CALM)), "{code:?}");
    let text = harbour.stage.metrics.render();
    let reasons = ["http2", "taken-back"].map(|r| format!("turned_away_total{{reason=\"{r}\"}}"));
    assert!(reasons.iter().any(|reason| text.contains(reason)), "{text}");
    assert!(harbour.is_well().await);
}

/// The same where each request is looked at first, so that the protocol alone sees nothing odd.
#[tokio::test]
async fn taking_back_what_is_answered_already_is_bounded_as_well() {
    let harbour = Harbour::with(USUAL, |settings| {
        settings.streams_max = 100_000;
    })
    .await;
    let mut wire = Wire::open(&harbour, &[]).await;
    let mut number = 0;
    let flood = async {
        loop {
            let stream = 2 * number + 1;
            number += 1;
            wire.get(stream, "/api/v1/events").await.ok()?;
            wire.until(|frame| frame.stream == stream && frame.kind == HEADERS).await?;
            wire.send(&frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes())).await.ok()?;
        }
        #[expect(unreachable_code, reason = "it says what the block answers")]
        Some(())
    };
    assert_eq!(tokio::time::timeout(PATIENCE * 3, flood).await.expect("it went on for ever"), None);
    assert!(200 < number, "an honest client may take some back: {number}");
    harbour.until_figure("berth_http_turned_away_total{reason=\"taken-back\"} 1").await;
    assert!(harbour.is_well().await);
}

/// CVE-2024-27316 and its like: a head without an end.
#[tokio::test]
async fn a_head_that_goes_on_and_on_is_cut() {
    let harbour = Harbour::start().await;
    for value in ["", "x"] {
        let mut wire = Wire::open(&harbour, &[]).await;
        let head = wire.head("/api/v1/apps");
        wire.send(&frame(HEADERS, END_STREAM, 1, &head)).await.unwrap();
        let more: Vec<_> = (0..200).flat_map(|_| block(&[("x-more", value)])).collect();
        let mut sent = 0;
        while sent < 64 << 20 && wire.send(&frame(CONTINUATION, 0, 1, &more)).await.is_ok() {
            sent += more.len();
        }
        assert!(sent < 64 << 20, "it was read for ever");
        assert!(matches!(wire.end().await, None | Some(ENHANCE_YOUR_CALM | 9)));
        assert!(harbour.is_well().await);
    }
    harbour.until_figure("berth_http_turned_away_total{reason=\"http2\"} ").await;
}

/// Fault S11: a head that comes in part only, or nothing at all.
#[tokio::test]
async fn a_connection_that_asks_nothing_is_ended() {
    let harbour = Harbour::with(USUAL, |settings| {
        settings.idle_timeout = Duration::from_secs(5);
    })
    .await;
    let mut silent = Wire::open(&harbour, &[]).await;
    let mut half = Wire::open(&harbour, &[]).await;
    // Within a head nothing else may be sent.
    half.until(|frame| frame.kind == SETTINGS).await.unwrap();
    let head = half.head("/api/v1/apps");
    half.send(&frame(HEADERS, END_STREAM, 1, &head[..10])).await.unwrap();
    // What is under way is not idle, however long it takes.
    let many = Many::open(&harbour).await;
    let mut following = many.ask("GET", "/api/v1/events", &[]).await.unwrap().into_body();
    assert!(following.frame().await.is_some());
    silent.end().await;
    half.end().await;
    harbour.until_figure("berth_http_turned_away_total{reason=\"idle\"} 2").await;
    harbour.stage.tell("chat", "it is heard");
    let hearing = async {
        while let Some(frame) = following.frame().await {
            let data = frame.unwrap().into_data().unwrap_or_default();
            if data.windows(11).any(|seen| seen == b"it is heard") {
                return;
            }
        }
        panic!("the stream was cut");
    };
    tokio::time::timeout(PATIENCE, hearing).await.expect("nothing is heard any more");
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused_and_others_go_on() {
    let harbour = Harbour::start().await;
    let many = Many::open(&harbour).await;
    let long = "x".repeat(80 * 1024);
    let answer = many.ask("GET", "/livez", &[("x-long", long.as_str())]).await.unwrap();
    assert_eq!(answer.status(), 431);
    let headers: Vec<_> = (0..70).map(|_| ("x-more", "1")).collect();
    let (status, body) = many.whole("GET", "/livez", &headers).await;
    assert_eq!(status, 431);
    assert!(body.contains("request.headers"), "{body}");
    assert_eq!(many.get("/livez").await.0, 200);
}

/// Fault H08: reading the connection while leaving an answer unread.
#[tokio::test]
async fn an_answer_that_nobody_takes_ends_its_connection() {
    let harbour = Harbour::with(USUAL, |settings| {
        settings.write_patience = Duration::from_millis(1500);
        settings.keep_alive = Duration::from_millis(50);
    })
    .await;
    // No byte of any answer may be sent.
    let mut closed = Wire::open(&harbour, &[(INITIAL_WINDOW_SIZE, 0)]).await;
    closed.get(1, "/api/v1/events").await.unwrap();
    closed.end().await;
    harbour.until_figure("berth_http_turned_away_total{reason=\"unread\"} 1").await;
    // The window closes in the midst of a stream.
    let mut closing = Wire::open(&harbour, &[]).await;
    closing.get(1, "/api/v1/events").await.unwrap();
    closing.until(|frame| frame.stream == 1 && frame.kind == HEADERS).await.unwrap();
    for number in 0..40 {
        harbour.stage.tell("chat", &format!("{number} {}", "x".repeat(4000)));
    }
    closing.end().await;
    harbour.until_figure("berth_http_turned_away_total{reason=\"unread\"} 2").await;
    // One that is slow, and reads on, is served to the end.
    let patient = Harbour::with(USUAL, |settings| {
        settings.write_patience = Duration::from_secs(20);
        settings.keep_alive = Duration::from_millis(50);
    })
    .await;
    let mut slow = Wire::open(&patient, &[(INITIAL_WINDOW_SIZE, 400)]).await;
    slow.get(1, "/api/v1/apps").await.unwrap();
    let mut parts = 0;
    loop {
        let part = slow.until(|frame| frame.stream == 1).await.expect("it was cut off");
        if part.flags & END_STREAM != 0 {
            break;
        }
        parts += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
        let more = 400_u32.to_be_bytes();
        let bytes = [frame(WINDOW_UPDATE, 0, 0, &more), frame(WINDOW_UPDATE, 0, 1, &more)];
        slow.send(&bytes.concat()).await.unwrap();
    }
    assert!(2 < parts, "{parts}");
}

#[tokio::test]
async fn who_comes_when_all_places_are_taken_is_told_so() {
    let harbour = Harbour::with(USUAL, |settings| settings.connections_max = 2).await;
    let held = [harbour.connect(&["h2"]).await, harbour.connect(&["h2"]).await];
    let error = super::secure(harbour.stage.address, harbour.config(&["h2"])).await.unwrap_err();
    assert!(error.to_string().contains("AccessDenied"), "{error}");
    assert!(harbour.figure("berth_http_turned_away_total{reason=\"full\"} 1"));
    drop(held);
    harbour.until_figure("berth_http_connections{kind=\"tls\"} 0").await;
    assert!(harbour.is_well().await);
}
