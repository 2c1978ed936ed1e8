//! Uploads that go on after a break: tus 1.0 and the IETF's draft, on the same rules.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use berth::{
    model::Digest,
    store::{Depot, Settings},
};
use serde_json::json;
use sha2::Digest as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::inspection::open;
use crate::api::stage::{Answer, Stage};

const TUS: (&str, &str) = ("tus-resumable", "1.0.0");
const TUS_PART: (&str, &str) = ("content-type", "application/offset+octet-stream");
const PART: (&str, &str) = ("content-type", "application/partial-upload");

/// What a header of an answer says.
fn header(answer: &Answer, name: &str) -> String {
    let begins = format!("{name}: ");
    let line = answer.head.lines().find_map(|line| line.strip_prefix(&begins));
    line.unwrap_or_else(|| panic!("no {name}: {answer:?}")).to_owned()
}

/// The address of an upload, as it was written: heads are read in small letters.
async fn place(stage: &Stage) -> String {
    let all = stage.get("/uploads").await.json();
    all["items"][0]["url"].as_str().unwrap_or_else(|| panic!("{all}")).to_owned()
}

fn metadata(model: &str) -> String {
    let pairs = [
        ("project_id", "p"),
        ("app_name", "a"),
        ("version", "1"),
        ("model_name", model),
        ("filename", "weights.bin"),
        ("description", "in parts"),
    ];
    let pairs = pairs.map(|(name, value)| format!("{name} {}", STANDARD.encode(value)));
    pairs.join(",")
}

async fn begin_tus(stage: &Stage, model: &str, length: usize) -> Answer {
    let (metadata, length) = (metadata(model), length.to_string());
    let headers = [TUS, ("upload-length", length.as_str()), ("upload-metadata", metadata.as_str())];
    stage.ask("POST", "/uploads", &headers, "").await
}

async fn tus(stage: &Stage, method: &str, path: &str, offset: usize, body: &str) -> Answer {
    let offset = offset.to_string();
    stage.ask(method, path, &[TUS, TUS_PART, ("upload-offset", offset.as_str())], body).await
}

async fn draft(stage: &Stage, path: &str, (at, is_last): (usize, bool), body: &str) -> Answer {
    let (offset, complete) = (at.to_string(), if is_last { "?1" } else { "?0" });
    let headers = [PART, ("upload-offset", offset.as_str()), ("upload-complete", complete)];
    stage.ask("PATCH", path, &headers, body).await
}

async fn stands(stage: &Stage, path: &str) -> usize {
    let answer = stage.ask("HEAD", path, &[TUS], "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.has("cache-control: no-store"), "{answer:?}");
    header(&answer, "upload-offset").parse().unwrap()
}

#[tokio::test]
async fn tus_goes_from_the_first_part_to_the_last() {
    let stage = Stage::start().await;
    let options = stage.ask("OPTIONS", "/uploads", &[], "").await;
    assert_eq!(options.status, 204);
    assert!(header(&options, "tus-extension").contains("creation-with-upload"));
    assert!(options.has("tus-checksum-algorithm: sha1,md5,sha256"), "{options:?}");
    let begun = begin_tus(&stage, "m", 10).await;
    assert_eq!(begun.status, 201, "{begun:?}");
    assert!(header(&begun, "upload-expires").ends_with("gmt"));
    let path = place(&stage).await;
    assert_eq!(header(&begun, "location"), path.to_lowercase());
    assert_eq!(stands(&stage, &path).await, 0);
    let first = tus(&stage, "PATCH", &path, 0, "01234").await;
    assert_eq!((first.status, header(&first, "upload-offset").as_str()), (204, "5"));
    for wrong in [0, 4, 6] {
        let answer = tus(&stage, "PATCH", &path, wrong, "x").await;
        assert_eq!((answer.status, header(&answer, "upload-offset").as_str()), (409, "5"));
    }
    let other = [TUS, ("content-type", "text/plain"), ("upload-offset", "5")];
    assert_eq!(stage.ask("PATCH", &path, &other, "x").await.status, 415);
    let old = [("tus-resumable", "0.2.2"), TUS_PART, ("upload-offset", "5")];
    let answer = stage.ask("PATCH", &path, &old, "x").await;
    assert_eq!((answer.status, answer.has("tus-version: 1.0.0")), (412, true), "{answer:?}");
    for method in ["HEAD", "DELETE"] {
        assert_eq!(stage.ask(method, &path, &old, "").await.status, 412, "{method}");
    }
    assert!(answer.has("tus-resumable: 1.0.0"), "{answer:?}");
    assert_eq!(tus(&stage, "PATCH", &path, 5, "567890").await.status, 413, "too long");
    assert_eq!(stage.get("/models/list").await.json()["total_models"], 0, "not visible before");
    let last = tus(&stage, "PATCH", &path, 5, "56789").await;
    assert_eq!((last.status, header(&last, "upload-offset").as_str()), (204, "10"), "{last:?}");
    let info = stage.get("/models/p/a/1/m/info").await.json();
    assert_eq!(info["sha256"], Digest::of_bytes(b"0123456789").as_str());
    assert_eq!(
        (&info["original_filename"], &info["description"]),
        (&json!("weights.bin"), &json!("in parts"))
    );
    assert_eq!(stage.get("/models/p/a/1/m").await.body, "0123456789");
    // Who did not hear the end asks, and hears that it is there.
    let head = stage.ask("HEAD", &path, &[TUS], "").await;
    assert_eq!(header(&head, "upload-offset"), "10");
    assert_eq!(header(&head, "upload-metadata"), metadata("m").to_lowercase());
    assert_eq!(stage.get("/uploads").await.json(), json!({ "items": [] }));
    assert_eq!(tus(&stage, "PATCH", &path, 10, "").await.status, 400);
}

#[tokio::test]
async fn a_part_is_checked_ended_and_given_up() {
    let stage = Stage::start().await;
    assert_eq!(begin_tus(&stage, "m", 6).await.status, 201);
    let path = place(&stage).await;
    let sums = [
        format!("sha1 {}", STANDARD.encode(sha1::Sha1::digest(b"abc"))),
        format!("sha256 {}", STANDARD.encode(sha2::Sha256::digest(b"abc"))),
    ];
    for (sum, body, status, offset) in [
        (&sums[0], "abd", 460, 0),
        (&sums[1], "abd", 460, 0),
        (&sums[0], "abc", 204, 3),
        (&"crc32 AAAA".to_owned(), "abc", 400, 3),
    ] {
        let at = stands(&stage, &path).await.to_string();
        let headers =
            [TUS, TUS_PART, ("upload-offset", at.as_str()), ("upload-checksum", sum.as_str())];
        let answer = stage.ask("PATCH", &path, &headers, body).await;
        assert_eq!((answer.status, stands(&stage, &path).await), (status, offset), "{sum}");
    }
    assert_eq!(stage.ask("DELETE", &path, &[TUS], "").await.status, 204);
    assert_eq!(stage.ask("HEAD", &path, &[TUS], "").await.status, 404);
    let left = std::fs::read_dir(stage.folder.path().join("models/.store/partial")).unwrap();
    assert_eq!(left.count(), 0);
    // All of it at once, with nothing, and with a length that is said later.
    let (whole, empty, late) = (metadata("whole"), metadata("empty"), metadata("late"));
    let headers = [TUS, TUS_PART, ("upload-length", "3"), ("upload-metadata", whole.as_str())];
    assert_eq!(stage.ask("POST", "/uploads", &headers, "abc").await.status, 201);
    let headers = [TUS, ("upload-length", "0"), ("upload-metadata", empty.as_str())];
    assert_eq!(stage.ask("POST", "/uploads", &headers, "").await.status, 201);
    let headers = [TUS, ("upload-defer-length", "1"), ("upload-metadata", late.as_str())];
    assert_eq!(stage.ask("POST", "/uploads", &headers, "").await.status, 201);
    let path = place(&stage).await;
    let length = [TUS, TUS_PART, ("upload-offset", "0"), ("upload-length", "4")];
    assert_eq!(stage.ask("PATCH", &path, &length, "abc").await.status, 204);
    assert_eq!(tus(&stage, "PATCH", &path, 3, "d").await.status, 204);
    for (model, content) in [("whole", "abc"), ("empty", ""), ("late", "abcd")] {
        let sent = stage.get(&format!("/models/p/a/1/{model}")).await;
        assert_eq!((sent.status, sent.body.as_str()), (200, content), "{model}");
    }
}

#[tokio::test]
async fn the_draft_goes_from_the_first_part_to_the_last() {
    let stage = Stage::start().await;
    let sum = Digest::of_bytes(b"0123456789");
    let path = format!("/models/p/a/1/m?sha256={sum}&framework=onnx");
    let begun = stage.ask("PUT", &path, &[("upload-complete", "?0")], "012").await;
    assert_eq!(begun.status, 201, "{begun:?}");
    assert!(begun.has("upload-offset: 3") && begun.has("upload-complete: ?0"), "{begun:?}");
    assert!(header(&begun, "upload-limit").starts_with("max-age="), "{begun:?}");
    let at = place(&stage).await;
    assert_eq!(draft(&stage, &at, (3, false), "3456").await.status, 204);
    let head = stage.ask("HEAD", &at, &[], "").await;
    assert_eq!((head.status, header(&head, "upload-offset").as_str()), (204, "7"));
    let wrong = draft(&stage, &at, (9, true), "9").await;
    assert_eq!((wrong.status, &wrong.json()["expected-offset"]), (409, &json!(7)), "{wrong:?}");
    let kind = wrong.json()["type"].as_str().unwrap().to_owned();
    assert!(kind.ends_with("http-problem-types#mismatching-upload-offset"), "{kind}");
    let last = draft(&stage, &at, (7, true), "789").await;
    assert_eq!((last.status, last.json()["sha256"].as_str()), (201, Some(sum.as_str())));
    assert!(last.has("upload-complete: ?1"), "{last:?}");
    let over = draft(&stage, &at, (10, true), "x").await;
    assert_eq!((over.status, over.json()["code"].as_str()), (400, Some("upload.complete")));
    let info = stage.get("/models/p/a/1/m/info").await.json();
    assert_eq!((&info["framework"], &info["size"]), (&json!("onnx"), &json!(10)));
    // All at once is an upload as any other.
    let once = [("upload-complete", "?1")];
    let query = "/uploads?project_id=p&app_name=a&version=1&model_name=once";
    let answer = stage.ask("POST", query, &once, "abc").await;
    assert_eq!((answer.status, &answer.json()["size"]), (201, &json!(3)), "{answer:?}");
    // A wrong digest is found at the end, and nothing is left of it.
    let path = format!("/models/p/a/1/wrong?sha256={sum}");
    assert_eq!(stage.ask("PUT", &path, &once, "other").await.status, 400);
    assert_eq!(stage.get("/uploads").await.json(), json!({ "items": [] }));
    assert_eq!(stage.get("/models/p/a/1").await.json()["total_models"], 2);
}

/// A client that goes away in the middle of a part goes on where the disk is.
#[tokio::test]
async fn what_broke_off_goes_on_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings::new(folder.path().join("models"));
    let mut stage = Stage::with_models(Depot::new(settings.clone())).await;
    let content: String = "0123456789abcdef".chars().cycle().take(3_000_000).collect();
    assert_eq!(begin_tus(&stage, "m", content.len()).await.status, 201);
    let path = place(&stage).await;
    for round in 0..3 {
        let at = stands(&stage, &path).await;
        let mut stream = TcpStream::connect(stage.address).await.unwrap();
        let head = format!(
            "PATCH {path} HTTP/1.1\r\nhost: localhost\r\n{}: {}\r\n{}: {}\r\nupload-offset: {at}\r\ncontent-length: {}\r\n\r\n",
            TUS.0,
            TUS.1,
            TUS_PART.0,
            TUS_PART.1,
            content.len() - at
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&content.as_bytes()[at..at + 700_000]).await.unwrap();
        drop(stream);
        let now = stands(&stage, &path).await;
        assert!((at..=at + 700_000).contains(&now), "round {round}: from {at} to {now}");
        if round == 1 {
            stage.stop.cancel();
            stage.served.await.unwrap();
            stage = Stage::with_models(open(&settings).await).await;
            assert_eq!(stands(&stage, &path).await, now, "it is where the disk is");
        }
    }
    let at = stands(&stage, &path).await;
    let last = tus(&stage, "PATCH", &path, at, &content[at..]).await;
    assert_eq!(last.status, 204, "{last:?}");
    let info = stage.get("/models/p/a/1/m/info").await.json();
    assert_eq!(info["sha256"], Digest::of_bytes(content.as_bytes()).as_str());
}

#[tokio::test]
async fn a_later_request_ends_an_earlier_one() {
    let stage = Stage::start().await;
    assert_eq!(begin_tus(&stage, "m", 1000).await.status, 201);
    let path = place(&stage).await;
    let mut stream = TcpStream::connect(stage.address).await.unwrap();
    let head = format!(
        "PATCH {path} HTTP/1.1\r\nhost: localhost\r\n{}: {}\r\n{}: {}\r\nupload-offset: 0\r\ncontent-length: 1000\r\n\r\nabc",
        TUS.0, TUS.1, TUS_PART.0, TUS_PART.1
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // It still holds its connection open, and nobody waits for it.
    let at = stands(&stage, &path).await;
    let rest = "x".repeat(1000 - at);
    assert_eq!(tus(&stage, "PATCH", &path, at, &rest).await.status, 204);
    assert_eq!(stage.get("/models/p/a/1/m").await.body.len(), 1000);
    drop(stream);
}

#[tokio::test]
async fn uploads_are_bounded_and_end_by_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = Settings::new(folder.path().join("models"));
    settings.partial_max = 2;
    settings.file_max = Some(1000);
    settings.project_max = Some(1500);
    settings.upload_ttl = Duration::from_millis(1);
    let depot = Depot::new(settings);
    let store = depot.store().unwrap().clone();
    let stage = Stage::with_models(depot).await;
    assert_eq!(begin_tus(&stage, "large", 1001).await.status, 413);
    assert_eq!(begin_tus(&stage, "one", 1000).await.status, 201);
    assert_eq!(begin_tus(&stage, "two", 501).await.status, 413, "what is coming is counted");
    assert_eq!(begin_tus(&stage, "two", 500).await.status, 201);
    assert_eq!(begin_tus(&stage, "three", 0).await.status, 503);
    let path = place(&stage).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(stage.ask("HEAD", &path, &[TUS], "").await.status, 404, "its time is over");
    assert_eq!(store.expire_partials(berth::clock::Clock::System.now()), 2);
    assert_eq!(begin_tus(&stage, "three", 1).await.status, 201);
    for bad in [
        &[TUS][..],
        &[TUS, ("upload-length", "1")],
        &[TUS, ("upload-length", "-1")],
        &[TUS, ("upload-length", "1"), ("upload-metadata", "project_id !")],
        &[],
    ] {
        let answer = stage.ask("POST", "/uploads", bad, "").await;
        assert!([400, 422].contains(&answer.status), "{bad:?}: {answer:?}");
    }
}

/// More than was announced, of which nobody said that it comes, makes no model; and what could not
/// begin leaves nothing.
#[tokio::test]
async fn too_much_makes_no_model_and_a_bad_beginning_leaves_nothing() {
    let stage = Stage::start().await;
    assert_eq!(begin_tus(&stage, "m", 600_000).await.status, 201);
    let path = place(&stage).await;
    let mut stream = TcpStream::connect(stage.address).await.unwrap();
    let head = format!(
        "PATCH {path} HTTP/1.1\r\nhost: localhost\r\n{}: {}\r\n{}: {}\r\nupload-offset: 0\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n",
        TUS.0, TUS.1, TUS_PART.0, TUS_PART.1
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    for _ in 0..2 {
        let chunk = format!("{:x}\r\n{}\r\n", 300_001, "x".repeat(300_001));
        stream.write_all(chunk.as_bytes()).await.unwrap();
    }
    // It is answered before its end, and may be hung up on then.
    let _ = stream.write_all(b"0\r\n\r\n").await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert_eq!(stage.get("/models/list").await.json()["total_models"], 0);
    assert!(stands(&stage, &path).await <= 600_000);
    assert_eq!(stage.ask("DELETE", &path, &[TUS], "").await.status, 204);
    let metadata = metadata("n");
    let sum = format!("sha1 {}", STANDARD.encode(sha1::Sha1::digest(b"abc")));
    let headers = [
        TUS,
        TUS_PART,
        ("upload-length", "3"),
        ("upload-metadata", metadata.as_str()),
        ("upload-checksum", sum.as_str()),
    ];
    assert_eq!(stage.ask("POST", "/uploads", &headers, "abd").await.status, 460);
    assert_eq!(stage.get("/uploads").await.json(), json!({ "items": [] }));
    assert_eq!(stage.ask("POST", "/uploads", &headers, "abc").await.status, 201);
    assert_eq!(stage.get("/models/p/a/1/n").await.body, "abc");
}

/// Whoever makes the file shorter gets no model with a hole in it.
#[tokio::test]
async fn a_file_that_somebody_made_shorter_is_not_gone_on_with() {
    let stage = Stage::start().await;
    assert_eq!(begin_tus(&stage, "m", 10).await.status, 201);
    let path = place(&stage).await;
    assert_eq!(tus(&stage, "PATCH", &path, 0, "01234").await.status, 204);
    let id = path.rsplit('/').next().unwrap();
    let part = stage.folder.path().join(format!("models/.store/partial/{id}.part"));
    std::fs::OpenOptions::new().write(true).open(part).unwrap().set_len(3).unwrap();
    let answer = tus(&stage, "PATCH", &path, 5, "56789").await;
    assert_eq!((answer.status, answer.json()["code"].as_str()), (500, Some("model.disk")));
    assert_eq!(stage.get("/models/list").await.json()["total_models"], 0);
}

/// An MD5, as clients of old say it, is checked too.
#[tokio::test]
async fn an_md5_is_checked() {
    let stage = Stage::start().await;
    for (sum, body, status) in [
        ("kAFQmDzST7DWlj99KOF/cg==", "abc", 201),
        ("kAFQmDzST7DWlj99KOF/cg==", "abd", 400),
        ("kAFQ", "abc", 400),
        ("!", "abc", 400),
    ] {
        let answer = stage.ask("PUT", "/models/p/a/1/m", &[("content-md5", sum)], body).await;
        assert_eq!(answer.status, status, "{sum}: {answer:?}");
    }
    assert_eq!(stage.get("/models/p/a/1/m").await.body, "abc");
}

/// The command line goes on where an earlier try ended, and sends nothing twice.
#[tokio::test]
async fn the_command_line_goes_on_after_a_break() {
    let stage = Stage::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("weights").display().to_string();
    let content: String = "0123456789abcdef".chars().cycle().take(1_000_000).collect();
    std::fs::write(&file, &content).unwrap();
    let digest = Digest::of_bytes(content.as_bytes());
    let length = content.len().to_string();
    let begin = [("upload-complete", "?0"), ("upload-length", length.as_str())];
    let path = format!("/models/p/a/1/m?sha256={digest}");
    assert_eq!(stage.ask("PUT", &path, &begin, &content[..400_000]).await.status, 201);
    let push = ["models", "push", &file, "p/a/1/m", "--resumable"];
    let pushed = stage.run(&push).await;
    assert_eq!(pushed.code, 0, "{pushed:?}");
    let at = format!("goes on at {}\n", berth::model::format_bytes(400_000));
    assert!(pushed.out.starts_with(&at), "{pushed:?}");
    let info = stage.get("/models/p/a/1/m/info").await.json();
    assert_eq!(info["sha256"], digest.as_str());
    let other = ["models", "push", &file, "p/a/1/n", "--resumable", "--create-only"];
    assert_eq!(stage.run(&other).await.code, 0);
    assert_eq!(stage.run(&other).await.code, 6, "it is there already");
    assert_eq!(stage.get("/uploads").await.json(), json!({ "items": [] }));
}

/// A request that broke off unheard is still there: the command line ends it and goes on behind what it
/// has brought.
#[tokio::test]
async fn the_command_line_ends_a_request_that_nobody_sends_any_more() {
    let stage = Stage::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("weights").display().to_string();
    let content = "0123456789abcdef".repeat(50_000);
    std::fs::write(&file, &content).unwrap();
    let digest = Digest::of_bytes(content.as_bytes());
    let length = content.len().to_string();
    let begin = [("upload-complete", "?0"), ("upload-length", length.as_str())];
    let path = format!("/models/p/a/1/m?sha256={digest}");
    assert_eq!(stage.ask("PUT", &path, &begin, "").await.status, 201);
    let place = place(&stage).await;
    let mut silent = TcpStream::connect(stage.address).await.unwrap();
    let head = format!(
        "PATCH {place} HTTP/1.1\r\nhost: localhost\r\n{}: {}\r\nupload-offset: 0\r\nupload-complete: ?1\r\ncontent-length: {length}\r\n\r\n",
        PART.0, PART.1
    );
    silent.write_all(head.as_bytes()).await.unwrap();
    silent.write_all(&content.as_bytes()[..300_000]).await.unwrap();
    let part = stage.folder.path().join("models/.store/partial");
    let came = || {
        let all = std::fs::read_dir(&part).unwrap().map(|entry| entry.unwrap().path());
        let mut all = all.filter(|path| path.extension().is_some_and(|end| end == "part"));
        all.next().map_or(0, |path| std::fs::metadata(path).unwrap().len())
    };
    for _ in 0..600 {
        if 0 < came() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let push = ["models", "push", &file, "p/a/1/m", "--resumable"];
    let pushed = stage.run(&push).await;
    assert_eq!(pushed.code, 0, "{pushed:?}");
    assert!(!pushed.out.starts_with("goes on at 0"), "{pushed:?}");
    let info = stage.get("/models/p/a/1/m/info").await.json();
    assert_eq!(info["sha256"], digest.as_str());
    drop(silent);
}

/// Of those that wait for an upload, only the last goes on.
#[tokio::test]
async fn who_wants_an_upload_ends_those_that_wait_for_it_too() {
    let folder = tempfile::tempdir().unwrap();
    let depot = Depot::new(Settings::new(folder.path().join("models")));
    let store = depot.store().unwrap();
    let key = berth::store::Key::new("p", "a", "1", "m").unwrap();
    let order = berth::store::Order::new(key);
    let now = berth::clock::Clock::System.now();
    let partial = store.begin_partial(("one", None), order, None, None, now).unwrap();
    let patience = Duration::from_secs(60);
    let first = partial.claim(patience).await.unwrap();
    let waiting = |partial: &std::sync::Arc<berth::store::Partial>| {
        let partial = std::sync::Arc::clone(partial);
        tokio::spawn(async move { partial.claim(patience).await.unwrap() })
    };
    let second = waiting(&partial);
    first.wanted.cancelled().await;
    tokio::task::yield_now().await;
    let third = waiting(&partial);
    tokio::task::yield_now().await;
    drop(first);
    let second = second.await.unwrap();
    tokio::time::timeout(patience, second.wanted.cancelled()).await.expect("it goes on");
    drop(second);
    assert!(!third.await.unwrap().wanted.is_cancelled());
}
