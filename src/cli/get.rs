//! `berth get`: the apps, or one of them; or what else there is.

use serde_json::Value;

use super::{
    document::{self, Format, ago, behind, condition, list, revision, text},
    error::{Error, Exit},
    gpu, images, models,
    output::Output,
    ports,
    server::{Server, app_name},
    watch,
};
use crate::model::AppName;

/// What it takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What: `apps` (if it is not said), `gpus`, `images`, `models` or `ports`; then the name of one
    /// app, or words of models. A name alone is an app's, and `app/NAME` always is.
    #[arg(value_name = "KIND|NAME", num_args = 0..=2, add = super::completion::kinds_and_apps())]
    what: Vec<String>,
    /// Go on, and show each app again as it changes; with `-o json` one object per line.
    #[arg(short, long)]
    watch: bool,
    /// How the answer is written.
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    output: Format,
}

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    Apps(Option<AppName>),
    Gpus,
    Images,
    Models(String),
    Ports,
}

fn wanted(what: &[String]) -> Result<Wanted, Error> {
    let (kind, name) = match what {
        [] => return Ok(Wanted::Apps(None)),
        [kind] => (kind, None),
        [kind, name, ..] => (kind, Some(name)),
    };
    let app = |name: &String| {
        let wrong = |why| Error::new(Exit::Trouble, format!("`{name}` is no app's name: {why}"));
        app_name(name).map_err(wrong)
    };
    let alone = |wanted| match name {
        None => Ok(wanted),
        Some(name) => {
            let what = format!("`{kind}` are listed all together, and not by the name `{name}`");
            Err(Error::new(Exit::Trouble, what).fix(format!("berth get {kind} -o json")))
        }
    };
    match (kind.as_str(), name) {
        ("app" | "apps", name) => name.map(app).transpose().map(Wanted::Apps),
        ("gpu" | "gpus", _) => alone(Wanted::Gpus),
        ("image" | "images", _) => alone(Wanted::Images),
        ("model" | "models", words) => Ok(Wanted::Models(words.cloned().unwrap_or_default())),
        ("port" | "ports", _) => alone(Wanted::Ports),
        (_, None) => app(kind).map(Some).map(Wanted::Apps),
        (_, Some(_)) => Err(Error::new(Exit::Trouble, format!("`{kind}` is no kind of thing"))
            .fix("one of `apps`, `gpus`, `images`, `models`, `ports`")),
    }
}

pub(super) async fn run(args: &Args, server: &Server, output: &mut Output) -> Result<Exit, Error> {
    let name = match wanted(&args.what)? {
        Wanted::Apps(name) => name,
        _ if args.watch => {
            return Err(Error::new(Exit::Trouble, "only apps can be watched")
                .fix("berth get --watch, or berth top"));
        }
        Wanted::Gpus => return gpu::ls(&args.output, server, output).await,
        Wanted::Images => return images::ls(&args.output, server, output).await,
        Wanted::Models(words) => return models::ls(&words, &args.output, server, output).await,
        Wanted::Ports => return ports::ls(&args.output, server, output).await,
    };
    if args.watch {
        return watch::run(name.as_ref(), &args.output, server, output).await;
    }
    let (document, apps) = if let Some(name) = &name {
        let app = server.get(&format!("/api/v1/apps/{name}")).await?;
        (app.clone(), vec![app])
    } else {
        let all = server.get("/api/v1/apps").await?;
        let apps = list(&all, "/items").to_vec();
        (all, apps)
    };
    match &args.output {
        Format::Json | Format::Yaml | Format::Path(_) => {
            document::write_as(output, &document, &args.output)?;
        }
        Format::Name => {
            for app in &apps {
                output.line(&format!("app/{}", text(app, "/metadata/name")))?;
            }
        }
        Format::Table | Format::Wide => show(&apps, args.output == Format::Wide, output)?,
    }
    if name.is_none() {
        warn(&document, output);
    }
    Ok(Exit::Done)
}

fn show(apps: &[Value], is_wide: bool, output: &mut Output) -> Result<(), Error> {
    if apps.is_empty() {
        output.remark("no app is registered; `berth apply -f FILE` registers one");
        return Ok(());
    }
    let is_absolute = is_wide || !output.is_terminal();
    let header = header(is_absolute, is_wide);
    let rows: Vec<_> = apps.iter().map(|app| row(app, is_absolute, is_wide)).collect();
    output.table(&header, &rows)
}

/// What the columns are called.
pub(super) fn header(is_absolute: bool, is_wide: bool) -> Vec<&'static str> {
    let mut header = vec!["NAME", "READY", "STATUS", "REASON", "GPU", "VRAM", "URL", "REVISION"];
    header.push(if is_absolute { "SINCE" } else { "AGE" });
    if is_wide {
        header.extend(["BEHIND", "RESTARTS", "IMAGE", "CONTAINER", "MANIFEST"]);
    }
    header
}

/// What they say of an app.
pub(super) fn row(app: &Value, is_absolute: bool, is_wide: bool) -> Vec<String> {
    let ready = match condition(app, "Ready") {
        Some("True") => "yes",
        Some("False") => "no",
        _ => "unknown",
    };
    let since = text(app, "/status/since");
    let mut row = vec![
        text(app, "/metadata/name").to_owned(),
        ready.to_owned(),
        standing(app).to_owned(),
        text(app, "/status/reason").to_owned(),
        gpus(app),
        memory(app),
        text(app, "/status/url").to_owned(),
        revision(app),
        if is_absolute { since.to_owned() } else { ago(since) },
    ];
    if is_wide {
        let restarts = app.pointer("/status/restarts").and_then(Value::as_u64).unwrap_or_default();
        row.extend([
            behind(app).unwrap_or_default(),
            restarts.to_string(),
            text(app, "/status/image").to_owned(),
            text(app, "/status/containerId").chars().take(12).collect(),
            origin(app),
        ]);
    }
    row
}

/// How it stands, in a word: its phase, unless that comes from what its manifest says.
fn standing(app: &Value) -> &str {
    let is_wrong = |condition: &Value| {
        text(condition, "/type") == "Accepted" && text(condition, "/reason") == "InvalidManifest"
    };
    match text(app, "/status/phase") {
        _ if list(app, "/status/conditions").iter().any(is_wrong) => "Invalid",
        "Paused" if text(app, "/status/reason") == "Suspended" => "Suspended",
        phase => phase,
    }
}

/// How many GPUs it has; of how many that it asked for, where it has fewer.
fn gpus(app: &Value) -> String {
    let has = list(app, "/status/gpus").len();
    let asked = app.pointer("/spec/gpus/count").and_then(Value::as_u64);
    let asked = asked.and_then(|count| usize::try_from(count).ok()).unwrap_or_default();
    match (has, asked) {
        (0, 0) => String::new(),
        (has, asked) if has < asked => format!("{has}/{asked}"),
        (has, _) => has.to_string(),
    }
}

/// The memory of GPUs that it is promised.
fn memory(app: &Value) -> String {
    let each = text(app, "/spec/gpus/memory");
    match app.pointer("/spec/gpus/count").and_then(Value::as_u64) {
        Some(count) if 1 < count && !each.is_empty() => format!("{count}x{each}"),
        _ => each.to_owned(),
    }
}

/// Where an app's manifest is.
pub(super) fn origin(app: &Value) -> String {
    match app.pointer("/metadata/origin/line").and_then(Value::as_u64) {
        Some(line) => format!("{}:{line}", text(app, "/metadata/origin/file")),
        None => String::new(),
    }
}

/// Says what is wrong beside the apps.
pub(super) fn warn(all: &Value, output: &mut Output) {
    for pointer in [
        "/source/error",
        "/source/hold/message",
        "/engine/error",
        "/engine/warning",
        "/certificate/warning",
    ] {
        match text(all, pointer) {
            "" => {}
            trouble => output.warn(trouble),
        }
    }
    for diagnostic in list(all, "/source/diagnostics") {
        let line = diagnostic.pointer("/line").and_then(Value::as_u64).unwrap_or_default();
        let message = text(diagnostic, "/message");
        output.warn(&format!("{}:{line}: {message}", text(diagnostic, "/file")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpus_are_those_that_are_held_of_those_that_are_asked_for() {
        let app = |count: u64, has: &[&str]| {
            serde_json::json!({
                "spec": {"gpus": {"count": count, "memory": "8Gi"}}, "status": {"gpus": has},
            })
        };
        let shown = |app: &Value| (gpus(app), memory(app));
        assert_eq!(shown(&app(1, &["a"])), ("1".to_owned(), "8Gi".to_owned()));
        assert_eq!(shown(&app(2, &["a"])), ("1/2".to_owned(), "2x8Gi".to_owned()));
        assert_eq!(shown(&serde_json::json!({"spec": {}})), (String::new(), String::new()));
    }

    #[test]
    fn what_the_manifest_says_is_a_word_of_its_own() {
        let app = |phase: &str, reason: &str, accepted: &str| {
            let conditions = [serde_json::json!({"type": "Accepted", "reason": accepted})];
            serde_json::json!({
                "status": {"phase": phase, "reason": reason, "conditions": conditions},
            })
        };
        assert_eq!(standing(&app("Running", "Healthy", "Valid")), "Running");
        assert_eq!(standing(&app("Paused", "Suspended", "Valid")), "Suspended");
        assert_eq!(standing(&app("Paused", "Paused", "Valid")), "Paused");
        assert_eq!(standing(&app("Running", "Healthy", "InvalidManifest")), "Invalid");
    }

    #[test]
    fn a_word_is_a_kind_or_else_the_name_of_an_app() {
        let of = |text: &str| {
            wanted(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).ok()
        };
        let app = |name: &str| Some(Wanted::Apps(Some(AppName::new(name).unwrap())));
        assert_eq!(of(""), Some(Wanted::Apps(None)));
        assert_eq!(of("apps"), Some(Wanted::Apps(None)));
        assert_eq!(
            (of("chat"), of("app/chat"), of("app chat")),
            (app("chat"), app("chat"), app("chat"))
        );
        assert_eq!((of("app/images"), of("app ports")), (app("images"), app("ports")));
        assert_eq!(
            (of("gpus"), of("ports"), of("images")),
            (Some(Wanted::Gpus), Some(Wanted::Ports), Some(Wanted::Images))
        );
        assert_eq!(of("models llama"), Some(Wanted::Models("llama".to_owned())));
        for wrong in ["gpus 0", "things chat", "apps a/b", "CHAT"] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }
}
