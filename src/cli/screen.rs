//! A page on a terminal that is drawn again and again, and the keys that are pressed meanwhile.
//!
//! # Guarantee
//! However it ends, but for a kill, the terminal is afterwards as it was before.

use std::{
    io::{self, Read as _, Write as _},
    thread,
};

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};

/// Another page than the one that was there, and no cursor.
const ENTER: &str = "\u{1b}[?1049h\u{1b}[?25l";
/// Both undone.
const LEAVE: &str = "\u{1b}[?25h\u{1b}[?1049l";
/// What a terminal is taken to be that does not say.
const SIZE: (usize, usize) = (80, 24);

/// What happened while the page was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Key(u8),
    Resized,
    /// Somebody wants it to end.
    End,
}

/// The terminal, as long as this has it.
pub(super) struct Screen {
    /// How it was.
    _modes: Modes,
    keys: mpsc::UnboundedReceiver<u8>,
    resized: Signal,
    ends: [Signal; 3],
    has_colour: bool,
}

impl Screen {
    /// Takes over the terminal of standard input and output.
    pub(super) fn open(has_colour: bool) -> io::Result<Self> {
        let ends = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let [a, b, c] = ends.map(signal);
        let (ends, resized) = ([a?, b?, c?], signal(SignalKind::window_change())?);
        let modes = Modes::change()?;
        write(ENTER)?;
        Ok(Self { _modes: modes, keys: keys(), resized, ends, has_colour })
    }

    /// Shows these lines, as many and as much of each as there is room for.
    pub(super) fn show(&self, lines: &[String]) -> io::Result<()> {
        let (width, height) = size();
        let mut page = "\u{1b}[H".to_owned();
        for (at, line) in lines.iter().take(height).enumerate() {
            if at != 0 {
                page.push_str("\r\n");
            }
            page.push_str(&cut(line, width, self.has_colour));
            page.push_str("\u{1b}[K");
        }
        page.push_str("\u{1b}[J");
        write(&page)
    }

    /// Waits for what happens next.
    pub(super) async fn event(&mut self) -> Event {
        let [interrupt, terminate, hangup] = &mut self.ends;
        tokio::select! {
            _ = interrupt.recv() => Event::End,
            _ = terminate.recv() => Event::End,
            _ = hangup.recv() => Event::End,
            _ = self.resized.recv() => Event::Resized,
            key = self.keys.recv() => match key {
                // Without a terminal there is nobody to show anything to.
                None | Some(b'q' | b'Q') => Event::End,
                Some(key) => Event::Key(key),
            },
        }
    }
}

/// Keys come one by one and are not shown, until this is dropped.
struct Modes(Termios);

impl Modes {
    fn change() -> io::Result<Self> {
        let before = rustix::termios::tcgetattr(io::stdin())?;
        let mut modes = before.clone();
        modes.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
        modes.special_codes[SpecialCodeIndex::VMIN] = 1;
        modes.special_codes[SpecialCodeIndex::VTIME] = 0;
        // Who stopped it here would be left with a terminal that shows no cursor.
        modes.special_codes[SpecialCodeIndex::VSUSP] = 0;
        rustix::termios::tcsetattr(io::stdin(), OptionalActions::Now, &modes)?;
        Ok(Self(before))
    }
}

impl Drop for Modes {
    fn drop(&mut self) {
        // The terminal may be gone; then there is nothing to be put right.
        let _ = write(LEAVE);
        let _ = rustix::termios::tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
    }
}

/// The keys, read by a thread that ends with the program: reading a terminal can't be given up.
fn keys() -> mpsc::UnboundedReceiver<u8> {
    let (sender, keys) = mpsc::unbounded_channel();
    thread::spawn(move || {
        let (mut input, mut key) = (io::stdin(), [0_u8]);
        while matches!(input.read(&mut key), Ok(1)) {
            if sender.send(key[0]).is_err() {
                return;
            }
        }
    });
    keys
}

fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// How many letters a line may have.
pub(super) fn width() -> usize {
    size().0
}

/// Columns and rows.
fn size() -> (usize, usize) {
    let Ok(size) = rustix::termios::tcgetwinsize(io::stdout()) else { return SIZE };
    let or = |seen: u16, usual: usize| if seen == 0 { usual } else { usize::from(seen) };
    (or(size.ws_col, SIZE.0), or(size.ws_row, SIZE.1))
}

/// The first `width` letters of a line; colours do not count.
fn cut(line: &str, width: usize, has_colour: bool) -> String {
    let (mut shown, mut left) = (String::with_capacity(line.len()), width);
    let mut rest = line.chars();
    while let Some(letter) = rest.next() {
        if letter == '\u{1b}' {
            let colour: String = rest.by_ref().take_while(|c| *c != 'm').collect();
            if has_colour {
                shown.extend(["\u{1b}", &colour, "m"]);
            }
        } else if let Some(fewer) = left.checked_sub(1) {
            left = fewer;
            shown.push(letter);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_where_the_terminal_ends_and_its_colours_are_closed() {
        let line = "ab \u{1b}[32mRunning\u{1b}[0m cd";
        assert_eq!(cut(line, 5, true), "ab \u{1b}[32mRu\u{1b}[0m");
        assert_eq!(cut(line, 100, false), "ab Running cd");
        assert_eq!(cut("", 5, true), "");
        assert_eq!(cut("ab", 0, true), "");
    }
}
