//! `berth models info` and `berth models verify`: what is inside models, and whether it is what it was.

use serde_json::Value;

use super::{
    document::{self, Format, list, text},
    error::{Error, Exit},
    output::{Output, plain},
    server::Server,
};
use crate::model::format_bytes;
use crate::store::Key;

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

/// Says what is known of a model.
pub(super) async fn info(
    name: &Key,
    format: &Format,
    server: &Server,
    output: &mut Output,
) -> Result<Exit, Error> {
    let info = server.get(&format!("{}/info", name.path())).await?;
    match format {
        Format::Json | Format::Yaml | Format::Path(_) => {
            document::write_as(output, &info, format)?;
        }
        Format::Name => output.line(&plain(&format!("model/{name}")))?,
        Format::Table | Format::Wide => {
            for line in lines(&info) {
                output.line(&plain(&line))?;
            }
        }
    }
    Ok(Exit::Done)
}

fn lines(info: &Value) -> Vec<String> {
    let inner = &info["inspection"];
    let mut all = Vec::new();
    let mut say = |name: &str, value: String| {
        if !value.is_empty() {
            all.push(format!("{name:<12} {value}"));
        }
    };
    let names = ["/project_id", "/app_name", "/version", "/model_name"];
    say("model", names.map(|part| text(info, part)).join("/"));
    say("size", format_bytes(number(&info["size"])));
    say("sha256", text(info, "/sha256").to_owned());
    say("uploaded", text(info, "/upload_timestamp").to_owned());
    say("description", text(info, "/description").to_owned());
    say("format", text(inner, "/format").to_owned());
    let waiting = "nobody has looked yet".to_owned();
    let safety = text(inner, "/safety").to_owned();
    say("safety", if safety.is_empty() { waiting } else { safety });
    let parameters = inner["total_parameters"].as_u64();
    say("parameters", parameters.map(|count| count.to_string()).unwrap_or_default());
    let weights = inner["weight_bytes"].as_u64();
    say("weights", weights.map(format_bytes).unwrap_or_default());
    for finding in list(inner, "/findings") {
        say("finding", format!("{}: {}", text(finding, "/safety"), text(finding, "/detail")));
    }
    for import in list(inner, "/imports") {
        let names = ["/module", "/name"].map(|part| text(import, part)).join(".");
        say("import", format!("{}: {names}", text(import, "/safety")));
    }
    if inner["served"] == false {
        say("not served", text(inner, "/reason").to_owned());
    }
    all
}

/// Has the controller read a model again, or says how its own reading stands.
pub(super) async fn verify(
    name: Option<&Key>,
    server: &Server,
    output: &mut Output,
) -> Result<Exit, Error> {
    let Some(name) = name else { return health(server, output).await };
    let path = name.path();
    let path = path.strip_prefix("/models").unwrap_or(&path);
    let told = server.post(&format!("/api/v1/models/verify{path}")).await?;
    let found = text(&told, "/found");
    output.line(&plain(&format!("model/{name} is {found}: {}", text(&told, "/sha256"))))?;
    Ok(if found == "good" { Exit::Done } else { Exit::NotSo })
}

async fn health(server: &Server, output: &mut Output) -> Result<Exit, Error> {
    let told = server.get("/api/v1/models/health").await?;
    let scrub = &told["scrub"];
    let (contents, bytes) = (number(&scrub["contents"]), number(&scrub["bytes"]));
    let ended = match text(scrub, "/ended") {
        "" => "never".to_owned(),
        at => at.to_owned(),
    };
    output.line(&plain(&format!("all was read again: {ended}")))?;
    let now = format!("this round: {contents} contents, {}", format_bytes(bytes));
    output.line(&plain(&now))?;
    let rotten = list(&told, "/quarantined");
    for one in rotten {
        let models: Vec<_> = list(one, "/models").iter().filter_map(Value::as_str).collect();
        let (digest, at) = (text(one, "/sha256"), text(one, "/found_at"));
        output.line(&plain(&format!("in quarantine since {at}: {digest} {}", models.join(" "))))?;
    }
    Ok(if rotten.is_empty() { Exit::Done } else { Exit::NotSo })
}
