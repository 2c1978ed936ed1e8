//! `berth tree`: what an app is made of.

use serde_json::Value;

use super::{
    branches::Branch,
    document::{list, text},
    error::{Error, Exit},
    get::origin,
    output::{Output, phase, plain},
    server::{Server, app_name},
    status,
};
use crate::model::AppName;

/// What it takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The app.
    #[arg(value_parser = app_name, add = super::completion::apps())]
    name: AppName,
}

pub(super) async fn run(args: &Args, server: &Server, output: &mut Output) -> Result<Exit, Error> {
    let app = server.get(&format!("/api/v1/apps/{}", args.name)).await?;
    for line in tree(&app).lines(output) {
        output.line(&line)?;
    }
    Ok(Exit::Done)
}

fn tree(app: &Value) -> Branch {
    let field = |pointer: &str| plain(text(app, pointer));
    let mut tree = Branch::new(format!(
        "app/{}  {} ({})",
        field("/metadata/name"),
        phase(text(app, "/status/phase")),
        field("/status/reason")
    ));
    let mut manifest = Branch::new(format!("manifest {}", plain(&origin(app))));
    if let Some(git) = app.pointer("/spec/source/git") {
        manifest.push(repository(app, git));
    }
    tree.push(manifest);
    let mut image = Branch::new(format!("image {}", or_none(&field("/status/image"))));
    let digest = field("/status/imageDigest");
    if !digest.is_empty() {
        image.push(Branch::new(digest));
    }
    tree.push(image);
    let container: String = field("/status/containerId").chars().take(12).collect();
    let mut container = Branch::new(format!("container {}", or_none(&container)));
    for port in list(app, "/status/ports") {
        container.push(Branch::new(format!("port {}", plain(&status::port(port)))));
    }
    for gpu in list(app, "/status/gpus").iter().filter_map(Value::as_str) {
        container.push(Branch::new(format!("gpu {}", plain(gpu))));
    }
    for mount in list(app, "/spec/mounts") {
        container.push(Branch::new(plain(&self::mount(mount))));
    }
    for secret in secrets(app) {
        container.push(Branch::new(plain(&secret)));
    }
    tree.push(container);
    for other in list(app, "/spec/dependsOn").iter().filter_map(Value::as_str) {
        tree.push(Branch::new(format!("depends on app/{}", plain(other))));
    }
    tree
}

fn or_none(text: &str) -> &str {
    if text.is_empty() { "(none yet)" } else { text }
}

fn repository(app: &Value, git: &Value) -> Branch {
    let wanted = match text(git, "/ref") {
        "" => "HEAD",
        wanted => wanted,
    };
    let url = plain(text(git, "/url"));
    let repository = Branch::new(format!("repository {url} at {}", plain(wanted)));
    match text(app, "/status/commit") {
        "" => repository,
        commit => repository.with(Branch::new(format!("commit {}", plain(commit)))),
    }
}

/// A mount, by what is mounted.
fn mount(mount: &Value) -> String {
    let path = text(mount, "/path");
    for kind in ["model", "volume", "host", "secret"] {
        match mount.get(kind) {
            Some(Value::String(name)) => return format!("{kind} {name} at {path}"),
            Some(Value::Object(what)) => {
                let name = what.get("name").and_then(Value::as_str).unwrap_or_default();
                return format!("{kind} {name} at {path}");
            }
            _ => {}
        }
    }
    format!("memory at {path}")
}

/// The secrets that the environment is made from.
fn secrets(app: &Value) -> Vec<String> {
    let env = app.pointer("/spec/env").and_then(Value::as_object).into_iter().flatten();
    let named = env.filter_map(|(name, value)| {
        let secret = value.get("secret").or_else(|| value.pointer("/secretRef/name"))?.as_str()?;
        Some(format!("secret {secret} as {name}"))
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn mounts_are_named_by_what_they_hold() {
        assert_eq!(mount(&json!({"path": "/m", "volume": "v"})), "volume v at /m");
        assert_eq!(mount(&json!({"path": "/m", "secret": "s"})), "secret s at /m");
        assert_eq!(mount(&json!({"path": "/m", "model": {"name": "a/b"}})), "model a/b at /m");
        assert_eq!(mount(&json!({"path": "/m", "tmpfs": {}})), "memory at /m");
    }
}
