//! `berth ports`: the host's ports, and who has them.

use serde_json::Value;

use super::{
    document::{self, Format, list, text},
    error::{Error, Exit},
    output::Output,
    server::Server,
};

/// What it takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How the answer is written.
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    output: Format,
}

pub(super) async fn run(args: &Args, server: &Server, output: &mut Output) -> Result<Exit, Error> {
    ls(&args.output, server, output).await
}

pub(super) async fn ls(
    format: &Format,
    server: &Server,
    output: &mut Output,
) -> Result<Exit, Error> {
    let all = server.get("/api/v1/ports").await?;
    match format {
        Format::Json | Format::Yaml | Format::Path(_) => {
            document::write_as(output, &all, format)?;
        }
        Format::Name => {
            for port in list(&all, "/items") {
                output.line(&number(port, "/port"))?;
            }
        }
        Format::Table | Format::Wide => show(&all, *format == Format::Wide, output)?,
    }
    Ok(Exit::Done)
}

fn show(all: &Value, is_wide: bool, output: &mut Output) -> Result<(), Error> {
    let items = list(all, "/items");
    let (first, last) = (number(all, "/range/first"), number(all, "/range/last"));
    if items.is_empty() {
        output.remark(&format!("nobody has a port; {first}-{last} are given out"));
        return Ok(());
    }
    let mut header = vec!["PORT", "APP", "CONTAINER", "PROTOCOL", "STATE"];
    header.extend(is_wide.then_some("ADDRESS"));
    let rows: Vec<_> = items.iter().map(|port| row(port, is_wide)).collect();
    output.table(&header, &rows)
}

fn row(port: &Value, is_wide: bool) -> Vec<String> {
    let mut row = vec![
        number(port, "/port"),
        text(port, "/app").to_owned(),
        number(port, "/containerPort"),
        text(port, "/protocol").to_owned(),
        state(port),
    ];
    row.extend(is_wide.then(|| text(port, "/address").to_owned()));
    row
}

/// The state, with until when and who else.
fn state(port: &Value) -> String {
    let (holder, until) = (text(port, "/holder"), text(port, "/until"));
    match text(port, "/state") {
        "quarantined" => format!("quarantined until {until} ({holder})"),
        state if holder.is_empty() => state.to_owned(),
        state => format!("{state}: {holder}"),
    }
}

fn number(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_u64).map(|port| port.to_string()).unwrap_or_default()
}
