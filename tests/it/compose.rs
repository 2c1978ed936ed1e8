//! Compose files: what is written, what is read, and the way there and back.

use std::{collections::BTreeMap, fs, os::unix::fs::MetadataExt as _, path::Path, sync::Arc};

use berth::{
    compose::{
        Folder, Found, Member, Rendered, Shown,
        emit::{Map, Yaml, document},
        import::{Files, Imported, Level, Request, import},
        main_file, render,
    },
    engine::docker::asked,
    manifest::read_file,
    model::{App, Command, Health, HealthCheck},
    plan::{ContainerSpec, Dockerfile, Recipe},
};
use proptest::{collection, prelude::*};
use serde_json::json;

use crate::sim::Sim;

fn golden(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/compose").join(name);
    fs::read_to_string(&path).unwrap_or_default()
}

/// Compares with a file; `BLESS=1` writes it.
#[track_caller]
fn is_as_written(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/compose").join(name);
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, text).unwrap();
    }
    assert_eq!(text, fs::read_to_string(&path).unwrap_or_default(), "{name}");
}

#[track_caller]
fn app(manifest: &str) -> App {
    let reading = read_file("f.yaml", manifest.as_bytes());
    assert_eq!(reading.apps.len(), 1, "{:?}\n{manifest}", reading.diagnostics);
    reading.apps[0].as_ref().clone()
}

/// The container that is planned for an app with an image.
fn spec(app: &App) -> Arc<ContainerSpec> {
    let berth::model::Source::Image { reference, .. } = &app.spec.source else {
        panic!("an app without an image")
    };
    let app = App {
        spec: berth::model::AppSpec { depends_on: vec![], ..app.spec.clone() },
        ..app.clone()
    };
    let mut sim = Sim::new(&Arc::new(app.clone())).has_image(reference.as_str());
    sim.state.pulled_generation = Some(sim.state.generation);
    let plan = sim.plan();
    plan.container.clone().unwrap_or_else(|| panic!("no container is planned: {plan:?}"))
}

fn written(app: &App, spec: &ContainerSpec, recipe: Option<&Recipe>) -> Rendered {
    let (code, dockerfile) = ("/w/web/code", "/c/web/Dockerfile");
    render(&Shown { app, spec, body: &asked(spec), recipe, code, dockerfile })
}

/// A machine with one repository and one file.
struct Shelf;

impl Files for Shelf {
    fn read(&self, path: &str) -> Result<String, String> {
        match path {
            "/srv/shop/web.env" => Ok("FROM_FILE=1\nTITLE=file\n".to_owned()),
            _ => Err("no such file".to_owned()),
        }
    }

    fn repository(&self, path: &str) -> Option<(String, String)> {
        path.strip_prefix("/srv/repo/").map(|path| ("/srv/repo".to_owned(), path.to_owned()))
    }
}

fn read(text: &str) -> Imported {
    let set: BTreeMap<_, _> = [("SET", "set")].into();
    let lookup = |name: &str| set.get(name).map(|value| (*value).to_owned());
    let (folder, project, name) = ("/srv/shop", None, None);
    import(&Request { text, folder, project, name, lookup: &lookup, files: &Shelf })
}

fn said(imported: &Imported) -> String {
    let line = |f: &berth::compose::import::Finding| {
        format!("{}: {}: {}: {}\n", f.line, f.level.word(), f.path, f.message)
    };
    imported.findings.iter().map(line).collect()
}

#[test]
fn a_container_is_written_down_whole() {
    for name in ["web", "db"] {
        let app = app(&golden(&format!("{name}.manifest.yaml")));
        let rendered = written(&app, &spec(&app), None);
        assert_eq!((rendered.left_out, rendered.withheld), (vec![], vec![]));
        is_as_written(&format!("{name}.compose.yaml"), &rendered.text);
    }
}

/// What the engine is asked for and compose can't say is named, never dropped.
#[test]
fn a_new_field_of_the_request_is_not_lost() {
    let app = app(&golden("db.manifest.yaml"));
    let spec = spec(&app);
    let mut body = asked(&spec);
    body["Runtime"] = json!("x");
    body["HostConfig"]["Devices"] = json!([1]);
    body["HostConfig"]["DeviceRequests"] =
        json!([{"Driver": "nvidia", "DeviceIDs": ["GPU-1"], "Capabilities": [["gpu"]]}]);
    let shown =
        Shown { app: &app, spec: &spec, body: &body, recipe: None, code: "", dockerfile: "" };
    let rendered = render(&shown);
    assert_eq!(rendered.left_out, ["Runtime", "HostConfig.Devices"]);
    assert!(
        rendered.text.contains("# compose can't say this: HostConfig.Devices"),
        "{}",
        rendered.text
    );
    let device = "devices:\n            - driver: nvidia\n              device_ids:\n                - GPU-1\n";
    assert!(rendered.text.contains(device), "{}", rendered.text);
}

#[test]
fn values_that_may_be_secrets_are_asked_for_and_not_written() {
    let text = golden("db.manifest.yaml")
        + "  env: {HF_TOKEN: s3cret, TOKENIZERS_PARALLELISM: \"false\"}\n";
    let app = app(&text);
    let rendered = written(&app, &spec(&app), None);
    assert_eq!(rendered.withheld, ["HF_TOKEN"]);
    assert!(rendered.text.contains("HF_TOKEN: \"${HF_TOKEN:?set HF_TOKEN}\""), "{}", rendered.text);
    assert!(!rendered.text.contains("s3cret"));
    let imported = read(&rendered.text);
    assert!(imported.has_mistakes() && said(&imported).contains("HF_TOKEN is not set"));
}

#[test]
fn a_build_is_written_with_its_checkout_and_comes_back_as_its_source() {
    let git = "apiVersion: berth/v1\nkind: App\nmetadata: {name: web}\nspec:\n  \
        source: {git: {url: https://git.example.com/a.git, ref: main, path: app}, interval: 1m}\n  \
        build: {args: {MODE: \"a$b\"}, requirements: req.txt, packages: [ffmpeg]}\n  run: exec x\n";
    let built = app(git);
    let image = app(
        "apiVersion: berth/v1\nkind: App\nmetadata: {name: web}\nspec: {image: x:1, run: exec x}\n",
    );
    let recipe = Recipe {
        instance: "i".to_owned(),
        app: built.name.clone(),
        tree: "t".to_owned(),
        commit: "c0ffee".to_owned(),
        dockerfile: Dockerfile::Generated("FROM x\n".to_owned()),
        target: None,
        args: built.spec.build.args.clone(),
        base: None,
        ca_bundle: None,
        secrets: Vec::new(),
        from: None,
        rebuilds: 0,
        is_from_scratch: false,
        twin: None,
        why: String::new(),
    };
    let rendered = written(&built, &spec(&image), Some(&recipe));
    is_as_written("built.compose.yaml", &rendered.text);
    comes_back(&built, &rendered.text);
}

/// Imports what was written; it must be the same app, and nothing of it may be lost.
#[track_caller]
fn comes_back(before: &App, text: &str) {
    let imported = read(text);
    let is_lost = imported.findings.iter().any(|finding| finding.level != Level::Note);
    assert!(!is_lost, "{}\n{text}", said(&imported));
    let after = app(&imported.manifests[0].text);
    assert_eq!(after.spec, before.spec, "{text}\n{}", imported.manifests[0].text);
    assert_eq!(
        (after.labels, after.annotations),
        (before.labels.clone(), before.annotations.clone())
    );
}

#[test]
fn what_is_written_comes_back_as_the_same_app() {
    for name in ["web", "db"] {
        let app = app(&golden(&format!("{name}.manifest.yaml")));
        comes_back(&app, &written(&app, &spec(&app), None).text);
    }
}

#[test]
fn a_compose_file_becomes_manifests_and_every_other_key_is_named() {
    let imported = read(&golden("shop.yaml"));
    let manifests: Vec<_> = imported.manifests.iter().map(|m| m.text.as_str()).collect();
    is_as_written("shop.txt", &format!("{}\n{}", manifests.join("---\n"), said(&imported)));
    assert!(!imported.has_mistakes());
    for lost in ["frobnicate", "cache_from", "start_interval", "replicas", "secrets"] {
        let is_named = |f: &berth::compose::import::Finding| f.path.ends_with(lost);
        assert!(imported.findings.iter().any(is_named), "{lost} is not named");
    }
}

#[test]
fn a_file_that_can_not_be_imported_says_where_and_why() {
    for (text, line, why) in [
        ("services: {a: {image: \"${NO}\"}}", 1, "the variable NO is not set"),
        ("services:\n  a:\n    image: ${NO:?give it}\n", 3, "NO is not set: give it"),
        ("services:\n  a: {ports: [80]}\n", 2, "needs `image` or `build`"),
        ("a: {image: x}", 0, "there are no `services`"),
        ("services: [a]", 1, "must be a mapping"),
        ("services: {a: {image: x, env_file: gone.env}}", 1, "gone.env can't be read"),
        ("services:\n\ta: 1", 2, ""),
    ] {
        let imported = read(text);
        let mistakes = imported.findings.iter().filter(|f| f.level == Level::Mistake);
        let found: Vec<_> = mistakes.filter(|f| f.message.contains(why)).collect();
        assert!(found.iter().any(|f| line == 0 || f.line == line), "{text}: {}", said(&imported));
    }
}

#[test]
fn a_main_file_names_every_app_and_only_dependencies_that_are_there() {
    let app = app(&golden("web.manifest.yaml"));
    let web = Member::of(&app, "berth");
    let db = Member { app: "db".to_owned(), volumes: vec![], depends_on: vec![], ..web.clone() };
    assert!(!main_file(std::slice::from_ref(&web)).contains("depends_on"));
    is_as_written("main.compose.yaml", &main_file(&[db, web]));
}

#[test]
fn what_somebody_else_wrote_is_kept_aside_and_nothing_is_written_twice() {
    let top = tempfile::tempdir().unwrap();
    let folder = Folder::new(top.path().join("compose"));
    let file = top.path().join("compose/web/docker-compose.yaml");
    let beside = folder.dockerfile("web");
    assert_eq!(folder.write("web", "a: 1\n", Some(b"FROM x\n")).unwrap(), [Found::Own, Found::Own]);
    let first = fs::metadata(&file).unwrap();
    assert_eq!(first.mode() & 0o777, 0o600);
    assert_eq!(
        folder.write("web", "a: 1\n", Some(b"FROM x\n")).unwrap(),
        [Found::Same, Found::Same]
    );
    assert_eq!(fs::metadata(&file).unwrap().ino(), first.ino());
    assert_eq!(folder.apps(), ["web"]);

    let mut edited = fs::read_to_string(&file).unwrap();
    edited.push_str("b: 2\n");
    for nth in ["", "-2"] {
        fs::write(&file, &edited).unwrap();
        assert!(folder.apps().is_empty());
        let aside = file.with_file_name(format!("docker-compose.yaml.orig{nth}"));
        let found = folder.write("web", "a: 3\n", Some(b"FROM x\n")).unwrap();
        assert_eq!(found, [Found::Same, Found::Kept(aside.clone())]);
        assert_eq!(fs::read_to_string(aside).unwrap(), edited);
    }
    fs::write(&beside, "FROM mine\n").unwrap();
    folder.remove("web").unwrap();
    assert!(!file.exists() && beside.exists(), "only what Berth wrote goes");
    folder.remove("gone").unwrap();

    // A Dockerfile that is not needed any more goes; a link is never followed.
    folder.write("b", "a: 1\n", Some(b"FROM x\n")).unwrap();
    folder.write("b", "a: 1\n", None).unwrap();
    assert!(!folder.dockerfile("b").exists());
    let outside = top.path().join("outside");
    fs::write(&outside, "mine").unwrap();
    let main = top.path().join("compose/docker-compose.yaml");
    std::os::unix::fs::symlink(&outside, &main).unwrap();
    assert!(matches!(folder.write_main(Some("a: 1\n")).unwrap(), Found::Kept(_)));
    assert_eq!(fs::read_to_string(&outside).unwrap(), "mine");
    assert_eq!(folder.write_main(None).unwrap(), Found::Own);
    assert!(!main.exists());
}

/// Faults Y01, W16: a file may be anything.
#[test]
fn a_hostile_file_costs_little() {
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: [*d,*d,*d,*d,*d,*d,*d,*d,*d]\n";
    let deep = "[".repeat(5000);
    let nested =
        format!("services: {{a: {{image: '{}x{}'}}}}", "${A:-".repeat(500), "}".repeat(500));
    let doubling =
        "services: {a: {image: x, entrypoint: \"\", command: [], ports: {}, volumes: 1}}";
    for text in [bomb, &deep, &nested, "", "---", "services:", "services: {a: }", "\u{feff}"] {
        assert!(read(text).has_mistakes(), "{}", &text[..text.len().min(60)]);
    }
    assert!(!read(doubling).has_mistakes(), "{}", said(&read(doubling)));
}

fn any_app() -> impl Strategy<Value = App> {
    let word = "[ -~äé\u{85}\u{2028}\u{feff}\u{1f600}\\n\\t$\"']{0,12}";
    let words = move || collection::vec(word.prop_filter("none", |w| !w.is_empty()), 1..4);
    let command = prop_oneof![
        Just(Command::Image),
        words().prop_map(|args| Command::Exec { command: vec![], args }),
        (words(), words()).prop_map(|(command, args)| Command::Exec { command, args }),
        "[a-z $'\"]{0,8}[a-z]".prop_map(|line| Command::Shell(format!("exec x{line}"))),
    ];
    let check = prop_oneof![
        Just(None),
        words().prop_map(|words| Some(HealthCheck::Exec(words))),
        (1..9000_u16).prop_map(|port| Some(HealthCheck::Tcp { port })),
    ];
    let env = collection::btree_map("[A-Z][A-Z0-9]{0,3}_V", word, 0..5);
    let labels = collection::btree_map("[a-z]{1,4}/[a-z]{1,3}", word, 0..3);
    let sizes = (10..9999_u64, 10_000_000..9_000_000_000_u64, 1..4096_i64, 1..600_u64, 1..200_u64);
    (command, check, env, labels, sizes).prop_map(|(command, check, env, labels, sizes)| {
        let mut app = app(&golden("web.manifest.yaml"));
        app.labels = labels.clone();
        app.annotations = labels;
        app.spec.command = command;
        app.spec.env = env;
        app.spec.resources.cpu_millis = Some(sizes.0);
        app.spec.resources.memory_bytes = Some(sizes.1);
        app.spec.resources.pids = Some(sizes.2);
        app.spec.stop_grace_period = std::time::Duration::from_secs(sizes.3);
        let interval = std::time::Duration::from_secs(sizes.4);
        let start_period = std::time::Duration::from_millis(sizes.1 % 80_000 + 1);
        // Without a check its times mean nothing, and are the usual ones again.
        let usual = self::app(&golden("db.manifest.yaml")).spec.health;
        app.spec.health = match check {
            None => Health { check: None, retries: 3, ..usual },
            check => Health { check, interval, start_period, ..usual },
        };
        app
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_app_comes_back_from_its_compose_file(app in any_app()) {
        comes_back(&app, &written(&app, &spec(&app), None).text);
    }

    #[test]
    fn any_text_is_written_so_that_it_is_read_again(
        pairs in collection::btree_map("\\PC{0,12}|[ -~\\n\\t]{0,9}", "\\PC*|[ -~\\n\\r\\t\u{0}\u{85}\u{2028}]*", 0..9)
    ) {
        let map: Map = pairs.iter().map(|(k, v)| (k.clone(), Yaml::from(v.clone()))).collect();
        let again: BTreeMap<String, String> = serde_yaml::from_str(&document(&map)).unwrap();
        prop_assert_eq!(again, pairs);
    }

    /// No text makes the reader panic, and no key of a service goes unsaid.
    #[test]
    fn every_unknown_key_is_named(key in "[a-z]{3,8}_[a-z]{2,9}", at in 0..4_usize, text in "\\PC{0,60}") {
        let _ = read(&text);
        prop_assume!(!golden("shop.yaml").contains(&key));
        let line = format!("{key}: {{a: [1]}}\n");
        let shop = golden("shop.yaml");
        let broken = match at {
            0 => format!("{shop}{line}"),
            1 => shop.replace("    image: postgres:16\n", &format!("    image: postgres:16\n    {line}")),
            2 => shop.replace("      interval: 10s\n", &format!("      interval: 10s\n      {line}")),
            _ => shop.replace("      replicas: 2\n", &format!("      replicas: 2\n      {line}")),
        };
        prop_assert_ne!(&broken, &shop);
        let found = read(&broken).findings;
        prop_assert!(found.iter().any(|f| f.path.ends_with(&key) && f.level == Level::Lost), "{:?}", found);
    }
}
