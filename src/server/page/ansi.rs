//! Lines of logs, with their colours as classes and nothing else of what terminals obey
//! (fault H06): no address, no title, no movement of a cursor, no other control character.

/// A piece of a line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    /// Classes; empty for plain text.
    pub(super) class: String,
    pub(super) text: String,
}

/// What a terminal would have set so far. It goes on from one line to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pen {
    is_bold: bool,
    is_faint: bool,
    is_italic: bool,
    is_underlined: bool,
    /// 0 to 15.
    ink: Option<u8>,
    paper: Option<u8>,
}

impl Pen {
    fn class(&self) -> String {
        let mut all = Vec::new();
        let flags = [
            (self.is_bold, "ab"),
            (self.is_faint, "af"),
            (self.is_italic, "ai"),
            (self.is_underlined, "au"),
        ];
        all.extend(flags.iter().filter(|(is_so, _)| *is_so).map(|(_, class)| (*class).to_owned()));
        all.extend(self.ink.map(|ink| format!("a{ink}")));
        all.extend(self.paper.map(|paper| format!("p{paper}")));
        all.join(" ")
    }

    /// Obeys a sequence that sets colours. Others are left out by whoever reads them.
    fn set(&mut self, text: &str) {
        let mut codes = text.split([';', ':']).map(|code| code.parse::<u16>().unwrap_or(0));
        while let Some(code) = codes.next() {
            match code {
                0 => *self = Self::default(),
                1 => self.is_bold = true,
                2 => self.is_faint = true,
                3 => self.is_italic = true,
                4 => self.is_underlined = true,
                22 => (self.is_bold, self.is_faint) = (false, false),
                23 => self.is_italic = false,
                24 => self.is_underlined = false,
                30..=37 => self.ink = u8::try_from(code - 30).ok(),
                90..=97 => self.ink = u8::try_from(code - 82).ok(),
                39 => self.ink = None,
                40..=47 => self.paper = u8::try_from(code - 40).ok(),
                100..=107 => self.paper = u8::try_from(code - 92).ok(),
                49 => self.paper = None,
                38 => self.ink = of_many(&mut codes),
                48 => self.paper = of_many(&mut codes),
                _ => {}
            }
        }
    }

    /// A line, in pieces of one look each.
    pub(super) fn line(&mut self, line: &str) -> Vec<Span> {
        // What was written over is not seen: bars of progress draw a line again and again.
        let line = line.trim_end_matches('\r').rsplit('\r').next().unwrap_or("");
        let mut spans: Vec<Span> = Vec::new();
        let mut rest = line;
        while !rest.is_empty() {
            let end = rest.find('\u{1b}').unwrap_or(rest.len());
            let text: String =
                rest[..end].chars().filter(|c| *c == '\t' || !is_hostile(*c)).collect();
            let class = self.class();
            match spans.last_mut() {
                _ if text.is_empty() => {}
                Some(last) if last.class == class => last.text.push_str(&text),
                _ => spans.push(Span { class, text }),
            }
            rest = self.escape(&rest[end..]);
        }
        spans
    }

    /// Takes one sequence off the beginning; answers what is behind it.
    fn escape<'a>(&mut self, text: &'a str) -> &'a str {
        let Some(after) = text.strip_prefix('\u{1b}') else { return text };
        if let Some(body) = after.strip_prefix('[') {
            let end = body.find(|c: char| ('\u{40}'..='\u{7e}').contains(&c));
            let Some(end) = end else { return "" };
            if body.as_bytes()[end] == b'm' {
                self.set(&body[..end]);
            }
            return &body[end + 1..];
        }
        // Texts for the terminal itself (titles, links) end with a bell or a sequence.
        if after.starts_with([']', 'P', 'X', '^', '_']) {
            let end = after.find(['\u{7}', '\u{1b}']);
            return match end {
                Some(end) if after.as_bytes()[end] == 7 => &after[end + 1..],
                Some(end) => after[end..].strip_prefix("\u{1b}\\").unwrap_or(&after[end..]),
                None => "",
            };
        }
        let mut rest = after.chars();
        rest.next();
        rest.as_str()
    }
}

/// A colour out of 256, or of all, as the nearest of the sixteen.
fn of_many(codes: &mut impl Iterator<Item = u16>) -> Option<u8> {
    match codes.next()? {
        5 => match codes.next()? {
            code @ 0..=15 => u8::try_from(code).ok(),
            code @ 16..=231 => {
                let (r, g, b) = ((code - 16) / 36, (code - 16) / 6 % 6, (code - 16) % 6);
                Some(nearest(r * 51, g * 51, b * 51))
            }
            code @ 232..=255 => {
                let grey = (code - 232) * 10;
                Some(nearest(grey, grey, grey))
            }
            _ => None,
        },
        2 => {
            let (r, g, b) = (codes.next()?, codes.next()?, codes.next()?);
            Some(nearest(r, g, b))
        }
        _ => None,
    }
}

fn nearest(r: u16, g: u16, b: u16) -> u8 {
    let is_on = |part: u16| u8::from(96 < part);
    let is_bright = 200 < r.max(g).max(b);
    is_on(r) | is_on(g) << 1 | is_on(b) << 2 | u8::from(is_bright) << 3
}

/// Whether a character does something other than being seen: controls, and what turns the
/// direction of the text around it.
fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Vec<(String, String)> {
        let spans = Pen::default().line(text);
        spans.into_iter().map(|span| (span.class, span.text)).collect()
    }

    #[test]
    fn colours_are_classes() {
        let pair = |class: &str, text: &str| (class.to_owned(), text.to_owned());
        assert_eq!(of("plain"), [pair("", "plain")]);
        assert_eq!(
            of("a\u{1b}[1;31mred\u{1b}[0m b\u{1b}[94mc"),
            [pair("", "a"), pair("ab a1", "red"), pair("", " b"), pair("a12", "c")]
        );
        assert_eq!(of("\u{1b}[38;5;196mx"), [pair("a9", "x")]);
        assert_eq!(of("\u{1b}[38;5;65535mx"), [pair("", "x")]);
        assert_eq!(of("\u{1b}[38;2;0;255;0mx"), [pair("a10", "x")]);
        assert_eq!(of("\u{1b}[48;5;4mx\u{1b}[49my"), [pair("p4", "x"), pair("", "y")]);
    }

    #[test]
    fn nothing_else_is_obeyed_or_shown() {
        let text = |line: &str| of(line).into_iter().map(|(_, text)| text).collect::<String>();
        assert_eq!(text("a\u{1b}]0;title\u{7}b\u{1b}]8;;http://evil\u{1b}\\c"), "abc");
        assert_eq!(text("a\u{1b}[2J\u{1b}[10;10Hb\u{1b}c\u{8}\u{0}"), "ab");
        assert_eq!(text("10%\r50%\r100%\r"), "100%");
        assert_eq!(text("a\u{202e}b\u{9b}31m"), "ab31m");
        for cut in ["\u{1b}", "\u{1b}[", "\u{1b}[31", "\u{1b}]0;x", "\u{1b}é"] {
            assert!(text(cut).len() <= 2, "{cut:?}");
        }
    }

    #[test]
    fn a_colour_goes_on_with_the_next_line() {
        let mut pen = Pen::default();
        assert_eq!(pen.line("\u{1b}[32mone").len(), 1);
        assert_eq!(pen.line("two")[0].class, "a2");
    }
}
