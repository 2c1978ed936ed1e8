//! Forms: registering, changing, acting and removing, without a script.

use super::{look, place, send};
use crate::api::stage::{MANIFEST, Stage};

const FIELDS: [(&str, &str); 5] = [
    ("name", "web"),
    ("repository", "https://git.example.com/acme/web.git"),
    ("requirements_file", ""),
    ("start_command", "python app.py --title 'a: b'"),
    ("port", "7860"),
];

async fn stage() -> Stage {
    let stage = Stage::start().await;
    stage.settle();
    stage.put("chat", |_| ());
    std::fs::write(stage.manifests().join("chat.yaml"), MANIFEST).unwrap();
    stage
}

fn field<'a>(page: &'a str, name: &str) -> &'a str {
    let at = page.split(&format!("name=\"{name}\" value=\"")).nth(1).unwrap_or_default();
    at.split('"').next().unwrap_or_default()
}

/// The text of a document: what is between its elements, with the usual characters again.
fn text(page: &str) -> String {
    let mut text = String::new();
    let mut is_in = false;
    for c in page.chars() {
        match c {
            '<' => is_in = true,
            '>' => is_in = false,
            c if !is_in => text.push(c),
            _ => {}
        }
    }
    let pairs = [
        ("&#34;", "\""),
        ("&#39;", "'"),
        ("&quot;", "\""),
        ("&#60;", "<"),
        ("&#62;", ">"),
        ("&#38;", "&"),
    ];
    pairs.iter().fold(text, |text, (from, to)| text.replace(from, to))
}

#[tokio::test]
async fn five_fields_are_shown_as_a_manifest_and_then_written() {
    let stage = stage().await;
    let file = stage.manifests().join("web.yaml");
    let shown = send(&stage, "/ui/register", &[&FIELDS[..], &[("do", "preview")]].concat()).await;
    assert_eq!(shown.status, 200, "{shown:?}");
    assert!(
        text(&shown.body).contains("start_command") || text(&shown.body).contains("run: "),
        "{}",
        shown.body
    );
    assert!(shown.body.contains("value=\"create\""), "{}", shown.body);
    assert_eq!(field(&shown.body, "name"), "web", "what was written stays");
    assert!(!file.exists(), "it was only shown");
    let made = send(&stage, "/ui/register", &[&FIELDS[..], &[("do", "create")]].concat()).await;
    assert_eq!((made.status, place(&made).as_str()), (303, "/ui/apps/web?done=create"));
    let written = std::fs::read_to_string(&file).unwrap();
    assert!(text(&shown.body).contains(written.trim()), "{written} was not what was shown");
    let twice = send(&stage, "/ui/register", &[&FIELDS[..], &[("do", "create")]].concat()).await;
    assert!(twice.status == 409 && twice.body.contains("role=\"alert\""), "{twice:?}");
}

#[tokio::test]
async fn every_mistake_is_said_at_its_field_and_nothing_is_written() {
    let stage = stage().await;
    let wrong = [
        ("name", "Not A Name"),
        ("repository", ""),
        ("start_command", "x"),
        ("port", "70000"),
        ("do", "create"),
    ];
    let page = send(&stage, "/ui/register", &wrong).await;
    assert_eq!(page.status, 422, "{page:?}");
    for field in ["name", "repository", "port"] {
        assert!(page.body.contains(&format!("id=\"p-{field}\"")), "{field}: {}", page.body);
    }
    assert!(!page.body.contains("id=\"p-start_command\""));
    assert_eq!(page.body.matches("aria-invalid").count(), 3);
    assert_eq!(std::fs::read_dir(stage.manifests()).unwrap().count(), 1);
    let manifest = send(
        &stage,
        "/ui/register",
        &[("as", "text"), ("text", "kind: App\r\n"), ("do", "create")],
    )
    .await;
    assert!(manifest.status == 422 && manifest.body.contains("help:"), "{manifest:?}");
}

#[tokio::test]
async fn a_manifest_is_saved_as_it_stands_in_the_editor_and_its_values_stay_unseen() {
    let stage = stage().await;
    let file = stage.manifests().join("chat.yaml");
    let commented = format!("# mine\n{MANIFEST}");
    std::fs::write(&file, &commented).unwrap();
    let page = look(&stage, "/ui/apps/chat/manifest").await;
    assert!(page.body.contains("# mine") && page.body.contains("(set)"), "{}", page.body);
    assert!(!page.body.contains("hunter2"));
    let area = page.body.split("<textarea id=\"editor\"").nth(1).unwrap();
    let shown = text(&format!("<{}", area.split("</textarea>").next().unwrap()));
    let shown = shown.trim_start_matches('\n').to_owned();
    let tag = field(&page.body, "tag").to_owned();
    let changed = shown.replace("# mine", "# ours") + "# the end\n";
    let form = |what: &'static str| {
        vec![("text", changed.replace('\n', "\r\n")), ("tag", tag.clone()), ("do", what.to_owned())]
    };
    let fields = |form: &[(&'static str, String)]| -> Vec<(&'static str, String)> { form.to_vec() };
    let preview = fields(&form("preview"));
    let preview: Vec<_> = preview.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let diff = send(&stage, "/ui/apps/chat/manifest", &preview).await;
    assert_eq!(diff.status, 200, "{diff:?}");
    for row in ["<tr class=\"gone\">", "<tr class=\"come\">", "# ours", "value=\"save\""] {
        assert!(diff.body.contains(row), "{row}: {}", diff.body);
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), commented, "it was only shown");
    let save = fields(&form("save"));
    let save: Vec<_> = save.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let saved = send(&stage, "/ui/apps/chat/manifest", &save).await;
    assert_eq!((saved.status, place(&saved).as_str()), (303, "/ui/apps/chat/manifest?done=save"));
    // A value that was not shown is put back as it was written.
    let wanted = commented.replace("# mine", "# ours");
    let written = std::fs::read_to_string(&file).unwrap();
    assert_eq!(written, wanted + "# the end\n", "every byte, the secret value too");
    let late = send(&stage, "/ui/apps/chat/manifest", &save).await;
    assert_eq!(late.status, 412, "somebody else saved meanwhile: {late:?}");
    assert!(late.body.contains("# the end"), "what was written is not lost");
}

#[tokio::test]
async fn an_app_is_stopped_started_and_removed_by_name() {
    let stage = stage().await;
    let asks = look(&stage, "/ui/apps/chat/confirm?do=stop").await;
    assert!(
        asks.status == 200 && asks.body.contains("Stop chat") && asks.body.contains("What stays"),
        "{asks:?}"
    );
    for (what, command) in [
        ("stop", "Stop"),
        ("start", "Start"),
        ("restart", "Restart"),
        ("rebuild", "Rebuild"),
        ("install", "Install"),
        ("reconcile", "Reconcile"),
    ] {
        let done = send(&stage, &format!("/ui/apps/chat/{what}"), &[]).await;
        let to = format!("/ui/apps/chat?done={what}");
        assert_eq!((done.status, place(&done)), (303, to));
        let asked = stage.asked.lock().unwrap().clone();
        assert!(asked.iter().any(|asked| asked.starts_with(command)), "{what}: {asked:?}");
    }
    let said = look(&stage, "/ui/apps/chat?done=stop").await.body;
    assert!(said.contains("It is being stopped"), "{said}");
    let file = stage.manifests().join("chat.yaml");
    let other = send(&stage, "/ui/apps/chat/remove", &[("name", "chat2")]).await;
    assert!(other.status == 422 && file.exists(), "{other:?}");
    let gone = send(&stage, "/ui/apps/chat/remove", &[("name", "chat")]).await;
    assert_eq!((gone.status, place(&gone).as_str(), file.exists()), (303, "/?done=remove", false));
}

/// Fault H02.
#[tokio::test]
async fn a_form_of_another_site_does_nothing() {
    let stage = stage().await;
    for path in [
        "/ui/apps/chat/stop",
        "/ui/apps/chat/remove",
        "/ui/register",
        "/ui/containers",
        "/ui/settings/tokens",
    ] {
        for header in [("origin", "http://evil.example"), ("sec-fetch-site", "cross-site")] {
            let answer =
                stage.ask("POST", path, &[super::HTML, super::FORM, header], "name=chat").await;
            assert_eq!(answer.status, 403, "{path}: {header:?}");
        }
        assert_eq!(
            look(&stage, path).await.status,
            if path == "/ui/register" { 200 } else { 405 },
            "{path}"
        );
    }
    assert!(stage.manifests().join("chat.yaml").exists());
    assert_eq!(*stage.asked.lock().unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_container_is_named_whole_and_must_be_nobodys() {
    let stage = stage().await;
    for fields in [
        &[][..],
        &[("id", ""), ("do", "stop")],
        &[("id", "chat"), ("do", "stop")],
        &[("id", "cccc"), ("do", "remove")],
    ] {
        let answer = send(&stage, "/ui/containers", fields).await;
        assert!([409, 422].contains(&answer.status), "{fields:?}: {answer:?}");
    }
}
