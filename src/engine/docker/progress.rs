//! How far a pull is, in lines for its log.

use std::collections::BTreeMap;

use super::build::{item::Item, plain_line};

/// More layers than any image has are not counted.
const LAYERS_MAX: usize = 1000;
/// The longest name of a layer by which it is told from others.
const ID_BYTES_MAX: usize = 128;

/// Sums the layers up, and speaks at every twentieth part.
#[derive(Default)]
pub(super) struct Progress {
    layers: BTreeMap<String, (i64, i64)>,
    told: i64,
}

impl Progress {
    /// What there is to say about what the engine said: one line, whatever is in it.
    pub(super) fn line(&mut self, item: &Item) -> Option<String> {
        let status = item.status.as_deref()?;
        let counted = item.progress_detail.as_ref().and_then(|at| Some((at.current?, at.total?)));
        let Some(at) = counted else {
            let id = item.id.as_ref().map(|id| format!("{id}: ")).unwrap_or_default();
            let line = plain_line(&format!("{id}{status}"));
            return Some(line).filter(|line| !line.is_empty());
        };
        if status != "Downloading" {
            return None;
        }
        let id = item.id.as_deref().unwrap_or_default();
        let is_new = !self.layers.contains_key(id);
        if ID_BYTES_MAX < id.len() || is_new && LAYERS_MAX <= self.layers.len() {
            return None;
        }
        self.layers.insert(id.to_owned(), at);
        let add = |sum: i64, bytes: &i64| sum.saturating_add(*bytes);
        let done = self.layers.values().map(|(current, _)| current).fold(0, add);
        let total = self.layers.values().map(|(_, total)| total).fold(0, add);
        let twentieth = done.saturating_mul(20).checked_div(total)?.min(20);
        if twentieth <= self.told {
            return None;
        }
        self.told = twentieth;
        Some(format!("downloading: {} % of {} MB", twentieth * 5, total / 1_000_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(progress: &mut Progress, text: &str) -> Option<String> {
        progress.line(&serde_json::from_str(text).unwrap_or_default())
    }

    #[test]
    fn progress_is_told_in_steps() {
        let mut progress = Progress::default();
        let mut at = |current| {
            let text = format!(
                r#"{{"id":"l","status":"Downloading","progressDetail":{{"current":{current},"total":1000}}}}"#
            );
            said(&mut progress, &text)
        };
        assert_eq!(at(10), None);
        assert_eq!(at(60).as_deref(), Some("downloading: 5 % of 0 MB"));
        assert_eq!(at(70), None);
        // What nobody can have pulled does no harm.
        assert_eq!(at(i64::MAX).as_deref(), Some("downloading: 100 % of 0 MB"));
        assert_eq!(at(i64::MIN), None);
    }

    /// What a registry says is no more than a line, and does nothing to a terminal.
    #[test]
    fn a_line_is_one_line_of_plain_text() {
        let mut progress = Progress::default();
        let plain = said(&mut progress, r#"{"id":"a","status":"Already exists"}"#);
        assert_eq!(plain.as_deref(), Some("a: Already exists"));
        let odd = r#"{"id":"a\nb","status":"\u001b[31mred\u0007 line\r\n"}"#;
        assert_eq!(said(&mut progress, odd).as_deref(), Some("ab: red line"));
        assert_eq!(said(&mut progress, r#"{"status":"\r"}"#), None);
        let long = format!(r#"{{"status":"{}"}}"#, "x".repeat(1 << 20));
        assert!(said(&mut progress, &long).is_some_and(|line| line.len() <= 2000));
        let id = "x".repeat(1 << 20);
        let text = format!(
            r#"{{"id":"{id}","status":"Downloading","progressDetail":{{"current":1,"total":2}}}}"#
        );
        assert_eq!(said(&mut progress, &text), None);
        assert!(progress.layers.is_empty(), "it is not kept");
    }
}
