//! The pages of section 5: manifests, from their schema, and the configuration, from the table of
//! options.

use clap_mangen::roff::{Roff, bold, italic, roman};

use super::super::explain;
use crate::config::{Kind, OPTIONS, OptionRow};

/// berth-manifest(5).
pub(super) fn manifest() -> String {
    let mut page = begin("BERTH-MANIFEST", "berth-manifest", "what an app is made from");
    page.control("SH", ["DESCRIPTION"]);
    page.text([roman(
        "A manifest is a YAML document in a file that ends in .yaml or .yml, in the folder that \
         berth run watches. Every field follows; berth explain says the same of one.",
    )]);
    page.control("SH", ["FIELDS"]);
    for path in explain::paths() {
        let Some(lines) = explain::lines_of(&path) else { continue };
        page.control("TP", []);
        page.text([bold(path.trim_start_matches("app."))]);
        page.text([roman(lines)]);
    }
    page.control("SH", ["SEE ALSO"]);
    page.text([bold("berth"), roman("(1), "), bold("berth-config"), roman("(5)")]);
    page.render()
}

/// berth-config(5).
pub(super) fn config() -> String {
    let mut page = begin("BERTH-CONFIG", "berth-config", "the configuration of berth run");
    page.control("SH", ["DESCRIPTION"]);
    page.text([roman(
        "A flag wins over an environment variable, that over $XDG_CONFIG_HOME/berth/config.yaml, \
         that over /etc/berth/config.yaml, that over the default. A file is a mapping from the \
         names below to values.",
    )]);
    page.control("SH", ["OPTIONS"]);
    for option in OPTIONS {
        page.control("TP", []);
        page.text([bold(option.name), roman(" "), italic(value(option))]);
        page.text([roman(format!("{}.", option.help))]);
        let default = if option.default.is_empty() { "not set" } else { option.default };
        page.text([roman(format!("Environment: {}. Default: {default}.", option.env.join(", ")))]);
    }
    page.control("SH", ["SEE ALSO"]);
    page.text([bold("berth"), roman("(1), "), bold("berth-manifest"), roman("(5)")]);
    page.render()
}

fn value(option: &OptionRow) -> &'static str {
    match option.kind {
        Kind::Flag => "BOOL",
        Kind::Value | Kind::List => option.value,
    }
}

fn begin(title: &str, name: &str, what: &str) -> Roff {
    let source = format!("berth {}", env!("CARGO_PKG_VERSION"));
    let mut page = Roff::new();
    page.control("TH", [title, "5", "", source.as_str(), "Berth"]);
    page.control("SH", ["NAME"]);
    page.text([roman(format!("{name} - {what}"))]);
    page
}
