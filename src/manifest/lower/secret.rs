//! Secrets: from what a document says to where their values come from.

use crate::model::{Origin, SECRET_VARIABLE, SecretFrom, SecretRef, SecretSpec};

use super::super::{
    problem::{Broken, Path, Problem, Problems, Trail},
    v1, validate,
};

/// What a text encrypted with age and armoured begins with.
const ARMOUR: &str = "-----BEGIN AGE ENCRYPTED FILE-----";
/// The fields of `spec`, of which there is exactly one.
const SOURCES: [&str; 5] = ["folder", "credential", "variable", "age", "sops"];

/// The secret that a document means. It is only of use when `problems` holds no error.
pub(in crate::manifest) fn secret(
    manifest: &v1::SecretManifest,
    origin: Origin,
    problems: &mut Problems,
) -> Option<SecretSpec> {
    let root = Trail::ROOT;
    if manifest.api_version.is_none() {
        let help = format!("write `apiVersion: {}`", v1::VERSION);
        problems.missing(&root.key("apiVersion")).help(help);
    }
    let (metadata, spec) = (root.key("metadata"), root.key("spec"));
    let name = manifest.metadata.as_ref().and_then(|metadata| metadata.name.as_ref());
    let name = if let Some(name) = name {
        problems.keep(&metadata.key("name"), validate::secret_name(name))
    } else {
        problems.missing(&metadata.key("name"));
        None
    };
    let Some(source) = &manifest.spec else {
        problems.missing(&spec);
        return None;
    };
    let from = source_of(source, &spec, problems)?;
    Some(SecretSpec { name: name?, from, origin })
}

fn source_of(
    source: &v1::SecretSource,
    spec: &Trail<'_>,
    problems: &mut Problems,
) -> Option<SecretFrom> {
    let v1::SecretSource { folder, credential, variable, age, sops } = source;
    let said = [folder, credential, variable, age, sops];
    match said.iter().filter(|text| text.is_some()).count() {
        1 => {}
        0 => {
            let message = "it is not said where the values of this secret come from";
            let problem = problems.error("manifest.missing-field", spec, message);
            problem.help("write one of `folder`, `credential`, `variable`, `age` and `sops`");
            for field in SOURCES.iter().chain(&v1::HOLD_VALUES) {
                problem.unless(spec.key(field).path());
            }
            return None;
        }
        _ => {
            let message = "a secret comes from one of `folder`, `credential`, `variable`, `age` and `sops`, not from several";
            problems.error("manifest.conflict", spec, message);
            return None;
        }
    }
    let mut keep = |field: &str, value: Option<Result<SecretFrom, Broken>>| {
        value.and_then(|value| problems.keep(&spec.key(field), value))
    };
    let folder = folder.as_ref().map(|name| validate::secret_name(name).map(SecretFrom::Folder));
    let credential =
        credential.as_ref().map(|name| validate::secret_name(name).map(SecretFrom::Credential));
    keep("folder", folder)
        .or_else(|| keep("credential", credential))
        .or_else(|| keep("variable", variable.as_deref().map(of_variable)))
        .or_else(|| keep("age", age.as_deref().map(of_age)))
        .or_else(|| keep("sops", sops.as_deref().map(of_sops)))
}

/// Other variables of Berth are nobody's business (fault Y07).
fn of_variable(name: &str) -> Result<SecretFrom, Broken> {
    let legal = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let rest = name.strip_prefix(SECRET_VARIABLE);
    if rest.is_some_and(|rest| !rest.is_empty() && rest.chars().all(legal)) {
        return Ok(SecretFrom::Variable(name.to_owned()));
    }
    let broken = Broken::new("this variable can't be a secret");
    Err(broken.help(format!("its name begins with `{SECRET_VARIABLE}`, in capitals")))
}

fn of_age(text: &str) -> Result<SecretFrom, Broken> {
    if text.trim_start().starts_with(ARMOUR) {
        return Ok(SecretFrom::Age(text.trim().to_owned() + "\n"));
    }
    let broken = Broken::new("this is not a text that age has encrypted and armoured");
    Err(broken.help("write below `age: |` what `age -a -r RECIPIENT` prints"))
}

fn of_sops(text: &str) -> Result<SecretFrom, Broken> {
    if text.contains("ENC[") && text.contains("sops") {
        return Ok(SecretFrom::Sops(text.to_owned()));
    }
    let broken = Broken::new("this is not a document that SOPS has encrypted");
    Err(broken.help("write below `sops: |` what `sops --encrypt` prints"))
}

/// What there is to say about a field that a secret does not have.
pub(in crate::manifest) fn unknown_field(path: Path) -> Problem {
    let name = path.last_key().unwrap_or("").to_owned();
    if v1::HOLD_VALUES.contains(&name.as_str()) {
        let message = format!("`{path}`: a manifest never holds the value of a secret");
        let mut problem = Problem::error("manifest.secret-value", path, message);
        problem.at_key().help(
            "take it out, and change the value, which others may have read; keep it with `berth secrets set NAME`, or write it encrypted below `age` or `sops`",
        );
        return problem;
    }
    let message = format!("unknown field `{path}`");
    let mut problem = Problem::error("manifest.unknown-field", path.clone(), message);
    let fields = match path.parent().0.len() {
        0 => "apiVersion, kind, metadata, spec",
        _ if path.pattern().starts_with("spec.") => "folder, credential, variable, age, sops",
        _ => "name, labels, annotations",
    };
    problem.at_key().help(format!("the fields here are {fields}"));
    problem
}

/// The value of a secret that an app names.
pub(super) fn reference(
    wire: &v1::SecretValue,
    trail: &Trail<'_>,
    problems: &mut Problems,
) -> Option<SecretRef> {
    let Some(name) = &wire.secret else {
        problems.missing(&trail.key("secret"));
        return None;
    };
    let secret = problems.keep(&trail.key("secret"), validate::secret_name(name));
    let key = wire.key.as_deref();
    let key = key.map(|key| problems.keep(&trail.key("key"), validate::secret_key(key)));
    match (secret, key) {
        (Some(secret), None) => Some(SecretRef { secret, key: None }),
        (Some(secret), Some(Some(key))) => Some(SecretRef { secret, key: Some(key) }),
        _ => None,
    }
}
