//! A server that takes what it is sent, and answers as it is told to.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
};

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A request: its path, its head in small letters, and its body.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) path: String,
    pub(crate) head: Vec<String>,
    pub(crate) body: String,
}

impl Got {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let begins = format!("{name}: ");
        self.head.iter().find_map(|line| line.strip_prefix(&begins))
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// The server.
pub(crate) struct Inbox {
    got: UnboundedReceiver<Got>,
    answers: Arc<Mutex<VecDeque<u16>>>,
    pub(crate) port: u16,
}

impl Inbox {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (tell, got) = unbounded_channel();
        let answers: Arc<Mutex<VecDeque<u16>>> = Arc::default();
        let script = Arc::clone(&answers);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Some(got) = read(stream, &script).await else { continue };
                let _ = tell.send(got);
            }
        });
        Self { got, answers, port }
    }

    /// What the next requests are answered; 200 after that.
    pub(crate) fn answer(&self, statuses: &[u16]) {
        self.answers.lock().unwrap().extend(statuses);
    }

    pub(crate) async fn next(&mut self) -> Got {
        tokio::time::timeout(PATIENCE, self.got.recv()).await.expect("nothing came").unwrap()
    }

    pub(crate) fn is_empty(&mut self) -> bool {
        self.got.try_recv().is_err()
    }
}

async fn read(stream: TcpStream, script: &Mutex<VecDeque<u16>>) -> Option<Got> {
    let mut stream = BufReader::new(stream);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        match line.trim_end() {
            "" => break,
            line => head.push(line.to_owned()),
        }
    }
    let path = head.first()?.split(' ').nth(1)?.to_owned();
    let small: Vec<_> = head
        .iter()
        .map(|line| match line.split_once(": ") {
            Some((name, value)) => format!("{}: {value}", name.to_lowercase()),
            None => line.clone(),
        })
        .collect();
    let got = Got { path, head: small, body: String::new() };
    let length = got.header("content-length")?.parse().ok()?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    let status = script.lock().unwrap().pop_front().unwrap_or(200);
    let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    stream.get_mut().write_all(answer.as_bytes()).await.ok()?;
    Some(Got { body: String::from_utf8(body).ok()?, ..got })
}
