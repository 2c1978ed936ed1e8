//! The page, as a browser without scripts meets it.

mod forms;
mod more;
mod scan;
mod screens;
mod verdict;

use crate::api::stage::{Answer, Stage};

const HTML: (&str, &str) = ("accept", "text/html,application/xhtml+xml,*/*;q=0.8");
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

/// Looks at a screen.
async fn look(stage: &Stage, path: &str) -> Answer {
    stage.ask("GET", path, &[HTML], "").await
}

/// Sends a form, as a browser does.
async fn send(stage: &Stage, path: &str, fields: &[(&str, &str)]) -> Answer {
    let encode = |text: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        let one = |byte: u8| {
            if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
        };
        text.bytes().map(one).collect::<String>()
    };
    let pairs: Vec<_> =
        fields.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
    let site = stage.base();
    let headers = [HTML, FORM, ("origin", site.as_str()), ("sec-fetch-site", "same-origin")];
    stage.ask("POST", path, &headers, &pairs.join("&")).await
}

/// Where an answer sends the browser.
fn place(answer: &Answer) -> String {
    let line = answer.head.lines().find_map(|line| line.strip_prefix("location: "));
    line.unwrap_or_default().to_owned()
}
