//! One stored model: all that is known of it, who uses it, and what its going would break.

use askama::Template;
use axum::response::{IntoResponse as _, Response};
use serde_json::Value;

use super::{Look, Shell, models::said, show};
use crate::auth::Mode;
use crate::model::format_duration;
use crate::server::{
    models::{self, Asker, Named},
    problem::Problem,
};
use crate::store::{Entry, Error, Key, Store};

/// How much of one value is shown.
const VALUE_MAX: usize = 2000;

#[derive(Template)]
#[template(path = "model.html", config = "src/server/templates/askama.toml")]
struct Page {
    shell: Shell,
    key: Key,
    path: String,
    facts: Facts,
    inspection: Facts,
    users: Vec<String>,
    /// Words by which manifests name the version, and the apps of those manifests.
    words: Vec<Word>,
    is_frozen: bool,
    /// How long it can be brought back once it is removed; none is not at all.
    kept: Option<String>,
}

type Facts = Vec<(String, String)>;

struct Word {
    word: String,
    apps: Vec<String>,
}

/// What the store says of a model.
struct Known {
    entry: std::sync::Arc<Entry>,
    inspection: Value,
    words: Vec<String>,
    is_frozen: bool,
}

/// `GET /ui/models/{project}/{app}/{version}/{model}`
pub(in super::super) async fn model(
    look: Look,
    Named((project, app, version, model)): Named<(String, String, String, String)>,
) -> Response {
    let shown = async {
        let name = format!("{project}/{app}/{version}/{model}");
        let no_such = || {
            let detail = format!("the store has no model `{name}`");
            Problem::new(
                axum::http::StatusCode::NOT_FOUND,
                "model.not-found",
                "No such model",
                detail,
            )
        };
        let key = Key::new(&project, &app, &version, &model).map_err(|_| no_such())?;
        let asker = Asker(look.who.clone(), look.client);
        if let Err(refused) = asker.check(Mode::Read, &key.project) {
            return Err(refusal(refused.into_response()).await);
        }
        let store = match models::store_of(&look.shared).await {
            Ok(store) => store,
            Err(refused) => return Err(refusal(refused.into_response()).await),
        };
        let ttl = store.settings().trash_ttl;
        let wanted = key.clone();
        let reading = tokio::task::spawn_blocking(move || known(&store, &wanted));
        let known = reading.await.map_err(|_| Problem::failed())?.map_err(|_| no_such())?;
        Ok(show(&page(&look, known, (!ttl.is_zero()).then(|| format_duration(ttl)))))
    };
    look.answer(shown.await)
}

async fn refusal(refused: Response) -> Problem {
    let status = refused.status();
    Problem::new(status, "model.refused", "The model store refused", said(refused).await)
}

fn known(store: &Store, key: &Key) -> Result<Known, Error> {
    let entry = store.get(key)?;
    let record = store.app(&key.project, &key.app);
    let stands = record.aliases.iter().filter(|(_, version)| **version == key.version);
    let mut words: Vec<_> = stands.map(|(alias, _)| alias.clone()).collect();
    let latest = store.latest(&key.project, &key.app);
    if latest.as_deref() == Some(&*key.version) && !words.iter().any(|word| word == "latest") {
        words.push("latest".to_owned());
    }
    Ok(Known {
        inspection: models::inspection(store, &entry),
        is_frozen: record.frozen.contains(&key.version),
        words,
        entry,
    })
}

fn page(look: &Look, known: Known, kept: Option<String>) -> Page {
    let Known { entry, inspection, words, is_frozen } = known;
    let key = entry.key.clone();
    let of = (key.project.as_str(), key.app.as_str());
    let namers = |word: String| {
        let apps = models::namers(&look.shared, of, &word);
        Word { word, apps }
    };
    let users = models::users(&look.shared, &key).iter().map(ToString::to_string).collect();
    Page {
        shell: look.shell(key.model.clone(), "models"),
        path: key.path(),
        facts: facts(&serde_json::from_str(&entry.listed()).unwrap_or_default()),
        inspection: facts(&inspection),
        users,
        words: words.into_iter().map(namers).collect(),
        is_frozen,
        kept,
        key,
    }
}

/// A document's fields, each as a text; what is empty says nothing.
fn facts(document: &Value) -> Facts {
    let fields = document.as_object().into_iter().flatten();
    fields
        .map(|(name, value)| (name.replace('_', " "), words(value)))
        .filter(|(_, text)| !text.is_empty())
        .collect()
}

fn words(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(is_so) => (if *is_so { "yes" } else { "no" }).to_owned(),
        Value::Array(all) if !all.iter().any(|one| one.is_object() || one.is_array()) => {
            all.iter().map(words).collect::<Vec<_>>().join(", ")
        }
        Value::Array(all) => all.iter().map(words).collect::<Vec<_>>().join("\n"),
        Value::Object(fields) => {
            let one = |(name, value): (&String, &Value)| format!("{name}: {}", words(value));
            fields.iter().map(one).collect::<Vec<_>>().join("; ")
        }
        Value::Number(number) => number.to_string(),
    };
    match text.char_indices().nth(VALUE_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_shown_in_words_and_none_without_end() {
        let long = "x".repeat(3 * VALUE_MAX);
        let document = serde_json::json!({
            "app_name": "llm", "size": 3, "served": true, "tags": ["a", "b"], "nothing": null,
            "findings": [{"code": "pickle.global", "count": 2}], "long": long,
        });
        let facts = facts(&document);
        let of = |name: &str| facts.iter().find(|(known, _)| known == name).map(|(_, text)| text);
        assert_eq!(of("app name").unwrap(), "llm");
        assert_eq!((of("size").unwrap().as_str(), of("served").unwrap().as_str()), ("3", "yes"));
        assert_eq!(of("tags").unwrap(), "a, b");
        assert_eq!(of("findings").unwrap(), "code: pickle.global; count: 2");
        assert_eq!(of("nothing"), None);
        assert_eq!(of("long").unwrap().chars().count(), VALUE_MAX + 1);
    }
}
