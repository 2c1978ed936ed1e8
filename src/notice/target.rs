//! Who is told: what the operator's file says.

use std::{collections::BTreeSet, time::Duration};

use serde::Deserialize;

use super::{
    desk::{Key, Rules},
    text::{OF_CHANGE, OF_GROUP, Template},
};
use crate::model::{check_secret_name, parse_duration};

/// The conditions of apps that are told of.
pub const OF_APPS: &[&str] = &["Accepted", "SourceReady", "ImageReady", "Ready", "ScanPassed"];
/// The conditions of the host that are told of.
pub const OF_HOST: &[&str] = &[
    "Engine",
    "Source",
    "Manifests",
    "Removals",
    "Disk",
    "Gpu",
    "Certificate",
    "Backup",
    "Database",
];
const TITLE: &str = "{app} {condition}: {state} ({reason})";
const LINE: &str = "{state} · {app} · {condition} · {reason}: {message}";
const GROUP_TITLE: &str = "{count} changes on {instance}";
const TARGETS_MAX: usize = 32;

/// How a target is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// JSON to an address, signed with the secret if there is one.
    Webhook(String),
    /// A topic of ntfy; the secret is an access token.
    Ntfy {
        /// The server.
        server: String,
        /// The topic.
        topic: String,
    },
    /// A webhook as Slack, Mattermost and others take it; the secret is its address.
    Slack,
    /// Mail; the secret is the password.
    Mail(Mail),
}

/// How mail is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// The server's name.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is protected.
    pub tls: MailTls,
    /// Who signs in, with the secret.
    pub user: Option<String>,
    /// The sender.
    pub from: String,
    /// The receivers.
    pub to: Vec<String>,
}

/// How a connection to a mail server is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MailTls {
    /// Protected after a word in the open, or not at all.
    #[default]
    Starttls,
    /// From the first byte on.
    Tls,
    /// Never: for a server on this machine.
    None,
}

/// Who is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// What it is called.
    pub name: String,
    /// How it is reached.
    pub way: Way,
    /// The name of its secret.
    pub secret: Option<String>,
    /// The conditions it is told of; empty is all.
    pub on: BTreeSet<String>,
    /// Patterns of the apps it is told of; empty is all.
    pub apps: Vec<String>,
    /// Whether it is told what is over.
    pub resolved: bool,
    /// How much it is told.
    pub rules: Rules,
    /// The title of a message of one change.
    pub title: Template,
    /// The title of a message of several.
    pub group_title: Template,
    /// The line of each change.
    pub line: Template,
}

impl Target {
    /// What kind of target it is.
    pub fn kind(&self) -> &'static str {
        match &self.way {
            Way::Webhook(_) => "webhook",
            Way::Ntfy { .. } => "ntfy",
            Way::Slack => "slack",
            Way::Mail(_) => "smtp",
        }
    }

    /// Whether it is told of this.
    pub fn wants(&self, key: &Key) -> bool {
        let group = if key.app.is_some() { "apps" } else { "host" };
        let on = self.on.is_empty() || self.on.contains(key.word()) || self.on.contains(group);
        let app = key.app.as_ref().is_none_or(|app| {
            self.apps.is_empty() || self.apps.iter().any(|it| is_match(it, app.as_str()))
        });
        on && app
    }
}

/// `*` stands for anything.
fn is_match(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let mut parts: Vec<_> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// The operator's file.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct File {
    window: Option<String>,
    group: Option<String>,
    per_hour: Option<u32>,
    targets: Vec<FileTarget>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct FileTarget {
    name: String,
    webhook: Option<String>,
    ntfy: Option<String>,
    #[serde(default)]
    slack: bool,
    smtp: Option<FileMail>,
    secret: Option<String>,
    #[serde(default)]
    on: Vec<String>,
    #[serde(default)]
    apps: Vec<String>,
    resolved: Option<bool>,
    per_hour: Option<u32>,
    title: Option<String>,
    group_title: Option<String>,
    line: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct FileMail {
    server: String,
    #[serde(default)]
    tls: MailTls,
    user: Option<String>,
    from: String,
    to: Vec<String>,
}

impl File {
    /// The targets, or what is wrong with the first that is.
    pub fn targets(self) -> Result<Vec<Target>, String> {
        let window = time("window", self.window.as_deref(), "15m")?;
        let group = time("group", self.group.as_deref(), "10s")?;
        let pauses = (Duration::from_secs(2), Duration::from_mins(5));
        let per_hour = rate(self.per_hour)?;
        let rules = Rules { window, group, per_hour, tells_end: true, pauses };
        if TARGETS_MAX < self.targets.len() {
            return Err(format!("there may be {TARGETS_MAX} targets"));
        }
        let mut names = BTreeSet::new();
        let mut all = Vec::new();
        for target in self.targets {
            let name = target.name.clone();
            let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            if name.is_empty() || 40 < name.len() || !name.chars().all(legal) {
                let shown = name.escape_debug();
                return Err(format!("`{shown}` is no name: use small letters, digits and `-`"));
            }
            if !names.insert(name.clone()) {
                return Err(format!("the target `{name}` is there twice"));
            }
            all.push(target.read(rules).map_err(|why| format!("target `{name}`: {why}"))?);
        }
        Ok(all)
    }
}

impl FileTarget {
    fn read(self, rules: Rules) -> Result<Target, String> {
        if let Some(secret) = &self.secret {
            check_secret_name(secret).map_err(|error| error.to_string())?;
        }
        let is_secret = self.secret.is_some();
        let way = match (self.webhook, self.ntfy, self.slack, self.smtp) {
            (Some(url), None, false, None) => Way::Webhook(address(&url, false)?),
            (None, Some(url), false, None) => topic(&address(&url, is_secret)?)?,
            (None, None, true, None) if is_secret => Way::Slack,
            (None, None, true, None) => {
                return Err("name the `secret` that holds the address".to_owned());
            }
            (None, None, false, Some(mail)) => Way::Mail(mail.read(is_secret)?),
            _ => return Err("write one of `webhook`, `ntfy`, `slack` and `smtp`".to_owned()),
        };
        let known = |word: &&String| {
            let groups = ["apps", "host"];
            let mut all = OF_APPS.iter().chain(OF_HOST).chain(&groups);
            !all.any(|known| known == word)
        };
        if let Some(bad) = self.on.iter().find(known) {
            let all: Vec<_> = OF_APPS.iter().chain(OF_HOST).copied().collect();
            let all = all.join(", ");
            return Err(format!(
                "`{}` is no condition: write `apps`, `host` or of {all}",
                bad.escape_debug()
            ));
        }
        let template = |text: Option<String>, usual: &str, known| {
            Template::parse(text.as_deref().unwrap_or(usual), known)
        };
        Ok(Target {
            name: self.name,
            way,
            secret: self.secret,
            on: self.on.into_iter().collect(),
            apps: self.apps,
            resolved: self.resolved.unwrap_or(true),
            rules: Rules {
                per_hour: rate(self.per_hour.or(Some(rules.per_hour)))?,
                tells_end: self.resolved.unwrap_or(true),
                ..rules
            },
            title: template(self.title, TITLE, OF_CHANGE)?,
            group_title: template(self.group_title, GROUP_TITLE, OF_GROUP)?,
            line: template(self.line, LINE, OF_CHANGE)?,
        })
    }
}

impl FileMail {
    fn read(self, is_secret: bool) -> Result<Mail, String> {
        let usual = if self.tls == MailTls::Tls { 465 } else { 587 };
        let (host, port) = match self.server.rsplit_once(':') {
            Some((host, port)) => {
                let port = port.parse().map_err(|_| "`server` is no `host:port`".to_owned())?;
                (host.to_owned(), port)
            }
            None => (self.server, usual),
        };
        let legal = |c: char| c.is_ascii_alphanumeric() || "-.".contains(c);
        if host.is_empty() || !host.chars().all(legal) {
            return Err("`server` is no `host:port`".to_owned());
        }
        if self.user.is_some() != is_secret {
            return Err("`user` and `secret`, which holds the password, go together".to_owned());
        }
        let is_near = matches!(host.as_str(), "localhost" | "127.0.0.1");
        if self.tls == MailTls::None && !is_near {
            return Err("`tls: none` is for a server on this machine: 127.0.0.1".to_owned());
        }
        if self.to.is_empty() {
            return Err("`to` names nobody".to_owned());
        }
        for address in self.to.iter().chain([&self.from]) {
            super::mail::check_address(address)?;
        }
        Ok(Mail { host, port, tls: self.tls, user: self.user, from: self.from, to: self.to })
    }
}

/// An address; where a credential goes, a protected one or this machine.
pub(super) fn address(text: &str, is_protected: bool) -> Result<String, String> {
    let is_plain = !text.chars().any(|c| c.is_control() || c.is_whitespace() || "@#".contains(c));
    let has = |scheme: &str| {
        let rest = text.strip_prefix(scheme);
        rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
    };
    let near = ["http://127.0.0.1", "http://localhost", "http://[::1]"];
    let is_near = near.iter().any(|base| {
        text.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/']))
    });
    if is_plain && (has("https://") || is_near || (!is_protected && has("http://"))) {
        Ok(text.trim_end_matches('/').to_owned())
    } else if is_protected {
        Err("the address must begin with https://".to_owned())
    } else {
        Err("write an address such as `https://hooks.example.com/berth`".to_owned())
    }
}

fn topic(address: &str) -> Result<Way, String> {
    let wrong = || "write the address of a topic, such as `https://ntfy.sh/berth-a1b2`".to_owned();
    let (server, topic) = address.rsplit_once('/').ok_or_else(wrong)?;
    let legal = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    let is_server = server.split_once("://").is_some_and(|(_, host)| !host.is_empty());
    if !is_server || server.ends_with('/') || topic.is_empty() || !topic.chars().all(legal) {
        return Err(wrong());
    }
    Ok(Way::Ntfy { server: server.to_owned(), topic: topic.to_owned() })
}

fn time(name: &str, text: Option<&str>, usual: &str) -> Result<Duration, String> {
    let time = parse_duration(text.unwrap_or(usual));
    let time = time.map_err(|error| format!("`{name}`: {error}"))?;
    if time <= Duration::from_hours(24 * 7) {
        Ok(time)
    } else {
        Err(format!("`{name}` is longer than a week"))
    }
}

fn rate(per_hour: Option<u32>) -> Result<u32, String> {
    match per_hour.unwrap_or(30) {
        rate @ 1..=3600 => Ok(rate),
        _ => Err("`perHour` is a number from 1 to 3600".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, text, is) in [
            ("chat", "chat", true),
            ("chat", "chat-two", false),
            ("*", "x", true),
            ("web-*", "web-1", true),
            ("web-*", "a-web-1", false),
            ("*-api", "a-api", true),
            ("a*b*c", "a-b-c", true),
            ("a*b*c", "a-c", false),
            ("a*a", "a", false),
        ] {
            assert_eq!(is_match(pattern, text), is, "{pattern} {text}");
        }
    }
}
