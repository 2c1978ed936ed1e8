//! `berth init`: a manifest for a folder or a repository, with what could be found out about it.

mod look;

use std::{
    fmt::Write as _,
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
};

use super::{
    error::{Error, Exit},
    flags::Flags,
    output::{Output, plain},
    run, server,
};
use crate::config::Config;
use crate::daemon;
use crate::manifest::{self, edit::scalar};
use crate::model::{AppName, GitUrl, Source};
use crate::workspace::{Access, Settings, Workspace, network_environment};
use look::Found;

/// The file that editors read the schema from.
pub(super) const SCHEMA: &str = "berth.schema.json";

/// What it takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The folder with the code, or the address of its git repository.
    #[arg(value_name = "DIR|GIT-URL", default_value = ".")]
    place: String,
    /// What the app is called [default: as the folder or the repository].
    #[arg(long, value_parser = server::app_name)]
    name: Option<AppName>,
    /// The file to write [default: `NAME.yaml` here].
    #[arg(short, long, value_name = "FILE")]
    filename: Option<PathBuf>,
    /// Write it to standard output, and no file.
    #[arg(long, conflicts_with = "filename")]
    print: bool,
    /// Only say what would be written, and where.
    #[arg(short = 'n', long)]
    dry_run: bool,
}

pub(super) async fn run(args: &Args, output: &mut Output) -> Result<Exit, Error> {
    let place = Place::of(&args.place)?;
    let name = match (&args.name, place.name()) {
        (Some(name), _) => name.clone(),
        (None, Some(name)) => name,
        (None, None) => {
            let error = Error::new(Exit::Trouble, "nothing says what the app is called");
            return Err(error.fix("pass --name"));
        }
    };
    let file = args.filename.clone().unwrap_or_else(|| PathBuf::from(format!("{name}.yaml")));
    if !args.print && file.exists() {
        return Err(exists(&file));
    }
    let found = place.look(&name, output).await?;
    let text = manifest(&name, &place, &found);
    check(&text)?;
    if args.print || args.dry_run {
        output.line(text.trim_end())?;
        if args.dry_run && !args.print {
            output.remark(&format!("would write {} (dry run)", file.display()));
        }
        return Ok(Exit::Done);
    }
    write(&file, &text)?;
    output.line(&format!("{} is written", file.display()))?;
    for remark in remarks(&found) {
        output.remark(&remark);
    }
    output.hint(&format!("berth validate {0}, berth apply -f {0}", file.display()));
    Ok(Exit::Done)
}

/// Where the code is.
enum Place {
    Folder { path: PathBuf, remote: Option<String> },
    Repository(GitUrl),
}

impl Place {
    fn of(text: &str) -> Result<Self, Error> {
        let path = Path::new(text);
        if path.is_dir() {
            let path = fs::canonicalize(path)?;
            let remote = remote(&path);
            return Ok(Self::Folder { path, remote });
        }
        let is_address = text.contains("://") || text.contains('@');
        match GitUrl::parse(text) {
            Ok(url) if is_address => Ok(Self::Repository(url)),
            _ => Err(Error::new(Exit::NotFound, format!("`{}` is no folder", plain(text)))
                .fix("name a folder, or the address of a git repository")),
        }
    }

    /// What it is called, as an app may be.
    fn name(&self) -> Option<AppName> {
        let last = match self {
            Self::Folder { path, .. } => path.file_name()?.to_string_lossy().into_owned(),
            Self::Repository(url) => {
                let path = url.as_str().trim_end_matches('/').trim_end_matches(".git");
                path.rsplit(['/', ':']).next()?.to_owned()
            }
        };
        let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
        let name: String = last.chars().map(plain).collect();
        let name = name.trim_matches(|c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit());
        let name = name.trim_start_matches(|c: char| !c.is_ascii_lowercase());
        let name: String = name.chars().take(40).collect();
        AppName::new(name.trim_end_matches('-')).ok()
    }

    async fn look(&self, name: &AppName, output: &mut Output) -> Result<Found, Error> {
        let url = match self {
            Self::Folder { path, .. } => return Ok(look::look(path)),
            Self::Repository(url) => url,
        };
        output.remark(&format!("looking at {}", plain(url.as_str())));
        let folder = Folder::new()?;
        clone(url, name, &folder.0).await?;
        let workspace = Workspace::new(folder.0.clone(), Settings::default());
        Ok(look::look(&workspace.code_dir(name)))
    }

    /// The source, as a manifest says it, and what there is to say about that.
    fn source(&self) -> (String, &'static str) {
        match self {
            Self::Repository(url) => (url.as_str().to_owned(), ""),
            Self::Folder { remote: Some(remote), .. } => (remote.clone(), ""),
            Self::Folder { path, remote: None } => (
                path.display().to_string(),
                "a folder of this machine: it has to be a git repository, and Berth has to run with --allow-local-git",
            ),
        }
    }
}

/// The address of a checkout's `origin`.
fn remote(folder: &Path) -> Option<String> {
    let text = fs::read_to_string(folder.join(".git/config")).ok()?;
    let mut is_origin = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            is_origin = line == "[remote \"origin\"]";
        } else if let Some((key, value)) = line.split_once('=')
            && is_origin
            && key.trim() == "url"
        {
            let url = value.trim();
            // A password in it is not written on.
            let has_password = url.split_once("://").is_some_and(|(_, rest)| {
                rest.split('/').next().is_some_and(|host| host.contains(':') && host.contains('@'))
            });
            return (!has_password && GitUrl::parse(url).is_ok()).then(|| url.to_owned());
        }
    }
    None
}

/// A folder that is gone when this is.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self, Error> {
        use std::os::unix::fs::DirBuilderExt as _;
        let path = std::env::temp_dir().join(format!("berth-init-{}", std::process::id()));
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Fetches a repository as the controller would, with its rules and logins.
async fn clone(url: &GitUrl, name: &AppName, folder: &Path) -> Result<(), Error> {
    let config: Config = run::read(Flags::default())?;
    let settings = Settings {
        env: network_environment(),
        is_local_allowed: true,
        access: Access { is_loopback_allowed: true, ..daemon::access(&config) },
        ..Settings::default()
    };
    let text = format!(
        "apiVersion: berth/v1\nkind: App\nmetadata: {{name: {name}}}\nspec: {{source: {{git: {}}}, run: x}}\n",
        scalar(&url.as_str().into())
    );
    let reading = manifest::read_file("init.yaml", text.as_bytes());
    let Some(app) = reading.apps.into_iter().next() else {
        return Err(Error::new(Exit::Trouble, "the address makes no sense"));
    };
    let Source::Git(source) = &app.spec.source else {
        return Err(Error::new(Exit::Trouble, "the address makes no sense"));
    };
    let workspace = Workspace::new(folder.to_owned(), settings);
    let (progress, mut told) = tokio::sync::mpsc::channel(16);
    let fetching = workspace.fetch(name, source, folder, &[], progress);
    let listening = async { while told.recv().await.is_some() {} };
    let (fetched, ()) = tokio::join!(fetching, listening);
    fetched.map(|_| ()).map_err(|error| {
        Error::new(Exit::NotSo, format!("the repository can't be looked at: {error}"))
            .code(error.reason().slug())
    })
}

/// The manifest, with where everything comes from.
fn manifest(name: &AppName, place: &Place, found: &Found) -> String {
    let (source, remark) = place.source();
    let mut text = format!(
        "# yaml-language-server: $schema={SCHEMA}\n# What Berth found out about this app. `berth explain app.spec` lists all fields.\napiVersion: berth/v1\nkind: App\nmetadata:\n  name: {name}\nspec:\n  source:\n"
    );
    let remark = if remark.is_empty() { String::new() } else { format!("  # {remark}") };
    let _ = writeln!(text, "    git: {}{remark}", scalar(&source.into()));
    match &found.built_from {
        Some(file) => {
            let _ = writeln!(text, "  # Built from its {file}.");
        }
        None => text.push_str(
            "  # Nothing says how it is built: add a Dockerfile or a requirements.txt.\n",
        ),
    }
    match &found.run {
        Some((run, from)) => {
            let _ = writeln!(text, "  run: {}    # from {from}", scalar(&run.as_str().into()));
        }
        None if found.built_from.as_deref() == Some("Dockerfile") => {
            text.push_str("  # run: ./server    # else what the Dockerfile says\n");
        }
        None => text.push_str("  run: python app.py    # nothing says what to run: correct this\n"),
    }
    match &found.port {
        Some((port, from)) => {
            let _ = writeln!(text, "  port: {port}    # from {from}");
        }
        None => text.push_str("  # port: 8000    # the port that it listens on, when it does\n"),
    }
    match (&found.health, &found.port) {
        (Some((path, from)), Some(_)) => {
            let _ = writeln!(text, "  health: {{http: {{path: {path}}}}}    # from {from}");
        }
        (_, Some(_)) => text.push_str(
            "  # health: {http: {path: /healthz}}    # else the port accepting connections\n",
        ),
        (_, None) => {}
    }
    match &found.framework {
        Some((framework, file)) => {
            let _ = writeln!(
                text,
                "  # gpus: 1    # {framework} is in {file}: a whole card, when it needs one"
            );
        }
        None => text.push_str("  # gpus: 1\n"),
    }
    text.push_str("  # env: {LOG_LEVEL: info}\n  # resources: {memory: 2Gi}\n");
    text
}

/// What is written is a manifest: a mistake here is ours.
fn check(text: &str) -> Result<(), Error> {
    let reading = manifest::read_file("manifest.yaml", text.as_bytes());
    let mistakes: Vec<_> = reading.diagnostics.iter().filter(|d| d.is_error()).collect();
    if mistakes.is_empty() {
        return Ok(());
    }
    let error = Error::new(Exit::Trouble, "what was found makes no valid manifest");
    Err(mistakes.iter().fold(error, |error, mistake| error.why(mistake.summary())))
}

fn remarks(found: &Found) -> Vec<String> {
    let mut remarks = Vec::new();
    if found.built_from.is_none() {
        remarks.push("nothing says how it is built".to_owned());
    }
    if found.port.is_none() {
        remarks.push("no port was found: without one it has no address".to_owned());
    }
    remarks
}

fn exists(file: &Path) -> Error {
    Error::new(Exit::Refused, format!("{} is there already", file.display()))
        .code("cli.exists")
        .fix("remove it, or name another file with --filename")
}

/// Writes the manifest, and the schema beside it. A manifest that is there stays.
fn write(file: &Path, text: &str) -> Result<(), Error> {
    let made = fs::OpenOptions::new().write(true).create_new(true).open(file);
    let mut made = made.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => exists(file),
        _ => Error::new(Exit::NotSo, format!("{} can't be written", file.display()))
            .why(error.to_string()),
    })?;
    made.write_all(text.as_bytes())?;
    let folder = file.parent().unwrap_or(Path::new(""));
    write_schema(folder)
}

/// Writes the schema into a folder, for editors.
pub(super) fn write_schema(folder: &Path) -> Result<(), Error> {
    let text = format!("{:#}\n", manifest::schema());
    let path = folder.join(SCHEMA);
    let new = folder.join(format!(".{SCHEMA}.new"));
    fs::write(&new, text)?;
    Ok(fs::rename(new, path)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name_of(place: &Place) -> String {
        place.name().map(|name| name.to_string()).unwrap_or_default()
    }

    #[test]
    fn an_app_is_called_as_its_folder_or_repository() {
        let folder = |path: &str| Place::Folder { path: path.into(), remote: None };
        assert_eq!(name_of(&folder("/srv/My_App")), "my-app");
        assert_eq!(name_of(&folder("/srv/9-lives")), "lives");
        assert_eq!(name_of(&folder("/")), "");
        let url = |url: &str| Place::Repository(GitUrl::parse(url).unwrap());
        assert_eq!(name_of(&url("https://git.example.com/acme/Chat.git")), "chat");
        assert_eq!(name_of(&url("git@git.example.com:acme/chat.git")), "chat");
    }

    #[test]
    fn a_password_in_a_remote_is_not_written_on() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join(".git")).unwrap();
        let of = |url: &str| {
            let text = format!("[core]\n\turl = x\n[remote \"origin\"]\n\turl = {url}\n");
            fs::write(folder.path().join(".git/config"), text).unwrap();
            remote(folder.path())
        };
        assert_eq!(of("https://h.example/a.git").as_deref(), Some("https://h.example/a.git"));
        assert_eq!(of("https://me:secret@h.example/a.git"), None);
    }

    #[test]
    fn whatever_is_found_makes_a_valid_manifest() {
        let name = AppName::new("chat").unwrap();
        let place = Place::Repository(GitUrl::parse("https://h.example/a.git").unwrap());
        let said = |text: &str| Some((text.to_owned(), "x".to_owned()));
        let full = Found {
            built_from: Some("requirements.txt".to_owned()),
            run: said("python app.py --name 'a: b' # c"),
            port: Some((8000, "x".to_owned())),
            framework: said("torch"),
            health: said("/healthz"),
        };
        for found in [Found::default(), full] {
            let text = manifest(&name, &place, &found);
            check(&text).unwrap_or_else(|error| panic!("{}: {text}", error.what()));
        }
    }
}
