//! Protocol buffers, walked without a schema: fields with their numbers, and where they end.
//!
//! The wire format is the one of <https://protobuf.dev/programming-guides/encoding/>.

use super::input::{Fault, Result, Source, broken, read_up_to};

/// What a field holds.
pub(super) enum Content {
    /// A number.
    Varint(u64),
    /// Bytes: a text, a message, packed numbers.
    Bytes(Message),
    /// Four or eight bytes.
    Fixed,
}

/// Where a message stands.
#[derive(Clone, Copy)]
pub(super) struct Message {
    pub(super) at: u64,
    pub(super) end: u64,
}

impl Message {
    pub(super) fn length(self) -> u64 {
        self.end - self.at
    }
}

/// A walk through messages; how many fields are still looked at.
pub(super) struct Walk<'a> {
    source: &'a dyn Source,
    window: Vec<u8>,
    from: u64,
    fields: u64,
}

impl<'a> Walk<'a> {
    pub(super) fn new(source: &'a dyn Source, fields: u64) -> Self {
        Self { source, window: Vec::new(), from: 0, fields }
    }

    pub(super) fn whole(&self) -> Message {
        Message { at: 0, end: self.source.size() }
    }

    /// The next field of a message; none at its end. The message is shortened by it.
    pub(super) fn next(&mut self, message: &mut Message) -> Result<Option<(u64, Content)>> {
        if message.at == message.end {
            return Ok(None);
        }
        self.fields =
            self.fields.checked_sub(1).ok_or(Fault::Limit("more fields than are read"))?;
        let key = self.varint(message)?;
        let (number, kind) = (key >> 3, key & 7);
        if number == 0 {
            return broken("a field without a number");
        }
        let content = match kind {
            0 => Content::Varint(self.varint(message)?),
            1 => Self::pass(message, 8)?,
            5 => Self::pass(message, 4)?,
            2 => {
                let length = self.varint(message)?;
                let at = message.at;
                Self::pass(message, length)?;
                Content::Bytes(Message { at, end: message.at })
            }
            other => return broken(format!("a field of the unknown kind {other}")),
        };
        Ok(Some((number, content)))
    }

    fn pass(message: &mut Message, length: u64) -> Result<Content> {
        if message.length() < length {
            return broken("a field that ends after its message");
        }
        message.at += length;
        Ok(Content::Fixed)
    }

    fn varint(&mut self, message: &mut Message) -> Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte(message)?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        broken("a number that does not end")
    }

    fn byte(&mut self, message: &mut Message) -> Result<u8> {
        if message.at == message.end {
            return Err(Fault::End);
        }
        let at = message.at;
        let is_here = self.from <= at && at - self.from < self.window.len() as u64;
        if !is_here {
            self.window.resize(16 << 10, 0);
            let got = read_up_to(self.source, at, &mut self.window)?;
            self.window.truncate(got);
            self.from = at;
        }
        let nth = usize::try_from(at - self.from).unwrap_or(usize::MAX);
        let byte = *self.window.get(nth).ok_or(Fault::End)?;
        message.at += 1;
        Ok(byte)
    }

    /// A text, when it is at most so long.
    pub(super) fn text(&mut self, of: Message, most: usize) -> Result<Option<String>> {
        let Some(length) = usize::try_from(of.length()).ok().filter(|length| *length <= most)
        else {
            return Ok(None);
        };
        let mut bytes = vec![0; length];
        if read_up_to(self.source, of.at, &mut bytes)? < length {
            return Err(Fault::End);
        }
        Ok(String::from_utf8(bytes).ok())
    }

    /// Numbers of a repeated field: one, or packed.
    pub(super) fn numbers(&mut self, content: &Content, into: &mut Vec<u64>) -> Result<()> {
        match content {
            Content::Varint(one) => into.push(*one),
            Content::Bytes(packed) => {
                let mut packed = *packed;
                while packed.at < packed.end && into.len() < 64 {
                    into.push(self.varint(&mut packed)?);
                }
            }
            Content::Fixed => {}
        }
        Ok(())
    }
}
