//! Manifests that are changed in place: for random documents and patches the text comes to mean
//! what is wanted, and every line of what stays the same is kept, comments too.
//! `PROPTEST_CASES` sets another number, `PROPTEST_RNG_SEED` chooses others.

use berth::manifest::edit;
use proptest::{
    prelude::*,
    test_runner::{Config, RngSeed, TestRunner},
};
use serde_json::{Map, Value, json};

const KEYS: [&str; 8] = ["a", "b", "name", "env", "x-y", "PATH_1", "null", "key with space"];

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "",
            " ",
            "x",
            "true",
            "null",
            "~",
            "1",
            "1.5",
            "0x1f",
            "a: b",
            "a #b",
            "- x",
            "'",
            "\"",
            "it's",
            "back\\slash",
            "{a}",
            "[b]",
            "two\nlines",
            "tab\there",
            "ä",
            "\u{85}",
            "\u{2028}",
            "trailing ",
            ":",
            "#",
            "@x",
            "`y",
            "%z",
            "!t",
            "&a",
            "*a",
            "|",
            ">",
            "?",
            "---",
            "...",
            ".inf",
            "2026-01-01",
            "python app.py --port 80",
        ])
        .prop_map(str::to_owned),
        "[ -~]{0,12}",
    ]
}

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-1000_i64..1000).prop_map(Value::from),
        (-50_i32..50).prop_map(|number| Value::from(f64::from(number) + 0.5)),
        text().prop_map(Value::from),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    leaf().prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            object(inner),
        ]
    })
}

fn object(inner: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    prop::collection::vec((prop::sample::select(KEYS.to_vec()), inner), 0..5)
        .prop_map(|list| {
            list.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<Map<_, _>>()
        })
        .prop_map(Value::Object)
}

/// A line of a text, and what it is about: the keys on the way there.
struct Line {
    text: String,
    path: Vec<String>,
    /// Whether it is a comment, which stays as long as what it stands in does.
    is_comment: bool,
}

/// Writes a document as a person might: now in blocks, now in brackets, with comments between.
struct Writer {
    lines: Vec<Line>,
    dice: Vec<u8>,
    thrown: usize,
}

impl Writer {
    fn roll(&mut self, sides: u8) -> u8 {
        self.thrown += 1;
        self.dice[self.thrown % self.dice.len()]
            .wrapping_add(u8::try_from(self.thrown % 251).unwrap())
            % sides
    }

    fn push(&mut self, text: String, path: &[String], is_comment: bool) {
        self.lines.push(Line { text, path: path.to_vec(), is_comment });
    }

    fn key(&mut self, key: &str) -> String {
        match self.roll(4) {
            0 => json!(key).to_string(),
            1 => format!("'{key}'"),
            _ if key == "null" => "'null'".to_owned(),
            _ => key.to_owned(),
        }
    }

    /// A value on one line.
    fn flow(&mut self, value: &Value) -> String {
        match value {
            Value::Object(map) => {
                let mut parts = Vec::new();
                for (key, value) in map {
                    parts.push(format!("{}: {}", self.key(key), self.flow(value)));
                }
                format!("{{{}}}", parts.join(", "))
            }
            Value::Array(list) => {
                let parts: Vec<_> = list.iter().map(|value| self.flow(value)).collect();
                format!("[{}]", parts.join(", "))
            }
            Value::String(text) => {
                let is_simple = !text.is_empty()
                    && text.chars().all(|c| c.is_ascii_alphabetic())
                    && !["true", "false", "null"].contains(&text.to_ascii_lowercase().as_str());
                let is_printable = text.bytes().all(|byte| (b' '..0x7f).contains(&byte));
                match self.roll(3) {
                    0 if is_simple => text.clone(),
                    1 if is_printable => format!("'{}'", text.replace('\'', "''")),
                    _ => quoted(text),
                }
            }
            other => other.to_string(),
        }
    }

    fn map(&mut self, map: &Map<String, Value>, indent: usize, path: &[String]) {
        for (key, value) in map {
            let mut here = path.to_vec();
            here.push(key.clone());
            let space = " ".repeat(indent);
            match self.roll(6) {
                0 => {
                    let number = self.thrown;
                    self.push(format!("{space}# remark {number}"), path, true);
                }
                1 => self.push(String::new(), path, true),
                _ => {}
            }
            let head = format!("{space}{}:", self.key(key));
            let step = 2 + usize::from(self.roll(2)) * 2;
            match value {
                Value::Object(inner) if !inner.is_empty() && 0 < self.roll(4) => {
                    let end = if self.roll(3) == 0 { " # begins" } else { "" };
                    self.push(format!("{head}{end}"), &here, true);
                    self.map(inner, indent + step, &here);
                }
                Value::Array(list) if !list.is_empty() && 0 < self.roll(3) => {
                    self.push(head, &here, false);
                    let column = if self.roll(2) == 0 { indent } else { indent + step };
                    for value in list {
                        self.element(value, column, &here);
                    }
                }
                other => {
                    let end = if self.roll(3) == 0 { "  # so be it" } else { "" };
                    let value = self.flow(other);
                    self.push(format!("{head} {value}{end}"), &here, false);
                }
            }
        }
    }

    fn element(&mut self, value: &Value, column: usize, path: &[String]) {
        let space = " ".repeat(column);
        match value {
            Value::Object(map) if !map.is_empty() && 0 < self.roll(3) => {
                for (at, (key, value)) in map.iter().enumerate() {
                    let dash = if at == 0 { "- " } else { "  " };
                    let line = format!("{space}{dash}{}: {}", self.key(key), self.flow(value));
                    self.push(line, path, false);
                }
            }
            other => {
                let value = self.flow(other);
                self.push(format!("{space}- {value}"), path, false);
            }
        }
    }
}

fn quoted(text: &str) -> String {
    let escape = |c: char| match c {
        '"' | '\\' => format!("\\{c}"),
        c if c.is_control() || !c.is_ascii() => format!("\\u{:04x}", u32::from(c)),
        c => c.to_string(),
    };
    format!("\"{}\"", text.chars().map(escape).collect::<String>())
}

fn at<'a>(value: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, key| value.as_object()?.get(key))
}

/// Whether a line must be there after a change.
fn is_kept(line: &Line, before: &Value, after: &Value) -> bool {
    if line.is_comment {
        // What it stands in is still there, in blocks, with something of what it was.
        let stays = |value: Option<&Value>| {
            value.and_then(Value::as_object).is_some_and(|map| !map.is_empty())
        };
        return stays(at(before, &line.path)) && stays(at(after, &line.path));
    }
    at(before, &line.path).is_some() && at(before, &line.path) == at(after, &line.path)
}

fn check(document: &Value, patch: &Value, dice: Vec<u8>) -> Result<(), TestCaseError> {
    let Value::Object(map) = document else { return Ok(()) };
    let mut writer = Writer { lines: Vec::new(), dice, thrown: 0 };
    writer.push("# the head".to_owned(), &[], true);
    writer.map(map, 0, &[]);
    writer.push("# the end".to_owned(), &[], true);
    let texts: Vec<_> = writer.lines.iter().map(|line| line.text.as_str()).collect();
    let text = texts.join("\n") + "\n";
    let before = edit::read(text.as_bytes());
    prop_assert!(before.is_ok(), "the test writes what can't be read: {before:?}\n{text}");
    let before = before.unwrap();
    prop_assert_eq!(&before, document, "the test writes something else:\n{}", &text);
    let mut wanted = before.clone();
    edit::merge(&mut wanted, patch);
    let is_empty = wanted.as_object().is_none_or(Map::is_empty);
    let edited = edit::edit(text.as_bytes(), &wanted);
    prop_assert!(edited.is_ok(), "{edited:?}\n{text}");
    let edited = edited.unwrap();
    prop_assert_eq!(
        &edit::read(edited.text.as_bytes()).unwrap(),
        &wanted,
        "{}\n->\n{}",
        &text,
        &edited.text
    );
    if is_empty {
        return Ok(());
    }
    prop_assert!(!edited.is_anew, "{text}\n{patch}\n->\n{}", edited.text);
    let mut rest = edited.text.lines();
    for line in writer.lines.iter().filter(|line| is_kept(line, &before, &wanted)) {
        let is_there = rest.any(|other| other == line.text);
        prop_assert!(is_there, "lost: {}\n{patch}\n{text}->\n{}", line.text, edited.text);
    }
    Ok(())
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

#[test]
fn a_change_in_place_means_what_is_wanted_and_keeps_every_other_line() {
    let seed = number("PROPTEST_RNG_SEED").unwrap_or(1);
    let config = Config {
        cases: number("PROPTEST_CASES").map_or(2000, |n| u32::try_from(n).unwrap()),
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        ..Config::default()
    };
    let dice = prop::collection::vec(any::<u8>(), 8..40);
    let document = object(value()).prop_filter("something", |value| value != &json!({}));
    let cases = (document, object(value()), dice);
    let run = TestRunner::new(config)
        .run(&cases, |(document, patch, dice)| check(&document, &patch, dice));
    if let Err(error) = run {
        panic!("PROPTEST_RNG_SEED={seed}: {error}");
    }
}

/// Whatever a file holds, it is changed rightly or not at all.
#[test]
fn no_text_is_changed_into_something_else() {
    let seed = number("PROPTEST_RNG_SEED").unwrap_or(1);
    let pieces = prop::sample::select(vec![
        "a: 1\n",
        "b:\n",
        "  c: x\n",
        "  - d\n",
        "- e\n",
        "? f\n",
        ": g\n",
        "{h: 1,",
        "}",
        "[",
        "]",
        "\"",
        "'",
        " # z\n",
        "\t",
        "---\n",
        "...\n",
        "&i ",
        "*i ",
        "<<: ",
        "!!str ",
        "|\n",
        ">-\n",
        "    text\n",
        "\r\n",
        "\n",
        "ä",
        "\u{feff}",
        "~",
        "a",
        ": ",
        ",",
        "  ",
        "# q\n",
        "- - j\n",
    ]);
    let hostile = prop::collection::vec(pieces, 0..14).prop_map(|parts| parts.concat());
    let config = Config {
        cases: number("PROPTEST_CASES").map_or(4000, |n| u32::try_from(n).unwrap()),
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        ..Config::default()
    };
    let run = TestRunner::new(config).run(&(hostile, object(value())), |(text, patch)| {
        let Ok(mut wanted) = edit::read(text.as_bytes()) else { return Ok(()) };
        edit::merge(&mut wanted, &patch);
        let edited = edit::edit(text.as_bytes(), &wanted);
        prop_assert!(edited.is_ok(), "{edited:?}\n{text}\n{wanted}");
        let read = edit::read(edited.unwrap().text.as_bytes());
        prop_assert_eq!(read.unwrap(), wanted, "{}", text);
        Ok(())
    });
    if let Err(error) = run {
        panic!("PROPTEST_RNG_SEED={seed}: {error}");
    }
}
