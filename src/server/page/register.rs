//! A new app: from five fields, or from a manifest; shown before it is written.

use std::time::Duration;

use askama::Template;
use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
};
use serde_json::{Map, Value};
use tokio::sync::broadcast::error::RecvError;

use super::{Fields, Look, Mistake, Shell, body_of, carrying, mistakes, onward, show, unclear};
use crate::manifest::{edit::scalar, fields};
use crate::model::AppName;
use crate::server::{apps, dry::Dry, form, problem::Problem, reading, trail::Tried};
use crate::state::Container;

/// The fields: name, label, what it is for, an example, whether it is needed.
const FIELDS: [(&str, &str, &str, &str, bool); 5] = [
    (
        "name",
        "Name",
        "Lower-case letters, digits and hyphens. It is also its name on the network.",
        "chat",
        true,
    ),
    (
        "repository",
        "Repository",
        "The address of its git repository.",
        "https://git.example.com/acme/chat.git",
        true,
    ),
    (
        "requirements_file",
        "Requirements file",
        "Within the repository. Left empty, it is found.",
        "requirements.txt",
        false,
    ),
    (
        "start_command",
        "Start command",
        "What runs it, in the repository's folder.",
        "python app.py",
        true,
    ),
    (
        "port",
        "Port",
        "The one that it listens on, from 1 to 65535. It gets a port of the host by itself.",
        "7860",
        true,
    ),
];

#[derive(Template)]
#[template(path = "register.html", config = "src/server/templates/askama.toml")]
struct Page {
    shell: Shell,
    fields: Vec<Field>,
    text: String,
    /// Whether the manifest itself is written.
    is_text: bool,
    problem: Option<String>,
    errors: Vec<Mistake>,
    preview: Option<String>,
    plan: String,
    /// What may stand in a manifest.
    known_fields: &'static [fields::Field],
}

struct Field {
    name: &'static str,
    label: &'static str,
    hint: &'static str,
    example: &'static str,
    is_needed: bool,
    value: String,
    problem: Option<String>,
}

impl Page {
    fn new(look: &Look) -> Self {
        let fields = FIELDS.map(|(name, label, hint, example, is_needed)| Field {
            name,
            label,
            hint,
            example,
            is_needed,
            value: String::new(),
            problem: None,
        });
        Self {
            shell: look.shell("Register an app", "register"),
            fields: fields.into(),
            text: String::new(),
            is_text: look.asked("as").as_deref() == Some("text"),
            problem: None,
            errors: Vec::new(),
            preview: None,
            plan: String::new(),
            known_fields: fields::all(),
        }
    }

    /// Says each mistake at the field that it is about.
    fn blame(&mut self, problem: &Problem) {
        self.problem = Some(problem.detail().to_owned());
        for mistake in mistakes(problem) {
            let field = self.fields.iter_mut().find(|field| field.name == mistake.field);
            match field {
                Some(field) => {
                    let help = mistake.help.as_str();
                    let text = if help.is_empty() {
                        mistake.message
                    } else {
                        format!("{}: {help}", mistake.message)
                    };
                    field.problem.get_or_insert(text);
                }
                None => self.errors.push(mistake),
            }
        }
    }
}

/// `GET /ui/register`; with `container`, the manifest of an app like it is begun.
pub(in super::super) async fn register(look: Look) -> Response {
    let mut page = Page::new(&look);
    if let Some(id) = look.asked("container") {
        let world = look.shared.parts.record.world();
        match world.containers.iter().find(|one| one.id.as_str() == id) {
            Some(container) => (page.is_text, page.text) = (true, draft(container)),
            None => page.problem = Some("this container is not there any more".to_owned()),
        }
    }
    show(&page)
}

/// The manifest of an app with a container's image and ports: what its list tells without looking
/// into it, where values may be that nobody is to see.
fn draft(container: &Container) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let name: String = container.name.chars().map(plain).take(40).collect();
    let name =
        AppName::new(name.trim_matches('-')).map_or_else(|_| "app".to_owned(), |it| it.to_string());
    let text = |text: &str| scalar(&Value::from(text));
    let mut ports: Vec<_> = container.ports.iter().map(|port| port.container_port).collect();
    ports.sort_unstable();
    ports.dedup();
    let ports = match ports.as_slice() {
        [] => String::new(),
        [port] => format!("  port: {port}\n"),
        several => {
            let one = |port: &u16| format!("    - {{name: p{port}, containerPort: {port}}}\n");
            format!("  ports:\n{}", several.iter().map(one).collect::<String>())
        }
    };
    format!(
        "# An app like the container {}, which goes on running beside it. Its environment, mounts\n\
         # and command are not carried over: add what it needs, then stop and remove the other.\n\
         apiVersion: berth/v1\nkind: App\nmetadata:\n  name: {name}\nspec:\n  image: {}\n{ports}",
        container.name,
        text(&container.image),
    )
}

/// `POST /ui/register`: shows the manifest that would be written, or writes it.
pub(in super::super) async fn create(look: Look, body: Body) -> Response {
    let made = async {
        let fields = Fields::read(&look.headers, body).await?;
        let mut page = Page::new(&look);
        page.is_text = fields.get("as") == "text";
        page.text = fields.get("text").replace("\r\n", "\n");
        for field in &mut page.fields {
            field.value = fields.get(field.name).to_owned();
        }
        let manifest = text(&page).await;
        let is_final = fields.get("do") == "create";
        let tried = match manifest {
            Ok(manifest) => write(&look, &manifest, is_final).await.map(|done| (manifest, done)),
            Err(problem) => Err(problem),
        };
        match tried {
            Ok((manifest, done)) if is_final => {
                let names = reading::read("", manifest.as_bytes()).names;
                let name = names.first().ok_or_else(|| unclear("the manifest names no app"))?;
                appear(&look, name).await;
                Ok(onward(done, format!("/ui/apps/{name}?done=create")))
            }
            Ok((manifest, would)) => {
                page.plan = body_of(would).await;
                page.preview = Some(manifest);
                let mut shown = show(&page);
                shown.extensions_mut().insert(Tried);
                Ok(shown)
            }
            Err(problem) => {
                page.blame(&problem);
                let mut response = show(&page);
                *response.status_mut() = problem.status();
                response.extensions_mut().insert(problem.told());
                Ok(response)
            }
        }
    };
    look.answer(made.await)
}

/// Waits a moment until a new app is seen, so that its screen is there.
async fn appear(look: &Look, name: &AppName) {
    const PATIENCE: Duration = Duration::from_secs(2);
    let record = &look.shared.parts.record;
    let (_, _, mut changes) = record.subscribe();
    let seen = async {
        while record.entry(name).is_none() {
            if matches!(changes.recv().await, Err(RecvError::Closed)) {
                break;
            }
        }
    };
    // Who waited long enough is told by the screen itself, which is kept fresh.
    let _ = tokio::time::timeout(PATIENCE, seen).await;
}

/// The manifest that was written, or that the fields make.
async fn text(page: &Page) -> Result<String, Problem> {
    if page.is_text {
        if page.text.trim().is_empty() {
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            let detail = "the manifest is empty";
            return Err(Problem::new(status, "manifest.invalid", "Nothing to register", detail));
        }
        return Ok(page.text.clone());
    }
    let fields: Map<_, _> = page
        .fields
        .iter()
        .map(|field| (field.name.to_owned(), Value::from(field.value.trim())))
        .collect();
    let body = Body::from(Value::Object(fields).to_string());
    let bytes = form::read(&carrying("application/json"), body).await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Registers it as the API does, or says what would come of it.
async fn write(look: &Look, manifest: &str, is_final: bool) -> Result<Response, Problem> {
    let mut headers: HeaderMap = carrying("application/yaml");
    headers.insert(header::ACCEPT, HeaderValue::from_static("text/plain"));
    let body = Body::from(manifest.to_owned());
    apps::create(State(look.shared.clone()), Dry(!is_final), headers, body).await
}
