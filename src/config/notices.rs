//! The option that says who is told when something is wrong.

use std::{fs, io};

use super::Reader;
use crate::notice::{File, Target};

/// The largest file of targets, in bytes.
const FILE_LIMIT: u64 = 1 << 20;

impl Reader {
    /// The targets; none without a file.
    pub(super) fn notices(&mut self) -> Option<Vec<Target>> {
        Some(self.list("notifications", targets)?.pop().unwrap_or_default())
    }
}

fn targets(path: &str) -> Result<Vec<Target>, String> {
    let why = |error: io::Error| error.to_string();
    if FILE_LIMIT < fs::metadata(path).map_err(why)?.len() {
        return Err("the file is too large".to_owned());
    }
    let text = fs::read_to_string(path).map_err(why)?;
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let file: File = serde_yaml::from_str(&text).map_err(|error| error.to_string())?;
    file.targets()
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Layers};
    use super::*;

    fn read(text: &str) -> Result<Vec<Target>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("n.yaml");
        fs::write(&path, text).unwrap();
        let flags = [("notifications", vec![path.display().to_string()])].into();
        let config = Config::read(&Layers { flags, ..Layers::default() });
        config.map(|config| config.notices).map_err(|error| error.0[0].to_string())
    }

    #[test]
    fn every_kind_of_target_is_read() {
        let all = read(
            "window: 1h\nperHour: 6\ntargets:\n\
             - {name: ops, webhook: 'http://10.0.0.7/h', secret: k, on: [Ready, host]}\n\
             - {name: phone, ntfy: 'https://ntfy.example.com/a-b', apps: [web-*]}\n\
             - {name: chat, slack: true, secret: url, resolved: false}\n\
             - {name: mail, secret: p, perHour: 2, smtp: {server: m.example.com, user: u, from: a@example.com, to: [b@example.com]}}\n",
        )
        .unwrap();
        let kinds: Vec<_> = all.iter().map(Target::kind).collect();
        assert_eq!(kinds, ["webhook", "ntfy", "slack", "smtp"]);
        assert_eq!(all[0].rules.window, std::time::Duration::from_hours(1));
        assert_eq!((all[0].rules.per_hour, all[3].rules.per_hour), (6, 2));
        assert!(all[1].resolved && !all[2].resolved);
        assert_eq!(read("").unwrap(), []);
    }

    #[test]
    fn what_makes_no_sense_or_is_not_safe_is_refused() {
        for (target, word) in [
            ("{name: A b, slack: true, secret: x}", "small letters"),
            ("{name: a}", "one of"),
            ("{name: a, slack: true}", "secret"),
            ("{name: a, webhook: 'https://h.example', slack: true, secret: x}", "one of"),
            ("{name: a, webhook: 'ftp://h.example'}", "address"),
            ("{name: a, ntfy: 'http://ntfy.example.com/t', secret: x}", "https://"),
            ("{name: a, ntfy: 'https://ntfy.example.com'}", "topic"),
            ("{name: a, webhook: 'https://h.example', secret: ../x}", "secret"),
            ("{name: a, webhook: 'https://h.example', on: [Redy]}", "condition"),
            ("{name: a, webhook: 'https://h.example', line: '{nope}'}", "{message}"),
            ("{name: a, webhook: 'https://h.example', perHour: 0}", "perHour"),
            ("{name: a, webhook: 'https://h.example', colour: red}", "colour"),
            ("{name: a, smtp: {server: m.example.com, from: a@b.c, to: []}}", "nobody"),
            ("{name: a, smtp: {server: m.example.com, from: ab, to: [a@b.c]}}", "address"),
            (
                "{name: a, smtp: {server: m.example.com, tls: none, from: a@b.c, to: [a@b.c]}}",
                "127.0.0.1",
            ),
            (
                "{name: a, smtp: {server: m.example.com, user: u, from: a@b.c, to: [a@b.c]}}",
                "together",
            ),
        ] {
            let error = read(&format!("targets:\n- {target}\n")).unwrap_err();
            assert!(error.contains(word), "{target}: {error}");
        }
        let twice = "targets:\n- &a {name: a, webhook: 'https://h.example'}\n- {name: a, webhook: 'https://h.example'}\n";
        assert!(read(twice).is_err());
    }
}
