//! What every verb writes: to a pipe, to terminals of two widths, and without colours. The
//! expected texts are in tests/golden/cli; `BLESS=1` writes them.

use std::{fs, path::Path, process::Command};

use super::{
    desk::{CHAT, Desk, Ended, ended},
    terminal::on_terminal,
};

/// Commands in one file of expected texts.
pub(super) struct Page<'a> {
    desk: &'a Desk,
    /// The host port that the app was given: which one is free differs from machine to machine.
    port: String,
    name: &'static str,
    text: String,
    /// Who is asked in place of the desk's Berth.
    server: Option<String>,
    /// What is written otherwise, as it differs from run to run.
    others: Vec<(String, String)>,
}

impl<'a> Page<'a> {
    /// What is said of one that answers always the same.
    pub(super) fn of(desk: &'a Desk, name: &'static str, server: String) -> Self {
        let (port, text) = ("no port".to_owned(), String::new());
        Self { desk, port, name, text, server: Some(server), others: Vec::new() }
    }

    pub(super) fn new(desk: &'a Desk, name: &'static str) -> Self {
        let port = desk.run(&["get", "-o", "jsonpath={.items[0].status.ports[0].hostPort}"]);
        let port = Some(port.out.trim().to_owned()).filter(|port| !port.is_empty());
        let port = port.unwrap_or_else(|| "no port".to_owned());
        Self { desk, port, name, text: String::new(), server: None, others: Vec::new() }
    }

    /// From now on, one text is written as another.
    pub(super) fn hidden(&mut self, text: &str, word: &str) {
        self.others.push((text.to_owned(), word.to_owned()));
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.desk.command(args);
        command.envs(self.server.iter().map(|url| ("BERTH_SERVER", url)));
        command
    }

    /// To a pipe.
    pub(super) fn piped(&mut self, args: &[&str]) {
        let ended = ended(&mut self.command(args));
        self.add(&format!("$ berth {}", args.join(" ").replace(&self.port, "PORT1")), &ended);
    }

    /// To a pipe, to terminals of 100 and 40 columns, and to one without colours.
    pub(super) fn everywhere(&mut self, args: &[&str]) {
        self.piped(args);
        for (place, width, env) in [
            ("100 columns", 100, None),
            ("40 columns", 40, None),
            ("NO_COLOR", 100, Some(("NO_COLOR", "1"))),
        ] {
            let mut command = self.command(args);
            command.envs(env);
            let (code, out) = on_terminal(&mut command, width);
            let ended = Ended { code, out, err: String::new() };
            self.add(&format!("$ berth {}    # {place}", args.join(" ")), &ended);
        }
    }

    /// To a pipe, with all figures left out: they are those of the machine, and of the moment.
    pub(super) fn roughly(&mut self, args: &[&str]) {
        let mut ended = self.desk.run(args);
        for text in [&mut ended.out, &mut ended.err] {
            *text = text.lines().map(|line| without_figures(line) + "\n").collect();
        }
        self.add(&format!("$ berth {}", args.join(" ")), &ended);
    }

    /// To a pipe, and of that only lines that begin so.
    pub(super) fn only(&mut self, args: &[&str], begin: &[&str]) {
        let mut ended = self.desk.run(args);
        let is_wanted = |line: &&str| begin.iter().any(|begin| line.starts_with(begin));
        let lines = ended.out.lines().filter(is_wanted).map(|line| without_gaps(line) + "\n");
        ended.out = lines.collect();
        ended.err.clear();
        self.add(&format!("$ berth {}", args.join(" ")), &ended);
    }

    /// To a pipe, with this on standard input.
    pub(super) fn given(&mut self, args: &[&str], input: &str) {
        self.desk.write("input", input);
        let mut command = self.desk.command(args);
        command.stdin(fs::File::open(self.desk.path("input")).unwrap());
        let ended = ended(&mut command);
        assert!(!format!("{ended:?}").contains(input) || input.len() < 4, "{ended:?}");
        self.add(&format!("$ berth {} < FILE", args.join(" ")), &ended);
    }

    /// To a pipe, where it shows something once that nobody else is to know.
    pub(super) fn secret(&mut self, args: &[&str]) {
        let mut ended = self.desk.run(args);
        if let Some(secret) = ended.out.lines().last().map(ToOwned::to_owned) {
            ended.out = ended.out.replace(&secret, "THE TOKEN");
        }
        self.add(&format!("$ berth {}", args.join(" ")), &ended);
    }

    fn add(&mut self, title: &str, ended: &Ended) {
        let folder = self.desk.folder.path().display().to_string();
        let port = self.port.clone();
        let others = self.others.clone();
        let named = |text: &str| {
            let hidden = |text: String, (from, to): &(String, String)| text.replace(from, to);
            others.iter().fold(text.to_owned(), hidden)
        };
        let even = |text: &str| even(&name_port(&named(text).replace(&folder, "DIR"), &port));
        self.text += &format!("{}\n{}", named(title), even(&ended.out));
        if !ended.err.is_empty() {
            self.text += &format!("[stderr]\n{}", even(&ended.err));
        }
        self.text += &format!("[exit {}]\n\n", ended.code);
    }
}

impl Drop for Page<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/cli");
        let path = path.join(format!("{}.txt", self.name));
        if std::env::var_os("BLESS").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &self.text).unwrap();
        }
        let known = fs::read_to_string(&path).unwrap_or_default();
        let (name, now) = (self.name, &self.text);
        assert!(known == *now, "{name} is not as expected (BLESS=1 writes it):\n{now}");
    }
}

/// The text with the port named, where it stands for itself and is no part of a digest.
fn name_port(text: &str, port: &str) -> String {
    let mut named = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(port) {
        let (before, after) = (&rest[..at], &rest[at + port.len()..]);
        let is_part = before.ends_with(|c: char| c.is_ascii_alphanumeric())
            || after.starts_with(|c: char| c.is_ascii_alphanumeric());
        named.push_str(before);
        named.push_str(if is_part { port } else { "PORT1" });
        rest = after;
    }
    named + rest
}

/// A line with `N` in place of each word that begins with a digit, and no gaps between columns.
fn without_figures(line: &str) -> String {
    let word = |word: &str| {
        if word.len() == 64 && stand_in(word) == Some("HEX") {
            "HEX".to_owned()
        } else if word.trim_start_matches('(').starts_with(|c: char| c.is_ascii_digit()) {
            "N".to_owned()
        } else {
            word.to_owned()
        }
    };
    let indent = line.len() - line.trim_start_matches(' ').len();
    " ".repeat(indent) + &line.split_whitespace().map(word).collect::<Vec<_>>().join(" ")
}

/// A line whose columns are three spaces apart, however wide others are.
fn without_gaps(line: &str) -> String {
    let indent = line.len() - line.trim_start_matches(' ').len();
    let cells = line.split("  ").map(str::trim).filter(|cell| !cell.is_empty());
    " ".repeat(indent) + &cells.collect::<Vec<_>>().join("   ")
}

/// The text with what differs from run to run replaced, and colours written out. What other
/// programs of the machine have is not for these tests to say.
fn even(text: &str) -> String {
    let is_ours = |line: &&str| !line.contains(" foreign: ");
    let text = text.replace('\u{1b}', "\\e");
    let mut lines: Vec<String> = text.lines().filter(is_ours).map(line).collect();
    lines.push(String::new());
    if text.is_empty() { String::new() } else { lines.join("\n") }
}

fn line(line: &str) -> String {
    let mut shown = String::new();
    let mut rest = line;
    while !rest.is_empty() {
        let end = rest.find([' ', ',']).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let bare = word.trim_end_matches(['.', ')', ':', '"']);
        if let Some(other) = stand_in(bare) {
            shown.push_str(other);
            shown.push_str(&word[bare.len()..]);
            // What stood there decided how wide the column is.
            let spaces = after.len() - after.trim_start_matches(' ').len();
            let kept = if spaces < 2 { spaces } else { 3 };
            shown.push_str(&" ".repeat(kept));
            rest = &after[spaces..];
        } else {
            shown.push_str(word);
            let spaces = after.chars().next().map_or(0, char::len_utf8);
            shown.push_str(&after[..spaces]);
            rest = &after[spaces..];
        }
    }
    shown.trim_end().to_owned()
}

/// What is written in place of a word that differs from run to run.
fn stand_in(word: &str) -> Option<&'static str> {
    if let Some(head) = ["AGE", "WHEN"].into_iter().find(|head| *head == word) {
        // What stands below it decided how wide it is.
        return Some(head);
    }
    let is_time =
        word.len() > 18 && word.starts_with("20") && word.contains('T') && word.ends_with('Z');
    if is_time {
        return Some("TIME");
    }
    let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    let tail = word.rsplit(['-', ':']).next().unwrap_or(word);
    if 8 <= tail.len() && tail.chars().all(hex) && tail.chars().any(|c| c.is_ascii_digit()) {
        return Some("HEX");
    }
    let is_span = word.ends_with(['s', 'm', 'h', 'd'])
        && word.starts_with(|c: char| c.is_ascii_digit())
        && word.chars().all(|c| c.is_ascii_digit() || ".hmsd".contains(c));
    is_span.then_some("SPAN")
}

#[test]
fn looking() {
    let desk = Desk::start();
    let mut page = Page::new(&desk, "get");
    page.everywhere(&["get"]);
    page.piped(&["get", "chat", "-o", "name"]);
    page.piped(&["get", "chat", "-o", "jsonpath={.status.phase} {.spec.ports[0].containerPort}"]);
    page.piped(&["get", "-o", "jsonpath={.items[*].metadata.name}"]);
    page.piped(&["get", "-o", "wide"]);
    page.piped(&["get", "nobody"]);
    page.piped(&["get", "-o", "jsonpath={"]);
    page.piped(&["get", "Not_A_Name"]);
    for kind in ["gpus", "images", "models", "ports"] {
        page.piped(&["get", kind]);
    }
    page.piped(&["get", "apps", "chat", "-o", "name"]);
    page.piped(&["get", "ports", "chat"]);
    page.piped(&["get", "things", "chat"]);
    page.piped(&["get", "gpus", "--watch"]);
    drop(page);
    let mut page = Page::new(&desk, "status");
    page.everywhere(&["status", "chat"]);
    page.everywhere(&["status", "nobody"]);
    drop(page);
    let mut page = Page::new(&desk, "describe");
    page.everywhere(&["describe", "chat"]);
    drop(page);
    let mut page = Page::new(&desk, "tree");
    page.everywhere(&["tree", "chat"]);
    page.piped(&["tree", "chat", "--no-unicode"]);
    let port = page.port.clone();
    page.piped(&["trace", &port]);
    page.piped(&["trace", "chat"]);
    page.piped(&["trace", "gpu/GPU-none"]);
    page.piped(&["trace", "container/none"]);
    drop(page);
    let mut page = Page::new(&desk, "lists");
    for verb in [&["ports"][..], &["images", "ls"], &["models", "ls"]] {
        page.everywhere(verb);
    }
    page.piped(&["ports", "-o", "jsonpath={.items[0].app}"]);
    page.piped(&["open", "chat"]);
    page.piped(&["open", "nobody"]);
    page.piped(&["logs", "nobody"]);
    page.piped(&["logs", "chat", "--tail", "x"]);
    page.piped(&["exec", "chat", "--", "echo", "hello"]);
    page.piped(&["exec", "chat", "--", "sh", "-c", "exit 7"]);
    page.piped(&["exec", "nobody"]);
    page.piped(&["exec", "-t", "chat"]);
    page.piped(&["audit", "list", "-o", "nothing"]);
}

#[test]
fn changing() {
    let desk = Desk::start();
    let mut page = Page::new(&desk, "plan");
    page.everywhere(&["plan"]);
    desk.write("next.yaml", &CHAT.replace("chat:1", "chat:2"));
    page.everywhere(&["plan", "-f", "next.yaml"]);
    page.everywhere(&["plan", "-f", "next.yaml", "-o", "unified"]);
    page.piped(&["diff", "-f", "chat.yaml"]);
    desk.write("bad.yaml", &CHAT.replace("image:", "imagee:"));
    page.everywhere(&["plan", "-f", "bad.yaml"]);
    page.piped(&["plan", "nobody"]);
    drop(page);
    let mut page = Page::new(&desk, "apply");
    page.everywhere(&["apply", "-f", "next.yaml", "--dry-run"]);
    page.piped(&["apply", "-f", "next.yaml", "--expect-plan", "00000000"]);
    page.piped(&["apply", "-f", "bad.yaml"]);
    page.everywhere(&["apply", "-f", "chat.yaml"]);
    page.piped(&["apply", "-f", "nothing.yaml"]);
    drop(page);
    let mut page = Page::new(&desk, "suspend");
    let is_so = |so: &str, desk: &Desk| {
        desk.run(&["get", "chat", "-o", "jsonpath={.spec.suspend}"]).out.trim() == so
    };
    page.piped(&["suspend", "chat"]);
    desk.until("it is suspended", |desk| is_so("true", desk));
    page.everywhere(&["suspend", "chat"]);
    page.piped(&["resume", "chat"]);
    desk.until("it is resumed", |desk| is_so("", desk));
    page.everywhere(&["resume", "chat"]);
    page.piped(&["resume", "nobody"]);
    drop(page);
    desk.settle("chat");
    let mut page = Page::new(&desk, "act");
    for verb in ["start", "restart", "install", "rebuild", "reconcile", "stop"] {
        page.piped(&[verb, "chat", "--dry-run"]);
    }
    page.piped(&["stop", "chat"]);
    desk.until("it is stopped", |desk| {
        desk.run(&["get", "chat", "-o", "jsonpath={.status.phase}"]).out.trim() == "Paused"
    });
    page.everywhere(&["stop", "chat"]);
    page.piped(&["start", "chat"]);
    page.piped(&["start", "nobody"]);
    page.piped(&["reconcile", "--with-source", "chat"]);
    page.piped(&["confirm"]);
    page.piped(&["confirm", "-n"]);
    page.piped(&["rollout", "undo", "chat", "--to", "99"]);
    page.piped(&["rollout", "undo", "chat", "-n", "--to", "99"]);
    page.piped(&["images", "gc", "--dry-run"]);
    drop(page);
    desk.settle("chat");
    let mut page = Page::new(&desk, "delete");
    page.piped(&["delete", "chat", "--dry-run"]);
    page.piped(&["delete", "chat"]);
    page.piped(&["delete", "chat", "--yes", "--keep-data"]);
    page.piped(&["delete", "nobody", "--yes"]);
}

#[test]
fn understanding() {
    let desk = Desk::empty();
    let mut page = Page::new(&desk, "explain");
    page.everywhere(&["explain", "app.spec.gpus"]);
    page.piped(&["explain", "gpus.share"]);
    page.piped(&["explain", "app"]);
    page.piped(&["explain", "spec.health", "--recursive"]);
    page.everywhere(&["explain", "port.taken"]);
    page.piped(&["explain", "PortTaken"]);
    page.everywhere(&["explain", "spec.gpuz"]);
    drop(page);
    let mut page = Page::new(&desk, "empty");
    for verb in ["get", "plan", "events"] {
        page.everywhere(&[verb]);
    }
    page.everywhere(&["no-such-verb"]);
    page.piped(&["--server", "http://127.0.0.1:1", "get"]);
    page.piped(&["--server", "nonsense", "get"]);
    page.piped(&["version"]);
    page.piped(&["validate", "nowhere"]);
    drop(page);
    let mut page = Page::new(&desk, "help");
    page.everywhere(&["--help"]);
    page.everywhere(&["plan", "--help"]);
}

#[test]
fn what_differs_from_run_to_run_is_found() {
    assert_eq!(line("a  2025-12-01T00:00:00.123Z     b 3m12s c"), "a  TIME   b SPAN c");
    assert_eq!(name_port("a:123/ 0123a 123", "123"), "a:PORT1/ 0123a PORT1");
    assert_eq!(line("0.2s ago"), "SPAN ago");
    assert_eq!(line("chat-0a1b2c3d (1.5) deadbeef"), "HEX (1.5) deadbeef");
}
