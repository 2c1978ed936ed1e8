//! A day of a busy host, compressed: deployments, edits, crashes, commits, models, backups, cleanups,
//! scans, notifications and kills, hour after hour, on a real engine; then nothing may have grown.
//!
//! `make soak` plays all 24 hours in `SOAK_MINUTES` (20). Without `BERTH_TEST_SOAK_MINUTES` it is a
//! morning: four short hours. `BERTH_TEST_SEED` repeats a run.

mod flat;
mod inbox;
mod sample;

use std::{
    collections::BTreeMap,
    fs,
    process::Command,
    time::{Duration, Instant},
};

use self::{
    inbox::Inbox,
    sample::{KEEP, Samples},
};
use super::{
    builds::App,
    kills::{Dice, of_environment},
    second::{Berth, Home, Life, Second, TINY},
};

/// The apps that nothing happens to.
const STEADY: [&str; 2] = ["steady", "still"];
/// Those that are edited, and crash.
const BUSY: [&str; 5] = ["busy-1", "busy-2", "busy-3", "busy-4", "busy-5"];
/// A deployment of Berth itself has it live so long, in milliseconds, at most.
const LIFE_MAX: u64 = 1_500;

/// How much happens. A day of a busy host is 24 such hours: 240 edits (twenty apps, each twelve times a
/// day), 96 commits that are built (a push each quarter of an hour), 144 crashes (six an hour), 48
/// models in and 48 out, 24 apps that come and 24 that go, 24 mistakes that are told and mended, a
/// backup, a cleanup and new known vulnerabilities each hour (the backup beside the one that Berth
/// makes by the clock each minute), 5,760 scrapes (each 15 s), 1,440 readings of page and lists (each
/// minute), and 24 kills of Berth. What can't be compressed is the look at everything: each second,
/// so that a day's 2,880 take 48 minutes.
struct Day {
    hours: u64,
    /// The first of them, in which Berth is killed, and which are not judged.
    warm_up: u64,
    kills: u64,
    steps: u64,
    commits: u64,
    crashes: u64,
    models: u64,
    scrapes: u64,
    views: u64,
}

const BUSY_DAY: Day = Day {
    hours: 24,
    warm_up: 4,
    kills: 6,
    steps: 10,
    commits: 4,
    crashes: 6,
    models: 2,
    scrapes: 240,
    views: 60,
};

const MORNING: Day = Day {
    hours: 4,
    warm_up: 1,
    kills: 2,
    steps: 2,
    commits: 1,
    crashes: 1,
    models: 1,
    scrapes: 40,
    views: 10,
};

impl Day {
    /// What must have been done at its end.
    fn total(&self) -> BTreeMap<&'static str, u64> {
        let each = |count: u64| count * self.hours;
        BTreeMap::from([
            ("edits", each(self.steps)),
            ("commits", each(self.commits)),
            ("crashes", each(self.crashes)),
            ("models in", each(self.models)),
            ("models out", each(self.models)),
            ("apps in", each(1)),
            ("apps out", each(1)),
            ("mistakes", each(1)),
            ("backups", each(1)),
            ("cleanups", each(1)),
            ("records", each(1)),
            ("scrapes", each(self.scrapes)),
            ("views", each(self.views)),
            ("kills", self.kills * self.warm_up),
        ])
    }
}

/// Everything that a day is played on.
struct Host<'a> {
    home: &'a Home,
    second: &'a Second,
    page: App<'a>,
    inbox: Inbox,
    dice: Dice,
    done: BTreeMap<&'static str, u64>,
    /// The value that each busy app was given last.
    values: BTreeMap<&'static str, String>,
    commit: String,
}

impl<'a> Host<'a> {
    fn new(home: &'a Home, second: &'a Second, seed: u64) -> Self {
        for app in STEADY {
            home.put(app, "1");
        }
        fs::create_dir(home.path("records")).unwrap();
        fs::write(home.path("records/one.json"), record(0)).unwrap();
        fs::write(home.path("targets.yaml"), Inbox::targets()).unwrap();
        let page = App::new(home, "page", &lines("0"));
        let (inbox, dice) = (Inbox::start(second), Dice(seed));
        let (values, commit) = (BTreeMap::new(), "0".to_owned());
        let mut host =
            Self { home, second, page, inbox, dice, done: BTreeMap::new(), values, commit };
        for app in BUSY {
            host.edit(app, "first");
        }
        host.done.clear();
        host
    }

    fn start(&self) -> Berth<'a> {
        let path = |part: &str| self.home.path(part).display().to_string();
        let mut flags = Vec::new();
        for (flag, value) in [
            ("--model-store", path("models")),
            ("--compose-dir", path("compose")),
            ("--notifications", path("targets.yaml")),
            ("--vulnerability-database", path("records")),
            ("--backup-to", path("by-clock")),
            ("--backup-keep", KEEP.to_string()),
            ("--backup-every", "1m".to_owned()),
            ("--model-trash", "0s".to_owned()),
            ("--model-grace", "1s".to_owned()),
            ("--keep-images", "1".to_owned()),
            ("--build-cache-max-size", "16Mi".to_owned()),
        ] {
            flags.extend([flag.to_owned(), value]);
        }
        flags.push("--allow-local-git".to_owned());
        let flags: Vec<_> = flags.iter().map(String::as_str).collect();
        self.home.start_with(self.second, "engine.sock", &flags)
    }

    fn note(&mut self, what: &'static str) {
        *self.done.entry(what).or_default() += 1;
    }

    fn edit(&mut self, app: &'static str, value: &str) {
        self.home.put(app, value);
        self.values.insert(app, value.to_owned());
        self.note("edits");
    }

    fn commit(&mut self, mark: &str) {
        self.page.commit(&lines(mark), mark);
        mark.clone_into(&mut self.commit);
        self.note("commits");
    }

    /// Ends the program of an app's container, and waits until it is back.
    fn crash(&mut self, berth: &Berth<'_>, app: &str) {
        let before = berth.until_running(&[app]);
        let pid = self.second.docker(&["inspect", "--format", "{{.State.Pid}}", &before[0].id]);
        self.second.enter(&["kill", "-KILL", &pid]);
        berth.until("it was started again", || {
            let now = self.second.lives(app);
            now.len() == 1 && now != before
        });
        self.note("crashes");
    }

    /// Waits until everything is as it was said last.
    fn settle(&self, berth: &Berth<'_>) {
        for (app, value) in &self.values {
            berth.until(&format!("{app} has {value}"), || {
                self.second.values(app) == [value.as_str()]
            });
        }
        berth
            .until("the last commit runs", || self.second.values("page") == [self.commit.as_str()]);
        berth.until_running(&BUSY);
        berth.until_running(&["page"]);
    }

    fn models(&mut self, berth: &Berth<'_>, number: u64) {
        let name = |number: u64| format!("soak/llm/1.0.{number}/weights.txt");
        let file = self.home.path("drafts").join("weights");
        fs::write(&file, format!("weights {number} ").repeat(20_000)).unwrap();
        berth.ask(&["models", "push", &file.display().to_string(), &name(number)]).unwrap();
        self.note("models in");
        berth.ask(&["models", "rm", &name(number)]).unwrap();
        self.note("models out");
    }

    /// An app comes, writes something, and goes; what it left goes with a cleanup.
    fn visitor(&mut self, berth: &Berth<'_>, hour: u64) {
        let app = format!("visitor-{hour}");
        self.home.put_unchecked(&app, "1");
        berth.until_running(&[&app]);
        fs::write(self.home.path("workspaces").join(&app).join("data/rows"), "rows").unwrap();
        self.note("apps in");
        fs::remove_file(self.home.path("manifests").join(format!("{app}.yaml"))).unwrap();
        berth.until("the visitor is gone", || self.second.lives(&app).is_empty());
        self.note("apps out");
    }

    /// A manifest that can't be right is told, and so is that it was mended. What was wrong before
    /// Berth told anybody anything for the first time would not be.
    fn mistake(&mut self, berth: &Berth<'_>) {
        let kept = self.home.path("state/notifications.json");
        berth.until("what goes wrong is news", || kept.exists());
        let before = self.inbox.count("slip");
        self.home
            .write("slip", "apiVersion: berth/v1\nkind: App\nmetadata: {name: slip}\nspec: {}\n");
        berth.until("the mistake is told", || before < self.inbox.count("slip"));
        let told = self.inbox.count("slip");
        self.home.put_unchecked("slip", "1");
        berth.until("its end is told", || told < self.inbox.count("slip"));
        self.note("mistakes");
    }

    fn backup(&mut self) {
        let path = |part: &str| self.home.path(part).display().to_string();
        let mut command = Command::new(env!("CARGO_BIN_EXE_berth"));
        command.args(["backup", "create", "--at", &path("by-hand"), "--keep", &KEEP.to_string()]);
        command.args(["--state-dir", &path("state"), "--manifests", &path("manifests")]);
        command.args(["--workspaces", &path("workspaces"), "--model-store", &path("models")]);
        let ended = command.output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(ended.status.success(), "{said}");
        self.note("backups");
    }

    fn read(&mut self, day: &Day) {
        for (what, count, paths) in [
            ("scrapes", day.scrapes, &["/metrics"][..]),
            ("views", day.views, &["/", "/api/v1/apps", "/ui/host"]),
        ] {
            for path in paths.iter().cycle().take(usize::try_from(count / day.steps).unwrap()) {
                assert!(self.second.get(path).is_some(), "{path} is not answered");
                self.note(what);
            }
        }
    }

    /// An hour, all of it.
    fn hour(&mut self, berth: &Berth<'_>, day: &Day, hour: u64) {
        for step in 0..day.steps {
            let nth = usize::try_from(hour * day.steps + step).unwrap();
            self.edit(BUSY[nth % BUSY.len()], &format!("{hour}-{step}"));
            if step < day.commits {
                self.commit(&format!("{hour}-{step}"));
            }
            if day.steps - day.crashes <= step {
                self.crash(berth, BUSY[(nth + 2) % BUSY.len()]);
            }
            if step < day.models {
                self.models(berth, hour * day.models + step);
            }
            self.settle(berth);
            self.read(day);
        }
        self.visitor(berth, hour);
        fs::write(self.home.path("records/one.json"), record(hour + 1)).unwrap();
        self.note("records");
        self.backup();
        self.mistake(berth);
        // What somebody works on just then goes with the next try.
        let gc = ["gc", "--grace", "1s", "--with-data"];
        berth.until("a cleanup", || berth.ask(&gc).is_ok());
        berth.ask(&["models", "gc"]).unwrap();
        self.note("cleanups");
    }

    /// Berth is killed, and killed again, while something is changed.
    fn kill(&mut self, berth: Berth<'a>, times: u64, hour: u64) -> Berth<'a> {
        let mut berth = berth;
        for kill in 0..times {
            let app = BUSY[usize::try_from(kill).unwrap() % BUSY.len()];
            self.home.put(app, &format!("killed-{hour}-{kill}"));
            self.values.insert(app, format!("killed-{hour}-{kill}"));
            drop(berth);
            self.note("kills");
            berth = self.start();
            std::thread::park_timeout(Duration::from_millis(self.dice.roll(LIFE_MAX)));
        }
        self.settle(&berth);
        berth
    }
}

fn lines(mark: &str) -> String {
    format!("ENV VALUE={mark}\nCOPY data /data")
}

/// A record of a vulnerability, another one each hour.
fn record(hour: u64) -> String {
    serde_json::json!({
        "id": format!("TEST-{hour}"),
        "database_specific": {"severity": "LOW"},
        "affected": [{
            "package": {"ecosystem": "Alpine:v3.20", "name": "busybox"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}]}],
        }],
    })
    .to_string()
}

fn steady(second: &Second) -> Vec<Life> {
    STEADY.iter().flat_map(|app| second.lives(app)).collect()
}

/// Faults T05, T10, D24, D28: what was steady was never touched, nothing was left out, and neither the
/// process nor any disk, nor anything on the engine, grows.
#[test]
fn a_busy_day_leaves_nothing_behind() {
    let minutes = of_environment("BERTH_TEST_SOAK_MINUTES", 0);
    let seed = of_environment("BERTH_TEST_SEED", 7);
    let day = if minutes == 0 { MORNING } else { BUSY_DAY };
    let length = Duration::from_secs(minutes * 60 / day.hours);
    let second = Second::start("", &[]);
    let home = Home::new();
    let mut host = Host::new(&home, &second, seed);
    let mut berth = host.start();
    host.settle(&berth);
    let before = berth.until_running(&STEADY);
    let (began, mut samples) = (Instant::now(), Samples::new());
    for hour in 0..day.hours {
        let ends = Instant::now() + length;
        if hour < day.warm_up {
            berth = host.kill(berth, day.kills, hour);
        }
        host.hour(&berth, &day, hour);
        if day.warm_up <= hour {
            while let Some(rest) = ends.checked_duration_since(Instant::now()) {
                std::thread::park_timeout(rest);
            }
            samples.take(&berth, &home, &second);
        }
        assert_eq!(steady(&second), before, "hour {hour}, BERTH_TEST_SEED={seed}");
    }
    let took = began.elapsed().as_secs();
    println!("{} hours in {took} s: {:?}\n{}", day.hours, host.done, samples.render());
    assert_eq!(host.done, day.total(), "something was left out");
    assert_eq!(samples.troubles(), Vec::<String>::new(), "{}", samples.render());
    // And the next Berth takes over what there is.
    drop(berth);
    let berth = host.start();
    host.settle(&berth);
    assert_eq!(berth.until_running(&STEADY), before);
    berth.until_running(&["slip"]);
    assert_eq!(second.all().len(), STEADY.len() + BUSY.len() + 2, "{TINY}: one container each");
}
