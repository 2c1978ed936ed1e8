//! What is done to Berth while faults happen: a table of workloads.

use std::time::Duration;

use berth::{engine::fake::Behaviour, model::ImageRef, record::Command};

use super::oracle::Bound;
use crate::rig::name;

/// The app that every workload is about.
pub(crate) const APP: &str = "chat";
/// An app that no workload is about.
pub(crate) const BYSTANDER: &str = "idle";
/// An image that is pulled.
pub(crate) const REMOTE: &str = "shop/far:1";

/// What is done before the faults begin, what is done while they may happen, and what must be in
/// the end.
#[derive(Clone)]
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    /// The manifests of the apps that run before.
    pub(crate) before: Vec<(&'static str, String)>,
    pub(crate) acts: Vec<Act>,
    /// Whether Berth is started anew for it: the first act happens while it does not run.
    pub(crate) is_afresh: bool,
    /// Whether what Berth had kept is lost before.
    pub(crate) is_forgotten: bool,
    /// How many of the first builds fail.
    pub(crate) failing_builds: usize,
    /// Whether somebody else's container has the name that the app's will get.
    pub(crate) is_squatted: bool,
    /// That name, once it is known.
    pub(crate) squatted: Option<String>,
    /// The app's containers in the end: image and state.
    pub(crate) ends: &'static str,
    /// How often things may be done when Berth dies and what was to be kept is not.
    pub(crate) bound: Bound,
    /// The same when it is kept.
    pub(crate) bound_kept: Bound,
}

/// Something that somebody does.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Nothing but starting Berth.
    Nothing,
    /// Writes manifests.
    Put(Vec<(&'static str, String)>),
    /// Writes the app's manifest, and is followed by the next act so soon.
    Brief(String, Duration),
    Remove(&'static str),
    Rename(&'static str, &'static str),
    Ask(Asked),
    /// `docker kill` of the app's container.
    Kill,
    /// `docker rm -f` of it.
    Destroy,
    /// The repository has another commit, and it was fetched.
    Commit(char),
    /// An image appears in the registry.
    Publish(&'static str),
    /// Somebody else's container takes a port, or gives it back.
    TakePort(u16),
    FreePort,
    /// Whoever has the app's container's name goes.
    Leave,
}

/// A command about the app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Stop,
    Start,
    Restart,
    Rebuild,
    Undo,
}

impl Asked {
    pub(crate) fn command(self) -> Command {
        let app = name(APP);
        match self {
            Self::Stop => Command::Stop(app),
            Self::Start => Command::Start(app),
            Self::Restart => Command::Restart(app),
            Self::Rebuild => Command::Rebuild(app),
            Self::Undo => Command::Undo(app, None),
        }
    }
}

/// The images of these workloads, beside those of the rig.
pub(crate) fn images() -> Vec<(&'static str, Behaviour)> {
    let warm_up = Duration::from_millis(1500);
    vec![
        ("python:3.12-slim", Behaviour::default()),
        ("shop/slow:1", Behaviour { warm_up, ..Behaviour::default() }),
        ("shop/sick:1", Behaviour::never_healthy()),
        ("shop/sick:2", Behaviour::never_healthy()),
        ("shop/loop:1", Behaviour::exits(3)),
    ]
}

/// The image that can be pulled.
pub(crate) fn remote() -> ImageRef {
    ImageRef::parse(REMOTE).unwrap()
}

/// An app whose health is checked seldom once it is healthy, so that the calls are few.
pub(crate) fn manifest(app: &str, source: &str, rest: &str) -> String {
    let mut text = format!(
        "apiVersion: berth/v1\nkind: App\nmetadata: {{name: {app}}}\nspec:\n  {source}\n  \
         health: {{exec: [check], startPeriod: 4s, interval: 60s, timeout: 1s}}\n  stopGracePeriod: 1s\n"
    );
    for line in rest.lines() {
        text.push_str(&format!("  {line}\n"));
    }
    text
}

/// An app of which one version can run at a time.
fn chat(image: &str, rest: &str) -> String {
    manifest(APP, &format!("image: {image}"), &format!("rollout: {{order: stop-first}}\n{rest}"))
}

/// The same, because of its port.
fn with_port(image: &str) -> String {
    manifest(APP, &format!("image: {image}"), "port: 5000")
}

/// An app of which two versions fit beside each other.
fn roomy(image: &str) -> String {
    manifest(APP, &format!("image: {image}"), "")
}

fn git(rest: &str) -> String {
    let source = "source: {git: \"https://git.example/shop/chat\", interval: 0}";
    manifest(APP, source, &format!("run: python app.py\nrollout: {{order: stop-first}}\n{rest}"))
}

fn put(text: String) -> Act {
    Act::Put(vec![("chat.yaml", text)])
}

impl Workload {
    fn new(
        name: &'static str,
        before: impl Into<Option<String>>,
        acts: impl Into<Vec<Act>>,
        ends: &'static str,
    ) -> Self {
        let before = before.into().map(|text| ("chat.yaml", text));
        Self {
            name,
            before: before.into_iter().collect(),
            acts: acts.into(),
            is_afresh: false,
            is_forgotten: false,
            failing_builds: 0,
            is_squatted: false,
            squatted: None,
            ends,
            bound: Bound::Exactly,
            bound_kept: Bound::Exactly,
        }
    }

    /// The apps that run before.
    pub(crate) fn there(&self) -> impl Iterator<Item = &'static str> {
        self.before.iter().map(|(path, _)| path.split('.').next().unwrap_or(path))
    }

    fn failing(self, failing_builds: usize) -> Self {
        Self { failing_builds, ..self }
    }

    fn afresh(self) -> Self {
        Self { is_afresh: true, ..self }
    }

    fn forgotten(self) -> Self {
        Self { is_afresh: true, is_forgotten: true, ..self }
    }

    /// What Berth decided, or was asked for, may be forgotten and happen again, once.
    fn again(self) -> Self {
        Self { bound: Bound::Again(1), ..self }
    }
}

const FIXED: &str = "ports: [{containerPort: 5000, hostPort: 21500}]";
const V1: &str = "shop/app:1 Running";
const V2: &str = "shop/app:2 Running";

fn v1() -> String {
    chat("shop/app:1", "")
}

/// The app comes to be.
pub(crate) fn creating() -> Vec<Workload> {
    let new = || vec![put(with_port("shop/app:1"))];
    let web = manifest("web", "image: shop/app:2", &format!("{FIXED}\ndependsOn: [chat]"));
    let two = Act::Put(vec![("web.yaml", web), ("chat.yaml", with_port("shop/app:1"))]);
    vec![
        Workload::new("create", None, new(), V1),
        Workload::new("create while Berth is down", None, new(), V1).afresh(),
        Workload::new("two apps, one waiting for the other", None, [two], V1),
        Workload::new("adopt after lost state", v1(), [Act::Nothing], V1).forgotten(),
    ]
}

/// The image comes to be, and then the app.
pub(crate) fn acquiring() -> Vec<Workload> {
    let slow = put(chat("shop/slow:1", ""));
    let far = put(chat("shop/far:1", ""));
    let args = put(git("build: {args: {LEVEL: '2'}}"));
    vec![
        Workload::new("create with a slow start", None, [slow], "shop/slow:1 Running"),
        Workload::new("create with a pull", None, [far], "shop/far:1 Running"),
        Workload::new("create with a build", None, [put(git(""))], "built Running"),
        Workload::new("another build argument", git(""), [args], "built Running"),
        Workload::new("rebuild", git(""), [Act::Ask(Asked::Rebuild)], "built Running"),
        Workload::new("another commit", git(""), [Act::Commit('e')], "built Running"),
    ]
}

/// The image does not come to be, or not at once.
pub(crate) fn lacking() -> Vec<Workload> {
    let args = || put(git("build: {args: {LEVEL: '2'}}"));
    let gone = || put(chat("shop/gone:1", ""));
    let time = Duration::from_millis(600);
    let building = [Act::Brief(git(""), time), Act::Remove("chat.yaml")];
    let pulling = [Act::Brief(chat("shop/far:1", ""), time), Act::Remove("chat.yaml")];
    let published = "shop/gone:1 Running";
    vec![
        Workload::new("a build fails", git(""), [args()], "built Running").failing(999),
        Workload::new("a build fails at first", git(""), [args()], "built Running").failing(1),
        Workload::new("a first build fails at first", None, [put(git(""))], "built Running")
            .failing(2),
        Workload::new("a pull fails", v1(), [gone()], V1),
        Workload::new(
            "a pull fails at first",
            v1(),
            [gone(), Act::Publish("shop/gone:1")],
            published,
        ),
        Workload::new("delete while building", None, building, ""),
        Workload::new("delete while pulling", None, pulling, ""),
    ]
}

/// Others want the same, or have it.
pub(crate) fn meeting() -> Vec<Workload> {
    let text = |app, port: u16| {
        let rest = format!("ports: [{{containerPort: 5000, hostPort: {port}}}]");
        manifest(app, "image: shop/app:1", &rest)
    };
    let both = |chat, web| vec![("chat.yaml", text(APP, chat)), ("web.yaml", text("web", web))];
    let (fixed, taken) = (put(text(APP, 21_500)), Act::TakePort(21_500));
    let conflict = Workload::new("a foreign name", None, [put(v1()), Act::Leave], V1);
    let swap =
        Workload::new("two apps swap their ports", None, [Act::Put(both(21_501, 21_500))], V1);
    let pass = Workload::new("a port is handed on", None, [Act::Put(both(21_502, 21_500))], V1);
    let free = [taken, fixed, Act::FreePort];
    vec![
        Workload { is_squatted: true, ..conflict },
        Workload { before: both(21_500, 21_501), ..swap },
        Workload { before: both(21_500, 21_501), ..pass },
        Workload::new("a port that is taken and freed", None, free, V1),
        Workload::new("removed by hand", v1(), [Act::Destroy], V1),
        Workload::new("removed by hand while Berth is down", v1(), [Act::Destroy], V1).afresh(),
    ]
}

/// Every kind of change to the manifest.
pub(crate) fn changing() -> Vec<Workload> {
    let to = |rest: &str| vec![put(chat("shop/app:1", rest))];
    let fixed = put(manifest(APP, "image: shop/app:1", FIXED));
    let v2 = || vec![put(chat("shop/app:2", ""))];
    let new = put(roomy("shop/app:2"));
    let slow = put(chat("shop/slow:1", ""));
    let (one_port, port) = (with_port("shop/app:1"), put(with_port("shop/app:2")));
    vec![
        Workload::new("another image", v1(), v2(), V2),
        Workload::new("another image on one port", one_port, [port], V2),
        Workload::new("another image while Berth is down", v1(), v2(), V2).afresh(),
        Workload::new("another image after lost state", v1(), v2(), V2).forgotten(),
        Workload::new("start first", roomy("shop/app:1"), [new], V2),
        Workload::new("another variable", v1(), to("env: {LEVEL: 'high'}"), V1),
        Workload::new("another command", v1(), to("run: sleep 1"), V1),
        Workload::new("another mount", v1(), to("mounts: [{path: /out, volume: out}]"), V1),
        Workload::new("a fixed port", with_port("shop/app:1"), [fixed], V1),
        Workload::new("a slow new version", v1(), [slow], "shop/slow:1 Running"),
    ]
}

/// New versions that fail.
pub(crate) fn failing() -> Vec<Workload> {
    let sick = |number: u8| chat(&format!("shop/sick:{number}"), "");
    let time = Duration::from_millis(1500);
    let brief = Act::Brief(sick(1), time);
    let both = [Act::Brief(roomy("shop/sick:1"), time), put(roomy("shop/sick:2"))];
    let then = [Act::Brief(sick(1), time), put(sick(2))];
    let twice = [put(sick(1)), put(sick(2))];
    let restored = "shop/app:1 Running, shop/sick:1 Exited";
    let looping = [put(chat("shop/loop:1", ""))];
    let beside = [put(roomy("shop/sick:1"))];
    let all = vec![
        Workload::new("a sick version is given up", v1(), [put(sick(1))], restored),
        Workload::new(
            "a looping version is given up",
            v1(),
            looping,
            "shop/app:1 Running, shop/loop:1 Exited",
        ),
        Workload::new("sick beside the old one", roomy("shop/app:1"), beside, restored),
        Workload::new(
            "two sick versions are given up",
            v1(),
            twice,
            "shop/app:1 Running, shop/sick:1 Exited, shop/sick:2 Exited",
        ),
        Workload::new(
            "two sick versions in a hurry",
            v1(),
            then,
            "shop/app:1 Running, shop/sick:1 Exited, shop/sick:2 Exited",
        ),
        Workload::new(
            "two beside the old one in a hurry",
            roomy("shop/app:1"),
            both,
            "shop/app:1 Running, shop/sick:1 Exited, shop/sick:2 Exited",
        ),
        Workload::new(
            "a sick version is mended",
            v1(),
            [put(sick(1)), put(chat("shop/app:2", ""))],
            V2,
        ),
        Workload::new(
            "a sick version is mended at once",
            v1(),
            [brief, put(chat("shop/app:2", ""))],
            V2,
        ),
        Workload::new(
            "the good version is kept alive",
            v1(),
            [put(sick(1)), put(chat("shop/none:1", "")), Act::Kill],
            "shop/app:1 Running, shop/sick:1 Exited",
        ),
    ];
    // Between the stop of the new version and the start of the old one the containers do not tell
    // that the new one was given up. It is tried once more then.
    all.into_iter().map(Workload::again).collect()
}

/// Stopping, removing and moving.
pub(crate) fn leaving() -> Vec<Workload> {
    let ask = |what| vec![Act::Ask(what)];
    let delete = Act::Remove("chat.yaml");
    let back = [delete.clone(), put(chat("shop/app:1", ""))];
    let around = [Act::Ask(Asked::Stop), Act::Ask(Asked::Start)];
    let suspend = [put(chat("shop/app:1", "suspend: true")), put(chat("shop/app:1", ""))];
    let spoilt = put(chat("shop/app:1", "prot: 1"));
    let mended = [spoilt, put(chat("shop/app:2", ""))];
    let file = [Act::Rename("chat.yaml", "apps/chat.yml")];
    let gone = [Act::Ask(Asked::Stop), delete.clone()];
    let built = git("");
    vec![
        Workload::new("pause", v1(), ask(Asked::Stop), "shop/app:1 Exited").again(),
        Workload::new("pause and resume", v1(), around, V1).again(),
        Workload::new("suspend and resume", v1(), suspend, V1),
        Workload::new("restart", v1(), ask(Asked::Restart), V1).again(),
        Workload::new("a kill by hand", v1(), [Act::Kill], V1),
        Workload::new("delete", v1(), [delete.clone()], ""),
        Workload::new("delete what was built", built, [delete.clone()], ""),
        Workload::new("delete while Berth is down", v1(), [delete.clone()], "").afresh(),
        Workload::new("delete after lost state", v1(), [delete], "").forgotten(),
        Workload::new("delete what is paused", v1(), gone, "").again(),
        Workload::new("delete and add again", v1(), back, V1),
        Workload::new("another file", v1(), file, V1),
        Workload::new("a mistake and its correction", v1(), mended, V2),
    ]
}

/// Apps with GPUs, on a host with one card of 24 GiB.
pub(crate) fn granting() -> Vec<Workload> {
    let with = |app, image: &str, gpus: &str| {
        manifest(app, &format!("image: {image}"), &format!("gpus: {gpus}"))
    };
    let (one, share) = ("1", "{share: memory, memory: 8Gi}");
    let (v1, v2) =
        (|gpus| with(APP, "shop/app:1", gpus), |gpus| put(with(APP, "shop/app:2", gpus)));
    let handed =
        Workload::new("a GPU is handed on", None, [put(v1(one)), Act::Remove("web.yaml")], V1);
    let two =
        Act::Put(vec![("web.yaml", with("web", "shop/app:2", share)), ("chat.yaml", v1(share))]);
    vec![
        Workload::new("create with a GPU", None, [put(v1(one))], V1),
        Workload::new("another image with a GPU", v1(one), [v2(one)], V2),
        Workload::new("another image with a GPU after lost state", v1(one), [v2(one)], V2)
            .forgotten(),
        Workload::new("another image with a shared GPU", v1(share), [v2(share)], V2),
        Workload::new("two apps share a GPU", None, [two], V1),
        Workload { before: vec![("web.yaml", with("web", "shop/app:2", one))], ..handed },
    ]
}

/// Going back to an earlier version, and on from there.
pub(crate) fn undoing() -> Vec<Workload> {
    let undo = Act::Ask(Asked::Undo);
    let commit = || vec![Act::Commit('e'), undo.clone()];
    let then = [commit(), vec![put(git("env: {LEVEL: 'high'}"))]].concat();
    let sick = [put(chat("shop/sick:1", "")), undo.clone()];
    let all = vec![
        Workload::new("undo a commit", git(""), commit(), "built Running"),
        Workload::new("undo a commit and change", git(""), then, "built Running"),
        Workload::new("undo what was given up", v1(), sick, V1),
    ];
    // Who asks again because what was asked for is lost sees the undone version run again first; a
    // removal that was under way when Berth died may meet it once more.
    all.into_iter().map(|one| Workload { bound: Bound::Again(2), ..one }).collect()
}
