//! Plays a workload, with faults or without.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use berth::{
    engine::{
        Engine,
        fake::Behaviour,
        fault::{Fault, Faulty, Occurrence},
    },
    model::ImageRef,
    plan::render,
    record::{Command, CommandError, file::Kept},
    state::{ContainerId, Hold},
};

use super::{
    oracle::{Picture, Tally},
    outside,
    plan::{Death, Moment, Plan, draw},
    workload::{APP, Act, Asked, BYSTANDER, Workload},
};
use crate::rig::{Berth, RESYNC, Rig, name};

/// The pause between two looks.
const LOOK: Duration = Duration::from_millis(250);
/// How long a call takes. Without it a pass and the one after it would be at the same time, and
/// share what was seen before the first one.
const CALL: Duration = Duration::from_millis(1);
/// How long an act has before anybody looks whether it is done, and how long faults may still
/// happen once it is.
const MOMENT: Duration = Duration::from_secs(2);
/// Longer than anything takes, by the clock of the test.
const PATIENCE: Duration = Duration::from_secs(1200);

/// By how much calls differ in how long they take, with a seed.
const CALL_SPREAD: u64 = 7;
/// How long an act has in an undisturbed play: longer than every pause that is part of one.
const LONG: Duration = Duration::from_secs(420);

/// What Berth remembers when it is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Memory {
    /// What was kept before the workload: the last write was long ago.
    Before,
    /// What was to be kept when Berth died: it was written just in time.
    AtDeath,
    /// Nothing: the file is lost.
    Lost,
}

impl Memory {
    pub(crate) const ALL: [Self; 3] = [Self::Before, Self::AtDeath, Self::Lost];

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Before => "early",
            Self::AtDeath => "kept",
            Self::Lost => "lost",
        }
    }
}

/// What goes wrong at a call.
#[derive(Clone, Debug)]
pub(crate) enum Wrong {
    Fault(Fault),
    /// Berth dies.
    Death(Moment),
}

/// One play: what goes wrong.
#[derive(Clone, Debug)]
pub(crate) struct Trial {
    /// For the first Berth, for the second, and so on: what goes wrong at which call.
    pub(crate) wrongs: Vec<BTreeMap<u64, Wrong>>,
    /// The same: at which hint it dies.
    pub(crate) hints: Vec<Option<u64>>,
    pub(crate) memory: Memory,
    /// How long nobody starts Berth again.
    pub(crate) absence: Duration,
    pub(crate) seed: u64,
    /// By what it is played again, when it has a name.
    pub(crate) plan: Option<String>,
}

impl Trial {
    /// Nothing goes wrong.
    pub(crate) fn calm(seed: u64) -> Self {
        Self {
            wrongs: Vec::new(),
            hints: Vec::new(),
            memory: Memory::AtDeath,
            absence: Duration::ZERO,
            seed,
            plan: None,
        }
    }

    pub(crate) fn of(plan: &Plan) -> Self {
        let mut trial = Self { plan: Some(plan.to_string()), ..Self::calm(plan.seed) };
        trial.memory = plan.memory;
        for death in &plan.deaths {
            let (call, hint) = match death {
                Death::Call(at, moment) => (Some((*at, Wrong::Death(*moment))), None),
                Death::Hint(at) => (None, Some(*at)),
            };
            trial.wrongs.push(call.into_iter().collect());
            trial.hints.push(hint);
        }
        trial
    }

    /// Its name, or what it is.
    pub(crate) fn tell(&self) -> String {
        match &self.plan {
            Some(plan) => format!("BERTH_CRASH='{plan}'"),
            None => format!("{self:?}"),
        }
    }
}

/// What a play showed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Played {
    /// How things stood after each act.
    pub(crate) pictures: Vec<Picture>,
    /// What was done.
    pub(crate) tally: Tally,
    /// The calls of each Berth, in order, while something could go wrong.
    pub(crate) calls: Vec<Vec<&'static str>>,
    /// How many hints each Berth heard meanwhile.
    pub(crate) hints: Vec<u64>,
    /// Every call of every Berth: when, what, and what became of it.
    pub(crate) trace: Vec<String>,
    /// What did.
    pub(crate) hits: Vec<String>,
    /// The workload's part of the journal.
    pub(crate) journal: Vec<String>,
}

/// The calls of one Berth, and what goes wrong with them.
#[derive(Default)]
struct Script {
    is_armed: bool,
    calls: Vec<&'static str>,
    hints: u64,
    wrongs: BTreeMap<u64, Wrong>,
    hint: Option<u64>,
    seed: u64,
    begin: Option<tokio::time::Instant>,
    trace: Vec<String>,
}

struct Stage<'a> {
    workload: &'a Workload,
    trial: &'a Trial,
    rig: Rig,
    berth: Option<Berth>,
    faulty: Option<Arc<Faulty>>,
    scripts: Vec<Arc<Mutex<Script>>>,
    /// What was kept before the workload.
    before: Kept,
    bystander: Option<ContainerId>,
    /// Where the workload's part of the journal begins.
    begin: usize,
    /// How often the app had been started when a restart was asked for.
    starts: usize,
    /// Whether the act is done for another Berth than the one that was told first.
    is_repeated: bool,
}

/// Plays a workload in a runtime of its own. `expected` are the pictures of an undisturbed play;
/// without them each act gets a long time, and the pictures are taken then.
pub(crate) fn play(
    workload: &Workload,
    trial: &Trial,
    expected: Option<&[Picture]>,
) -> Result<Played, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let mut stage = Stage::set(workload, trial).await;
        let played = stage.run(expected).await;
        played.map_err(|what| stage.tell(&what))
    })
}

impl<'a> Stage<'a> {
    /// An engine on which the bystander runs, the app as the workload says, and what is not ours.
    async fn set(workload: &'a Workload, trial: &'a Trial) -> Self {
        let mut stage = Self {
            workload,
            trial,
            rig: outside::rig(workload),
            berth: None,
            faulty: None,
            scripts: Vec::new(),
            before: Kept::default(),
            bystander: None,
            begin: 0,
            starts: 0,
            is_repeated: false,
        };
        stage.start();
        let berth = stage.berth.take().unwrap();
        berth.until_running(BYSTANDER).await;
        for app in workload.there() {
            berth.until_running(app).await;
        }
        outside::script_builds(&stage.rig, workload.failing_builds);
        tokio::time::sleep(MOMENT).await;
        stage.bystander = stage.rig.fake.container_of(&name(BYSTANDER));
        stage.begin = stage.rig.fake.journal().len();
        if !workload.is_forgotten {
            stage.before = berth.ledger.kept();
        }
        if workload.is_afresh {
            berth.stop().await;
            stage.scripts.clear();
            stage.rig.kept = stage.before.clone();
        } else {
            stage.berth = Some(berth);
        }
        stage
    }

    /// Starts the next Berth. Its faults happen once it is armed.
    fn start(&mut self) {
        let wrongs = self.trial.wrongs.get(self.scripts.len()).cloned().unwrap_or_default();
        let hint = self.trial.hints.get(self.scripts.len()).copied().flatten();
        let (seed, begin) = (self.trial.seed, Some(tokio::time::Instant::now()));
        let script = Script { wrongs, hint, seed, begin, ..Script::default() };
        let script = Arc::new(Mutex::new(script));
        let decide = {
            let script = Arc::clone(&script);
            move |call: &Occurrence| script.lock().unwrap().decide(call)
        };
        let hear = {
            let script = Arc::clone(&script);
            move |_: &str| script.lock().unwrap().hear()
        };
        let faulty = Faulty::new(Arc::new(self.rig.fake.clone()), decide).dying_of(hear);
        let faulty = Arc::new(faulty);
        self.berth = Some(self.rig.start_on(Arc::clone(&faulty) as Arc<dyn Engine>));
        self.faulty = Some(faulty);
        self.scripts.push(script);
    }

    fn arm(&self, is_armed: bool) {
        if let Some(script) = self.scripts.last() {
            script.lock().unwrap().is_armed = is_armed;
        }
    }

    async fn run(&mut self, expected: Option<&[Picture]>) -> Result<Played, String> {
        let mut pictures: Vec<Picture> = Vec::new();
        for (number, act) in self.workload.acts.iter().enumerate() {
            let expected = expected.map(|pictures| &pictures[number]);
            pictures.push(self.act(act, expected).await?);
        }
        let journal = self.rig.fake.journal();
        tokio::time::sleep(RESYNC * 2 + MOMENT).await;
        self.compare("later", pictures.last())?;
        if self.rig.fake.journal() != journal {
            return Err("it did not come to rest".to_owned());
        }
        let sketch = Picture::sketch(&self.rig.fake.world(), &name(APP));
        if sketch != self.workload.ends {
            return Err(format!("it ends as `{sketch}`, not as `{}`", self.workload.ends));
        }
        let all = Tally::of(&journal);
        let touched = ["stop", "remove"].iter().any(|verb| all.of_app(verb, BYSTANDER) != 0);
        let is_same = self.rig.fake.container_of(&name(BYSTANDER)) == self.bystander;
        if touched || !is_same || all.of_app("start", BYSTANDER) != 1 {
            return Err("the bystander was touched".to_owned());
        }
        let clashes = self.rig.fake.gpu_clashes();
        if !clashes.is_empty() {
            return Err(format!("a GPU was given twice: {clashes:?}"));
        }
        let scripts: Vec<_> = self.scripts.iter().map(|script| script.lock().unwrap()).collect();
        let calls = scripts.iter().map(|script| script.calls.clone()).collect();
        let hits = scripts.iter().flat_map(|script| script.tell()).collect();
        let hints = scripts.iter().map(|script| script.hints).collect();
        drop(scripts);
        let (trace, journal) = (self.trace(), journal[self.begin..].to_vec());
        Ok(Played { pictures, tally: Tally::of(&journal), calls, hints, trace, hits, journal })
    }

    /// Does one thing and waits until it has come to pass, whatever happens meanwhile.
    async fn act(&mut self, act: &Act, expected: Option<&Picture>) -> Result<Picture, String> {
        self.edit(act);
        self.is_repeated = false;
        match &self.berth {
            None => self.start(),
            Some(berth) => {
                let files = self.rig.files.iter();
                berth.manifests.set(files.map(|(path, text)| (path.as_str(), text.as_str())));
            }
        }
        self.arm(true);
        let mut is_asked = false;
        loop {
            let died = self.faulty.as_ref().unwrap().died();
            tokio::select! {
                biased;
                () = died => {}
                done = self.wait(act, &mut is_asked, expected) => {
                    done?;
                    break;
                }
            }
            self.rise().await;
            is_asked = self.is_remembered(act);
            self.is_repeated = true;
        }
        self.arm(false);
        if let (Some(_), Act::Brief(..)) = (expected, act) {
            return Ok(self.picture());
        }
        self.compare("in the end", expected)?;
        Ok(self.picture())
    }

    fn edit(&mut self, act: &Act) {
        let files = &mut self.rig.files;
        match act {
            Act::Put(new) => {
                files.extend(new.iter().map(|(path, text)| ((*path).to_owned(), text.clone())));
            }
            Act::Brief(text, _) => {
                files.insert("chat.yaml".to_owned(), text.clone());
            }
            Act::Remove(path) => {
                files.remove(*path);
            }
            Act::Rename(from, to) => {
                let text = files.remove(*from).unwrap();
                files.insert((*to).to_owned(), text);
            }
            Act::Kill => assert!(self.rig.fake.kill(&name(APP))),
            Act::Destroy => assert!(self.rig.fake.remove_by_hand(&name(APP))),
            Act::Commit(digit) => outside::put_checkout(&self.rig, *digit),
            Act::Publish(image) => {
                let image = ImageRef::parse(image).unwrap();
                self.rig.fake.add_remote(&image, outside::work(), Behaviour::default());
            }
            Act::TakePort(port) => outside::take_port(&self.rig, *port),
            Act::FreePort => assert!(self.rig.fake.remove_foreign(outside::HOLDER)),
            Act::Leave => {
                let name = self.workload.squatted.as_ref().unwrap();
                assert!(self.rig.fake.remove_foreign(name));
            }
            Act::Nothing | Act::Ask(_) => {}
        }
    }

    /// Whether a command that was given to a Berth that died need not be given again: the new one
    /// knows of it, or one can see that it was carried out.
    fn is_remembered(&self, act: &Act) -> bool {
        let Act::Ask(asked) = act else { return true };
        let kept = self.rig.kept.apps.get(APP).cloned().unwrap_or_default();
        match asked {
            Asked::Stop => kept.is_paused,
            Asked::Start => !kept.is_paused,
            // What was forgotten is asked for again, whether it was done or not.
            Asked::Restart => {
                let is_done = self.starts < self.rig.count("start", APP);
                self.trial.memory == Memory::AtDeath && (is_done || kept.request.is_some())
            }
            Asked::Undo => kept.pin.is_some(),
            Asked::Rebuild => {
                let journal = self.rig.fake.journal();
                let is_new = Tally::of(&journal[self.begin..]).of_app("create", APP) != 0;
                is_new || kept.rebuilds != 0
            }
        }
    }

    async fn wait(
        &mut self,
        act: &Act,
        is_asked: &mut bool,
        expected: Option<&Picture>,
    ) -> Result<(), String> {
        if let (Act::Ask(asked), false) = (act, *is_asked) {
            if self.is_repeated {
                // Whoever asks again has looked first, once the dust has settled.
                tokio::time::sleep(MOMENT * 2).await;
                *is_asked = self.is_remembered(act);
            }
            if !*is_asked {
                self.ask(*asked).await?;
                *is_asked = true;
            }
        }
        if let Act::Brief(_, time) = act {
            tokio::time::sleep(*time).await;
            return Ok(());
        }
        tokio::time::sleep(MOMENT).await;
        let Some(expected) = expected else {
            tokio::time::sleep(RESYNC).await;
            self.confirm().await;
            tokio::time::sleep(LONG).await;
            return Ok(());
        };
        let is_restart = matches!(act, Act::Ask(Asked::Restart));
        let begin = tokio::time::Instant::now();
        while (is_restart && self.rig.count("start", APP) <= self.starts)
            || self.picture() != *expected
        {
            if PATIENCE < begin.elapsed() {
                self.compare("never", Some(expected))?;
                return Err("never restarted".to_owned());
            }
            self.confirm().await;
            tokio::time::sleep(LOOK).await;
        }
        tokio::time::sleep(MOMENT).await;
        Ok(())
    }

    /// Without its notes Berth can't tell whether this folder ever named an app that it does not
    /// name now, so it asks a person before it removes it (fault T01). This one says yes.
    async fn confirm(&self) {
        let is_lost = self.workload.is_forgotten || self.trial.memory == Memory::Lost;
        let Some(berth) = self.berth.as_ref().filter(|_| is_lost) else { return };
        if matches!(berth.record.overview().hold, Some(Hold::Brake { .. })) {
            let _ = tokio::time::timeout(LOOK, berth.command(Command::Confirm)).await;
        }
    }

    /// Gives a command, as soon as Berth knows the app.
    async fn ask(&mut self, asked: Asked) -> Result<(), String> {
        self.starts = self.rig.count("start", APP);
        let berth = self.berth.as_ref().unwrap();
        let begin = tokio::time::Instant::now();
        loop {
            match berth.command(asked.command()).await {
                Ok(_) => return Ok(()),
                Err(CommandError::NotFound(_)) if begin.elapsed() < PATIENCE => {}
                Err(error) => return Err(error.to_string()),
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Berth has died; another one rises.
    async fn rise(&mut self) {
        let Some(berth) = self.berth.take() else { return };
        self.rig.kept = match self.trial.memory {
            Memory::Before => self.before.clone(),
            Memory::AtDeath => berth.ledger.kept(),
            Memory::Lost => Kept::default(),
        };
        berth.kill().await;
        tokio::time::sleep(self.trial.absence).await;
        self.start();
        self.arm(true);
    }

    fn picture(&self) -> Picture {
        let berth = self.berth.as_ref().unwrap();
        Picture::of(&self.rig.fake.world(), &berth.record, &berth.ledger)
    }

    fn compare(&self, when: &str, expected: Option<&Picture>) -> Result<(), String> {
        let seen = self.picture();
        match expected {
            Some(expected) if *expected != seen => {
                Err(format!("{when}: {seen:#?}\nshould be {expected:#?}"))
            }
            _ => Ok(()),
        }
    }

    /// What went wrong, with all that is needed to play it again.
    fn tell(&self, what: &str) -> String {
        let entries = self.berth.as_ref().map(|berth| berth.record.entries()).unwrap_or_default();
        let told: Vec<_> = entries
            .iter()
            .map(|e| format!("{}: {}\n{}", e.name, e.status.message, render(&e.plan)))
            .collect();
        let hit: Vec<_> = self.scripts.iter().map(|script| script.lock().unwrap().tell()).collect();
        let journal = self.rig.fake.journal();
        format!(
            "`{}` with {}, hit {hit:?}:\n{what}\njournal: {:#?}\n{}",
            self.workload.name,
            self.trial.tell(),
            &journal[self.begin..],
            told.join("\n")
        )
    }

    fn trace(&self) -> Vec<String> {
        let mut trace = Vec::new();
        for (number, script) in self.scripts.iter().enumerate() {
            trace.push(format!("Berth {}", number + 1));
            trace.extend(script.lock().unwrap().trace.iter().cloned());
        }
        trace
    }
}

impl Script {
    fn decide(&mut self, call: &Occurrence) -> Fault {
        let fault = self.choose(call);
        let since = self.begin.map(|begin| begin.elapsed()).unwrap_or_default();
        self.trace.push(format!("{:>10.3} s  {}  {fault:?}", since.as_secs_f64(), call.kind));
        fault
    }

    fn choose(&mut self, call: &Occurrence) -> Fault {
        if !self.is_armed {
            return Fault::Delay(CALL);
        }
        let nth = self.calls.len() as u64;
        self.calls.push(call.kind);
        match self.wrongs.get(&nth) {
            Some(Wrong::Fault(fault)) => fault.clone(),
            Some(Wrong::Death(moment)) => moment.fault(call, nth),
            None if self.seed == 0 => Fault::Delay(CALL),
            None => {
                let lot = draw(&[&self.seed.to_le_bytes(), &nth.to_le_bytes()]);
                Fault::Delay(CALL + Duration::from_millis(lot % CALL_SPREAD))
            }
        }
    }

    /// Whether Berth dies instead of hearing this.
    fn hear(&mut self) -> bool {
        if !self.is_armed {
            return false;
        }
        self.hints += 1;
        self.hint == Some(self.hints - 1)
    }

    /// The calls with which something went wrong.
    fn tell(&self) -> Vec<String> {
        let calls = self.calls.iter().zip(0_u64..);
        let hit = calls.filter_map(|(kind, nth)| Some((kind, nth, self.wrongs.get(&nth)?)));
        let hit = hit.map(|(kind, nth, wrong)| format!("{wrong:?} at call {nth} ({kind})"));
        let unheard = self.hint.filter(|hint| *hint < self.hints);
        hit.chain(unheard.map(|hint| format!("death at hint {hint}"))).collect()
    }
}
