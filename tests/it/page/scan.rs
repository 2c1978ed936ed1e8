//! What an app's screen says of vulnerabilities.

use std::sync::Arc;

use berth::{
    model::{AppName, Timestamp},
    scan::{Book, Finding, Kind, Package, Policy, Report, Scanned, Severity},
    server::Figures,
};

use super::look;
use crate::api::stage::Stage;

fn finding(number: usize, severity: Severity, fixed: Option<&str>) -> Finding {
    Finding {
        id: format!("CVE-2026-{number:04}"),
        aliases: Vec::new(),
        severity,
        package: Package {
            kind: Kind::Pypi,
            name: format!("package-{number}"),
            version: "1.0".to_owned(),
            source: None,
            architecture: None,
        },
        fixed: fixed.map(str::to_owned),
        summary: "<b>bad</b>".to_owned(),
    }
}

/// A book in which the image of `chat` has many, one of which may not be.
fn book() -> Arc<Book> {
    let (book, image) = (Book::new(true), format!("sha256:{}", "b".repeat(64)));
    book.want(&AppName::new("chat").unwrap(), &image);
    book.want(&AppName::new("young").unwrap(), "sha256:not-seen");
    let low = (1..9).map(|number| finding(number, Severity::Low, None));
    let worst = finding(9, Severity::Critical, Some("1.1"));
    let report = Report {
        findings: std::iter::once(worst).chain(low).collect(),
        unread: vec![],
        is_part: false,
    };
    let policy = Policy { block: Some(Severity::High), ..Policy::default() };
    let judged = (&policy, jiff::civil::date(2026, 1, 1));
    let scanned = Scanned::new(&image, Arc::default(), report, judged, Timestamp::default());
    book.put(&image, Ok(scanned));
    Arc::new(book)
}

#[tokio::test]
async fn the_worst_is_named_first_and_what_is_not_allowed_is_said() {
    let stage = Stage::with_figures(Figures { scans: Some(book()), ..Figures::default() }).await;
    stage.settle();
    for name in ["chat", "young", "nobody-asks"] {
        stage.put(name, |_| ());
    }
    let page = look(&stage, "/ui/apps/chat").await.body;
    let card = page.split("<h2 id=\"scan\">").nth(1).expect("a card of vulnerabilities");
    for part in ["Not allowed", "1 critical", "8 low", "mended in 1.1", "not mended yet", "3 more"]
    {
        assert!(card.contains(part), "{part}: {card}");
    }
    let first = card.find("CVE-2026-").map(|at| &card[at..at + 13]);
    assert_eq!(first, Some("CVE-2026-0009"));
    assert!(!card.contains("<b>"), "a record's text is text: {card}");
    let young = look(&stage, "/ui/apps/young").await.body;
    assert!(young.contains("Not looked through yet"), "{young}");
    let nobody = look(&stage, "/ui/apps/nobody-asks").await.body;
    assert!(!nobody.contains("id=\"scan\""), "{nobody}");
}
