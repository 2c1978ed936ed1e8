//! What apps get of secrets: where each value comes from, whether it has changed, and the value
//! itself at the moment when a container is made.
//!
//! # Guarantees
//! - Between two uses only seals are remembered, never values (fault G16).
//! - A container gets the values whose seals its shape holds, or it is not made.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    Error, Mint, Secret, Secrets, VALUE, VALUE_BYTES_MAX, Value, files::Files, seal::Key,
    tool::Tools,
};
use crate::model::{
    AppName, AppSpec, Digest, HUB_TOKEN, MountSource, SECRET_VARIABLE, SecretDocs, SecretFrom,
    SecretRef,
};
use crate::plan::Sealed;
use crate::state::SecretSeen;

/// So many decrypted documents are remembered by their seals.
const REMEMBERED_MAX: usize = 1024;

/// Where values may come from.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The operator's folder.
    pub folder: Secrets,
    /// The folder of the credentials that systemd hands over.
    pub credentials: Option<PathBuf>,
    /// Berth's own variables, as far as their names say that they are secrets.
    pub variables: BTreeMap<String, Value>,
    /// What decrypts.
    pub tools: Tools,
    /// Where the key lies that values are sealed with.
    pub key: PathBuf,
    /// The folder in memory for secrets that are files.
    pub files: PathBuf,
    /// Secrets that are Berth's own logins, and no app's.
    pub withheld: BTreeSet<String>,
    /// Who knows the tokens of apps.
    pub mint: Option<Arc<dyn Mint>>,
}

impl Settings {
    /// With a folder of secrets and a folder of state, and nothing else.
    pub fn new(folder: Secrets, state: &Path, files: impl Into<PathBuf>) -> Self {
        Self {
            folder,
            credentials: None,
            variables: BTreeMap::new(),
            tools: Tools::new(state.join("age.key")),
            key: state.join("secret.key"),
            files: files.into(),
            withheld: BTreeSet::new(),
            mint: None,
        }
    }

    /// With what this process was given.
    #[must_use]
    pub fn of_process(mut self) -> Self {
        self.credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        let named = std::env::vars_os().filter_map(|(name, value)| {
            let name = name.into_string().ok()?;
            let value = std::os::unix::ffi::OsStringExt::into_vec(value);
            name.starts_with(SECRET_VARIABLE).then(|| (name, Value::new(value)))
        });
        self.variables = named.collect();
        self
    }
}

/// What a container gets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// Variables.
    pub env: BTreeMap<String, Value>,
    /// Files: where each lies on the host, by its place in the container.
    pub files: BTreeMap<String, PathBuf>,
}

/// The secrets of apps.
#[derive(Debug, Default)]
pub struct Book {
    pub(super) inner: Option<Inner>,
    docs: Mutex<Arc<SecretDocs>>,
    /// The seals of what was decrypted, by text and key; false is a value that is no text.
    known: Mutex<BTreeMap<(Digest, SecretRef), (String, bool)>>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) settings: Settings,
    pub(super) key: Key,
    files: Files,
}

impl Book {
    /// The secrets that come from there.
    ///
    /// # Errors
    /// When the key can neither be read nor made.
    pub fn new(settings: Settings) -> io::Result<Self> {
        let key = Key::open(&settings.key)?;
        let files = Files::new(settings.files.clone());
        Ok(Self { inner: Some(Inner { settings, key, files }), ..Self::default() })
    }

    /// What the manifests say of secrets now.
    pub fn know(&self, docs: &Arc<SecretDocs>) {
        *self.docs.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(docs);
    }

    /// How the secrets of an app stand, by variable and by path. Nothing is written.
    pub async fn look(&self, spec: &AppSpec) -> BTreeMap<String, SecretSeen> {
        let mut seen = BTreeMap::new();
        for (name, wanted) in &spec.secret_env {
            let found = self.sealed(wanted, true).await;
            seen.insert(Sealed::of_variable(name), of(found));
        }
        for mount in &spec.mounts {
            let MountSource::Secret(wanted) = &mount.source else { continue };
            seen.insert(mount.path.clone(), of(self.sealed(wanted, false).await));
        }
        seen
    }

    /// Puts those that are files in place for `uid`; what can't be counts as missing.
    pub async fn put(
        &self,
        app: &AppName,
        spec: &AppSpec,
        uid: Option<u32>,
        seen: &mut BTreeMap<String, SecretSeen>,
    ) {
        for mount in &spec.mounts {
            let MountSource::Secret(wanted) = &mount.source else { continue };
            let Some(SecretSeen::Sealed(seal)) = seen.get(&mount.path) else { continue };
            if let Err(why) = self.in_place(app, (wanted, seal), uid).await {
                seen.insert(mount.path.clone(), SecretSeen::Missing(why));
            }
        }
    }

    /// The values of a container that is made now.
    ///
    /// # Errors
    /// When one of them can't be had any more, or is another one by now.
    pub async fn give(
        &self,
        app: &AppName,
        sealed: &BTreeMap<String, Sealed>,
        uid: Option<u32>,
    ) -> Result<Given, String> {
        let mut given = Given::default();
        for (target, sealed) in sealed {
            let wanted = &sealed.wanted;
            let (value, inner) = (self.value(wanted).await?, self.inner()?);
            if inner.key.seal(wanted, value.bytes()) != sealed.seal {
                return Err(format!("the secret {wanted} has changed this moment"));
            }
            if wanted.secret == HUB_TOKEN {
                self.mint_token(app, &value)?;
            }
            if let Some(name) = Sealed::variable(target) {
                let text = value.text().ok_or_else(|| no_text(wanted))?;
                given.env.insert(name.to_owned(), Value::new(text));
            } else {
                inner.files.put(app, &sealed.seal, &value, uid)?;
                given.files.insert(target.clone(), inner.files.path(app, &sealed.seal));
            }
        }
        Ok(given)
    }

    /// The values that lie in files for an app's containers.
    pub fn in_files(&self, app: &AppName) -> Vec<Value> {
        self.inner.as_ref().map(|inner| inner.files.values(app)).unwrap_or_default()
    }

    /// Removes an app's files but those that are used.
    pub fn keep(&self, app: &AppName, sealed: &BTreeMap<String, Sealed>) {
        if let Some(inner) = &self.inner {
            let seals = sealed.values().map(|sealed| sealed.seal.clone()).collect();
            inner.files.keep(app, &seals);
        }
    }

    pub(super) fn inner(&self) -> Result<&Inner, String> {
        self.inner.as_ref().ok_or_else(|| "there is no folder of secrets".to_owned())
    }

    fn doc(&self, name: &str) -> Option<Result<SecretFrom, String>> {
        let docs = self.docs.lock().unwrap_or_else(PoisonError::into_inner);
        Some(match docs.get(name)? {
            Ok(secret) => Ok(secret.from.clone()),
            Err(why) => Err(format!("the secret `{name}` can't be used: {why}")),
        })
    }

    async fn in_place(
        &self,
        app: &AppName,
        (wanted, seal): (&SecretRef, &str),
        uid: Option<u32>,
    ) -> Result<(), String> {
        let files = &self.inner()?.files;
        if !files.path(app, seal).exists() {
            files.put(app, seal, &self.value(wanted).await?, uid)?;
        }
        Ok(())
    }

    /// The seal of a value. Decrypting costs a process, so what came of it is remembered.
    async fn sealed(&self, wanted: &SecretRef, must_be_text: bool) -> Result<String, String> {
        let inner = self.inner()?;
        let remembered = match self.doc(&wanted.secret).transpose()? {
            Some(SecretFrom::Age(text) | SecretFrom::Sops(text)) => {
                let key = inner.settings.tools.key_state()?;
                let digest = Digest::of_value(&(text, key));
                Some((digest, wanted.clone()))
            }
            _ => None,
        };
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let before = remembered.as_ref().and_then(|known_as| known().get(known_as).cloned());
        let (seal, is_text) = if let Some(before) = before {
            before
        } else {
            let value = self.value(wanted).await?;
            let now = (inner.key.seal(wanted, value.bytes()), is_text(&value));
            if let Some(known_as) = remembered {
                let mut known = known();
                if REMEMBERED_MAX <= known.len() {
                    known.clear();
                }
                known.insert(known_as, now.clone());
            }
            now
        };
        if must_be_text && !is_text { Err(no_text(wanted)) } else { Ok(seal) }
    }

    /// A value, read now.
    async fn value(&self, wanted: &SecretRef) -> Result<Value, String> {
        let inner = self.inner()?;
        let (name, settings) = (&wanted.secret, &inner.settings);
        if name == HUB_TOKEN {
            return self.hub_token(wanted);
        }
        if settings.withheld.contains(name) {
            return Err(format!(
                "the secret `{name}` is a login of Berth's own, which no app gets: keep the value under another name"
            ));
        }
        let found = match self.doc(name).transpose()? {
            None => settings.usual(name),
            Some(SecretFrom::Folder(from)) => settings.folder.read(&from).map_err(told),
            Some(SecretFrom::Credential(from)) => settings.credential(&from),
            Some(SecretFrom::Variable(from)) => settings.variable(name, &from),
            Some(SecretFrom::Age(text)) => {
                settings.tools.key_state()?;
                let value = settings.tools.of_age(&text).await;
                value.map(|value| one(name, value)).map_err(|why| undecided(name, &why))
            }
            Some(SecretFrom::Sops(text)) => {
                settings.tools.key_state()?;
                let values = settings.tools.of_sops(&text).await;
                values.and_then(|text| of_json(name, &text)).map_err(|why| undecided(name, &why))
            }
        }?;
        found.need(wanted.key()).cloned().map_err(|error| match error {
            Error::MissingKey { .. } => no_key(wanted, &found),
            other => other.to_string(),
        })
    }
}

impl Settings {
    /// A secret of which no document says where it comes from: the folder, then the credentials,
    /// then the variables.
    fn usual(&self, name: &str) -> Result<Secret, String> {
        match self.folder.read(name) {
            Ok(secret) => return Ok(secret),
            Err(Error::Missing { .. }) => {}
            Err(error) => return Err(error.to_string()),
        }
        let has_credential =
            self.credentials.as_ref().is_some_and(|folder| folder.join(name).is_file());
        if has_credential {
            return self.credential(name);
        }
        let variable = variable_of(name);
        match self.variables.get(&variable) {
            Some(value) => Ok(one(name, value.bytes())),
            None => Err(format!(
                "there is no secret `{name}`: make it with `berth secrets set {name}`, or give Berth the systemd credential `{name}` or the variable {variable}"
            )),
        }
    }

    fn credential(&self, name: &str) -> Result<Secret, String> {
        let Some(folder) = &self.credentials else {
            return Err(format!(
                "the credential `{name}` is not there: systemd hands none over to this Berth (`LoadCredential=`)"
            ));
        };
        let path = folder.join(name);
        let bytes = std::fs::read(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => format!(
                "systemd does not hand over the credential `{name}`: name it with `LoadCredential=` in Berth's unit"
            ),
            _ => format!("{}: {error}", path.display()),
        })?;
        if VALUE_BYTES_MAX < bytes.len() {
            return Err(format!("the credential `{name}` is longer than 1 MiB"));
        }
        Ok(one(name, bytes))
    }

    fn variable(&self, name: &str, from: &str) -> Result<Secret, String> {
        let value = self.variables.get(from).ok_or_else(|| {
            format!("the secret `{name}` is missing: Berth has no variable {from}; set it and start Berth again")
        })?;
        Ok(one(name, value.bytes()))
    }
}

fn of(found: Result<String, String>) -> SecretSeen {
    match found {
        Ok(seal) => SecretSeen::Sealed(seal),
        Err(why) => SecretSeen::Missing(why),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the form that `map_err` calls")]
fn told(error: Error) -> String {
    error.to_string()
}

/// The variable that a secret comes from when nobody says otherwise.
pub fn variable_of(name: &str) -> String {
    let legal = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    format!("{SECRET_VARIABLE}{}", name.chars().map(legal).collect::<String>())
}

fn one(name: &str, value: impl Into<Vec<u8>>) -> Secret {
    Secret::new(name, [(VALUE.to_owned(), Value::new(value))].into())
}

/// The first level of a decrypted document: texts as they are, the rest as JSON.
fn of_json(name: &str, text: &[u8]) -> Result<Secret, String> {
    let wrong = || "what came out is not a mapping of keys".to_owned();
    let fields: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(text).map_err(|_| wrong())?;
    let value = |value: serde_json::Value| match value {
        serde_json::Value::String(text) => Value::new(text),
        other => Value::new(other.to_string()),
    };
    Ok(Secret::new(name, fields.into_iter().map(|(key, text)| (key, value(text))).collect()))
}

fn undecided(name: &str, why: &str) -> String {
    format!("the secret `{name}` can't be decrypted: {why}")
}

fn no_key(wanted: &SecretRef, found: &Secret) -> String {
    let keys: Vec<_> = found.keys().collect();
    format!(
        "the secret `{}` has no key `{}`; it has: {}",
        wanted.secret,
        wanted.key(),
        keys.join(", ")
    )
}

fn no_text(wanted: &SecretRef) -> String {
    format!("the secret {wanted} is not a text, so it can't be a variable: mount it as a file")
}

fn is_text(value: &Value) -> bool {
    value.text().is_some_and(|text| !text.contains('\0'))
}
