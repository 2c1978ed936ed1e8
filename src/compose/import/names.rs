//! What things are called: the project, and the apps.

use std::collections::BTreeSet;

use super::{Desk, Level, tree::Node};
use crate::model::AppName;

const LENGTH_MAX: usize = 40;

/// The project's name, the way compose finds it.
pub(super) fn project(tree: &Node, desk: &mut Desk<'_>) -> String {
    let said = tree.get("name").and_then(Node::text);
    let given = desk.request.project.map(ToOwned::to_owned).or(said);
    let folder = desk.request.folder.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let name = given.unwrap_or_else(|| folder.to_owned()).to_ascii_lowercase();
    let legal = |c: &char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    name.chars().filter(legal).collect::<String>().trim_start_matches(['-', '_']).to_owned()
}

/// Gives every service the name of an app.
pub(super) fn choose(services: &[(&str, &Node)], desk: &mut Desk<'_>) {
    let mut taken = BTreeSet::new();
    for (service, node) in services {
        let wish = desk.request.name.unwrap_or(service);
        let plain = fit(wish);
        let name = (1..=services.len() + 1).find_map(|nth| {
            let name = if nth == 1 { plain.clone() } else { with(&plain, &format!("-{nth}")) };
            AppName::new(&name).ok().filter(|name| !taken.contains(name))
        });
        let Some(name) = name else {
            desk.mistake(node, format!("no app can be called after `{}`", shown(service)));
            continue;
        };
        if name.as_str() != wish {
            let what = format!(
                "the app is called `{name}`: a name has lower-case letters, digits and `-`"
            );
            desk.say(Level::Note, node, what);
        }
        taken.insert(name.clone());
        desk.names.insert((*service).to_owned(), name);
    }
}

/// A name made fit.
fn fit(wish: &str) -> String {
    let letter = |c: char| match c.to_ascii_lowercase() {
        c if c.is_ascii_lowercase() || c.is_ascii_digit() => c,
        _ => '-',
    };
    let name: String = wish.chars().take(2 * LENGTH_MAX).map(letter).collect();
    let name = name.trim_matches('-');
    let is_fit = name.starts_with(|c: char| c.is_ascii_lowercase());
    let name = if is_fit { name.to_owned() } else { format!("app-{name}") };
    let name = with(&name, "");
    // One that reads like the id of a container is made to read otherwise.
    if AppName::new(&name).is_ok() { name } else { with(&name, "-app") }
}

/// A name with an end, short enough.
fn with(name: &str, end: &str) -> String {
    let room = LENGTH_MAX.saturating_sub(end.len());
    let start: String = name.chars().take(room).collect();
    format!("{}{end}", start.trim_end_matches('-'))
}

pub(super) fn shown(text: &str) -> String {
    text.chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_becomes_one_that_berth_takes() {
        for (wish, name) in [
            ("web", "web"),
            ("My_Web.App", "my-web-app"),
            ("9lives", "app-9lives"),
            ("--x--", "x"),
            ("ü", "app"),
            ("abcdefabcdef", "abcdefabcdef-app"),
        ] {
            assert_eq!(fit(wish), name, "{wish}");
            assert!(AppName::new(name).is_ok(), "{name}");
        }
        assert!(AppName::new(&fit(&"a-".repeat(60))).is_ok());
    }
}
