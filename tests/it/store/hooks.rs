//! What happens in the store, told to others.

use std::{sync::Arc, time::Duration};

use berth::{
    forge::{
        Secrets,
        outgoing::{Receiver, Sent, tell_all},
        signature::Signature,
    },
    store::{Depot, Settings},
    telemetry::Exposed as _,
};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;

use crate::api::stage::Stage;

const PATIENCE: Duration = Duration::from_secs(60);
const SECRET: &[u8] = b"a secret of the test";

/// A request that a receiver got: its head, in small letters, and its body.
async fn got(listener: &TcpListener, status: u16) -> (Vec<String>, String) {
    let accepted = tokio::time::timeout(PATIENCE, listener.accept()).await;
    let mut stream = BufReader::new(accepted.expect("nothing is told").unwrap().0);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        let line = line.trim_end().to_lowercase();
        if line.is_empty() {
            break;
        }
        head.push(line);
    }
    let length = value(&head, "content-length").parse().unwrap();
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    let mut stream: TcpStream = stream.into_inner();
    stream.write_all(answer.as_bytes()).await.unwrap();
    (head, String::from_utf8(body).unwrap())
}

fn value(head: &[String], name: &str) -> String {
    let begins = format!("{name}: ");
    let line = head.iter().find_map(|line| line.strip_prefix(&begins));
    line.unwrap_or_else(|| panic!("no {name}: {head:?}")).to_owned()
}

fn receiver(url: String, sent: &Arc<Sent>) -> Receiver {
    Receiver {
        url,
        secret: Some("hooks".to_owned()),
        secrets: Secrets::new(|name| {
            if name == "hooks" { Ok(SECRET.to_vec()) } else { Err("there is none".to_owned()) }
        }),
        boot: "boot".to_owned(),
        sent: Arc::clone(sent),
        pauses: (Duration::from_millis(10), Duration::from_millis(100)),
    }
}

#[tokio::test]
async fn what_happens_is_told_signed_and_again_until_it_is_heard() {
    let folder = tempfile::tempdir().unwrap();
    let depot = Depot::new(Settings::new(folder.path().join("models")));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    // Somebody who takes connections and never says anything holds up nobody.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let [url, hung] = [&listener, &silent].map(|l| format!("http://{}/h", l.local_addr().unwrap()));
    let (sent, stop) = (Arc::<Sent>::default(), CancellationToken::new());
    let other = Arc::<Sent>::default();
    tell_all(vec![receiver(hung, &other), receiver(url, &sent)], &depot, &stop);
    let stage = Stage::with_models(depot).await;
    for (method, path, body) in [
        ("PUT", "/models/p/a/1.0.0/config.json", "{}"),
        ("PUT", "/models/p/a/aliases/stable", "{\"version\":\"1.0.0\"}"),
        ("DELETE", "/models/p/a/aliases/stable", ""),
        ("DELETE", "/models/p/a/1.0.0/config.json", ""),
    ] {
        let answer = stage.ask(method, path, &[], body).await;
        assert!(answer.status < 300, "{method} {path}: {answer:?}");
    }
    let (first, body) = got(&listener, 503).await;
    let (second, again) = got(&listener, 200).await;
    assert_eq!(body, again);
    let delivery = value(&first, "x-berth-delivery");
    assert_eq!(
        (value(&second, "x-berth-delivery"), delivery.as_str()),
        (delivery.clone(), "boot-1")
    );
    let mut told = Vec::new();
    let mut message = (second, again);
    // What was looked into may be told before or after what was done next, or not be there any more.
    loop {
        let (head, body) = &message;
        let signature =
            Signature::find(|name| head.iter().find_map(|l| l.strip_prefix(&format!("{name}: "))));
        assert!(signature.expect("no signature").is_good(SECRET, body.as_bytes()));
        let document: Value = serde_json::from_str(body).unwrap();
        assert_eq!(document["type"], value(head, "x-berth-event").as_str());
        assert_eq!(document["project_id"], "p", "{document}");
        told.push(document["type"].as_str().unwrap().to_owned());
        if told.last().is_some_and(|word| word == "model.deleted") {
            break;
        }
        message = got(&listener, 204).await;
    }
    told.retain(|word| word != "scan.finished");
    assert_eq!(told, ["version.created", "alias.moved", "alias.moved", "model.deleted"]);
    let mut figures = String::new();
    sent.write(&mut figures);
    assert!(figures.contains("outcome=\"failed\"} 1\n"), "{figures}");
    stop.cancel();
}
