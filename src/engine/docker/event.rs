//! An event, read.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::super::Hint;
use crate::model::Timestamp;
use crate::state::{ContainerId, owner_of};

/// One event.
#[derive(Default, Deserialize)]
#[serde(default)]
struct EventWire {
    #[serde(rename = "Action")]
    action: Option<String>,
    #[serde(rename = "Actor")]
    actor: Option<ActorWire>,
    time: Option<i64>,
    #[serde(rename = "timeNano")]
    time_nano: Option<i64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ActorWire {
    #[serde(rename = "ID")]
    id: Option<String>,
    #[serde(rename = "Attributes")]
    attributes: Option<BTreeMap<String, String>>,
}

/// Reads an event; one that can't be read is still a reason to look.
pub(super) fn hint_of(instance: &str, line: &[u8]) -> Option<Hint> {
    if line.trim_ascii().is_empty() {
        return None;
    }
    // What does not even end as one does is not worth an error.
    let is_whole = line.trim_ascii_end().ends_with(b"}");
    let wire = is_whole.then(|| serde_json::from_slice(line).ok()).flatten();
    let wire: EventWire = wire.unwrap_or_default();
    let ActorWire { id, attributes } = wire.actor.unwrap_or_default();
    let labels = attributes.unwrap_or_default();
    let action = wire.action.unwrap_or_else(|| "unreadable".to_owned());
    // A renamed container was ours under its old name.
    let key = if action == "rename" { "oldName" } else { "name" };
    let name = labels.get(key).map_or("", |name| name.trim_start_matches('/'));
    let app = owner_of(instance, name, &labels).app().cloned();
    let millis = wire
        .time_nano
        .map(|nanos| nanos / 1_000_000)
        .or_else(|| wire.time.map(|seconds| seconds.saturating_mul(1000)));
    let is_urgent = app.is_some() && Hint::is_urgent_action(&action);
    let (container, at) = (id.map(ContainerId::new), millis.map(Timestamp::from_millis));
    Some(Hint { app, container, action, at, is_urgent })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_of_ours_names_its_app() {
        let labels = r#""dev.berth.instance":"home","dev.berth.app":"chat",
            "dev.berth.generation":"1","dev.berth.spec-hash":"v1:0123456789abcdef""#;
        let event = |action: &str, name: &str| {
            let text = format!(
                r#"{{"Action":"{action}","Actor":{{"Attributes":{{{name},{labels}}}}},"timeNano":5000000}}"#
            );
            hint_of("home", text.as_bytes()).unwrap()
        };
        let die = event("die", r#""name":"chat-01234567""#);
        assert_eq!(die.app.map(|app| app.to_string()).as_deref(), Some("chat"));
        assert!(die.is_urgent);
        assert_eq!(die.at, Some(Timestamp::from_millis(5)));
        assert!(!event("kill", r#""name":"chat-01234567""#).is_urgent);
        // It had our name, and a name is part of being ours (fault D21).
        let renamed = event("rename", r#""name":"x","oldName":"/chat-01234567""#);
        assert!(renamed.app.is_some() && renamed.is_urgent);
        assert!(event("die", r#""name":"copy""#).app.is_none());
    }

    #[test]
    fn an_event_that_can_not_be_read_is_still_a_hint() {
        assert_eq!(hint_of("home", b"{\"Action\":5}\n").unwrap().action, "unreadable");
        assert_eq!(hint_of("home", b"\n"), None);
    }
}
