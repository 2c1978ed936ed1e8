//! Writes lines without making anybody wait: whoever reads the log may be slow, or not read at all,
//! and a Berth that waits for that tends to no app.

use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::Duration,
};

use tracing_subscriber::fmt::MakeWriter;

/// How many lines may wait for the reader. What comes then is lost, and counted.
const LINES_MAX: usize = 8192;

/// How often a full queue is looked at in the end.
const LOOK: Duration = Duration::from_millis(10);

/// What is sent to the thread that writes.
enum Item {
    Line(Vec<u8>),
    /// All that came before is written once this is answered.
    Mark(SyncSender<()>),
}

/// Hands lines to a thread of its own, which writes them. Clones are the same one.
#[derive(Clone, Debug)]
pub(super) struct Pen {
    items: SyncSender<Item>,
    lost: Arc<AtomicU64>,
}

impl Pen {
    pub(super) fn new(to: impl Write + Send + 'static) -> io::Result<Self> {
        let (items, inbox) = sync_channel(LINES_MAX);
        let lost = Arc::new(AtomicU64::new(0));
        let pen = Self { items, lost: Arc::clone(&lost) };
        thread::Builder::new().name("log".to_owned()).spawn(move || write(to, &inbox, &lost))?;
        Ok(pen)
    }

    /// Waits until all is written, but not much longer than this.
    pub(super) fn finish(&self, patience: Duration) {
        let (mark, marked) = sync_channel(1);
        let mut item = Item::Mark(mark);
        let mut looks = patience.as_millis() / LOOK.as_millis();
        while let Err(TrySendError::Full(refused)) = self.items.try_send(item) {
            if looks == 0 {
                return;
            }
            looks -= 1;
            item = refused;
            thread::park_timeout(LOOK);
        }
        let _ = marked.recv_timeout(patience);
    }
}

fn write(mut to: impl Write, inbox: &Receiver<Item>, lost: &AtomicU64) {
    while let Ok(item) = inbox.recv() {
        // A log that can't be written has nobody to be told to.
        let _ = match item {
            Item::Line(line) => to.write_all(&line).and_then(|()| to.flush()),
            Item::Mark(mark) => mark.send(()).map_err(io::Error::other),
        };
        let count = lost.swap(0, Ordering::Relaxed);
        if count != 0 {
            let _ = writeln!(to, "berth: {count} lines of this log are lost: nobody read it");
        }
    }
}

impl<'a> MakeWriter<'a> for Pen {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

/// Each event is one write.
impl Write for &Pen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.items.try_send(Item::Line(bytes.to_vec())).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn a_reader_that_does_not_read_holds_up_nobody_and_is_told_what_it_missed() {
        let (mut from, to) = io::pipe().unwrap();
        let pen = Pen::new(to).unwrap();
        let line = [b'x'; 99].as_slice();
        // More than the pipe and the queue take together.
        let lines = 4 * LINES_MAX;
        for _ in 0..lines {
            let mut writer = pen.make_writer();
            writer.write_all(&[line, b"\n"].concat()).unwrap();
        }
        pen.finish(Duration::from_millis(10));
        drop(pen);
        let mut text = String::new();
        from.read_to_string(&mut text).unwrap();
        let told: Vec<_> = text.lines().filter(|line| line.starts_with("berth: ")).collect();
        let lost: usize =
            told.iter().map(|line| line.split(' ').nth(1).unwrap().parse::<usize>().unwrap()).sum();
        let written = text.lines().count() - told.len();
        assert!(LINES_MAX <= written && lost != 0, "{written} written, {lost} lost");
        assert_eq!(written + lost, lines);
    }

    #[test]
    fn at_the_end_all_is_written() {
        let (mut from, to) = io::pipe().unwrap();
        let pen = Pen::new(to).unwrap();
        for number in 0..100 {
            writeln!(&pen, "{number}").unwrap();
        }
        pen.finish(Duration::from_secs(60));
        drop(pen);
        let mut text = String::new();
        from.read_to_string(&mut text).unwrap();
        assert_eq!(text.lines().last(), Some("99"));
    }
}
