//! The words on the line: the first byte of each message says what the rest is, as in
//! `v5.channel.k8s.io`.

use bytes::{BufMut as _, Bytes, BytesMut};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::engine::terminal::Size;

/// What the two sides must agree on.
pub(in crate::server) const PROTOCOL: &str = "v5.channel.k8s.io";

/// What a command reads, writes, and writes of errors; how it ended; how large its terminal is;
/// that one of these has ended.
pub(in crate::server) const INPUT: u8 = 0;
pub(in crate::server) const OUTPUT: u8 = 1;
pub(in crate::server) const ERRORS: u8 = 2;
pub(in crate::server) const STATUS: u8 = 3;
pub(in crate::server) const RESIZE: u8 = 4;
pub(in crate::server) const CLOSE: u8 = 255;

/// The largest side of a terminal that makes sense.
pub(super) const SIDE_MAX: u16 = 2000;

/// What a client says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// Something for the command to read.
    Input(Bytes),
    /// There is nothing more for it to read.
    End,
    /// Its terminal has another size.
    Resized(Size),
    /// Nothing: some clients begin with it.
    Nothing,
}

#[derive(Deserialize)]
struct SizeWire {
    #[serde(rename = "Width", alias = "width")]
    width: u16,
    #[serde(rename = "Height", alias = "height")]
    height: u16,
}

/// Reads a message.
pub(super) fn heard(mut message: Bytes) -> Result<Heard, String> {
    let Some(channel) = message.first().copied() else { return Ok(Heard::Nothing) };
    let rest = message.split_off(1);
    match channel {
        INPUT if rest.is_empty() => Ok(Heard::Nothing),
        INPUT => Ok(Heard::Input(rest)),
        RESIZE => {
            let wire: SizeWire = serde_json::from_slice(&rest)
                .map_err(|_| "a size is `{\"Width\": 80, \"Height\": 24}`".to_owned())?;
            size(wire.width, wire.height).map(Heard::Resized)
        }
        CLOSE if rest[..] == [INPUT] => Ok(Heard::End),
        CLOSE => Err("only what the command reads can be ended".to_owned()),
        other => Err(format!("channel {other} is none that a client writes to")),
    }
}

/// A size that makes sense.
pub(super) fn size(columns: u16, rows: u16) -> Result<Size, String> {
    if (1..=SIDE_MAX).contains(&columns) && (1..=SIDE_MAX).contains(&rows) {
        return Ok(Size { columns, rows });
    }
    Err(format!("a terminal has 1 to {SIDE_MAX} columns and rows, not {columns} by {rows}"))
}

/// A message.
pub(in crate::server) fn said(channel: u8, rest: &[u8]) -> Bytes {
    let mut message = BytesMut::with_capacity(rest.len() + 1);
    message.put_u8(channel);
    message.put_slice(rest);
    message.freeze()
}

/// How a command ended by itself, in the words that clients of the field read.
pub(super) fn exited(code: i64) -> Value {
    if code == 0 {
        return json!({ "metadata": {}, "status": "Success" });
    }
    json!({
        "metadata": {},
        "status": "Failure",
        "reason": "NonZeroExitCode",
        "message": format!("command terminated with non-zero exit code: {code}"),
        "details": { "causes": [{ "reason": "ExitCode", "message": code.to_string() }] },
    })
}

/// Why it was ended, or never began.
pub(super) fn failed(code: &str, message: &str) -> Value {
    json!({ "metadata": {}, "status": "Failure", "reason": code, "message": message })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &'static [u8]) -> Result<Heard, String> {
        heard(Bytes::from_static(bytes))
    }

    #[test]
    fn the_first_byte_says_what_a_message_is() {
        assert_eq!(read(b""), Ok(Heard::Nothing));
        assert_eq!(read(b"\0"), Ok(Heard::Nothing));
        assert_eq!(read(b"\0ls\r"), Ok(Heard::Input(Bytes::from_static(b"ls\r"))));
        assert_eq!(read(b"\xff\0"), Ok(Heard::End));
        let wide = Heard::Resized(Size { columns: 120, rows: 40 });
        assert_eq!(read(b"\x04{\"Width\":120,\"Height\":40}"), Ok(wide));
    }

    #[test]
    fn what_makes_no_sense_is_said_so() {
        for (bytes, word) in [
            (&b"\x01x"[..], "channel 1"),
            (b"\x07", "channel 7"),
            (b"\xff\x01", "ended"),
            (b"\x04{}", "Width"),
            (b"\x04{\"Width\":0,\"Height\":40}", "0 by 40"),
            (b"\x04{\"Width\":65535,\"Height\":1}", "65535"),
            (b"\x04{\"Width\":-1,\"Height\":1}", "Width"),
        ] {
            let error = read(bytes).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn an_exit_code_is_said_in_the_words_of_the_field() {
        assert_eq!(exited(0)["status"], "Success");
        let three = exited(3);
        assert_eq!(three["reason"], "NonZeroExitCode");
        assert_eq!(three["details"]["causes"][0], json!({"reason": "ExitCode", "message": "3"}));
    }
}
