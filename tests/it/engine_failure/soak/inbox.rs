//! Who is told of trouble, in the engine's network.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::fd::AsFd as _,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::super::second::Second;

const LISTEN: &str = "127.0.0.1:8090";
/// How often it is looked whether somebody calls.
const LOOK: Duration = Duration::from_millis(20);

pub(super) struct Inbox {
    got: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Inbox {
    pub(super) fn start(second: &Second) -> Self {
        let network = second.network();
        let got: Arc<Mutex<Vec<String>>> = Arc::default();
        let stop = Arc::new(AtomicBool::new(false));
        let (all, ends) = (Arc::clone(&got), Arc::clone(&stop));
        let thread = Some(std::thread::spawn(move || serve(&network, &all, &ends)));
        Self { got, stop, thread }
    }

    /// The file that has Berth tell it.
    pub(super) fn targets() -> String {
        format!(
            "window: 1s\ngroup: 1s\nperHour: 3600\ntargets:\n- {{name: ops, webhook: 'http://{LISTEN}/hook'}}\n"
        )
    }

    /// How many messages speak of this.
    pub(super) fn count(&self, word: &str) -> usize {
        self.got.lock().unwrap().iter().filter(|body| body.contains(word)).count()
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(network: &File, got: &Mutex<Vec<String>>, stop: &AtomicBool) {
    move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
    let listener = TcpListener::bind(LISTEN).unwrap();
    listener.set_nonblocking(true).unwrap();
    while !stop.load(Ordering::Relaxed) {
        match listener.accept() {
            // Who is killed while it tells tells it again.
            Ok((stream, _)) => got.lock().unwrap().extend(read(stream).ok()),
            Err(_) => std::thread::park_timeout(LOOK),
        }
    }
}

fn read(stream: TcpStream) -> std::io::Result<String> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut stream = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(text) = line.strip_prefix("content-length: ") {
            length = text.parse().unwrap_or_default();
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    stream.get_mut().write_all(answer)?;
    Ok(String::from_utf8_lossy(&body).into_owned())
}
