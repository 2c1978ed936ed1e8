//! Logs as a client reads them: secrets are veiled, and lines come as events that one can go on from.

use std::sync::Arc;

use berth::{
    clock::Clock,
    model::AppName,
    secret::{Book, Secrets, Settings as Sources, Value},
};
use serde_json::Value as Json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_util::sync::CancellationToken;

use super::{
    served::serve,
    stage::{Answer, Follower},
};
use crate::rig::{self, Berth, Rig};

const PATH: &str = "/api/v1/apps/chat/logs";
const EVENTS: &str = "accept: text/event-stream\r\n";
const TEXT: &str = "accept: text/plain\r\n";
const KEY: &str = "-----BEGIN KEY-----\nMIIEvQIBADANBg\nkqhkiG9w0BAQEF\n-----END KEY-----\n";

/// An app with two secrets, one of them a file, and the interface of its Berth.
struct Scene {
    rig: Rig,
    berth: Berth,
    secrets: Secrets,
    address: String,
    stop: CancellationToken,
    _memory: tempfile::TempDir,
}

impl Scene {
    async fn start() -> Self {
        let mut rig = Rig::new();
        let (top, memory) =
            (rig.folder.path().to_owned(), tempfile::tempdir_in("/dev/shm").unwrap());
        let secrets = Secrets::new(top.join("secrets"));
        secrets.set("db", None, &Value::new("hunter2-first")).unwrap();
        secrets.set("key", None, &Value::new(KEY)).unwrap();
        let sources = Sources::new(secrets.clone(), &top, memory.path().join("files"));
        rig.book = Arc::new(Book::new(sources).unwrap());
        let more =
            "env: {DB: {secret: db}, PLAIN: not-a-secret}\nmounts: [{path: /run/key, secret: key}]";
        rig.files.insert("chat.yaml".to_owned(), rig::manifest("chat", "shop/app:1", more));
        rig.clock = Clock::System;
        rig.fake = berth::engine::fake::Fake::new("default", Clock::System);
        rig.fake.add_image("shop/app:1", berth::engine::fake::Behaviour::default());
        let berth = rig.start();
        berth.until_running("chat").await;
        let stop = CancellationToken::new();
        let address = serve(&rig, &berth, &stop).await;
        Self { rig, berth, secrets, address, stop, _memory: memory }
    }

    fn say(&self, line: &str) {
        assert!(self.rig.fake.say(&AppName::new("chat").unwrap(), line));
    }

    async fn open(&self, path: &str, headers: &str) -> Follower {
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        let head =
            format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        Follower { stream, seen: String::new() }
    }

    async fn get(&self, path: &str, headers: &str) -> Answer {
        let mut follower = self.open(path, headers).await;
        let mut bytes = Vec::new();
        follower.stream.read_to_end(&mut bytes).await.unwrap();
        Answer::read(&String::from_utf8(bytes).unwrap())
    }

    /// The lines of an answer that is a stream, each with its id, and how it ended.
    async fn lines(&self, query: &str, headers: &str) -> (Vec<(String, String)>, Json) {
        let answer = self.get(&format!("{PATH}{query}"), &format!("{EVENTS}{headers}")).await;
        assert!(answer.has("content-type: text/event-stream"), "{answer:?}");
        let (mut lines, mut end) = (Vec::new(), Json::Null);
        for block in answer.body.split("\n\n") {
            let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
            let Some(data) = field("data: ") else { continue };
            let data: Json = serde_json::from_str(data).unwrap();
            match field("event: ") {
                Some("line") => {
                    let line = data["line"].as_str().unwrap().to_owned();
                    lines.push((field("id: ").unwrap_or_default().to_owned(), line));
                }
                Some("end") => end = data,
                other => panic!("{other:?}: {block}"),
            }
        }
        (lines, end)
    }

    async fn end(self) {
        self.stop.cancel();
        self.berth.stop().await;
    }
}

#[tokio::test]
async fn values_of_secrets_are_veiled_in_every_form_of_a_log() {
    let scene = Scene::start().await;
    scene.say("the password is hunter2-first, and PLAIN is not-a-secret");
    KEY.lines().for_each(|line| scene.say(line));
    let shown = "the password is ***, and PLAIN is not-a-secret\n-----BEGIN KEY-----\n***\n***\n-----END KEY-----\n";
    assert_eq!(scene.get(PATH, TEXT).await.body, shown);
    let (lines, end) = scene.lines("", "").await;
    let text = lines.iter().flat_map(|(_, line)| [line.as_str(), "\n"]).collect::<String>();
    assert_eq!((text.as_str(), &end["reason"]), (shown, &"ended".into()));
    let timed = scene.get(&format!("{PATH}?timestamps=true&tail=3"), TEXT).await.body;
    assert_eq!(timed.lines().filter(|line| line.ends_with("Z ***")).count(), 2, "{timed}");
    for (path, headers) in [("/ui/apps/chat/logs", "text/html"), ("/ui/apps/chat/lines", "*/*")] {
        let page = scene.get(&format!("{path}?tail=9"), &format!("accept: {headers}\r\n")).await;
        assert_eq!(page.status, 200, "{page:?}");
        assert!(page.body.contains("the password is ***"), "{page:?}");
        for value in ["hunter2", "MIIEvQIBADANBg", "kqhkiG9w0BAQEF"] {
            assert!(!page.body.contains(value), "{path}: {page:?}");
        }
    }
    let mut follower = scene.open(&format!("{PATH}?follow=true&tail=0"), TEXT).await;
    follower.until("\r\n\r\n").await;
    scene.say("again hunter2-first.");
    follower.until("again ***.").await;
    scene.end().await;
}

/// What a container was given counts, not what the secret is by now.
#[tokio::test]
async fn a_container_that_was_made_with_an_older_value_does_not_show_that_one() {
    let scene = Scene::start().await;
    scene.say("with hunter2-first");
    scene.secrets.set("db", None, &Value::new("hunter2-second")).unwrap();
    // It is not replaced yet: the next look is half a minute away.
    assert_eq!(scene.get(PATH, TEXT).await.body, "with ***\n");
    scene.end().await;
}

#[tokio::test]
async fn a_stream_of_lines_goes_on_after_the_last_one_that_was_seen() {
    let scene = Scene::start().await;
    for nth in 0..5 {
        scene.say(&format!("line {nth}"));
    }
    let (all, _) = scene.lines("", "").await;
    assert_eq!(all.len(), 5);
    for (nth, (id, line)) in all.iter().enumerate() {
        assert_eq!(line, &format!("line {nth}"));
        let (rest, _) = scene.lines("", &format!("last-event-id: {id}\r\n")).await;
        assert_eq!(rest, all[nth + 1..], "by the header");
        let (rest, _) = scene.lines(&format!("?since={id}"), "").await;
        assert_eq!(rest, all[nth + 1..], "by the query");
    }
    let (last, _) = scene.lines("?tail=2", "").await;
    assert_eq!(
        last.iter().map(|(_, line)| line.as_str()).collect::<Vec<_>>(),
        ["line 3", "line 4"]
    );

    let mut follower = scene.open(&format!("{PATH}?follow=true&tail=1"), EVENTS).await;
    follower.until("line 4").await;
    scene.say("line 5");
    follower.until("line 5").await;
    let events = follower.events("line");
    assert!(events[1]["at"].as_str().unwrap().ends_with('Z'), "{events:?}");
    let id = follower.last_id().to_owned();
    drop(follower);
    scene.say("line 6");
    let headers = format!("{EVENTS}last-event-id: {id}\r\n");
    let mut again = scene.open(&format!("{PATH}?follow=true"), &headers).await;
    again.until("line 6").await;
    assert!(!again.seen.contains("line 5"), "{}", again.seen);
    for bad in ["x", "1-1"] {
        let headers = format!("{EVENTS}last-event-id: {bad}\r\n");
        assert_eq!(scene.get(PATH, &headers).await.status, 400, "{bad}");
    }
    scene.end().await;
}

#[tokio::test]
async fn the_log_of_a_build_comes_as_events_and_says_when_another_begins() {
    let scene = Scene::start().await;
    let area = scene.rig.folder.path().join("workspaces/chat/.berth");
    std::fs::create_dir_all(&area).unwrap();
    let log = area.join("build.log");
    std::fs::write(&log, "step 1\nstep 2\n").unwrap();
    let (lines, end) = scene.lines("?source=build", "").await;
    assert_eq!((lines.len(), &end["reason"]), (2, &"ended".into()));
    let (rest, _) =
        scene.lines("?source=build", &format!("last-event-id: {}\r\n", lines[0].0)).await;
    assert_eq!(rest, lines[1..]);
    let path = format!("{PATH}?source=build&follow=true");
    let headers = format!("{EVENTS}last-event-id: {}\r\n", lines[1].0);
    let mut follower = scene.open(&path, &headers).await;
    follower.until("retry: 2000").await;
    let mut file = std::fs::OpenOptions::new().append(true).open(&log).unwrap();
    std::io::Write::write_all(&mut file, b"step 3\n").unwrap();
    follower.until("step 3").await;
    assert!(!follower.seen.contains("step 2"), "{}", follower.seen);
    std::fs::rename(&log, area.join("build.log.1")).unwrap();
    std::fs::write(&log, "anew\n").unwrap();
    follower.until("anew").await;
    assert!(follower.seen.contains("event: gap\ndata: {\"reason\":\"another build has begun\"}"));
    // The ids of the other log, or of another kind, are not taken for places in this one.
    let mark = "last-event-id: 1764547200123456789-0\r\n";
    let wrong = scene.get(&format!("{PATH}?source=build"), &format!("{EVENTS}{mark}")).await;
    assert_eq!(wrong.status, 400, "{wrong:?}");
    scene.end().await;
}
