//! Hides values in text that flows by: what an app or a build prints of its secrets reads `***`.
//!
//! # Guarantees
//! - A value is hidden wherever its bytes stand as they are, however the text is cut into parts.
//! - No line is held back: only what may be the beginning of a value waits for what follows.
//! - Values never reach over a line: those of several lines are hidden line by line.
//!
//! What is too short is let through, or half of every log would be stars.

use std::{fmt, sync::Arc};

use bytes::Bytes;

use super::Value;

/// How many bytes a value, or a line of one, has at least that is hidden.
pub const VEILED_MIN: usize = 6;
/// What stands in its place.
const STARS: &[u8] = b"***";
/// How lines begin that say what a key is, and not which.
const ARMOUR: &[u8] = b"-----";

/// What is hidden.
#[derive(Clone, Default)]
pub struct Veil {
    /// The texts, in order; none of them twice.
    words: Vec<Vec<u8>>,
    /// For each the longest other one that it begins with.
    within: Vec<Option<usize>>,
    /// Whether any begins with this byte.
    firsts: Vec<bool>,
}

impl fmt::Debug for Veil {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Veil({})", self.words.len())
    }
}

impl Veil {
    /// One that hides these.
    pub fn new(values: impl IntoIterator<Item = Value>) -> Self {
        let mut words: Vec<Vec<u8>> = Vec::new();
        for value in values {
            for line in value.bytes().split(|byte| matches!(byte, b'\n' | b'\r')) {
                let line = line.trim_ascii();
                if VEILED_MIN <= line.len() && !line.starts_with(ARMOUR) {
                    words.extend(quoted(line));
                    words.push(line.to_vec());
                }
            }
        }
        words.sort_unstable();
        words.dedup();
        let mut within: Vec<Option<usize>> = Vec::with_capacity(words.len());
        for (at, word) in words.iter().enumerate() {
            let mut before = at.checked_sub(1);
            while let Some(other) = before.filter(|other| !word.starts_with(&words[*other])) {
                before = within[other];
            }
            within.push(before);
        }
        let mut firsts = vec![false; 256];
        for word in &words {
            firsts[usize::from(word[0])] = true;
        }
        Self { words, within, firsts }
    }

    /// Whether nothing is hidden.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// A text that is whole, without what is hidden.
    pub fn hide(&self, text: &str) -> String {
        String::from_utf8_lossy(&self.hide_bytes(text.as_bytes(), true)).into_owned()
    }

    /// The same of bytes. Of a text that goes on, what may begin a value at its end is left out.
    pub fn hide_bytes(&self, text: &[u8], is_whole: bool) -> Vec<u8> {
        let mut shown = Vec::with_capacity(text.len());
        self.pass(text, is_whole, &mut shown);
        shown
    }

    /// Writes what may be shown. Answers from where on it is not known yet.
    fn pass(&self, text: &[u8], is_whole: bool, shown: &mut Vec<u8>) -> usize {
        if self.is_empty() {
            shown.extend_from_slice(text);
            return text.len();
        }
        let (mut from, mut at) = (0, 0);
        while at < text.len() {
            let rest = &text[at..];
            if !self.firsts[usize::from(rest[0])] {
                at += 1;
                continue;
            }
            if !is_whole && self.may_begin(rest) {
                break;
            }
            match self.longest(rest) {
                Some(length) => {
                    shown.extend_from_slice(&text[from..at]);
                    shown.extend_from_slice(STARS);
                    at += length;
                    from = at;
                }
                None => at += 1,
            }
        }
        shown.extend_from_slice(&text[from..at]);
        at
    }

    /// Whether a longer word begins with this text.
    fn may_begin(&self, text: &[u8]) -> bool {
        let next = self.words.partition_point(|word| word.as_slice() <= text);
        self.words.get(next).is_some_and(|word| word.starts_with(text))
    }

    /// How long the longest word is that this text begins with. All words between that one and the
    /// text begin with it, so it is found by going back from the last of them.
    fn longest(&self, text: &[u8]) -> Option<usize> {
        let mut last = self.words.partition_point(|word| word.as_slice() <= text).checked_sub(1)?;
        while !text.starts_with(&self.words[last]) {
            last = self.within[last]?;
        }
        Some(self.words[last].len())
    }
}

/// The value as programs write it that log JSON, where that is another text.
fn quoted(line: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(line).ok()?;
    let json = serde_json::to_string(text).ok()?;
    let inner = json.strip_prefix('"')?.strip_suffix('"')?;
    (inner != text).then(|| inner.as_bytes().to_vec())
}

/// A text in parts that is shown without what is hidden.
#[derive(Debug)]
pub struct Veiled {
    veil: Arc<Veil>,
    held: Vec<u8>,
}

impl Veiled {
    /// A text that begins now.
    pub fn new(veil: Arc<Veil>) -> Self {
        Self { veil, held: Vec::new() }
    }

    /// What may be shown once this part has come.
    pub fn take(&mut self, part: Bytes) -> Bytes {
        if self.veil.is_empty() {
            return part;
        }
        self.held.extend_from_slice(&part);
        let mut shown = Vec::with_capacity(self.held.len());
        let rest = self.veil.pass(&self.held, false, &mut shown);
        self.held.drain(..rest);
        shown.into()
    }

    /// What is left once all has come. The beginning of a value that was cut off is hidden, too.
    pub fn end(&mut self) -> Bytes {
        let held = std::mem::take(&mut self.held);
        let mut shown = Vec::new();
        let rest = self.veil.pass(&held, false, &mut shown);
        match held.len() - rest {
            left if left < VEILED_MIN => shown.extend_from_slice(&held[rest..]),
            _ => shown.extend_from_slice(STARS),
        }
        shown.into()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn veil(values: &[&str]) -> Veil {
        Veil::new(values.iter().map(|value| Value::new(*value)))
    }

    fn in_parts(veil: &Veil, parts: &[&str]) -> String {
        let mut veiled = Veiled::new(Arc::new(veil.clone()));
        let mut shown = Vec::new();
        for part in parts {
            shown.extend_from_slice(&veiled.take(Bytes::copy_from_slice(part.as_bytes())));
        }
        shown.extend_from_slice(&veiled.end());
        String::from_utf8(shown).unwrap()
    }

    #[test]
    fn values_are_hidden_and_the_rest_is_as_it_was() {
        let veil = veil(&["hunter2\n", "postgres://u:p@db/x", "tiny", "say \"it\" now"]);
        for (text, shown) in [
            ("", ""),
            ("nothing of it", "nothing of it"),
            ("the password is hunter2!", "the password is ***!"),
            ("hunter2hunter2", "******"),
            ("hunter1 hunter22", "hunter1 ***2"),
            ("to postgres://u:p@db/x now", "to *** now"),
            ("to postgres://u:p@other", "to postgres://u:p@other"),
            ("tiny stays", "tiny stays"),
            (r#"{"m": "say \"it\" now"}"#, r#"{"m": "***"}"#),
        ] {
            assert_eq!(veil.hide(text), shown);
            assert_eq!(in_parts(&veil, &[text]), shown);
        }
        assert!(!format!("{veil:?}").contains("hunter2"));
    }

    #[test]
    fn a_value_of_several_lines_is_hidden_by_line() {
        let key = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADAN\r\n  Bgkqhki9\nx=\n-----END PRIVATE KEY-----\n";
        let text = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADAN\n> Bgkqhki9\nx=\n";
        assert_eq!(veil(&[key]).hide(text), "-----BEGIN PRIVATE KEY-----\n***\n> ***\nx=\n");
        let json = r#"{"key": "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADAN\n  Bgkqhki9"}"#;
        let shown = veil(&[key]).hide(json);
        assert!(!shown.contains("MIIE") && !shown.contains("Bgkq"), "{shown}");
    }

    #[test]
    fn of_values_that_hold_others_the_longest_is_hidden() {
        let veil = veil(&["secret", "secret-long", "secret-long-er", "et-long-other"]);
        for (text, shown) in [
            ("secret", "***"),
            ("secret-", "***-"),
            ("secret-long-e", "***-e"),
            ("secret-long-er", "***"),
            ("secret-lo", "***-lo"),
            ("sec", "sec"),
        ] {
            assert_eq!(veil.hide(text), shown);
        }
    }

    #[test]
    fn lines_flow_and_only_what_may_be_a_value_waits() {
        let mut veiled = Veiled::new(Arc::new(veil(&["hunter2"])));
        let mut take = |text: &'static str| veiled.take(Bytes::from_static(text.as_bytes()));
        assert_eq!(take("hello\n"), "hello\n");
        assert_eq!(take("a hun"), "a ");
        assert_eq!(take("t\n"), "hunt\n");
        assert_eq!(take("hunter"), "");
        assert_eq!(take("2 x hunter"), "*** x ");
        assert_eq!(veiled.end(), "***", "cut off, it is hidden as well");
        let mut short = Veiled::new(Arc::new(veil(&["hunter2"])));
        assert_eq!(short.take(Bytes::from_static(b"hun")), "");
        assert_eq!(short.end(), "hun");
    }

    proptest! {
        /// However a text is cut, it is shown the same, and nothing of a value is left.
        #[test]
        fn cuts_change_nothing(
            words in prop::collection::vec("[ab]{1,4}[xy]{0,6}", 1..5),
            text in "([ab]{1,4}[xy]{0,6}|\n| ){0,30}z",
            cuts in prop::collection::vec(0_usize..60, 0..6),
        ) {
            let words: Vec<_> = words.iter().map(String::as_str).collect();
            let veil = veil(&words);
            let mut cuts: Vec<_> = cuts.into_iter().filter(|at| *at < text.len()).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let parts: Vec<_> = cuts.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect();
            let whole = veil.hide(&text);
            prop_assert_eq!(in_parts(&veil, &parts), whole.clone());
            for word in words.iter().filter(|word| VEILED_MIN <= word.len()) {
                prop_assert!(!whole.contains(word), "{} in {}", word, whole);
            }
        }
    }
}
