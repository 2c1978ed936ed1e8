//! What `BuildKit` keeps of builds: bounded, and only what is of this Berth's.

use std::{cell::Cell, fs};

use super::{
    builds::App,
    second::{Home, Second, TINY},
};

/// Lines that leave 3 MB in the cache which no image rests on.
fn lines(mark: &str) -> String {
    format!(
        "RUN head -c 3000000 /dev/urandom > /{mark} && echo {mark} > /small\nFROM {TINY}\n\
         COPY --from=0 /small /small"
    )
}

/// Whether the engine keeps a step with this mark, told by what it runs.
fn keeps(second: &Second, mark: &str) -> bool {
    let said = second.docker(&["system", "df", "--verbose", "--format", "{{json .BuildCache}}"]);
    said.contains(&format!("/{mark} "))
}

/// Faults B09, D28.
#[test]
fn the_build_cache_is_bounded_and_only_our_own_goes() {
    let second = Second::start("", &[]);
    let flags = |max: &'static str| {
        ["--allow-local-git", "--builder", "buildkit", "--build-cache-max-size", max]
    };
    // Somebody else's builds: a Berth that knows nothing of ours.
    let theirs = Home::new();
    let _page = App::new(&theirs, "theirs", &lines("theirs"));
    let berth = theirs.start_with(&second, "engine.sock", &flags("none"));
    berth.until_running(&["theirs"]);
    drop(berth);

    let home = Home::new();
    let page = App::new(&home, "page", &lines("first"));
    let berth = home.start_with(&second, "engine.sock", &flags("none"));
    berth.until_running(&["page"]);
    drop(berth);
    assert!(keeps(&second, "theirs") && keeps(&second, "first"), "without a bound all stays");

    // Who asks is told, and has it go.
    let berth = home.start_with(&second, "engine.sock", &flags("1Mi"));
    berth.until_running(&["page"]);
    let said = Cell::new(String::new());
    berth.until("it is listed", || {
        said.set(berth.ask(&["gc", "--dry-run", "--grace", "1s"]).unwrap());
        let text = said.take();
        let is_listed = text.contains("build cache") && text.contains(", more than 1Mi");
        said.set(text);
        is_listed
    });
    let text = said.take();
    assert!(text.contains("what BuildKit keeps of builds takes 2.8Mi"), "{text}");
    assert!(keeps(&second, "first"), "a dry run removes nothing");
    berth.ask(&["gc", "--grace", "1s"]).unwrap();
    assert!(!keeps(&second, "first") && keeps(&second, "theirs"));

    // After a build nobody has to ask.
    page.commit(&lines("second"), "");
    berth.until("it was built, and what is too much is gone", || {
        let log = fs::read_to_string(home.path("log")).unwrap();
        log.contains("the build cache was trimmed")
    });
    berth.until_running(&["page"]);
    assert!(!keeps(&second, "second") && keeps(&second, "theirs"));
}
