//! Output as the engine frames it, where there is no terminal (fault D37).

use bytes::{Buf as _, Bytes, BytesMut};

use super::super::Error;

/// Takes the engine's frames apart: 8 bytes of head, then as many bytes as the head says. The bytes
/// are passed on as they come, so a frame that claims gigabytes costs nothing.
pub(super) struct Frames {
    call: &'static str,
    buffer: BytesMut,
    left: usize,
    /// Whether the frame that is taken apart is of the output for errors.
    is_error: bool,
}

impl Frames {
    pub(super) fn of(call: &'static str) -> Self {
        Self { call, buffer: BytesMut::new(), left: 0, is_error: false }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    fn not_framed(&self) -> Error {
        Error::Broken { call: self.call, message: "it is not framed".to_owned() }
    }

    pub(super) fn take(&mut self) -> Result<Option<Bytes>, Error> {
        Ok(self.take_told()?.map(|(_, piece)| piece))
    }

    /// The same, with whether it was written to the output for errors.
    pub(super) fn take_told(&mut self) -> Result<Option<(bool, Bytes)>, Error> {
        while self.left == 0 {
            let Some([stream, 0, 0, 0, a, b, c, d]) = self.buffer.first_chunk::<8>().copied()
            else {
                if self.buffer.len() < 8 {
                    return Ok(None);
                }
                return Err(self.not_framed());
            };
            if 2 < stream {
                return Err(self.not_framed());
            }
            self.is_error = stream == 2;
            self.left = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
            self.buffer.advance(8);
        }
        if self.buffer.is_empty() {
            return Ok(None);
        }
        let piece = self.buffer.split_to(self.left.min(self.buffer.len()));
        self.left -= piece.len();
        Ok(Some((self.is_error, piece.freeze())))
    }
}

/// The end of an output that comes in frames.
pub(super) struct Tail {
    frames: Frames,
    output: BytesMut,
    bytes_max: usize,
}

impl Tail {
    pub(super) fn of(call: &'static str, bytes_max: usize) -> Self {
        Self { frames: Frames::of(call), output: BytesMut::new(), bytes_max }
    }

    /// More of the answer.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.frames.push(bytes);
        while let Some(piece) = self.frames.take()? {
            self.output.extend_from_slice(&piece);
            let surplus = self.output.len().saturating_sub(self.bytes_max);
            self.output.advance(surplus);
        }
        Ok(())
    }

    /// What is kept of it.
    pub(super) fn output(self) -> BytesMut {
        self.output
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(pieces: &[&[u8]]) -> Result<Vec<u8>, Error> {
        let mut frames = Frames::of("logs");
        let mut all = Vec::new();
        for piece in pieces {
            frames.push(piece);
            while let Some(bytes) = frames.take()? {
                all.extend_from_slice(&bytes);
            }
        }
        Ok(all)
    }

    /// Fault D37: heads and bodies split anywhere, empty frames, a frame that claims 4 GiB.
    #[test]
    fn a_framed_log_is_taken_apart_wherever_it_is_cut() {
        let whole = b"\x01\0\0\0\0\0\0\x02a\n\x02\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\x01b";
        for at in 0..whole.len() {
            let (first, second) = whole.split_at(at);
            assert_eq!(frames(&[first, second]).unwrap(), b"a\nb");
        }
        assert_eq!(frames(&[b"\x01\0\0\0\xff\xff\xff\xffpart"]).unwrap(), b"part");
        assert!(frames(&[b"plain text"]).is_err());
    }

    #[test]
    fn of_a_long_output_the_end_is_kept() {
        let mut tail = Tail::of("exec", 4);
        tail.push(b"\x01\0\0\0\0\0\0\x03abc\x02\0\0").unwrap();
        tail.push(b"\0\0\0\0\x03def").unwrap();
        assert_eq!(&tail.output()[..], b"cdef");
    }
}
