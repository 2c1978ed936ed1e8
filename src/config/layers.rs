//! Flags, environment and files, one over the other.

use std::{collections::BTreeMap, fmt, io, path::PathBuf};

use serde_json::Value;

use super::{
    Mistake, Setting,
    option::{Kind, OptionRow},
    options::OPTIONS,
};

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The command line.
    Flag,
    /// An environment variable.
    Env(&'static str),
    /// A file.
    File(PathBuf),
    /// Nobody said.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("flag"),
            Self::Env(name) => write!(f, "environment {name}"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A configuration file.
#[derive(Clone, Debug)]
pub struct File {
    /// Where it is.
    pub path: PathBuf,
    /// What it says, or why that is not known.
    pub text: Result<String, String>,
}

/// Everything that is said about the options.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    /// Flags, by option.
    pub flags: BTreeMap<&'static str, Vec<String>>,
    /// The environment.
    pub env: BTreeMap<String, String>,
    /// The files that are there, the most important first.
    pub files: Vec<File>,
}

/// One file's values, by option.
type FileValues = BTreeMap<String, Vec<String>>;

impl Layers {
    /// The layers of this process, with these flags.
    pub fn of_process(flags: BTreeMap<&'static str, Vec<String>>) -> Self {
        let env: BTreeMap<_, _> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let of_user = env.get("XDG_CONFIG_HOME").filter(|path| !path.is_empty()).map(PathBuf::from);
        let of_user = of_user.or_else(|| Some(PathBuf::from(env.get("HOME")?).join(".config")));
        let paths = [of_user, Some(PathBuf::from("/etc"))];
        let paths = paths.into_iter().flatten().map(|folder| folder.join("berth/config.yaml"));
        let files = paths.filter_map(read_file).collect();
        Self { flags, env, files }
    }

    /// Every option's value, and what is wrong with the files.
    pub(super) fn settle(&self) -> (Vec<Setting>, Vec<Mistake>) {
        let mut mistakes = Vec::new();
        let mut files = Vec::new();
        for file in &self.files {
            match parse(file, &mut mistakes) {
                Ok(values) => files.push((&file.path, values)),
                Err(message) => mistakes.push(Mistake {
                    origin: Origin::File(file.path.clone()),
                    name: "config.yaml".to_owned(),
                    message,
                }),
            }
        }
        let settings = OPTIONS.iter().map(|option| self.setting(option, &files)).collect();
        (settings, mistakes)
    }

    fn setting(&self, option: &OptionRow, files: &[(&PathBuf, FileValues)]) -> Setting {
        let made = |values, origin| Setting { name: option.name, values, origin };
        if let Some(values) = self.flags.get(option.name) {
            return made(values.clone(), Origin::Flag);
        }
        for name in option.env {
            if let Some(value) = self.env.get(*name).filter(|value| !value.is_empty()) {
                let values = match option.kind {
                    Kind::List => value.split(',').map(|part| part.trim().to_owned()).collect(),
                    Kind::Value | Kind::Flag => vec![value.clone()],
                };
                return made(values, Origin::Env(name));
            }
        }
        if option.name == "listen"
            && let Some((address, name)) = self.host_and_port(option.default)
        {
            return made(vec![address], Origin::Env(name));
        }
        for (path, values) in files {
            if let Some(values) = values.get(option.name) {
                return made(values.clone(), Origin::File((*path).clone()));
            }
        }
        let is_set = !option.default.is_empty();
        made(is_set.then(|| option.default.to_owned()).into_iter().collect(), Origin::Default)
    }

    /// The address that `SERVER_HOST` and `SERVER_PORT` name, as the replaced systems read them.
    fn host_and_port(&self, default: &str) -> Option<(String, &'static str)> {
        let get = |name: &str| self.env.get(name).filter(|value| !value.is_empty());
        let (host, port) = (get("SERVER_HOST"), get("SERVER_PORT"));
        let (host_usual, port_usual) = default.rsplit_once(':')?;
        let name = if host.is_some() { "SERVER_HOST" } else { "SERVER_PORT" };
        host.or(port)?;
        let host = host.map_or(host_usual, String::as_str);
        let port = port.map_or(port_usual, String::as_str);
        let is_bare_v6 = host.contains(':') && !host.starts_with('[');
        let address =
            if is_bare_v6 { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        Some((address, name))
    }
}

fn read_file(path: PathBuf) -> Option<File> {
    match std::fs::read_to_string(&path) {
        Ok(text) => Some(File { path, text: Ok(text) }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => Some(File { path, text: Err(error.to_string()) }),
    }
}

/// Reads a file: a mapping from options to values. An option that does not exist is a mistake.
fn parse(file: &File, mistakes: &mut Vec<Mistake>) -> Result<FileValues, String> {
    let text = file.text.as_ref().map_err(|why| format!("it can't be read: {why}"))?;
    if text.trim().is_empty() {
        return Ok(FileValues::new());
    }
    let said: BTreeMap<String, Value> = serde_yaml::from_str(text).map_err(|error| {
        let first = error.to_string().lines().next().unwrap_or_default().to_owned();
        format!("it is not a mapping of options to values: {first}")
    })?;
    let mut values = FileValues::new();
    for (name, value) in said {
        let mut wrong = |message: String| {
            let origin = Origin::File(file.path.clone());
            mistakes.push(Mistake { origin, name: name.clone(), message });
        };
        let Some(option) = OPTIONS.iter().find(|option| option.name == name) else {
            wrong(unknown(&name));
            continue;
        };
        match texts(&value) {
            Some(texts) if texts.len() == 1 || option.kind == Kind::List => {
                values.insert(name, texts);
            }
            _ => wrong("write a text, a number, or `true` or `false`".to_owned()),
        }
    }
    Ok(values)
}

fn texts(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(text) => Some(vec![text.clone()]),
        Value::Bool(_) | Value::Number(_) => Some(vec![value.to_string()]),
        Value::Array(items) => {
            let texts = items.iter().map(|item| item.as_str().map(ToOwned::to_owned));
            texts.collect()
        }
        Value::Null | Value::Object(_) => None,
    }
}

fn unknown(name: &str) -> String {
    let near = OPTIONS
        .iter()
        .map(|option| (strsim::damerau_levenshtein(name, option.name), option.name))
        .filter(|(distance, _)| *distance <= 3)
        .min();
    match near {
        Some((_, near)) => format!("there is no such option; did you mean `{near}`?"),
        None => "there is no such option; `berth run --help` lists them".to_owned(),
    }
}
