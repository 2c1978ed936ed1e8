//! `berth get -w`: the apps, and each of them again as it changes.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    document::{self, Format, list, text},
    error::{Error, Exit},
    get,
    output::{Output, phase, plain},
    server::Server,
    sse::Stream,
};
use crate::model::AppName;

/// What was shown last, and how wide.
#[derive(Default)]
struct Shown {
    /// The cells of each app.
    rows: BTreeMap<String, Vec<String>>,
    widths: Vec<usize>,
}

pub(super) async fn run(
    name: Option<&AppName>,
    format: &Format,
    server: &Server,
    output: &mut Output,
) -> Result<Exit, Error> {
    let mut path = "/api/v1/events".to_owned();
    if let Some(name) = name {
        // One that is not there would never change.
        server.get(&format!("/api/v1/apps/{name}")).await?;
        path = format!("{path}?app={name}");
    }
    let mut stream = Stream::new(server.follow(&path, "text/event-stream").await?);
    let mut shown = Shown::default();
    while let Some(event) = stream.next().await? {
        let Ok(body) = serde_json::from_str::<Value>(&event.body) else { continue };
        match event.kind.as_str() {
            "snapshot" => shown.all(list(&body, "/items"), format, output)?,
            "upsert" => shown.one(&body, format, output)?,
            "delete" => shown.gone(text(&body, "/name"), format, output)?,
            "resync" => output.warn("some changes were missed"),
            _ => {}
        }
    }
    Err(Error::new(Exit::Unreachable, "the controller has ended the stream"))
}

impl Shown {
    fn all(&mut self, apps: &[Value], format: &Format, output: &mut Output) -> Result<(), Error> {
        if let Format::Table | Format::Wide = format
            && self.widths.is_empty()
        {
            let is_wide = *format == Format::Wide;
            let header = get::header(is_wide || !output.is_terminal(), is_wide);
            let header: Vec<_> = header.iter().map(ToString::to_string).collect();
            let rows = apps.iter().map(|app| cells(app, format, output)).chain([header.clone()]);
            for row in rows {
                self.widths.resize(row.len(), 0);
                for (width, cell) in self.widths.iter_mut().zip(&row) {
                    *width = (*width).max(cell.chars().count());
                }
            }
            self.line(&header, output)?;
        }
        apps.iter().try_for_each(|app| self.one(app, format, output))
    }

    /// Shows an app, unless nothing that is shown of it has changed.
    fn one(&mut self, app: &Value, format: &Format, output: &mut Output) -> Result<(), Error> {
        let name = text(app, "/metadata/name").to_owned();
        match format {
            Format::Json => output.line(&json!({ "event": "upsert", "app": app }).to_string()),
            Format::Yaml => output.line(&format!("---\n{}", document::yaml(app)?.trim_end())),
            Format::Path(_) => document::write_as(output, app, format).map(|_| ()),
            Format::Name => output.line(&format!("app/{}", plain(&name))),
            Format::Table | Format::Wide => {
                // How long ago it was is no change.
                let lasting = get::row(app, true, *format == Format::Wide);
                if self.rows.insert(name, lasting.clone()) == Some(lasting) {
                    return Ok(());
                }
                self.line(&cells(app, format, output), output)
            }
        }
    }

    fn gone(&mut self, name: &str, format: &Format, output: &mut Output) -> Result<(), Error> {
        self.rows.remove(name);
        match format {
            Format::Json => output.line(&json!({ "event": "delete", "name": name }).to_string()),
            Format::Table | Format::Wide => {
                self.line(&[plain(name), "-".to_owned(), "gone".to_owned()], output)
            }
            Format::Yaml | Format::Path(_) | Format::Name => Ok(()),
        }
    }

    fn line(&self, row: &[String], output: &mut Output) -> Result<(), Error> {
        let mut line = String::new();
        for (at, cell) in row.iter().enumerate() {
            let width = self.widths.get(at).copied().unwrap_or_default();
            let space = " ".repeat(width.saturating_sub(cell.chars().count()) + 3);
            // A colour does not count as text.
            let cell = if at == 2 && cell != "STATUS" { phase(cell) } else { plain(cell) };
            line.push_str(&cell);
            line.push_str(&space);
        }
        output.line(line.trim_end())
    }
}

fn cells(app: &Value, format: &Format, output: &Output) -> Vec<String> {
    let is_wide = *format == Format::Wide;
    get::row(app, is_wide || !output.is_terminal(), is_wide)
}
