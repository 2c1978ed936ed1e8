//! The two builders of a real engine: the same result from either, and what each is kept from.

use std::sync::atomic::Ordering;
use std::time::Duration;

use berth::engine::docker::{Builder, Settings};
use berth::engine::{BuildExtras, BuildSecret, Error, Wants};
use berth::plan::Recipe;
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::time::Instant;

use super::{
    bench::{Bench, tar_of},
    eventually,
};

const BUILDERS: [Builder; 2] = [Builder::Classic, Builder::Buildkit];

async fn with(builder: Builder) -> Bench {
    Bench::docker_with(|settings| settings.builder = builder).await
}

async fn build(
    bench: &Bench,
    recipe: &Recipe,
    extras: BuildExtras,
) -> (Result<String, Error>, Vec<String>) {
    let tar = Bytes::from(tar_of(&bench.dockerfile(recipe)));
    let context = futures_util::stream::iter([Ok(tar)]).boxed();
    bench.build_with(recipe, context, extras).await
}

/// Everything that the engine says about an image, its history included.
async fn told(bench: &Bench, image: &str) -> String {
    let client = bollard::Docker::connect_with_host(&bench.host().unwrap()).unwrap();
    let image_said = client.inspect_image(image).await.unwrap();
    let history = client.image_history(image).await.unwrap();
    format!("{image_said:?} {history:?}")
}

/// A line that a build wrote.
fn line<'a>(log: &'a [String], start: &str) -> &'a str {
    let found = log.iter().find_map(|line| line.strip_prefix(start));
    found.unwrap_or_else(|| panic!("no line begins with {start}: {log:?}"))
}

/// Faults B07, D39: the same contract, whichever builds.
#[tokio::test]
async fn both_builders_keep_the_contract() {
    for builder in BUILDERS {
        super::a_build_gives_an_image_that_is_ours(with(builder).await).await;
        super::a_failed_build_says_why_and_leaves_no_image(with(builder).await).await;
        super::a_build_whose_context_breaks_off_fails(with(builder).await).await;
    }
}

/// Fault B02: what runs from the image is the same.
#[tokio::test]
async fn both_builders_make_the_same_image() {
    let mut configs = Vec::new();
    let mut files = Vec::new();
    for builder in BUILDERS {
        let bench = with(builder).await;
        let lines = "ARG A=1\nENV B=$A\nWORKDIR /w\nRUN echo x >x; chmod 4751 x; ln -s x y; \
                     mkdir -m 700 d; echo $A >d/z; chown 12:34 d/z; rm -f /etc/none\n\
                     LABEL l=m\nUSER 12:34\nCMD [\"cat\", \"x\"]";
        let recipe = bench.recipe("chat", lines);
        let id = bench.build(&recipe).await.0.unwrap();
        let client = bollard::Docker::connect_with_host(&bench.host().unwrap()).unwrap();
        let config = client.inspect_image(&id).await.unwrap().config.unwrap();
        let mut labels = config.labels.unwrap();
        labels.retain(|key, _| !key.starts_with("dev.berth.image"));
        configs.push((
            (config.env, config.cmd, config.working_dir, config.entrypoint),
            (config.user, labels),
        ));
        files.push(files_of(&client, &id).await);
    }
    assert_eq!(configs[0], configs[1]);
    let written = |name: &str| files[0].iter().find(|line| line.starts_with(name)).unwrap();
    assert!(written("w/x ").starts_with("w/x Regular 4751 0:0"), "{}", written("w/x "));
    assert!(written("w/d/z ").starts_with("w/d/z Regular 644 12:34"), "{}", written("w/d/z "));
    assert_eq!(files[0], files[1]);
}

/// All files of an image, a line for each: path, kind, mode, owner, target and a hash of what is
/// in it. What the engine puts into each container itself is left out.
async fn files_of(client: &bollard::Docker, image: &str) -> Vec<String> {
    let body = bollard::models::ContainerCreateBody {
        image: Some(image.to_owned()),
        ..Default::default()
    };
    let made = client.create_container(None, body).await.unwrap();
    let tar = all_of(client.export_container(&made.id)).await;
    client.remove_container(&made.id, None).await.unwrap();
    let mut lines = Vec::new();
    for entry in tar::Archive::new(&tar[..]).entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
        let path = entry.path().unwrap().display().to_string();
        let header = entry.header();
        let (mode, kind) = (header.mode().unwrap() & 0o7777, header.entry_type());
        let owner = (header.uid().unwrap(), header.gid().unwrap());
        let target = entry.link_name().unwrap().unwrap_or_default().display().to_string();
        let digest = berth::model::Digest::of_bytes(&bytes);
        lines.push(format!("{path} {kind:?} {mode:o} {}:{} {target} {digest}", owner.0, owner.1));
    }
    let is_engines = |line: &String| {
        let path = line.split(' ').next().unwrap_or_default();
        path == ".dockerenv"
            || ["dev/", "etc/hostname", "etc/hosts", "etc/resolv.conf", "etc/mtab", "proc/", "sys/"]
                .iter()
                .any(|start| path.starts_with(start))
    };
    lines.retain(|line| !is_engines(line));
    lines.sort();
    lines
}

/// A stream, as a whole.
async fn all_of<E: std::fmt::Debug>(
    stream: impl futures_util::Stream<Item = Result<Bytes, E>>,
) -> Vec<u8> {
    let mut stream = std::pin::pin!(stream);
    let mut all = Vec::new();
    while let Some(part) = stream.next().await {
        all.extend_from_slice(&part.unwrap());
    }
    all
}

fn has(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// A build that nobody waits for any more is ended by the engine.
#[tokio::test]
async fn a_build_that_is_dropped_is_ended() {
    for (nth, builder) in BUILDERS.into_iter().enumerate() {
        let bench = with(builder).await;
        let marker = format!("60{nth}.{}", std::process::id());
        let recipe = bench.recipe("chat", &format!("RUN sleep {marker}"));
        tokio::select! {
            built = bench.build(&recipe) => panic!("{built:?}"),
            () = eventually(async || runs(&marker).then_some(())) => {}
        }
        eventually(async || (!runs(&marker)).then_some(())).await;
        assert_eq!(bench.engine.observe().await.unwrap().image_id(&recipe.tag()), None);
    }
}

/// Whether `sleep` with this time runs anywhere on the host: `BuildKit` lists no container for it.
fn runs(time: &str) -> bool {
    let command = format!("sleep\0{time}\0");
    std::fs::read_dir("/proc").unwrap().filter_map(Result::ok).any(|entry| {
        std::fs::read(entry.path().join("cmdline")).is_ok_and(|line| line == command.as_bytes())
    })
}

/// Fault B03: silence and length are limited, and what was begun is ended.
#[tokio::test]
async fn a_build_that_hangs_is_ended_at_its_limit() {
    type Change = fn(&mut Settings);
    let changes: [(Change, &str); 2] = [
        (|settings| settings.build_limit = Duration::from_secs(2), "did not end within 2s"),
        (|settings| settings.build_idle_limit = Duration::from_secs(2), "silent for 2s"),
    ];
    for (nth, builder) in BUILDERS.into_iter().enumerate() {
        let (change, says) = changes[nth];
        let bench = Bench::docker_with(|settings| {
            settings.builder = builder;
            change(settings);
        })
        .await;
        let marker = format!("61{nth}.{}", std::process::id());
        let recipe = bench.recipe("chat", &format!("RUN echo begun && sleep {marker}"));
        let start = Instant::now();
        let (built, _) = bench.build(&recipe).await;
        assert!(matches!(&built, Err(Error::Work(said)) if said.contains(says)), "{built:?}");
        assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
        eventually(async || (!runs(&marker)).then_some(())).await;
    }
}

/// Fault B08: a secret is there for the step that mounts it, and nowhere else.
#[tokio::test]
async fn a_secret_reaches_its_step_and_no_layer() {
    let bench = with(Builder::Auto).await;
    let secret = format!("s3cret-{}", std::process::id());
    let recipe = bench.recipe(
        "chat",
        &format!(
            "RUN echo in-a-layer-{0} >/planted\n\
             RUN --mount=type=secret,id=token wc -c </run/secrets/token\n\
             RUN ls /run/secrets/token 2>/dev/null || echo gone",
            bench.instance
        ),
    );
    let value = secret.clone().into_bytes();
    let secrets = vec![BuildSecret { id: "token".to_owned(), value }];
    let wants = Wants { buildkit: Some("RUN --mount".to_owned()), classic: false };
    let (built, log) =
        build(&bench, &recipe, BuildExtras { secrets, wants, ..BuildExtras::default() }).await;
    let id = built.unwrap_or_else(|error| panic!("{error}: {log:?}"));
    assert!(log.iter().any(|line| line == &secret.len().to_string()), "{log:?}");
    assert!(log.iter().any(|line| line == "gone"), "{log:?}");
    assert!(!told(&bench, &id).await.contains(&secret), "the secret is in the image");
    // Nor is it in any layer, where a plain file is found.
    let client = bollard::Docker::connect_with_host(&bench.host().unwrap()).unwrap();
    let layers = all_of(client.export_image(&id)).await;
    assert!(has(&layers, &format!("in-a-layer-{}", bench.instance)), "{} bytes", layers.len());
    assert!(!has(&layers, &secret), "the secret is in a layer");
    // Without it the build fails, and says so.
    let recipe = bench.recipe(
        "other",
        &format!("RUN --mount=type=secret,id=none,required=true : {}", bench.instance),
    );
    let secrets = vec![BuildSecret { id: "token".to_owned(), value: b"x".to_vec() }];
    let (built, _) =
        build(&bench, &recipe, BuildExtras { secrets, ..BuildExtras::default() }).await;
    assert!(matches!(&built, Err(Error::Work(said)) if said.contains("none")), "{built:?}");
}

/// What one build puts into a cache is there for the next.
#[tokio::test]
async fn a_cache_mount_is_kept_between_builds() {
    let bench = with(Builder::Auto).await;
    let mount = format!("RUN --mount=type=cache,id=berth-{},target=/c", bench.instance);
    let wants = Wants { buildkit: Some("RUN --mount".to_owned()), classic: false };
    let extras = BuildExtras { wants, ..BuildExtras::default() };
    let first = bench.recipe("chat", &format!("{mount} : {}; echo kept >/c/f", bench.instance));
    build(&bench, &first, extras.clone()).await.0.unwrap();
    let second = bench.recipe("other", &format!("{mount} : {}; cat /c/f", bench.instance));
    let (built, log) = build(&bench, &second, extras.clone()).await;
    built.unwrap();
    assert!(log.iter().any(|line| line == "kept"), "{log:?}");
    assert!(extras.keeps.swap(false, Ordering::SeqCst), "it is kept by the engine");
    // The classic builder knows no mounts: that is said before anything is sent.
    let classic = with(Builder::Classic).await;
    let (built, _) = build(&classic, &first, extras).await;
    assert!(matches!(&built, Err(Error::Work(said)) if said.contains("RUN --mount")), "{built:?}");
    // What is kept is listed, and goes piece by piece.
    let mine = async || {
        let all = bench.engine.build_cache().await.unwrap().into_iter();
        let mark = format!(": {};", bench.instance);
        all.filter(|record| record.description.contains(&mark)).collect::<Vec<_>>()
    };
    let before = mine().await;
    let mount = before.iter().find(|record| record.description.starts_with("cached mount /c"));
    let mount = mount.unwrap();
    assert!(!mount.is_used && !mount.is_shared && mount.created <= mount.used, "{mount:?}");
    for (id, expected) in [(mount.id.as_str(), true), (mount.id.as_str(), false), ("../x", false)] {
        assert_eq!(bench.engine.drop_cached(id).await.unwrap(), expected, "{id}");
    }
    assert_eq!(mine().await.len() + 1, before.len());
}

/// Faults B05, B08: a proxy is told to the steps and to nothing that stays; no step sees the host's
/// network.
#[tokio::test]
async fn a_proxy_reaches_the_steps_only_and_the_host_is_out_of_reach() {
    for builder in BUILDERS {
        let bench = with(builder).await;
        let proxy = format!("http://user:pass-{}@proxy.invalid:3128", std::process::id());
        let lines = "echo proxy=$HTTP_PROXY; echo network=$(readlink /proc/self/ns/net)";
        let recipe = bench.recipe("chat", &format!("RUN : {}; {lines}", bench.instance));
        let environment = [("HTTP_PROXY".to_owned(), proxy.clone())].into();
        let (built, log) =
            build(&bench, &recipe, BuildExtras { environment, ..BuildExtras::default() }).await;
        let id = built.unwrap();
        assert_eq!(line(&log, "proxy="), proxy, "{builder:?}");
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        assert_ne!(line(&log, "network="), own.display().to_string(), "{builder:?}");
        assert!(!told(&bench, &id).await.contains("proxy.invalid"), "{builder:?}");
    }
}

/// A step gets no more than the operator allows, from the builder that can hold it to that.
#[tokio::test]
async fn memory_and_processors_of_a_step_are_limited() {
    let bench = Bench::docker_with(|settings| {
        settings.build_memory = Some(64 << 20);
        settings.build_cpus = Some(500);
    })
    .await;
    let groups = "cd /sys/fs/cgroup; echo memory=$(cat memory.max memory/memory.limit_in_bytes); \
                  echo cpu=$(cat cpu.max cpu/cpu.cfs_quota_us)";
    let recipe = bench.recipe("chat", &format!("RUN : {}; {groups}", bench.instance));
    let (built, log) = build(&bench, &recipe, BuildExtras::default()).await;
    built.unwrap();
    assert_eq!(line(&log, "memory="), (64 << 20).to_string(), "{log:?}");
    assert!(line(&log, "cpu=").starts_with("50000"), "{log:?}");
    let wants = Wants { buildkit: Some("RUN --mount".to_owned()), classic: false };
    let (built, _) = build(&bench, &recipe, BuildExtras { wants, ..BuildExtras::default() }).await;
    assert!(matches!(&built, Err(Error::Work(said)) if said.contains("build-memory")), "{built:?}");
}

/// The free room of the engine's disk is looked at where its disk is.
#[tokio::test]
async fn the_room_and_the_triggers_of_images_are_known() {
    let bench = with(Builder::Classic).await;
    let room = bench.engine.room().await.unwrap().unwrap();
    assert!(0 < room.free);
    let recipe = bench.recipe("chat", "ONBUILD RUN true");
    let id = bench.build(&recipe).await.0.unwrap();
    assert_eq!(bench.engine.has_triggers(&id).await.unwrap(), Some(true));
    assert_eq!(bench.engine.has_triggers(super::bench::IMAGE).await.unwrap(), Some(false));
    assert!(bench.engine.image_size(super::bench::IMAGE).await.unwrap().unwrap() > 1 << 20);
    for absent in ["berth/none:0", "a b", "../x"] {
        assert_eq!(bench.engine.has_triggers(absent).await.unwrap(), None, "{absent}");
        assert_eq!(bench.engine.image_size(absent).await.unwrap(), None, "{absent}");
    }
}
