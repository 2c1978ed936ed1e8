//! Which images go, and what a build is sent: properties over made-up worlds and folders, the same
//! ones in each run. `PROPTEST_CASES` sets another number, `PROPTEST_RNG_SEED` chooses others.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    slice::from_ref,
    time::Duration,
};

use berth::{
    model::{AppName, Timestamp},
    plan::{Needed, Trace, remains, unneeded, unneeded_of},
    state::{Container, ContainerId, ContainerState, Leftover, OwnImage, Ownership, Policy, World},
    workspace::{
        context::{ContextLimits, ContextOptions, measure, stream},
        dockerfile::{Sources, needs},
        selection::Selection,
    },
};
use futures_util::StreamExt as _;
use proptest::{
    prelude::*,
    test_runner::{Config, RngSeed, TestCaseError, TestRunner},
};

/// Holds a property against 1,000 cases.
fn check<S: Strategy>(cases: &S, property: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let seed = number("PROPTEST_RNG_SEED").unwrap_or(1);
    let mut runner = TestRunner::new(Config {
        cases: number("PROPTEST_CASES").map_or(1000, |n| u32::try_from(n).unwrap()),
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        ..Config::default()
    });
    if let Err(error) = runner.run(cases, property) {
        panic!("PROPTEST_RNG_SEED={seed}: {error}");
    }
}

fn container(nth: usize, image_id: &str) -> Container {
    Container {
        id: ContainerId::new(format!("{nth:064}")),
        name: format!("c-{nth}"),
        ownership: Ownership::Foreign,
        image: image_id.to_owned(),
        image_id: image_id.to_owned(),
        state: ContainerState::Exited,
        exit_code: Some(0),
        ports: Vec::new(),
        networks: BTreeMap::new(),
        created: Timestamp::from_millis(1),
        gpus: None,
        labels: BTreeMap::new(),
    }
}

/// Images as (app, age, size), which of them are in use, and how many leftovers there are.
fn worlds() -> impl Strategy<Value = World> {
    let image = (0..3_usize, 0..50_i64, 0..1000_u64, prop::bool::weighted(0.3));
    let left = (0..50_i64, prop::bool::weighted(0.3));
    let parts = (prop::collection::vec(image, 0..12), prop::collection::vec(left, 0..4));
    parts.prop_map(|(images, left)| {
        let mut world = World::default();
        for (nth, (app, at, size, is_used)) in images.into_iter().enumerate() {
            let id = format!("sha256:{nth}");
            if is_used {
                world.containers.push(container(nth, &id));
            }
            world.own_images.push(OwnImage {
                created: Timestamp::from_millis(at * 1000),
                tags: vec![format!("berth/a{app}:{nth}")],
                app: AppName::new(&format!("a{app}")).unwrap(),
                id,
                size,
                base: None,
                inputs: None,
            });
        }
        for (nth, (at, is_used)) in left.into_iter().enumerate() {
            let id = format!("sha256:left-{nth}");
            if is_used {
                world.containers.push(container(100 + nth, &id));
            }
            world.leftovers.push(Leftover { created: Timestamp::from_millis(at), id, size: 7 });
        }
        world.own_images.sort();
        // Somebody else's, of which nothing is known but the name.
        world.images.insert("other:1".to_owned(), "sha256:foreign".to_owned());
        world
    })
}

fn policies() -> impl Strategy<Value = Policy> {
    let parts = (1..4_usize, 0..40_u64, prop::option::of(0..4000_u64));
    parts.prop_map(|(keep_images, age, images_max_size)| Policy {
        keep_images,
        images_max_age: Duration::from_secs(age),
        images_max_size,
        ..Policy::default()
    })
}

/// Faults D28, B09.
#[test]
fn images_in_use_foreign_ones_and_the_newest_never_go() {
    let now = Timestamp::from_millis(60_000);
    check(&(worlds(), policies()), |(world, policy)| {
        let going = unneeded(&world, &policy, now, &Needed::default());
        let ids: BTreeSet<_> = going.iter().map(|image| image.id.as_str()).collect();
        prop_assert_eq!(ids.len(), going.len());
        for container in &world.containers {
            prop_assert!(
                !ids.contains(container.image_id.as_str()),
                "{} is in use",
                container.image_id
            );
        }
        for id in &ids {
            let is_own = world.own_images.iter().any(|image| image.id == *id);
            let is_left = world.leftovers.iter().any(|left| left.id == *id);
            prop_assert!(is_own || is_left, "{} is not ours", id);
        }
        for app in world.apps() {
            let mut mine: Vec<_> = world.own_images.iter().filter(|i| i.app == app).collect();
            mine.sort();
            let is_used = |id: &str| world.containers.iter().any(|c| c.image_id == id);
            let goes = |image: &&&OwnImage| ids.contains(image.id.as_str());
            let stay = mine.iter().filter(|image| !goes(image)).count();
            prop_assert!(mine.len().min(policy.keep_images) <= stay, "{} stay", stay);
            // The oldest go first.
            let last = mine.iter().rposition(|image| goes(&image));
            for image in mine.iter().take(last.unwrap_or(0)) {
                prop_assert!(goes(&image) || is_used(&image.id), "{} stays", image.id);
            }
            // What is older than allowed, unused and not among the newest does go.
            for image in mine.iter().rev().skip(policy.keep_images) {
                let is_used = is_used(&image.id);
                let is_old = policy.images_max_age <= now.since(image.created);
                prop_assert!(is_used || !is_old || ids.contains(image.id.as_str()));
            }
        }
        // What an undo holds stays.
        let held =
            Needed { held: ids.iter().map(ToString::to_string).collect(), ..Needed::default() };
        let rest = unneeded(&world, &policy, now, &held);
        prop_assert!(
            rest.iter().all(|image| image.app.is_none() || !ids.contains(image.id.as_str()))
        );
        // Once they are gone, nothing more goes; while a build runs, nothing goes at all.
        let mut after = world.clone();
        after.own_images.retain(|image| !ids.contains(image.id.as_str()));
        after.leftovers.retain(|left| !ids.contains(left.id.as_str()));
        prop_assert_eq!(unneeded(&after, &policy, now, &Needed::default()), vec![]);
        prop_assert_eq!(
            unneeded(&world, &policy, now, &Needed { is_building: true, ..Needed::default() }),
            vec![]
        );
        Ok(())
    });
}

/// A pass asks for one app, and says of it what is said of all.
#[test]
fn the_images_of_one_app_go_as_all_go() {
    let now = Timestamp::from_millis(60_000);
    check(&(worlds(), policies(), 0..12_usize), |(world, policy, held)| {
        let held = BTreeSet::from([format!("sha256:{held}")]);
        for is_building in [false, true] {
            let needed = Needed { is_building, held: held.clone(), ..Needed::default() };
            let all = unneeded(&world, &policy, now, &needed);
            for app in world.apps() {
                let of_app: Vec<_> = all.iter().filter(|i| i.app.as_ref() == Some(&app)).collect();
                let asked = unneeded_of(&app, &world, &policy, now, &needed);
                prop_assert_eq!(asked.iter().collect::<Vec<_>>(), of_app);
            }
        }
        Ok(())
    });
}

/// What a build with the classic builder made is known by what the builder told and by its age: a
/// step can print any id.
#[test]
fn steps_of_builds_go_when_they_are_ours_and_no_build_goes_on_from_them() {
    let at = Timestamp::from_millis;
    let chat = || AppName::new("chat").unwrap();
    let trace = |since: i64, is_done: bool, images: &[&str]| Trace {
        app: chat(),
        since: at(since),
        is_done,
        images: images.iter().map(|id| (*id).to_owned()).collect(),
        containers: vec!["c0".to_owned()],
    };
    let own = OwnImage {
        created: at(1),
        id: "sha256:ff".to_owned(),
        tags: vec!["berth/chat:1".to_owned()],
        app: chat(),
        size: 1,
        base: None,
        inputs: None,
    };
    let nameless = ["a1", "b2", "d4", "e5"].map(|id| (format!("sha256:{id}00"), at(20_000)));
    let mut world = World { own_images: vec![own], nameless: nameless.into(), ..World::default() };
    let going = |world: &World, traces: &[Trace], keeps_last: bool| -> Vec<String> {
        let needed = Needed { traces: traces.to_vec(), keeps_last, ..Needed::default() };
        let going = unneeded(world, &Policy::default(), at(60_000), &needed);
        going.into_iter().map(|image| image.id).collect()
    };
    let [first, second] = ["sha256:a100", "sha256:b200"];
    assert_eq!(going(&world, &[], false), [""; 0], "nothing is known");
    let ended = trace(20_900, false, &["a1", "b2"]);
    assert_eq!(going(&world, from_ref(&ended), false), [first, second]);
    assert_eq!(going(&world, from_ref(&ended), true), [""; 0], "the next build goes on from there");
    let done = trace(30_000, true, &["b2"]);
    assert_eq!(
        going(&world, &[ended.clone(), done], true),
        [first],
        "the last image's stages stay"
    );
    let younger = trace(21_001, false, &["a1", "b2"]);
    assert_eq!(going(&world, &[younger], false), [""; 0], "older than the build that names it");
    assert_eq!(going(&world, &[trace(0, false, &["", "c"])], false), [""; 0]);

    let mut left = container(1, first);
    left.id = ContainerId::new("c0ffee");
    left.created = at(20_000);
    let mut runs = Container { state: ContainerState::Running, ..left.clone() };
    runs.id = ContainerId::new("c0aa");
    let old = Container { created: at(1), id: ContainerId::new("c0bb"), ..left.clone() };
    let other = Container { id: ContainerId::new("d0ee"), ..left.clone() };
    world.containers = vec![left, runs, old, other];
    assert_eq!(going(&world, from_ref(&ended), false), [second], "a container uses the first");
    let needed = Needed { traces: vec![ended.clone()], ..Needed::default() };
    let found: Vec<_> = remains(&world, &needed).iter().map(|c| c.id.to_string()).collect();
    assert_eq!(found, ["c0ffee"]);
    let building = Needed { is_building: true, ..needed };
    assert!(remains(&world, &building).is_empty());
}

#[test]
fn images_that_take_too_much_go_oldest_first() {
    let image = |nth: i64| OwnImage {
        created: Timestamp::from_millis(nth * 1000),
        id: format!("sha256:{nth}"),
        tags: vec![format!("berth/chat:{nth}")],
        app: AppName::new("chat").unwrap(),
        size: 100,
        base: None,
        inputs: None,
    };
    let world = World { own_images: (0..5).map(image).collect(), ..World::default() };
    let policy = Policy {
        keep_images: 1,
        images_max_age: Duration::from_hours(24),
        images_max_size: Some(300),
        ..Policy::default()
    };
    let going = unneeded(&world, &policy, Timestamp::from_millis(9000), &Needed::default());
    let ids: Vec<_> = going.iter().map(|image| image.id.as_str()).collect();
    assert_eq!(ids, ["sha256:0", "sha256:1"]);
    assert!(going[0].why.contains("all images take"), "{}", going[0].why);
}

/// A word of a path, with few letters so that words meet.
fn word() -> impl Strategy<Value = String> {
    prop::string::string_regex("[ab]{1,2}").unwrap()
}

fn path() -> impl Strategy<Value = String> {
    prop::collection::vec(word(), 1..4).prop_map(|parts| parts.join("/"))
}

/// A source as somebody may write it.
fn source() -> impl Strategy<Value = String> {
    let part = prop::string::string_regex("[ab*?.]{1,3}").unwrap();
    let parts = prop::collection::vec(part, 1..4).prop_map(|parts| parts.join("/"));
    (prop::sample::select(vec!["", "/", "./", "../"]), parts)
        .prop_map(|(start, rest)| start.to_owned() + &rest)
}

/// What Docker copies: a source is a pattern for a path, and a folder is copied whole. Written for
/// itself, by trying every way to read the pattern.
fn is_copied(source: &str, path: &str) -> bool {
    fn fits(pattern: &[char], name: &[char]) -> bool {
        match (pattern.split_first(), name.split_first()) {
            (None, None) => true,
            (Some(('*', rest)), None) => fits(rest, name),
            (Some(('*', rest)), Some((_, after))) => fits(rest, name) || fits(pattern, after),
            (Some(('?', rest)), Some((_, after))) => fits(rest, after),
            (Some((c, rest)), Some((d, after))) => c == d && fits(rest, after),
            _ => false,
        }
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in source.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let names: Vec<_> = path.split('/').collect();
    let chars = |text: &str| text.chars().collect::<Vec<_>>();
    parts.len() <= names.len()
        && parts.iter().zip(&names).all(|(part, name)| fits(&chars(part), &chars(name)))
}

fn options(root: &Path, dockerfile: &str) -> ContextOptions {
    let only = match needs(dockerfile).sources {
        Sources::Only(paths) => Selection::new(root, &paths),
        Sources::All(_) => None,
    };
    let limits = ContextLimits::default();
    ContextOptions { dockerfile: Some("Dockerfile".to_owned()), extra: Vec::new(), only, limits }
}

fn sent(root: &Path, options: ContextOptions) -> BTreeSet<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let bytes = runtime.block_on(async {
        let pieces: Vec<_> = stream(root.to_owned(), options).collect().await;
        pieces.into_iter().map(Result::unwrap).collect::<Vec<_>>().concat()
    });
    let mut archive = tar::Archive::new(bytes.as_slice());
    let entries = archive.entries().unwrap().map(Result::unwrap);
    entries
        .filter(|entry| entry.header().entry_type().is_file())
        .map(|entry| entry.path().unwrap().display().to_string())
        .collect()
}

/// Fault B05: whatever is copied by Docker's rules is in the context.
#[test]
fn what_a_dockerfile_copies_is_in_its_context() {
    let copies = prop::collection::vec((source(), any::<bool>()), 1..4);
    let files = prop::collection::btree_set(path(), 1..12);
    check(&(copies, files), |(copies, files)| {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let mut made = BTreeSet::new();
        for file in files {
            let place = root.join(&file);
            let is_made = fs::create_dir_all(place.parent().unwrap()).is_ok() && !place.exists();
            if is_made && fs::write(&place, "x").is_ok() {
                made.insert(file);
            }
        }
        let mut text = "FROM a\n".to_owned();
        for (source, is_json) in &copies {
            text += &if *is_json {
                format!("COPY [\"{source}\", \"/x/\"]\n")
            } else {
                format!("copy \\\n  {source} /x/\n")
            };
        }
        fs::write(root.join("Dockerfile"), &text).unwrap();
        let options = options(root, &text);
        let size = measure(root, &options).unwrap();
        let seen = sent(root, options);
        for file in &made {
            let is_needed = copies.iter().any(|(source, _)| is_copied(source, file));
            prop_assert!(!is_needed || seen.contains(file), "{file} is missing for:\n{text}");
        }
        prop_assert!(seen.contains("Dockerfile"));
        let bytes: u64 = seen.iter().map(|file| fs::metadata(root.join(file)).unwrap().len()).sum();
        prop_assert_eq!(size.bytes, bytes);
        Ok(())
    });
}

#[test]
fn what_a_dockerfile_does_not_copy_is_not_sent() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for path in [
        "src/app.py",
        "src/sub/x",
        "data/large",
        "requirements.txt",
        "notes.txt",
        ".git/HEAD",
        "b/ignored",
    ] {
        fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
        fs::write(root.join(path), path).unwrap();
    }
    fs::write(root.join(".dockerignore"), "b\n").unwrap();
    let sent = |text: &str| {
        fs::write(root.join("Dockerfile"), text).unwrap();
        sent(root, options(root, text)).into_iter().collect::<Vec<_>>()
    };
    assert_eq!(
        sent("FROM a\nCOPY req*.txt ./\nCOPY src /src\nCOPY b /b\n"),
        [".dockerignore", "Dockerfile", "requirements.txt", "src/app.py", "src/sub/x"]
    );
    assert_eq!(sent("FROM a\nCOPY . .\n").len(), 7);
}

/// 500 MB go through with little of it in memory, however slowly they are taken.
#[tokio::test]
async fn a_large_context_is_never_in_memory() {
    let resident = || {
        let text = fs::read_to_string("/proc/self/statm").unwrap();
        text.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4096
    };
    let folder = tempfile::tempdir().unwrap();
    // A hole costs no disk, and is read like any other file.
    fs::File::create(folder.path().join("large")).unwrap().set_len(500 << 20).unwrap();
    let mut pieces =
        Box::pin(stream(folder.path().to_owned(), options(folder.path(), "FROM a\nCOPY large /")));
    let before = resident();
    let (mut bytes, mut most) = (0, 0);
    while let Some(piece) = pieces.next().await {
        bytes += piece.unwrap().len() as u64;
        if bytes % (16 << 20) < (64 << 10) {
            most = most.max(resident().saturating_sub(before));
        }
    }
    assert!(500 << 20 < bytes);
    assert!(most < 32 << 20, "{most} bytes more than before");
}
