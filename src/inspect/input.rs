//! Reading a file of unknown worth: in pieces, within a budget, by whatever it claims.

use std::{fs::File, io, io::Read, os::unix::fs::FileExt};

use tokio::time::Instant;

/// Bytes that can be read anywhere.
pub trait Source {
    /// How many there are.
    fn size(&self) -> u64;
    /// Reads from an offset; answers how many bytes there were, none at the end.
    ///
    /// # Errors
    /// That they could not be read.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize>;
}

impl Source for File {
    fn size(&self) -> u64 {
        self.metadata().map_or(0, |found| found.len())
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match FileExt::read_at(self, into, offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }
}

impl Source for [u8] {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(self.len());
        let count = into.len().min(self.len() - from);
        into[..count].copy_from_slice(&self[from..from + count]);
        Ok(count)
    }
}

impl Source for Vec<u8> {
    fn size(&self) -> u64 {
        self.as_slice().size()
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.as_slice().read_at(offset, into)
    }
}

/// A source that can be read until a moment.
pub(super) struct Timed<'a> {
    pub(super) source: &'a dyn Source,
    pub(super) until: Instant,
}

impl Source for Timed<'_> {
    fn size(&self) -> u64 {
        self.source.size()
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        if self.until < Instant::now() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.source.read_at(offset, into)
    }
}

/// Fills as much as there is.
pub(super) fn read_up_to(source: &dyn Source, offset: u64, into: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while got < into.len() {
        match source.read_at(offset + got as u64, &mut into[got..])? {
            0 => break,
            count => got += count,
        }
    }
    Ok(got)
}

/// Why a file could not be read to its end.
#[derive(Debug)]
pub(super) enum Fault {
    /// It ends where more was promised.
    End,
    /// It is not what it says.
    Broken(String),
    /// It is longer than anybody reads.
    Limit(&'static str),
    /// The disk failed.
    Io(io::Error),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::End,
            // What flate2 says of a broken stream.
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
                Self::Broken(error.to_string())
            }
            _ => Self::Io(error),
        }
    }
}

pub(super) type Result<T> = std::result::Result<T, Fault>;

pub(super) fn broken<T>(why: impl Into<String>) -> Result<T> {
    Err(Fault::Broken(why.into()))
}

/// A part of a source, from one end to the other.
pub(super) struct Span<'a> {
    source: &'a dyn Source,
    at: u64,
    end: u64,
}

impl<'a> Span<'a> {
    /// The bytes from there on, as many as these and as there are.
    pub(super) fn new(source: &'a dyn Source, at: u64, length: u64) -> Self {
        Self { source, at, end: at.saturating_add(length).min(source.size()) }
    }
}

impl Read for Span<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let count = into.len().min(left);
        if count == 0 {
            return Ok(0);
        }
        let got = self.source.read_at(self.at, &mut into[..count])?;
        self.at += got as u64;
        Ok(got)
    }
}

/// Bytes that are taken one after the other, as many as a budget allows.
pub(super) struct Input<R> {
    from: R,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    /// How many have been taken.
    taken: u64,
    budget: u64,
    what: &'static str,
}

impl<R: Read> Input<R> {
    /// `what` is said when the budget is spent.
    pub(super) fn new(from: R, budget: u64, what: &'static str) -> Self {
        let buffer = vec![0; 64 << 10].into_boxed_slice();
        Self { from, buffer, start: 0, end: 0, taken: 0, budget, what }
    }

    /// How many bytes have been taken.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// What comes, without taking it; empty at the end.
    fn fill(&mut self) -> Result<&[u8]> {
        while self.start == self.end {
            match self.from.read(&mut self.buffer) {
                Ok(0) => return Ok(&[]),
                Ok(count) => (self.start, self.end) = (0, count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(&self.buffer[self.start..self.end])
    }

    fn take(&mut self, count: usize) -> Result<()> {
        self.start += count;
        self.taken += count as u64;
        if self.budget < self.taken { Err(Fault::Limit(self.what)) } else { Ok(()) }
    }

    /// The next byte, without taking it.
    pub(super) fn peek(&mut self) -> Result<Option<u8>> {
        Ok(self.fill()?.first().copied())
    }

    pub(super) fn u8(&mut self) -> Result<u8> {
        let byte = self.peek()?.ok_or(Fault::End)?;
        self.take(1)?;
        Ok(byte)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut all = [0; N];
        self.exact(&mut all)?;
        Ok(all)
    }

    fn exact(&mut self, mut into: &mut [u8]) -> Result<()> {
        while !into.is_empty() {
            let here = self.fill()?;
            if here.is_empty() {
                return Err(Fault::End);
            }
            let count = here.len().min(into.len());
            let (head, rest) = into.split_at_mut(count);
            head.copy_from_slice(&here[..count]);
            into = rest;
            self.take(count)?;
        }
        Ok(())
    }

    pub(super) fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// So many bytes, when they are at most `most`; else they are passed by.
    pub(super) fn bytes(&mut self, count: u64, most: usize) -> Result<Option<Vec<u8>>> {
        match usize::try_from(count) {
            Ok(count) if count <= most => {
                let mut all = vec![0; count];
                self.exact(&mut all)?;
                Ok(Some(all))
            }
            _ => self.skip(count).map(|()| None),
        }
    }

    /// Passes bytes by.
    pub(super) fn skip(&mut self, mut count: u64) -> Result<()> {
        if self.budget.saturating_sub(self.taken) < count {
            return Err(Fault::Limit(self.what));
        }
        while count != 0 {
            let here = self.fill()?.len();
            if here == 0 {
                return Err(Fault::End);
            }
            let now = here.min(usize::try_from(count).unwrap_or(usize::MAX));
            self.take(now)?;
            count -= now as u64;
        }
        Ok(())
    }

    /// Up to the next line feed, which is taken too; none when it is longer than `most`.
    pub(super) fn line(&mut self, most: usize) -> Result<Option<Vec<u8>>> {
        let mut line = Some(Vec::new());
        loop {
            let here = self.fill()?;
            if here.is_empty() {
                return Err(Fault::End);
            }
            let end = here.iter().position(|byte| *byte == b'\n');
            let part = &here[..end.unwrap_or(here.len())];
            let count = part.len() + usize::from(end.is_some());
            line = line.filter(|line| line.len() + part.len() <= most);
            if let Some(line) = &mut line {
                line.extend_from_slice(part);
            }
            self.take(count)?;
            if end.is_some() {
                return Ok(line);
            }
        }
    }
}
