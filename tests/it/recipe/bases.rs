//! What the base is, and that it stays what it was.

use berth::{model::Reason, state::Policy};

use super::{Files, app_with, build_of, planned, recipe, refusal, sim, text_of};
use crate::sim::Sim;

const BASE: &str = "python:3.12-slim";
const FILES: Files<'static> = &[("requirements.txt", "six\n")];

fn built() -> Sim {
    let mut sim = sim(&app_with("run: x"), FILES, Policy::default()).has_image(BASE);
    sim.settle();
    assert_eq!(sim.running().len(), 1);
    sim.journal.clear();
    sim
}

fn moved(sim: &mut Sim) {
    sim.world.images.insert(BASE.to_owned(), "sha256:moved".to_owned());
}

/// Fault D40: somebody pulls the base's tag. Nothing is rebuilt, not even with another variable.
#[test]
fn a_base_that_moves_rebuilds_nothing_by_itself() {
    let mut sim = built();
    moved(&mut sim);
    assert!(sim.plan().is_empty(), "{}", berth::plan::render(&sim.plan()));
    sim.edit(&app_with("run: x\nenv: {A: b}"));
    sim.settle();
    assert!(!sim.journal.iter().any(|step| step.starts_with("build")), "{:?}", sim.journal);
    // Not even where the base is gone.
    sim.world.images.remove(BASE);
    assert!(sim.plan().is_empty(), "{}", berth::plan::render(&sim.plan()));
}

#[test]
fn a_new_revision_or_a_wish_takes_the_base_as_it_is_now() {
    let identity = |sim: &mut Sim| {
        let plan = planned(sim);
        build_of(&plan).unwrap().base.clone().unwrap().identity
    };
    let mut newer = built();
    moved(&mut newer);
    newer.state.checkout.as_mut().unwrap().tree = "ab".repeat(20);
    assert_eq!(identity(&mut newer), "sha256:moved");
    let mut wished = built();
    moved(&mut wished);
    wished.state.rebuilds += 1;
    assert_eq!(identity(&mut wished), "sha256:moved");
}

/// Faults B02, D40: what came from a registry is named by its digest there.
#[test]
fn a_base_is_named_by_its_digest_where_it_has_one() {
    let mut sim = sim(&app_with("run: x"), FILES, Policy::default()).has_image(BASE);
    let plan = sim.plan();
    assert!(text_of(build_of(&plan).unwrap()).contains(&format!("FROM {BASE}\n")));
    let id = sim.world.images[BASE].clone();
    let digest = format!("sha256:{}", "1".repeat(64));
    sim.world.images.insert(format!("python@{digest}"), id);
    sim.world.images.insert(format!("other@sha256:{}", "2".repeat(64)), "x".to_owned());
    let plan = sim.plan();
    let recipe = build_of(&plan).unwrap();
    assert!(text_of(recipe).contains(&format!("FROM python@{digest}\n")), "{}", text_of(recipe));
    assert_eq!(recipe.base.as_ref().unwrap().identity, digest);
    assert!(recipe.why.contains(&format!("base {BASE} (111111111111)")), "{}", recipe.why);
}

/// Fault T08: an upgrade of Berth builds nothing anew.
#[test]
fn an_image_of_an_older_berth_stays_until_something_changes() {
    let mut sim = built();
    // As an older Berth has left it: another name for the inputs, and no word about the base.
    let older = berth::model::Digest::of_bytes(b"older");
    let tag = format!("berth/chat:{}", older.short(12));
    let own = &mut sim.world.own_images[0];
    sim.world.images.remove(&own.tags[0]);
    sim.world.images.insert(tag.clone(), own.id.clone());
    (own.base, own.tags) = (None, vec![tag.clone()]);
    for container in &mut sim.world.containers {
        let berth::state::Ownership::Ours(owner) = &mut container.ownership else { continue };
        owner.build = Some(older.clone());
        container.image.clone_from(&tag);
    }
    let plan = sim.plan();
    assert!(build_of(&plan).is_none(), "{}", berth::plan::render(&plan));
    let mut wished = sim.clone();
    wished.state.rebuilds = 1;
    assert!(build_of(&wished.plan()).is_some());
    let mut newer = sim.clone();
    newer.state.checkout.as_mut().unwrap().commit = "ab".repeat(20);
    assert!(build_of(&newer.plan()).is_some());
    sim.state.generation += 1;
    assert!(build_of(&sim.plan()).is_some());
}

#[test]
fn a_host_with_gpus_has_a_base_for_them() {
    let gpu = Policy { gpu_driver: Some("550.54.15".to_owned()), ..Policy::default() };
    let base = |files: Files<'_>, policy: &Policy| {
        let recipe = recipe("run: x", files, policy.clone());
        (recipe.base.clone().unwrap().reference.to_string(), text_of(&recipe).to_owned())
    };
    let torch: Files<'_> = &[("requirements.txt", "torch==2.3.0\n")];
    let (image, text) = base(torch, &gpu);
    assert_eq!(image, "nvidia/cuda:12.1.1-cudnn8-runtime-ubuntu22.04");
    assert!(!text.contains("whl/cpu"));
    assert_eq!(base(FILES, &gpu).0, BASE);
    let (image, text) = base(torch, &Policy::default());
    assert!(
        image == BASE && text.contains("--extra-index-url https://download.pytorch.org/whl/cpu")
    );
    // What the project says of its own accord stays so.
    for text in ["torch==2.3.0+cu121\n", "--index-url https://h.example/x\ntorch\n", "six\n"] {
        let (_, text) = base(&[("requirements.txt", text)], &Policy::default());
        assert!(!text.contains("whl/cpu"), "{text}");
    }
    // The operator's own base is for every host.
    let own = berth::model::ImageRef::parse("own/base:1").unwrap();
    assert_eq!(base(torch, &Policy { base_image: own, ..gpu.clone() }).0, "own/base:1");
    let new: Files<'_> = &[("requirements.txt", "jax[cuda13]\n")];
    assert_eq!(refusal("run: x", new, gpu).0, Reason::DriverTooOld);
}

/// While the driver's kernel module is away for a moment, the base stays, and the reason says so.
#[test]
fn a_driver_that_is_away_for_a_moment_still_decides() {
    let driver = Some("550.54.15".to_owned());
    let here = Policy { gpu_driver: driver, ..Policy::default() };
    let seen = Some(berth::model::Timestamp::from_millis(1_800_000_000_000));
    let away = Policy { gpu_driver_seen: seen, ..here.clone() };
    let torch: Files<'_> = &[("requirements.txt", "torch==2.3.0\n")];
    let (with, without) = (recipe("run: x", torch, here), recipe("run: x", torch, away.clone()));
    assert_eq!(with.inputs(), without.inputs(), "nothing is built anew");
    assert_eq!(text_of(&with), text_of(&without));
    let said =
        "; the GPUs' driver 550.54.15 is not loaded now and counts as it was seen at 2027-01-15T";
    assert!(without.why.contains(said) && !with.why.contains("not loaded"), "{}", without.why);
    // Where nothing asks for a GPU nothing is said of them.
    assert!(!recipe("run: x", FILES, away).why.contains("driver"));
}

/// What has no version is one that the driver can run; a lock file decides for itself.
#[test]
fn a_framework_without_a_version_is_bounded_by_the_driver() {
    let on = |driver: Option<&str>, rest: &str, files: Files<'_>| {
        let gpu_driver = driver.map(ToOwned::to_owned);
        let recipe = recipe(rest, files, Policy { gpu_driver, ..Policy::default() });
        (text_of(&recipe).to_owned(), recipe.why.clone())
    };
    let torch: Files<'_> = &[("requirements.txt", "accelerate\n")];
    let (text, why) = on(Some("570.26"), "run: x", torch);
    assert!(text.contains(" 'torch<2.11' -r '/app/requirements.txt'"), "{text}");
    assert!(why.contains("; torch<2.11 for the driver 570.26"), "{why}");
    for (driver, rest, text) in [
        (Some("580.65"), "run: x", "torch\n"),
        (Some("570.26"), "run: x", "torch==2.9.1\n"),
        (Some("570.26"), "run: x", "--index-url https://h.example/x\ntorch\n"),
        (Some("570.26"), "run: x\nbuild: {base: 'own/base:1'}", "torch\n"),
        (None, "run: x", "torch\n"),
    ] {
        let (text, why) = on(driver, rest, &[("requirements.txt", text)]);
        assert!(!text.contains("torch<") && !why.contains("torch<"), "{driver:?} {rest}: {text}");
    }
    let project = "[project]\nname = 'x'\nversion = '0'\ndependencies = ['torch']\n";
    let locked: Files<'_> = &[("pyproject.toml", project), ("uv.lock", "")];
    let (text, why) = on(Some("570.26"), "run: x", locked);
    assert!(!text.contains("torch<") && !why.contains("decides which"), "{why}");
    let (_, why) = on(None, "run: x", locked);
    assert!(why.contains("; uv.lock decides which PyTorch, with CUDA or without"), "{why}");
}

/// Packages that bring `PyTorch` along get the one for CPUs where there are no GPUs.
#[test]
fn what_brings_torch_gets_the_one_for_this_host() {
    for text in ["ultralytics\n", "sentence-transformers==3.4.1\n", "openai-whisper\n"] {
        let recipe = recipe("run: x", &[("requirements.txt", text)], Policy::default());
        assert!(text_of(&recipe).contains("whl/cpu"), "{text}");
    }
}

/// A Dockerfile of the repository decides itself what it trusts, and that is said.
#[test]
fn a_ca_bundle_beside_a_dockerfile_is_said_to_be_up_to_it() {
    let digest = Some(berth::model::Digest::of_bytes(b"ca"));
    let policy = Policy { ca_bundle: digest, ..Policy::default() };
    let files: Files<'_> = &[("Dockerfile", "FROM scratch")];
    let with = recipe("run: x\nbuild: {caBundle: true}", files, policy.clone());
    assert!(with.why.contains("as .berth/ca.crt: what the build trusts is up to"), "{}", with.why);
    assert!(!recipe("run: x", files, policy).why.contains("ca.crt"));
}

/// A base with a fixed Python checks it first of all, and says what to do.
#[test]
fn the_python_of_a_base_is_checked_before_anything_is_installed() {
    let files: Files<'_> = &[("requirements.txt", ""), (".python-version", "3.11\n")];
    let recipe = recipe("run: x\nbuild: {base: 'own/base:1'}", files, Policy::default());
    let text = text_of(&recipe);
    let check = text.find("the base image own/base:1 has").unwrap();
    assert!(check < text.find("pip install").unwrap());
    assert!(text.contains("v in ((3, 11), )"), "{text}");
}
