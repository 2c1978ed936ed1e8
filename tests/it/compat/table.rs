//! The page that says what is replaced: every route and every test that it names is there.

use std::{collections::BTreeSet, path::Path};

use berth::server;

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/replaces.md");
    std::fs::read_to_string(path).unwrap()
}

/// What stands between backticks in the tables.
fn words(page: &str) -> Vec<String> {
    let rows = page.lines().filter(|line| line.starts_with("| "));
    rows.flat_map(|row| row.split('`').skip(1).step_by(2)).map(ToOwned::to_owned).collect()
}

/// Whether there is a test of this name in its module's file.
fn is_there(test: &str) -> bool {
    let mut parts: Vec<_> = test.split("::").collect();
    let function = parts.pop().unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it").join(parts.join("/"));
    let files = [folder.with_extension("rs"), folder.join("mod.rs")];
    let texts = files.iter().filter_map(|file| std::fs::read_to_string(file).ok());
    let texts: Vec<_> = texts.collect();
    texts.iter().any(|text| text.contains(&format!("fn {function}(")))
}

#[test]
fn every_route_and_every_test_of_the_page_is_there() {
    let routes: BTreeSet<_> =
        server::routes().map(|(method, path, _)| format!("{method} {path}")).collect();
    let page = page();
    let words = words(&page);
    let is_route = |word: &&String| {
        ["GET /", "POST /", "PUT /", "DELETE /"].iter().any(|begin| word.starts_with(begin))
    };
    let missing: Vec<_> =
        words.iter().filter(is_route).filter(|route| !routes.contains(*route)).collect();
    assert!(missing.is_empty(), "no such routes: {missing:?}");
    let tests: Vec<_> = words.iter().filter(|word| word.contains("::")).collect();
    let missing: Vec<_> = tests.iter().filter(|test| !is_there(test)).collect();
    assert!(missing.is_empty(), "no such tests: {missing:?}");
    let rows = page.lines().filter(|line| line.starts_with("| ") && !line.contains("| feature |"));
    let bare: Vec<_> = rows.filter(|row| !row.contains("::")).collect();
    assert!(bare.is_empty(), "rows without a test: {bare:#?}");
    let families = routes.iter().filter(|route| {
        [" /containers", " /ports", " /system"].iter().any(|begin| route.contains(begin))
    });
    for route in families {
        assert!(words.contains(route), "{route} is not on the page");
    }
}
