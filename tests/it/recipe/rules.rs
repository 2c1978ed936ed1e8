//! What holds for every recipe.

use std::collections::BTreeMap;

use berth::{
    model::Reason,
    plan::Dockerfile,
    state::{Checkout, Policy},
};
use proptest::{
    prelude::*,
    test_runner::{Config, RngSeed, TestRunner},
};

use super::{Files, app_with, build_of, planned, recipe, sim, text_of};

#[test]
fn a_dockerfile_of_the_repository_comes_first() {
    let files: Files<'_> = &[("Dockerfile", ""), ("docker/gpu", ""), ("requirements.txt", "")];
    let with = |rest: &str| recipe(&format!("run: x\n{rest}"), files, Policy::default());
    let plain = with("");
    assert_eq!(plain.dockerfile, Dockerfile::InSource("Dockerfile".to_owned()));
    assert_eq!((plain.base, plain.why.as_str()), (None, "Dockerfile found"));
    let named = with("build: {dockerfile: docker/gpu}");
    assert_eq!(named.dockerfile, Dockerfile::InSource("docker/gpu".to_owned()));
    for unused in [
        "base: 'own/base:2'",
        "requirements: requirements.txt",
        "python: '3.11'",
        "packages: [ffmpeg]",
    ] {
        let why = with(&format!("build: {{{unused}}}")).why;
        assert!(why.ends_with("build.requirements are not used"), "{unused}: {why}");
    }
}

/// The choice and its reason are in the plan, and in the condition once the image is there.
#[test]
fn the_choice_is_shown_with_its_reason() {
    let files: Files<'_> = &[("requirements.txt", "six\n")];
    let mut sim = sim(&app_with("run: x"), files, Policy::default());
    let plan = planned(&mut sim);
    let why = "Dockerfile generated: requirements.txt found; base python:3.12-slim";
    assert!(berth::plan::render(&plan).contains(why), "{}", berth::plan::render(&plan));
    sim.settle();
    let recipe = sim.plan().recipe.unwrap();
    assert!(recipe.why.starts_with(why), "{}", recipe.why);
}

/// Of a repository that an older Berth has fetched only the names are known: it is fetched anew
/// where more is needed, and nowhere else.
#[test]
fn what_an_older_berth_did_not_look_at_is_fetched() {
    let is_fetched = |rest: &str, files: Files<'_>| {
        let mut sim = sim(&app_with(rest), files, Policy::default());
        let seen: &mut Checkout = sim.state.checkout.as_mut().unwrap();
        (seen.facts, seen.looked_for) = (BTreeMap::new(), None);
        build_of(&planned(&mut sim)).is_none()
    };
    assert!(!is_fetched("run: x", &[("requirements.txt", "")]));
    assert!(!is_fetched("run: x", &[("Dockerfile", "")]));
    assert!(is_fetched("run: x", &[("pyproject.toml", "[project]\n")]));
    let mut sim = sim(&app_with("run: x"), &[("requirements.txt", "")], Policy::default());
    sim.edit(&app_with("run: x\nbuild: {requirements: deps/all.txt}"));
    assert!(build_of(&planned(&mut sim)).is_none(), "the manifest asks about a file of its own");
}

#[test]
fn names_that_are_no_names_are_refused() {
    let (reason, message) = super::refusal(
        "run: x\nbuild: {args: {A.B: c}}",
        &[("requirements.txt", "")],
        Policy::default(),
    );
    assert_eq!(reason, Reason::InvalidManifest);
    assert!(message.contains("`A.B`"), "{message}");
}

/// What hostile people may write where a text is expected.
fn text() -> impl Strategy<Value = String> {
    let parts = proptest::sample::select(vec![
        "a", "==1", "\"", "'", "\\", "$HOME", "`id`", "$(id)", "<<EOF", ";", "&&", "|", "#", "%d",
        "]", "[", "{", "\t", "é", " ", "\u{2028}", "\r", "=", ">", "RUN evil", "-e", "\\\n",
    ]);
    proptest::collection::vec(parts, 0..8).prop_map(|parts| parts.concat())
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Fault B05: whatever a manifest or a repository says, the instructions are those that Berth
/// writes: the same ones as for harmless texts, in the same order.
#[test]
fn no_text_becomes_an_instruction() {
    let seed =
        std::env::var("BERTH_RECIPE_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let config = Config { cases: 300, rng_seed: RngSeed::Fixed(seed), ..Config::default() };
    let mut runner = TestRunner::new(config);
    let words = |text: &str| {
        let mut words = Vec::new();
        let mut continues = false;
        for line in text.lines() {
            if !continues {
                words.push(line.split(' ').next().unwrap_or_default().to_owned());
            }
            continues = line.ends_with('\\');
        }
        words
    };
    let outcome = runner.run(&(text(), text(), text()), |(a, b, c)| {
        let requirement = format!("x{a}").replace(['\n', '\r'], " ");
        let project = format!("[project]\nname = 'x'\ndependencies = [{}]\n", quoted(&requirement));
        let web = format!("web: run {}", b.replace(['\n', '\r'], " "));
        let files = [("pyproject.toml", project.as_str()), ("Procfile", web.as_str())];
        let rest = format!("run: x\nbuild: {{args: {{A: {}}}}}", quoted(&c));
        let recipe = recipe(&rest, &files, Policy::default());
        let text = text_of(&recipe);
        let mut expected =
            vec!["#", "FROM", "LABEL", "ARG", "RUN", "ENV", "WORKDIR", "RUN", "COPY"];
        let has_list = text.contains("--no-cache-dir \\\n");
        if !has_list {
            // A list that is not plain is left to pip, beside the source.
            expected.remove(7);
            expected.push("RUN");
        }
        if words(text).last().is_some_and(|word| word == "CMD") {
            expected.push("CMD");
        }
        prop_assert_eq!(words(text), expected, "{}", text);
        // Each line of a quoted word but the last goes on; nothing else does.
        prop_assert!(!text.contains("\nRUN evil") && !text.contains('\r'), "{}", text);
        Ok(())
    });
    assert!(outcome.is_ok(), "BERTH_RECIPE_SEED={seed}: {outcome:?}");
}

/// Equal inputs give equal texts and identities; whatever changes the text changes the identity.
#[test]
fn a_recipe_is_known_by_what_it_is_made_from() {
    let files: &[Files<'_>] = &[
        &[("requirements.txt", "six\n")],
        &[("requirements.txt", "torch\n")],
        &[("pyproject.toml", "[project]\ndependencies = ['a']\n")],
        &[("pyproject.toml", "[project]\ndependencies = ['b']\n")],
        &[("package.json", "{}")],
    ];
    let rests = [
        "run: x",
        "run: x\nbuild: {packages: [ffmpeg]}",
        "run: x\nbuild: {python: '3.11'}",
        "run: x\nbuild: {python: '>=3.11'}",
        "run: x\nbuild: {base: 'own/base:1'}",
        "run: x\nbuild: {args: {A: b}}",
    ];
    let mut seen: BTreeMap<String, (String, String)> = BTreeMap::new();
    for files in files {
        for rest in rests {
            for driver in [None, Some("550.54")] {
                let policy =
                    Policy { gpu_driver: driver.map(ToOwned::to_owned), ..Policy::default() };
                let mut sim = sim(&app_with(rest), files, policy);
                let plan = planned(&mut sim);
                // Some have no base.
                let Some(recipe) = build_of(&plan) else { continue };
                let again = planned(&mut sim);
                assert_eq!(build_of(&again), Some(recipe));
                let what = format!("{rest} {files:?} {driver:?}");
                let text = text_of(recipe).to_owned();
                let identity = recipe.digest().to_string();
                let known = seen.entry(identity).or_insert((text.clone(), what.clone()));
                assert_eq!(known.0, text, "{what} and {}", known.1);
            }
        }
    }
    assert!(20 < seen.len(), "{}", seen.len());
}
