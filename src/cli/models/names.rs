//! `berth models alias`.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;

use crate::cli::{
    document::text,
    error::{Error, Exit},
    output::{Output, plain},
    server::Server,
};

/// Reads `project/app`.
pub(super) fn app(text: &str) -> Result<(String, String), String> {
    match text.trim_matches('/').split_once('/') {
        Some((project, app)) if !app.contains('/') && !project.is_empty() => {
            Ok((project.to_owned(), app.to_owned()))
        }
        _ => Err("write project/app".to_owned()),
    }
}

/// Shows an app's aliases, lets one stand for a version, or removes it.
pub(super) async fn alias(
    (project, app): &(String, String),
    alias: Option<&str>,
    version: Option<&str>,
    is_removed: bool,
    (server, output): (&Server, &mut Output),
) -> Result<Exit, Error> {
    let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let path = format!("/models/{}/{}/aliases", encode(project), encode(app));
    let Some(alias) = alias else {
        let all = server.get(&path).await?;
        for (alias, version) in all["aliases"].as_object().into_iter().flatten() {
            let version = version.as_str().unwrap_or_default();
            output.line(&plain(&format!("{alias} is {version}")))?;
        }
        return Ok(Exit::Done);
    };
    let path = format!("{path}/{}", encode(alias));
    let said = match version {
        _ if is_removed => {
            server.delete(&path).await?;
            format!("alias/{project}/{app}/{alias} removed")
        }
        Some(version) => {
            let body = json!({ "version": version }).to_string().into_bytes();
            server.put(&path, ("application/json", body)).await?;
            format!("alias/{project}/{app}/{alias} is {version}")
        }
        None => format!("{alias} is {}", text(&server.get(&path).await?, "/version")),
    };
    output.line(&plain(&said))?;
    Ok(Exit::Done)
}
