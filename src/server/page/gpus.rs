//! The GPUs: who has them, and who waits.

use askama::Template;
use axum::{extract::State, response::Response};
use serde_json::Value;

use super::{
    Look, Shell, body_of, show,
    words::{self, Bar},
};
use crate::model::format_bytes;
use crate::server::gpus;

#[derive(Template)]
#[template(path = "gpus.html", config = "src/server/templates/askama.toml")]
struct Page {
    shell: Shell,
    cards: Vec<Card>,
    queue: Vec<Waiting>,
    driver: String,
    note: String,
    is_stale: bool,
}

/// A card.
struct Card {
    uuid: String,
    index: u64,
    model: String,
    is_well: bool,
    problems: Vec<String>,
    bars: Vec<Bar>,
    figures: Vec<(&'static str, String)>,
    /// What each holder takes of the memory: a part of the bar, in percent, and where it begins.
    stack: Vec<Part>,
    total: String,
    holders: Vec<Holder>,
}

struct Part {
    from: u64,
    width: u64,
    tone: u64,
    title: String,
}

struct Holder {
    kind: String,
    name: String,
    is_app: bool,
    share: String,
    used: String,
    promised: String,
    note: &'static str,
    tone: u64,
}

struct Waiting {
    app: String,
    message: String,
}

/// `GET /ui/gpus`
pub(in super::super) async fn gpus(look: Look) -> Response {
    let listed = gpus::list(State(look.shared.clone())).await;
    let listed = match listed {
        Ok(listed) => body_of(listed).await,
        Err(problem) => return look.problem(&problem),
    };
    let document: Value = serde_json::from_str(&listed).unwrap_or_default();
    let rows = |name: &str| document[name].as_array().cloned().unwrap_or_default();
    let by = text(&document, "by");
    let cuda = document["cuda"].as_str().map(|cuda| format!(", CUDA {cuda}")).unwrap_or_default();
    show(&Page {
        shell: look.shell("GPUs", "gpus"),
        cards: rows("gpus").iter().map(card).collect(),
        queue: rows("queue").iter().map(waiting).collect(),
        driver: match text(&document, "driver").as_str() {
            "" => String::new(),
            driver => format!("Driver {driver}{cuda}, read by {by}"),
        },
        note: text(&document, "note"),
        is_stale: document["isStale"] == true,
    })
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_default().to_owned()
}

fn waiting(row: &Value) -> Waiting {
    let name = ["app", "name"].into_iter().find_map(|key| row[key].as_str()).unwrap_or_default();
    let message = ["message", "why", "reason"].into_iter().find_map(|key| row[key].as_str());
    Waiting { app: name.to_owned(), message: message.unwrap_or_default().to_owned() }
}

fn card(card: &Value) -> Card {
    let memory = &card["memory"];
    let total = memory["total"].as_u64().unwrap_or(0);
    let used = memory["used"].as_u64().unwrap_or(0) + memory["reserved"].as_u64().unwrap_or(0);
    let mut bars = Vec::new();
    if 0 < total {
        bars.push(words::bytes_bar("Memory in use", used, total));
        if let Some(asked) = memory["asked"].as_u64() {
            // A card that is given away as a whole is as it should be.
            let bar = words::bytes_bar(&asked_by(card), asked, total);
            bars.push(Bar { tone: "plain", ..bar });
        }
    }
    if let Some(busy) = card["utilizationPercent"].as_u64() {
        bars.push(words::percent_bar("At work", busy));
    }
    let holders: Vec<_> = card["holders"].as_array().into_iter().flatten().collect();
    let health = &card["health"];
    let problems = health["problems"].as_array().into_iter().flatten();
    let said = |problem: &Value| match problem {
        Value::String(text) => text.clone(),
        other => ["message", "kind"]
            .into_iter()
            .find_map(|key| other[key].as_str())
            .unwrap_or("not well")
            .to_owned(),
    };
    Card {
        uuid: text(card, "uuid"),
        index: card["index"].as_u64().unwrap_or(0),
        model: text(card, "model"),
        is_well: health["isWell"] != false,
        problems: problems.map(said).collect(),
        bars,
        figures: figures(card),
        stack: stack(&holders, total),
        total: format_bytes(total),
        holders: holders.iter().enumerate().map(|(at, row)| holder(row, at)).collect(),
    }
}

/// What the bar of the promised memory is called: by how many it was asked for.
fn asked_by(card: &Value) -> String {
    match (card["isAlone"] == true, card["shares"].as_u64()) {
        (true, _) => "Asked for by one alone".to_owned(),
        (_, Some(count @ 2..)) => format!("Asked for by {count}"),
        _ => "Asked for".to_owned(),
    }
}

fn figures(card: &Value) -> Vec<(&'static str, String)> {
    let mut all = Vec::new();
    let whole = |name: &str| card[name].as_f64().map(|value| format!("{value:.0}"));
    let mut put = |label, text: Option<String>| all.extend(text.map(|text| (label, text)));
    put("Temperature", whole("temperatureCelsius").map(|c| format!("{c} °C")));
    let limit = whole("powerLimitWatts").map(|limit| format!(" of {limit}")).unwrap_or_default();
    put("Power", whole("powerWatts").map(|watts| format!("{watts}{limit} W")));
    put("Clock", whole("smClockMhz").map(|mhz| format!("{mhz} MHz")));
    put("ECC errors", whole("eccUncorrected"));
    put("Last XID", card["health"]["lastXid"].as_u64().map(|xid| xid.to_string()));
    all
}

fn amount(row: &Value) -> u64 {
    let of = |name: &str| row[name].as_u64().unwrap_or(0);
    of("usedBytes").max(of("promisedBytes"))
}

/// The holders side by side, as parts of the whole memory.
fn stack(holders: &[&Value], total: u64) -> Vec<Part> {
    let mut from = 0;
    let parts = holders.iter().enumerate().map(|(at, row)| {
        let width = words::percent(amount(row), total).min(100 - from);
        let title = format!("{}: {}", text(row, "name"), format_bytes(amount(row)));
        let part = Part { from, width, tone: tone(at), title };
        from += width;
        part
    });
    parts.filter(|part| 0 < part.width).collect()
}

fn tone(at: usize) -> u64 {
    u64::try_from(at % 6).unwrap_or(0)
}

fn holder(row: &Value, at: usize) -> Holder {
    let bytes = |name: &str| row[name].as_u64().map(format_bytes).unwrap_or_default();
    let kind = text(row, "kind");
    Holder {
        is_app: kind == "app",
        kind,
        name: text(row, "name"),
        share: text(row, "share"),
        used: bytes("usedBytes"),
        promised: bytes("promisedBytes"),
        note: if row["isWaited"] == true {
            "was given it, does not run yet"
        } else if row["isUnasked"] == true {
            "uses it without having asked"
        } else {
            ""
        },
        tone: tone(at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_asked_for_stands_beside_what_is_used() {
        let shown = |alone: bool, shares: u64| {
            let memory = json!({"total": 80_u64 << 30, "used": 8_u64 << 30, "asked": 60_u64 << 30});
            let seen =
                json!({"uuid": "GPU-a", "memory": memory, "isAlone": alone, "shares": shares});
            let bars = card(&seen).bars;
            bars.iter().map(|bar| format!("{}: {}", bar.label, bar.text)).collect::<Vec<_>>()
        };
        let used = "Memory in use: 8Gi of 80Gi";
        assert_eq!(shown(false, 3), [used, "Asked for by 3: 60Gi of 80Gi"]);
        assert_eq!(shown(true, 1), [used, "Asked for by one alone: 60Gi of 80Gi"]);
        assert_eq!(shown(false, 1), [used, "Asked for: 60Gi of 80Gi"]);
    }

    #[test]
    fn holders_stand_side_by_side_and_never_beyond_the_card() {
        let rows =
            [json!({"usedBytes": 60}), json!({"promisedBytes": 30}), json!({"usedBytes": 40})];
        let rows: Vec<_> = rows.iter().collect();
        let parts: Vec<_> = stack(&rows, 100).iter().map(|part| (part.from, part.width)).collect();
        assert_eq!(parts, [(0, 60), (60, 30), (90, 10)]);
        assert!(stack(&rows, 0).is_empty());
    }
}
