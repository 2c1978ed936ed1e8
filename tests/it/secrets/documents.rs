//! Documents of kind `Secret`: they say where values come from, and never hold one.

use std::{collections::BTreeMap, sync::Arc};

use berth::{
    manifest::{self, FileReading},
    model::SecretFrom,
};

/// What somebody might paste.
const VALUE: &str = "hunter2-31337";

fn read(spec: &str) -> FileReading {
    let text = text(spec);
    manifest::read_file("secret.yaml", text.as_bytes())
}

fn text(spec: &str) -> String {
    format!("apiVersion: berth/v1\nkind: Secret\nmetadata: {{name: db}}\n{spec}")
}

/// The code of the first diagnostic, and all that is shown of it.
fn wrong(spec: &str) -> (String, String) {
    let reading = read(spec);
    assert!(reading.apps.is_empty() && reading.mentions.is_empty(), "{spec}");
    assert!(reading.secrets.iter().all(|(_, secret)| secret.is_none()), "{spec}");
    let first = reading.diagnostics.first().unwrap_or_else(|| panic!("{spec}"));
    let shown: Vec<_> = reading
        .diagnostics
        .iter()
        .map(|found| manifest::render(found, &text(spec), false) + &found.summary())
        .collect();
    (first.code.to_owned(), shown.join("\n"))
}

#[test]
fn a_secret_says_where_its_values_come_from() {
    let age = "-----BEGIN AGE ENCRYPTED FILE-----\nYWJj\n-----END AGE ENCRYPTED FILE-----\n";
    let block = age.replace('\n', "\n    ");
    let sops = "key: ENC[AES256_GCM,data:x]\n    sops: {}";
    for (spec, from) in [
        ("spec: {folder: other}".to_owned(), SecretFrom::Folder("other".to_owned())),
        ("spec: {credential: db-url}".to_owned(), SecretFrom::Credential("db-url".to_owned())),
        (
            "spec: {variable: BERTH_SECRET_DB}".to_owned(),
            SecretFrom::Variable("BERTH_SECRET_DB".to_owned()),
        ),
        (format!("spec:\n  age: |\n    {block}"), SecretFrom::Age(age.to_owned())),
        (
            format!("spec:\n  sops: |\n    {sops}\n"),
            SecretFrom::Sops("key: ENC[AES256_GCM,data:x]\nsops: {}\n".to_owned()),
        ),
    ] {
        let reading = read(&spec);
        let told: Vec<_> = reading.diagnostics.iter().map(manifest::Diagnostic::summary).collect();
        assert!(told.is_empty(), "{spec}: {told:?}");
        let (name, secret) = &reading.secrets[0];
        assert_eq!((name.as_str(), &secret.as_ref().unwrap().from), ("db", &from));
    }
}

/// Fault Y10: whatever somebody pasted, nothing of it is shown again.
#[test]
fn a_value_in_a_manifest_is_refused_and_never_shown() {
    for (spec, code) in [
        (format!("spec: {{value: {VALUE}}}"), "manifest.secret-value"),
        (format!("spec:\n  data:\n    url: {VALUE}\n"), "manifest.secret-value"),
        (format!("stringData: {{url: {VALUE}}}\nspec: {{folder: a}}"), "manifest.secret-value"),
        (format!("spec: {{folder: a, value: {VALUE}}}"), "manifest.secret-value"),
        (format!("spec: {{age: {VALUE}}}"), "manifest.invalid-value"),
        (format!("spec: {{sops: {VALUE}}}"), "manifest.invalid-value"),
        (format!("spec: {{variable: {VALUE}}}"), "manifest.invalid-value"),
        (format!("spec: {{password: {VALUE}}}"), "manifest.missing-field"),
        (format!("spec: {VALUE}"), "manifest.wrong-type"),
        (format!("spec: [{VALUE}]"), "manifest.wrong-type"),
        (format!("spec:\n  value: \"{VALUE}\n"), "manifest.syntax"),
        ("spec: {variable: PATH}".to_owned(), "manifest.invalid-value"),
        ("spec: {folder: a, age: b}".to_owned(), "manifest.conflict"),
        ("spec: {}".to_owned(), "manifest.missing-field"),
    ] {
        let (first, shown) = wrong(&spec);
        assert_eq!(first, code, "{spec}\n{shown}");
        assert!(!shown.contains(VALUE), "{spec}\n{shown}");
    }
    let (_, shown) = wrong(&format!("spec: {{value: {VALUE}}}"));
    assert!(shown.contains("berth secrets set"), "{shown}");
}

#[test]
fn a_secret_that_is_described_twice_is_not_described() {
    let read = |name: &str| {
        let reading = manifest::read_file(name, text("spec: {folder: a}").as_bytes());
        (name.to_owned(), Arc::new(reading))
    };
    let readings: BTreeMap<_, _> = [read("a.yaml"), read("b.yaml")].into();
    let all = manifest::assemble(&readings);
    assert!(all.secrets["db"].is_err() && !all.is_complete);
    assert!(all.diagnostics[0].message.contains("more than once"), "{:?}", all.diagnostics);
}

#[test]
fn an_app_names_secrets_and_what_it_may_not_say_is_refused() {
    let app = |rest: &str| {
        let text = format!(
            "apiVersion: berth/v1\nkind: App\nmetadata: {{name: chat}}\nspec:\n  image: x:1\n  {rest}\n"
        );
        manifest::read_file("app.yaml", text.as_bytes())
    };
    let good = app("env: {A: text, B: {secret: db, key: url}}");
    let spec = &good.apps[0].spec;
    assert_eq!(spec.env.len(), 1);
    assert_eq!((spec.secret_env["B"].secret.as_str(), spec.secret_env["B"].key()), ("db", "url"));
    let file = app("mounts: [{path: /run/secrets/db, secret: db}]");
    assert!(file.apps[0].spec.mounts[0].read_only);
    for (rest, code) in [
        ("env: {A: {}}", "manifest.missing-field"),
        ("env: {A: {secret: '../x'}}", "manifest.invalid-value"),
        ("env: {A: {secret: a, value: b}}", "manifest.unknown-field"),
        ("mounts: [{path: /x, secret: a, readOnly: false}]", "manifest.conflict"),
        ("mounts: [{path: /x, secret: a, host: /srv}]", "manifest.conflict"),
        ("mounts: [{path: /x, volume: a, key: b}]", "manifest.conflict"),
        ("security: {profile: privileged}", "manifest.wrong-type"),
        ("privileged: true", "manifest.unknown-field"),
    ] {
        let reading = app(rest);
        assert!(reading.apps.is_empty(), "{rest}");
        assert_eq!(reading.diagnostics[0].code, code, "{rest}: {:?}", reading.diagnostics);
    }
}
