//! `berth backup`: everything that can't be made again, kept elsewhere and brought back.

mod note;
mod say;

use std::{
    collections::BTreeSet,
    io::{self, Read as _},
    path::PathBuf,
    sync::{Arc, OnceLock},
};

use rustix::process::{Signal, getpid, kill_process};
use tokio::{
    signal::unix::{SignalKind, signal},
    task::{JoinError, JoinHandle},
};

use clap::{Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::{
    error::{Error, Exit},
    flags::Flags,
    output::{Output, plain},
    run,
    server::app_name,
};
use crate::backup::{self, Archive, Data, Key, Name, Order, Restore, Root, Stop, Target, Way};
use crate::clock::Clock;
use crate::config::{Config, KeyFile};
use crate::daemon::{
    backups,
    still::{self, Still, Stillness},
};
use crate::model::AppName;

/// The variable that may hold the passphrase.
const PASSPHRASE: &str = "BERTH_BACKUP_PASSPHRASE";
/// How long a passphrase may be.
const PASSPHRASE_MAX: u64 = 64 << 10;

/// What it takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
    /// Where the backups are: a folder, or `rclone:REMOTE:PATH` [default: `--backup-to` of `berth run`].
    #[arg(long, value_name = "PLACE", global = true)]
    at: Option<String>,
    /// The file with the passphrase, or `-` for standard input [default: that of `berth run`].
    #[arg(long, value_name = "FILE", global = true)]
    passphrase_file: Option<PathBuf>,
    /// The file with a key of age, in place of a passphrase [default: that of `berth run`].
    #[arg(long, value_name = "FILE", global = true, conflicts_with = "passphrase_file")]
    identity: Option<PathBuf>,
    #[command(flatten)]
    folders: Folders,
}

/// Where the folders are that are backed up and restored; each as `berth run` has it by default.
#[derive(Debug, clap::Args)]
struct Folders {
    /// Where Berth keeps its state [default: that of `berth run`].
    #[arg(long, value_name = "DIR", global = true)]
    state_dir: Option<PathBuf>,
    /// The folder of manifests [default: that of `berth run`].
    #[arg(long, value_name = "DIR", global = true)]
    manifests: Option<PathBuf>,
    /// The apps' folders [default: that of `berth run`].
    #[arg(long, value_name = "DIR", global = true)]
    workspaces: Option<PathBuf>,
    /// The model store [default: that of `berth run`].
    #[arg(long, value_name = "DIR", global = true)]
    model_store: Option<PathBuf>,
    /// The folder of secrets [default: that of `berth run`].
    #[arg(long, value_name = "DIR", global = true)]
    secrets_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a backup; what an earlier one holds is not written again.
    Create(Create),
    /// List the backups.
    #[command(visible_alias = "list")]
    Ls {
        /// How the answer is written.
        #[arg(short, long, value_name = "FORMAT", default_value = "table")]
        output: Format,
    },
    /// Read all of the backups again, and say what is not as it was; exit code 1 says so.
    Verify {
        /// Which; all when none is named.
        #[arg(value_name = "BACKUP", add = super::completion::backups())]
        names: Vec<String>,
    },
    /// Bring a backup back, to empty folders; Berth must not run meanwhile.
    Restore(RestoreArgs),
    /// Remove all but the newest backups, and what no other one needs.
    Prune {
        /// How many stay.
        #[arg(long, value_name = "N")]
        keep: usize,
        /// Only say what would go.
        #[arg(long)]
        dry_run: bool,
    },
    /// Say when `berth run` makes backups by itself, and when it made the newest.
    Schedule,
}

#[derive(Debug, clap::Args)]
struct Create {
    /// An app whose data is backed up; may be repeated [default: that of `berth run`, every app].
    #[arg(long, value_name = "APP", value_parser = app_name)]
    data: Vec<AppName>,
    /// Leave out the data of every app.
    #[arg(long, conflicts_with = "data")]
    no_data: bool,
    /// An app that stands still while its data is read; may be repeated.
    #[arg(long, value_name = "APP", value_parser = app_name)]
    pause: Vec<AppName>,
    /// Read every file, also those that did not change.
    #[arg(long)]
    thorough: bool,
    /// Then remove all but so many of the newest backups.
    #[arg(long, value_name = "N")]
    keep: Option<usize>,
    /// Only say what would be done.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, clap::Args)]
struct RestoreArgs {
    /// Which, or the beginning of its name.
    #[arg(default_value = "latest", value_name = "BACKUP", add = super::completion::backups())]
    name: String,
    /// Only this: secrets, state, models, workspaces or manifests; may be repeated.
    #[arg(long, value_name = "WHAT", value_parser = root)]
    only: Vec<Root>,
    /// Put aside what is in the folders, instead of refusing.
    #[arg(long)]
    over: bool,
    /// Stop the apps that run on the folders; Berth starts them again once it runs.
    #[arg(long)]
    stop_apps: bool,
    /// Take whatever engine is found for Berth's own, without `berth confirm`.
    #[arg(long)]
    new_engine: bool,
    /// Only say what would be done.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Table,
    /// As JSON.
    Json,
}

fn root(text: &str) -> Result<Root, String> {
    let words = Root::ALL.map(Root::word).join(", ");
    let found = Root::ALL.into_iter().find(|root| root.word() == text);
    found.ok_or_else(|| format!("write one of {words}"))
}

impl From<backup::Error> for Error {
    fn from(error: backup::Error) -> Self {
        use backup::Error as E;
        let exit = match &error {
            E::Disk { .. } | E::Remote { .. } | E::Corrupt(_) => Exit::NotSo,
            E::NoSnapshot(_) => Exit::NotFound,
            E::Stopped => Exit::Interrupted,
            _ => Exit::Refused,
        };
        let code = error.code();
        let said = Self::new(exit, error.to_string()).code(code);
        match crate::model::code(code) {
            Some(code) => said.fix(code.fix),
            None => said,
        }
    }
}

pub(super) async fn run(args: Args, output: &mut Output) -> Result<Exit, Error> {
    let config = config(&args)?;
    if matches!(args.verb, Verb::Schedule) {
        return say::schedule(&config, output);
    }
    let target = match &args.at {
        Some(text) => Target::parse(text).map_err(|why| Error::new(Exit::Trouble, why))?,
        None => config.backups.to.clone().ok_or_else(|| {
            Error::new(Exit::Trouble, "nobody said where backups are kept")
                .fix("pass --at PLACE, or set --backup-to of `berth run`")
        })?,
    };
    let key = key(&args, &config)?;
    let runtime = tokio::runtime::Handle::current();
    let still = Still::new(&config, runtime.clone());
    let (ready, stop) = (Arc::clone(&still.ready), Stop::default());
    let is_create = matches!(args.verb, Verb::Create(_));
    let job = Job { config, target, key, runtime, still, stop: stop.clone() };
    // Disks, rclone and ciphers have this thread wait; the engine is spoken with meanwhile.
    let work = tokio::task::spawn_blocking(move || job.perform(args.verb));
    let done = if is_create { ended(work, &stop, &ready, output).await } else { work.await };
    let done = done.map_err(|error| Error::new(Exit::NotSo, error.to_string()))??;
    done.write(output)
}

type Worked = Result<Result<Done, Error>, JoinError>;

/// Waits for a backup. The first signal has it end, and apps go on at once; the second one is the
/// end of this process.
async fn ended(
    mut work: JoinHandle<Result<Done, Error>>,
    stop: &Stop,
    ready: &OnceLock<Stillness>,
    output: &mut Output,
) -> Worked {
    let signals = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let [Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)] = signals.map(signal) else {
        return work.await;
    };
    let mut is_told = false;
    loop {
        tokio::select! {
            done = &mut work => return done,
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
        if is_told {
            let _ = kill_process(getpid(), Signal::KILL);
        }
        is_told = true;
        stop.now();
        output.remark("the backup is broken off; once more ends it at once");
        if let Some(Err(why)) = optional(ready.get().map(|still| still.resume(None))).await {
            output.warn(&why);
        }
    }
}

async fn optional<T>(work: Option<impl Future<Output = T>>) -> Option<T> {
    match work {
        Some(work) => Some(work.await),
        None => None,
    }
}

fn config(args: &Args) -> Result<Config, Error> {
    let Folders { state_dir, manifests, workspaces, model_store, secrets_dir } = &args.folders;
    let flag = |name: &'static str, path: &Option<PathBuf>| {
        path.as_ref().map(|path| (name, vec![path.display().to_string()]))
    };
    let flags = [
        flag("state-dir", state_dir),
        flag("manifests", manifests),
        flag("workspaces", workspaces),
        flag("model-store", model_store),
        flag("secrets-dir", secrets_dir),
    ];
    run::read(Flags(flags.into_iter().flatten().collect()))
}

/// What opens the backups: as it is said here, then as the variable has it, then as `berth run`
/// would have it. It never is an argument, which others of this machine could read.
fn key(args: &Args, config: &Config) -> Result<Option<Key>, Error> {
    let wrong = |why: String| Error::new(Exit::Trouble, why).code("backup.no-key");
    if let Some(path) = &args.identity {
        return KeyFile::Identity(path.clone()).read().map(Some).map_err(wrong);
    }
    match args.passphrase_file.as_deref() {
        Some(path) if path.as_os_str() == "-" => {
            let mut text = String::new();
            io::stdin().lock().take(PASSPHRASE_MAX).read_to_string(&mut text)?;
            return Ok(Some(Key::passphrase(&text)?));
        }
        Some(path) => {
            return KeyFile::Passphrase(path.to_owned()).read().map(Some).map_err(wrong);
        }
        None => {}
    }
    if let Ok(text) = std::env::var(PASSPHRASE) {
        return Ok(Some(Key::passphrase(&text)?));
    }
    config.backups.key.as_ref().map(KeyFile::read).transpose().map_err(wrong)
}

/// What is done, on a thread that may wait.
struct Job {
    config: Config,
    target: Target,
    key: Option<Key>,
    runtime: tokio::runtime::Handle,
    still: Still,
    stop: Stop,
}

/// What is written when it is done.
#[derive(Default)]
struct Done {
    lines: Vec<String>,
    remarks: Vec<String>,
    warnings: Vec<String>,
    is_bad: bool,
    /// What the audit log says of it, and of which backup.
    about: Value,
    snapshot: Option<Name>,
}

impl Done {
    fn write(self, output: &mut Output) -> Result<Exit, Error> {
        for line in &self.lines {
            output.line(&plain(line))?;
        }
        self.warnings.iter().for_each(|text| output.warn(text));
        self.remarks.iter().for_each(|text| output.remark(&plain(text)));
        Ok(if self.is_bad { Exit::NotSo } else { Exit::Done })
    }
}

impl Job {
    /// Does it, and records what changed something.
    fn perform(mut self, verb: Verb) -> Result<Done, Error> {
        let action = match &verb {
            Verb::Create(args) if !args.dry_run => Some("backup.create"),
            Verb::Restore(args) if !args.dry_run => Some("backup.restore"),
            Verb::Prune { dry_run: false, .. } => Some("backup.prune"),
            _ => None,
        };
        let (config, target) = (self.config.clone(), self.target.clone());
        let done = self.obey(verb);
        let not_noted = action.and_then(|action| note::note(&config, &target, action, &done));
        done.map(|mut done| {
            done.is_bad |= not_noted.is_some();
            done.warnings.extend(not_noted);
            done
        })
    }

    fn obey(&mut self, verb: Verb) -> Result<Done, Error> {
        match verb {
            Verb::Create(args) => self.create(&args),
            Verb::Ls { output } => say::list(&self.open(false)?, output),
            Verb::Verify { names } => self.verify(&names),
            Verb::Restore(args) => self.restore(&args),
            Verb::Prune { keep, dry_run } => self.prune(keep, dry_run),
            Verb::Schedule => Ok(Done::default()),
        }
    }

    fn open(&self, may_begin: bool) -> Result<Archive, Error> {
        Ok(backups::open(&self.config, &self.target, self.key.clone(), may_begin)?)
    }

    /// A name that nobody has is a mistake: nothing would be kept of it, and nobody would hear.
    fn check_apps(&self, apps: &[AppName]) -> Result<(), Error> {
        let root = &self.config.workspaces;
        match apps.iter().find(|app| !root.join(app.as_str()).is_dir()) {
            Some(app) => {
                let what =
                    format!("there is no app `{app}`: it has no folder in {}", root.display());
                Err(Error::new(Exit::NotFound, what)
                    .code("backup.refused")
                    .fix("`berth get -o name` lists the apps; --workspaces names another folder"))
            }
            None => Ok(()),
        }
    }

    fn create(&mut self, args: &Create) -> Result<Done, Error> {
        self.check_apps(&args.data)?;
        self.check_apps(&args.pause)?;
        let words = |apps: &[AppName]| apps.iter().map(ToString::to_string).collect();
        let data = match (&args.data[..], args.no_data) {
            ([], false) => self.config.backups.data.clone(),
            (apps, _) => Data::Only(words(apps)),
        };
        let pause: BTreeSet<String> = match &args.pause[..] {
            [] => self.config.backups.pause.clone(),
            some => words(some),
        };
        let (is_thorough, stop) = (args.thorough, self.stop.clone());
        let order = Order { pause, is_thorough, stop, ..backups::order(&self.config, data) };
        let mut archive = self.open(true)?;
        if args.dry_run {
            let plan = archive.look_ahead(&order)?;
            let lines = backup::render(&plan).lines().map(ToOwned::to_owned).collect();
            return Ok(Done { lines, ..Done::default() });
        }
        let made = archive.create(&order, Clock::System.now(), &mut self.still);
        let stands = self.still.end().err();
        let made = made.map_err(|error| match &stands {
            Some(stands) => Error::from(error).why(stands),
            None => Error::from(error),
        })?;
        let mut done = say::made(&made, &self.target);
        if let Some(stands) = stands {
            (done.is_bad, done.warnings) = (true, [done.warnings, vec![stands]].concat());
        }
        let Some(keep) = args.keep else { return Ok(done) };
        match archive.prune(keep) {
            Ok(pruned) => {
                done.lines.extend(pruned.render().lines().map(ToOwned::to_owned));
                done.warnings.extend(pruned.trouble());
                done.about["pruned"] = say::gone(&pruned);
            }
            Err(error) => {
                done.is_bad = true;
                done.warnings.push(format!("it was made, and older ones are not let go: {error}"));
            }
        }
        Ok(done)
    }

    fn verify(&self, names: &[String]) -> Result<Done, Error> {
        let archive = self.open(false)?;
        let found: Vec<Name> = match names {
            [] => archive.vault().names()?,
            some => some.iter().map(|it| archive.vault().find(it)).collect::<Result<_, _>>()?,
        };
        Ok(say::verdict(&archive.verify(&found)?))
    }

    fn restore(&self, args: &RestoreArgs) -> Result<Done, Error> {
        let archive = self.open(false)?;
        let name = archive.vault().find(&args.name)?;
        let order = Restore {
            targets: backups::roots(&self.config),
            only: args.only.iter().copied().collect(),
            is_over: args.over,
            is_new_engine: args.new_engine,
            has_owners: rustix::process::geteuid().is_root(),
            now: Clock::System.now(),
        };
        if args.dry_run {
            let text = archive.restore_plan(&name, &order)?;
            let lines = text.lines().map(ToOwned::to_owned).collect();
            return Ok(Done { lines, ..Done::default() });
        }
        self.check_stillness(&archive, &name, &order, args.stop_apps)?;
        let restored = archive.restore(&name, &order)?;
        let mut done = say::restored(&restored, args.new_engine);
        let only: Vec<_> = args.only.iter().map(|root| root.word()).collect();
        done.about["only"] = json!(only);
        done.about["over"] = json!(args.over);
        Ok(done)
    }

    /// Refuses to take folders from under apps that run: they would go on writing to what was put
    /// aside, and lose that with the next container.
    fn check_stillness(
        &self,
        archive: &Archive,
        name: &Name,
        order: &Restore,
        stops: bool,
    ) -> Result<(), Error> {
        let snapshot = archive.vault().snapshot(name)?;
        let grounds = order.look(archive.vault(), name, &snapshot)?;
        let is_mounted = |root| matches!(root, Root::Workspaces | Root::Models | Root::Secrets);
        let open = grounds.iter().filter(|it| is_mounted(it.root) && it.way != Way::Done);
        let folders: Vec<_> = open.map(|it| it.folder.display().to_string()).collect();
        if folders.is_empty() {
            return Ok(());
        }
        let is_over = grounds.iter().any(|ground| !ground.aside.is_empty());
        let ran = self.runtime.block_on(still::running(&self.config, stops));
        let why = match ran {
            Ok(apps) if apps.is_empty() => return Ok(()),
            Ok(apps) => format!("{} run on {}", apps.join(", "), folders.join(", ")),
            // Where nothing is put aside, nothing is lost by what nobody knows of.
            Err(_) if !is_over => return Ok(()),
            Err(why) => {
                format!("the engine can't say whether apps run on {}: {why}", folders.join(", "))
            }
        };
        Err(backup::Error::AppsRun(why).into())
    }

    fn prune(&self, keep: usize, is_dry: bool) -> Result<Done, Error> {
        let mut archive = self.open(false)?;
        let pruning = if is_dry { archive.pruning(keep)? } else { archive.prune(keep)? };
        let lines = pruning.render().lines().map(ToOwned::to_owned).collect();
        let mut about = say::gone(&pruning);
        about["keep"] = json!(keep);
        let warnings: Vec<_> = pruning.trouble().into_iter().collect();
        Ok(Done { lines, is_bad: !warnings.is_empty(), warnings, about, ..Done::default() })
    }
}
