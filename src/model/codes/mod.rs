//! Every code that Berth says, in one table: what it means, and what to do.
//!
//! The same table is `berth explain CODE` and docs/errors.md. A test holds that each code of the
//! source is here, and each of these in the source.

use std::fmt::Write as _;

/// One code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    /// The code, such as `port.taken`.
    pub slug: &'static str,
    /// What it is about.
    pub section: &'static str,
    /// What it means, as a sentence without its end.
    pub means: &'static str,
    /// What to do.
    pub fix: &'static str,
}

/// `code | means | fix`, below titles.
const TABLE: &str = include_str!("table.txt");

/// Every code, in the order of the table.
pub fn codes() -> impl Iterator<Item = Code> {
    let mut section = "";
    TABLE.lines().filter_map(move |line| {
        if let Some(title) = line.strip_prefix("= ") {
            section = title;
            return None;
        }
        let mut parts = line.splitn(3, " | ");
        let (slug, means, fix) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Code { slug, section, means, fix })
    })
}

/// The code that is spelled so.
pub fn code(text: &str) -> Option<Code> {
    codes().find(|code| code.slug == text)
}

/// The codes as a page.
pub fn codes_page() -> String {
    let mut page = "# Codes\n\nMade from the table that `berth explain CODE` reads. The same words are in problem documents (`code`), \
        in diagnostics\nof manifests, in checks of `berth doctor`, and, as reasons, in statuses and events.\n"
        .to_owned();
    let mut section = "";
    for code in codes() {
        if code.section != section {
            section = code.section;
            let _ =
                write!(page, "\n## {section}\n\n| code | meaning | what to do |\n|---|---|---|\n");
        }
        let _ = writeln!(page, "| `{}` | {} | {} |", code.slug, code.means, code.fix);
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Reason;

    #[test]
    fn every_line_is_a_code_of_its_own_or_a_title() {
        let all: Vec<_> = codes().collect();
        let titles = TABLE.lines().filter(|line| line.starts_with("= ")).count();
        assert_eq!(all.len() + titles, TABLE.lines().count());
        for (at, one) in all.iter().enumerate() {
            assert!(
                !all[..at].iter().any(|other| other.slug == one.slug),
                "{one:?} is there twice"
            );
            assert!(!one.means.is_empty() && !one.fix.is_empty(), "{one:?}");
            assert!(!format!("{}{}", one.means, one.fix).contains('|'), "{one:?}");
        }
    }

    #[test]
    fn every_reason_is_a_code() {
        for reason in Reason::ALL {
            assert!(code(reason.slug()).is_some(), "{} is not in the table", reason.slug());
        }
    }
}
