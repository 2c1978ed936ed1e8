//! Where values come from: the folder, systemd, the environment, age and SOPS.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use berth::{
    model::{AppName, Origin, SecretDocs, SecretFrom, SecretRef, SecretSpec},
    plan::Sealed,
    secret::{Book, Settings, Tools, Value},
    state::SecretSeen,
};

use super::{folder, settings};
use crate::sim::image_app;

fn docs(from: SecretFrom) -> Arc<SecretDocs> {
    let origin = Origin { file: "db.yaml".to_owned(), line: 1 };
    let secret = SecretSpec { name: "db".to_owned(), from, origin };
    Arc::new([("db".to_owned(), Ok(Arc::new(secret)))].into())
}

fn chat() -> AppName {
    AppName::new("chat").unwrap()
}

/// The value that an app gets for this key, or why it gets none.
async fn get(book: &Book, key: Option<&str>) -> Result<String, String> {
    let wanted = SecretRef { secret: "db".to_owned(), key: key.map(ToOwned::to_owned) };
    let word = key.map(|key| format!(", key: {key}")).unwrap_or_default();
    let app = image_app("chat", "x:1", &format!("env: {{DB: {{secret: db{word}}}}}"));
    let seen = book.look(&app.spec).await;
    let seal = match seen["env.DB"].clone() {
        SecretSeen::Sealed(seal) => seal,
        SecretSeen::Missing(why) => return Err(why),
    };
    let sealed = [("env.DB".to_owned(), Sealed { wanted, seal })].into();
    let given = book.give(&chat(), &sealed, None).await?;
    Ok(given.env["DB"].text().unwrap().to_owned())
}

/// A program that decrypts, as far as anybody can tell.
fn program(top: &Path, script: &str) -> PathBuf {
    let path = top.join("decrypt");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    path
}

/// A file of keys that only its owner may read.
fn identity(top: &Path) -> PathBuf {
    let path = top.join("age.key");
    if !path.exists() {
        fs::write(&path, "AGE-SECRET-KEY-1\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    path
}

#[tokio::test]
async fn what_no_document_describes_is_looked_for_in_order() {
    let top = tempfile::tempdir().unwrap();
    let credentials = top.path().join("credentials");
    fs::create_dir(&credentials).unwrap();
    let plain = settings(top.path());
    let book = |settings: Settings| Book::new(settings).unwrap();
    let missing = get(&book(plain.clone()), None).await.unwrap_err();
    assert!(missing.contains("berth secrets set db"), "{missing}");
    let variables = [("BERTH_SECRET_DB".to_owned(), Value::new("by variable"))];
    let with = Settings {
        variables: variables.into(),
        credentials: Some(credentials.clone()),
        ..plain.clone()
    };
    assert_eq!(get(&book(with.clone()), None).await.as_deref(), Ok("by variable"));
    fs::write(credentials.join("db"), "by systemd\n").unwrap();
    assert_eq!(get(&book(with.clone()), None).await.as_deref(), Ok("by systemd"));
    folder(top.path()).set("db", None, &Value::new("by folder")).unwrap();
    assert_eq!(get(&book(with.clone()), None).await.as_deref(), Ok("by folder"));
    // A document is exact.
    let exact = book(with.clone());
    exact.know(&docs(SecretFrom::Variable("BERTH_SECRET_DB".to_owned())));
    assert_eq!(get(&exact, None).await.as_deref(), Ok("by variable"));
    exact.know(&docs(SecretFrom::Credential("db".to_owned())));
    assert_eq!(get(&exact, None).await.as_deref(), Ok("by systemd"));
    exact.know(&docs(SecretFrom::Variable("BERTH_SECRET_OTHER".to_owned())));
    let told = get(&exact, None).await.unwrap_err();
    assert!(told.contains("BERTH_SECRET_OTHER"), "{told}");
    exact.know(&Arc::new([("db".to_owned(), Err("it has mistakes".to_owned()))].into()));
    let told = get(&exact, None).await.unwrap_err();
    assert!(told.contains("it has mistakes"), "{told}");
}

#[tokio::test]
async fn logins_of_berths_own_are_no_apps() {
    let top = tempfile::tempdir().unwrap();
    folder(top.path()).set("db", None, &Value::new("x")).unwrap();
    let settings = Settings { withheld: ["db".to_owned()].into(), ..settings(top.path()) };
    let told = get(&Book::new(settings).unwrap(), None).await.unwrap_err();
    assert!(told.contains("a login of Berth's own"), "{told}");
}

#[tokio::test]
async fn a_value_that_changes_between_the_plan_and_the_call_is_not_given() {
    let top = tempfile::tempdir().unwrap();
    let (secrets, book) = (folder(top.path()), Book::new(settings(top.path())).unwrap());
    secrets.set("db", None, &Value::new("one")).unwrap();
    let app = image_app("chat", "x:1", "env: {DB: {secret: db}}");
    let seen = book.look(&app.spec).await;
    let SecretSeen::Sealed(seal) = seen["env.DB"].clone() else { panic!("{seen:?}") };
    let wanted = app.spec.secret_env["DB"].clone();
    let sealed = [("env.DB".to_owned(), Sealed { wanted, seal })].into();
    secrets.set("db", None, &Value::new("two")).unwrap();
    let told = book.give(&chat(), &sealed, None).await.unwrap_err();
    assert!(told.contains("has changed"), "{told}");
    secrets.set("db", None, &Value::new([0xff_u8, 0xfe])).unwrap();
    let told = get(&book, None).await.unwrap_err();
    assert!(told.contains("not a text") && told.contains("mount it as a file"), "{told}");
}

/// Encrypts for a recipient, by the real program.
fn encrypt(recipient: &str, value: &str) -> String {
    use std::io::Write as _;
    let mut child = Command::new("age")
        .args(["--armor", "--recipient", recipient])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("age is there: run `make age`");
    child.stdin.take().unwrap().write_all(value.as_bytes()).unwrap();
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
}

/// A new key at `path`; its recipient.
fn make_key(path: &Path) -> String {
    let made = Command::new("age-keygen").arg("-o").arg(path).output().expect("age is there");
    assert!(made.status.success(), "{made:?}");
    let shown = Command::new("age-keygen").arg("-y").arg(path).output().unwrap();
    String::from_utf8(shown.stdout).unwrap().trim().to_owned()
}

#[tokio::test]
async fn age_decrypts_what_was_encrypted_for_it_and_nothing_else() {
    let top = tempfile::tempdir().unwrap();
    let recipient = make_key(&top.path().join("age.key"));
    let stranger = make_key(&top.path().join("other.key"));
    let book = Book::new(settings(top.path())).unwrap();
    book.know(&docs(SecretFrom::Age(encrypt(&recipient, "s3cret\n"))));
    assert_eq!(get(&book, None).await.as_deref(), Ok("s3cret"));
    book.know(&docs(SecretFrom::Age(encrypt(&stranger, "s3cret"))));
    let told = get(&book, None).await.unwrap_err();
    assert!(told.contains("`db` can't be decrypted") && told.contains("no identity"), "{told}");
    let armour = "-----BEGIN AGE ENCRYPTED FILE-----\nrubbish\n-----END AGE ENCRYPTED FILE-----\n";
    book.know(&docs(SecretFrom::Age(armour.to_owned())));
    assert!(get(&book, None).await.is_err());
    fs::set_permissions(top.path().join("age.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let told = get(&book, None).await.unwrap_err();
    assert!(told.contains("chmod 600"), "{told}");
    fs::remove_file(top.path().join("age.key")).unwrap();
    let told = get(&book, None).await.unwrap_err();
    assert!(told.contains("age-keygen"), "{told}");
}

/// SOPS itself is in no distribution that the tests run on: a stand-in says how it was called.
#[tokio::test]
async fn sops_gets_the_document_by_its_input_and_the_key_by_a_file() {
    let top = tempfile::tempdir().unwrap();
    let script = "cat > \"$0.in\"; echo \"$@\" > \"$0.args\"; env > \"$0.env\"\n\
                  printf '{\"url\": \"postgres://x\", \"port\": 5432}'";
    let sops = program(top.path(), script);
    let tools = Tools { sops: sops.clone(), ..Tools::new(identity(top.path())) };
    let settings = Settings { tools, ..settings(top.path()) };
    let book = Book::new(settings).unwrap();
    let text = "url: ENC[x]\nsops: {}\n";
    book.know(&docs(SecretFrom::Sops(text.to_owned())));
    assert_eq!(get(&book, Some("url")).await.as_deref(), Ok("postgres://x"));
    assert_eq!(get(&book, Some("port")).await.as_deref(), Ok("5432"));
    let told = get(&book, Some("none")).await.unwrap_err();
    assert!(told.contains("has no key `none`; it has: port, url"), "{told}");
    let said = |what: &str| fs::read_to_string(format!("{}.{what}", sops.display())).unwrap();
    assert_eq!(said("in"), text);
    assert_eq!(said("args"), "--decrypt --input-type yaml --output-type json /dev/stdin\n");
    let env = said("env");
    assert!(env.contains("SOPS_AGE_KEY_FILE=") && !env.contains("CARGO"), "{env}");
}

/// As sops 3 ends when it can't: with 128 and a long text, of which the first line is told.
#[tokio::test]
async fn what_sops_complains_about_is_told_and_what_it_says_instead_is_not() {
    let top = tempfile::tempdir().unwrap();
    let script = "[ \"$1 $3 $5 $6\" = \"--decrypt yaml json /dev/stdin\" ] || exit 2\n\
                  [ -r \"$SOPS_AGE_KEY_FILE\" ] || exit 3\n\
                  case $(cat) in\n\
                  *sops:*) printf '{\"url\": {\"a\": [1]}, \"sops_unencrypted\": null}';;\n\
                  *list*) printf '[\"m4rk\"]';;\n\
                  *) printf 'Failed to get the data key required to decrypt the SOPS file.\\n\\nGroup 0: FAILED\\n' >&2; exit 128;;\n\
                  esac";
    let tools = Tools { sops: program(top.path(), script), ..Tools::new(identity(top.path())) };
    let book = Book::new(Settings { tools, ..settings(top.path()) }).unwrap();
    for (text, wanted) in [
        ("url: ENC[x]\nsops: {}\n", Ok("{\"a\":[1]}")),
        ("url: ENC[x]\n", Err("exit status: 128): Failed to get the data key")),
        ("list: ENC[x]\n", Err("what came out is not a mapping of keys")),
    ] {
        book.know(&docs(SecretFrom::Sops(text.to_owned())));
        let got = get(&book, Some("url")).await;
        match (wanted, &got) {
            (Ok(wanted), Ok(value)) => assert_eq!(value, wanted),
            (Err(wanted), Err(why)) => {
                assert!(why.contains(wanted) && why.contains("`db`"), "{why}");
                assert!(!why.contains("m4rk") && !why.contains('\n'), "{why}");
            }
            _ => panic!("{text}: {got:?}"),
        }
    }
}

#[tokio::test]
async fn a_program_that_hangs_floods_or_is_not_there_is_said_to() {
    let top = tempfile::tempdir().unwrap();
    let armour = "-----BEGIN AGE ENCRYPTED FILE-----\n";
    for (script, told) in [
        ("exec sleep 600", "took longer than"),
        ("head -c 2000000 /dev/zero", "longer than 1 MiB"),
        ("cat >&2; exit 3", "failed (exit status: 3)"),
        ("printf '\\033[2Jbad\\nmore' >&2; exit 1", "[2Jbad"),
    ] {
        let age = program(top.path(), script);
        let deadline = Duration::from_secs(if script.contains("sleep") { 1 } else { 60 });
        let tools = Tools { age, deadline, ..Tools::new(identity(top.path())) };
        let book = Book::new(Settings { tools, ..settings(top.path()) }).unwrap();
        book.know(&docs(SecretFrom::Age(armour.to_owned())));
        let said = get(&book, None).await.unwrap_err();
        assert!(said.contains(told), "{script}: {said}");
        assert!(!said.contains(['\u{1b}', '\n']), "{said:?}");
    }
    let tools = Tools { age: "/nowhere/age".into(), ..Tools::new(identity(top.path())) };
    let book = Book::new(Settings { tools, ..settings(top.path()) }).unwrap();
    book.know(&docs(SecretFrom::Age(armour.to_owned())));
    let said = get(&book, None).await.unwrap_err();
    assert!(said.contains("is not there: install it"), "{said}");
}
