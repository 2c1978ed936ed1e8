//! HTTP/2 by hand: what no well-behaved client sends.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

use super::{Harbour, PATIENCE};

pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;
pub(super) const ACK: u8 = 1;
pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

/// One frame.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) payload: Vec<u8>,
}

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Headers, each spelled out (RFC 7541, 6.2.2).
pub(super) fn block(headers: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in headers {
        bytes.push(0);
        for text in [name, value] {
            assert!(text.len() < 127, "longer ones take more digits");
            bytes.push(u8::try_from(text.len()).unwrap());
            bytes.extend(text.as_bytes());
        }
    }
    bytes
}

/// A connection.
pub(super) struct Wire {
    stream: TlsStream<TcpStream>,
    authority: String,
}

impl Wire {
    /// Begins with these settings: pairs of a number and a value.
    pub(super) async fn open(harbour: &Harbour, settings: &[(u16, u32)]) -> Self {
        let stream = harbour.connect(&["h2"]).await;
        let mut wire = Self { stream, authority: harbour.stage.address.to_string() };
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        let pairs = settings.iter().flat_map(|(id, value)| {
            id.to_be_bytes().into_iter().chain(value.to_be_bytes()).collect::<Vec<_>>()
        });
        bytes.extend(frame(SETTINGS, 0, 0, &pairs.collect::<Vec<_>>()));
        wire.send(&bytes).await.unwrap();
        wire
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let sending = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        tokio::time::timeout(PATIENCE, sending).await.expect("nothing was taken any more")
    }

    pub(super) fn head(&self, path: &str) -> Vec<u8> {
        self.head_of("GET", path)
    }

    pub(super) fn head_of(&self, method: &str, path: &str) -> Vec<u8> {
        block(&[
            (":method", method),
            (":scheme", "https"),
            (":authority", &self.authority),
            (":path", path),
        ])
    }

    pub(super) async fn get(&mut self, stream: u32, path: &str) -> std::io::Result<()> {
        let head = self.head(path);
        self.send(&frame(HEADERS, END_STREAM | END_HEADERS, stream, &head)).await
    }

    /// The next frame; none when the connection has ended.
    pub(super) async fn next(&mut self) -> Option<Frame> {
        let reading = async {
            let mut head = [0; 9];
            self.stream.read_exact(&mut head).await.ok()?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; length as usize];
            self.stream.read_exact(&mut payload).await.ok()?;
            let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
            Some(Frame { kind: head[3], flags: head[4], stream, payload })
        };
        tokio::time::timeout(PATIENCE, reading).await.expect("nothing came, and nothing ended")
    }

    /// Reads until a frame is like this; what is asked of the client is answered. None when the
    /// connection ends before.
    pub(super) async fn until(&mut self, wanted: impl Fn(&Frame) -> bool) -> Option<Frame> {
        loop {
            let frame = self.next().await?;
            self.reply(&frame).await;
            if wanted(&frame) {
                return Some(frame);
            }
        }
    }

    /// Acknowledges settings and answers pings, as every client does by itself.
    async fn reply(&mut self, seen: &Frame) {
        let reply = match seen.kind {
            SETTINGS if seen.flags & ACK == 0 => frame(SETTINGS, ACK, 0, &[]),
            PING if seen.flags & ACK == 0 => frame(PING, ACK, 0, &seen.payload),
            _ => return,
        };
        // It may have ended by now, which the next read tells.
        let _ = self.send(&reply).await;
    }

    /// Reads to the end; the error code of the last `GOAWAY`.
    pub(super) async fn end(&mut self) -> Option<u32> {
        let mut code = None;
        while let Some(frame) = self.next().await {
            self.reply(&frame).await;
            if frame.kind == GOAWAY {
                code = Some(word(&frame.payload[4..]));
            }
        }
        code
    }
}

/// The first four bytes as a number.
pub(super) fn word(bytes: &[u8]) -> u32 {
    u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}
