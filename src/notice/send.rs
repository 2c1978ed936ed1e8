//! One message to one target.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};

use super::{
    desk::{Batch, Change},
    mail,
    target::{self, Target, Way},
    text::{cut, line},
};
use crate::forge::{Client, Outcome as Answer, Secrets, signature};
use crate::model::Timestamp;

/// So many changes are written out; of the others is said how many.
const LINES_MAX: usize = 20;
/// So many are in the body of a webhook.
const CHANGES_MAX: usize = 500;

/// What came of sending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was taken.
    Taken,
    /// It will never be.
    Refused(String),
    /// It may be later.
    Later(String),
}

/// A message, as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// The same whenever the same is told.
    pub id: String,
    /// When it was written.
    pub at: Timestamp,
    /// In a few words.
    pub title: String,
    /// A line for each change.
    pub text: String,
    /// Whether something is wrong, and not only over.
    pub is_trouble: bool,
    /// The page, where people reach it.
    pub url: Option<String>,
    changes: Vec<Value>,
    more: usize,
    kind: &'static str,
    instance: String,
}

/// Who writes letters.
#[derive(Clone, Debug)]
pub struct Writer {
    /// Which Berth this is.
    pub instance: String,
    /// Where people reach it.
    pub base_url: Option<String>,
}

impl Writer {
    /// What is sent of these changes.
    pub fn write(&self, target: &Target, batch: &Batch, at: Timestamp) -> Letter {
        let values = batch.changes.iter().map(|change| self.values(change)).collect::<Vec<_>>();
        let title = match values.as_slice() {
            [one] => target.title.fill(one),
            all => target.group_title.fill(&BTreeMap::from([
                ("count", all.len().to_string()),
                ("instance", self.instance.clone()),
            ])),
        };
        let mut lines: Vec<_> =
            values.iter().take(LINES_MAX).map(|values| line(&target.line.fill(values))).collect();
        let beyond = values.len().saturating_sub(LINES_MAX);
        if 0 < beyond {
            lines.push(format!("and {beyond} more"));
        }
        let url = match batch.changes.as_slice() {
            [one] => self.url(one),
            _ => self.base_url.clone(),
        };
        lines.extend(url.clone());
        Letter {
            id: batch.id.clone(),
            at,
            title: line(&title),
            text: cut(&lines.join("\n")),
            is_trouble: batch.changes.iter().any(|change| change.over.is_none()),
            url,
            changes: batch.changes.iter().take(CHANGES_MAX).map(document).collect(),
            more: batch.changes.len().saturating_sub(CHANGES_MAX),
            kind: "conditions",
            instance: self.instance.clone(),
        }
    }

    /// A letter that only shows that letters arrive.
    pub fn test(&self, target: &Target, at: Timestamp) -> Letter {
        let instance = &self.instance;
        Letter {
            id: format!("test-{:x}", at.as_millis()),
            at,
            title: format!("A test from Berth ({instance})"),
            text: format!("The target `{}` is told so when something is wrong.", target.name),
            is_trouble: false,
            url: self.base_url.clone(),
            changes: Vec::new(),
            more: 0,
            kind: "test",
            instance: instance.clone(),
        }
    }

    fn url(&self, change: &Change) -> Option<String> {
        let base = self.base_url.as_ref()?;
        Some(match &change.key.app {
            Some(app) => format!("{base}/ui/apps/{app}"),
            None => format!("{base}/ui/host"),
        })
    }

    fn values(&self, change: &Change) -> BTreeMap<&'static str, String> {
        let app = change.key.app.as_ref().map_or_else(|| "host".to_owned(), ToString::to_string);
        BTreeMap::from([
            ("app", app),
            ("condition", change.key.word().to_owned()),
            ("state", state(change).to_owned()),
            ("reason", change.trouble.reason.clone()),
            ("message", said(change).to_owned()),
            ("since", change.trouble.since.to_string()),
            ("url", self.url(change).unwrap_or_default()),
            ("instance", self.instance.clone()),
        ])
    }
}

fn state(change: &Change) -> &'static str {
    if change.over.is_some() { "resolved" } else { "trouble" }
}

fn said(change: &Change) -> &str {
    change.over.as_deref().unwrap_or(&change.trouble.message)
}

fn document(change: &Change) -> Value {
    json!({
        "app": change.key.app,
        "condition": change.key.word(),
        "of": change.key.what,
        "state": state(change),
        "reason": change.trouble.reason,
        "message": said(change),
        "since": change.trouble.since,
    })
}

/// Who takes letters away. It waits in place: call it where that is allowed.
#[derive(Clone, Debug)]
pub struct Courier {
    /// Where the secrets are.
    pub secrets: Secrets,
    client: Arc<Client>,
}

impl Courier {
    /// Whose secrets are these.
    pub fn new(secrets: Secrets) -> Self {
        Self { secrets, client: Arc::default() }
    }

    /// Sends a letter.
    pub fn send(&self, target: &Target, letter: &Letter) -> Outcome {
        let secret = match target.secret.as_deref().map(|name| self.secrets.read(name)).transpose()
        {
            Ok(secret) => secret,
            Err(why) => return Outcome::Later(why),
        };
        let text = |secret: &[u8]| String::from_utf8_lossy(secret).into_owned();
        match &target.way {
            Way::Webhook(url) => self.webhook(url, secret.as_deref(), letter),
            Way::Ntfy { server, topic } => {
                self.ntfy((server, topic), secret.as_deref().map(text), letter)
            }
            Way::Slack => self.slack(&secret.as_deref().map(text).unwrap_or_default(), letter),
            Way::Mail(mail) => mail::send(mail, secret.as_deref().map(text).as_deref(), letter),
        }
    }

    fn webhook(&self, url: &str, secret: Option<&[u8]>, letter: &Letter) -> Outcome {
        let body = json!({
            "id": letter.id,
            "type": letter.kind,
            "at": letter.at,
            "instance": letter.instance,
            "title": letter.title,
            "text": letter.text,
            "url": letter.url,
            "changes": letter.changes,
            "more": letter.more,
        })
        .to_string();
        let signed = signature::signed(secret, body.as_bytes());
        let mut headers = vec![
            ("content-type", "application/json".to_owned()),
            ("x-berth-event", letter.kind.to_owned()),
            ("x-berth-delivery", letter.id.clone()),
        ];
        headers.extend(signed);
        self.post(url, &headers, body)
    }

    fn ntfy(
        &self,
        (server, topic): (&str, &str),
        token: Option<String>,
        letter: &Letter,
    ) -> Outcome {
        let mut body = json!({
            "topic": topic,
            "title": letter.title,
            "message": letter.text,
            "priority": if letter.is_trouble { 4 } else { 3 },
            "tags": [if letter.is_trouble { "warning" } else { "white_check_mark" }],
        });
        if let Some(url) = &letter.url {
            body["click"] = url.as_str().into();
        }
        let mut headers = vec![("content-type", "application/json".to_owned())];
        headers.extend(token.map(|token| ("authorization", format!("Bearer {token}"))));
        self.post(server, &headers, body.to_string())
    }

    fn slack(&self, url: &str, letter: &Letter) -> Outcome {
        let url = match target::address(url.trim(), true) {
            Ok(url) => url,
            Err(why) => return Outcome::Later(format!("the secret holds no address: {why}")),
        };
        // The three characters that mean something there.
        let plain =
            |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let text = format!("*{}*\n{}", plain(&letter.title), plain(&letter.text));
        let headers = [("content-type", "application/json".to_owned())];
        self.post(&url, &headers, json!({ "text": text }).to_string())
    }

    fn post(&self, url: &str, headers: &[(&str, String)], body: String) -> Outcome {
        match self.client.post(url, headers, body) {
            Answer::Taken => Outcome::Taken,
            Answer::Refused(status) => Outcome::Refused(format!("it answers {status}")),
            Answer::Later(why) => Outcome::Later(why),
        }
    }
}
