//! A container as a client asks for one: an app that is written into the folder of manifests.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, timeout_at};

use super::{
    PATIENCE, Shared,
    act::{late, until_it_runs, why},
    away,
    info::{self, WISHED},
    look, of_app,
};
use crate::engine::Error;
use crate::model::{AppName, Digest, ImageRef, Protocol};
use crate::record::Supposed;
use crate::server::{
    apps,
    dry::{self, Dry},
    problem::Problem,
    reading,
    trail::Note,
};
use crate::state::World;

/// The image of a client that names none.
const IMAGE: &str = "base-api-server:latest";
/// The largest body.
const BODY_MAX: usize = 64 * 1024;
/// How long it may take to arrive.
const BODY_PATIENCE: Duration = Duration::from_secs(10);
/// How many of an image's ports are published.
const PORTS_MAX: usize = 16;
/// How long the name of an app may be that is made from another one.
const STEM_MAX: usize = 30;

/// What a client says. What else it says is not looked at.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Wish {
    name: Option<String>,
    image: Option<String>,
}

/// What is to be made.
struct Order {
    app: AppName,
    /// The name that the client wished for, where the app is called otherwise.
    wished: Option<String>,
    image: ImageRef,
}

/// `POST /containers/create`
pub(in crate::server) async fn create(
    State(shared): State<Arc<Shared>>,
    Dry(is_dry): Dry,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let end = Instant::now() + PATIENCE;
    let wish = read(body).await?;
    let world = look(&shared).await?;
    let order = order(&shared, &world, wish)?;
    apps::check_writable(&shared, &order.app)?;
    if is_dry {
        return tried(&shared, &headers, &order).await;
    }
    let ports = exposed(&shared, &order.image, end).await?;
    let text = manifest(&order, &ports);
    let made = apps::create_manifest(&shared, &order.app, &text.into()).await?;
    let app = &order.app;
    let ran = until_it_runs(&shared, app, end).await;
    let world = look(&shared).await?;
    let record = &shared.parts.record;
    if let Some(container) = of_app(record, &world, app) {
        // It is there: its state says the rest, as it does with any container.
        let mut response = Json(info::info(record, &world, container)).into_response();
        response.extensions_mut().insert::<Note>(made);
        return Ok(response);
    }
    if let Some(Err(problem)) = ran {
        // Nothing is left of what a client was told did not work.
        apps::remove_manifest(&shared, app).await?;
        return Err(problem);
    }
    let detail = format!("`{app}` does not run yet{}; it goes on", why(&shared, app));
    Err(late("container.late", detail))
}

/// What would come of it. An image that is not here is not pulled to find out its ports.
async fn tried(shared: &Shared, headers: &HeaderMap, order: &Order) -> Result<Response, Problem> {
    let known = shared.parts.compat.hands.exposed(order.image.as_str()).await;
    let ports = known.map_err(|error| away(&error))?.unwrap_or_default();
    let reading = reading::read("manifest.yaml", manifest(order, &ports).as_bytes());
    let app = reading.apps.first().cloned().ok_or_else(Problem::failed)?;
    let message = format!("the app `{}` would be made of {}", order.app, order.image);
    let more = json!({ "message": message, "name": order.app });
    dry::answer(shared, headers, Supposed::Manifest(app), &more).await
}

async fn read(body: Body) -> Result<Wish, Problem> {
    let wrong = |detail: String| {
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        Problem::new(status, "request.invalid", "The request is not valid", detail)
    };
    let reading = axum::body::to_bytes(body, BODY_MAX);
    let bytes = match tokio::time::timeout(BODY_PATIENCE, reading).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(_)) => {
            let (status, title) = (StatusCode::PAYLOAD_TOO_LARGE, "The body is too large");
            let detail = format!("the body has at most {BODY_MAX} bytes");
            return Err(Problem::new(status, "request.too-large", title, detail));
        }
        Err(_) => {
            let (status, title) = (StatusCode::REQUEST_TIMEOUT, "The body did not arrive");
            return Err(Problem::new(status, "request.timeout", title, "the body took too long"));
        }
    };
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(Wish::default());
    }
    let wish = serde_json::from_slice::<Option<Wish>>(&bytes);
    wish.map(Option::unwrap_or_default).map_err(|error| {
        wrong(format!("send JSON such as {{\"name\": \"web\", \"image\": \"web:1\"}}: {error}"))
    })
}

fn order(shared: &Shared, world: &World, wish: Wish) -> Result<Order, Problem> {
    let invalid = |detail: String| {
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        Problem::new(status, "request.invalid", "The request is not valid", detail)
    };
    let said = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
    let image = said(wish.image).unwrap_or_else(|| IMAGE.to_owned());
    let image = ImageRef::parse(&image).map_err(|error| invalid(format!("`image`: {error}")))?;
    let record = &shared.parts.record;
    let Some(name) = said(wish.name) else {
        let is_free = |app: &AppName| record.entry(app).is_none();
        let made = (0..100).map(|nth| made_up(&image, &format!("{}{nth}", shared.next())));
        let app = made.flatten().find(is_free).ok_or_else(Problem::failed)?;
        return Ok(Order { app, wished: None, image });
    };
    let is_taken =
        |one: &&crate::state::Container| one.name == name || info::name(record, world, one) == name;
    if let Some(holder) = world.containers.iter().find(is_taken) {
        let detail = format!("the name `{name}` is in use by container {}", holder.id);
        return Err(Problem::conflict("container.name-taken", "The name is in use", detail));
    }
    if let Ok(app) = AppName::new(&name) {
        return Ok(Order { app, wished: None, image });
    }
    if !is_plain(&name) {
        let detail = "`name`: use letters, digits, `_`, `.` and `-`, at most 100 of them, and begin with a letter or digit";
        return Err(invalid(detail.to_owned()));
    }
    let app = slug(&name).ok_or_else(Problem::failed)?;
    Ok(Order { app, wished: Some(name), image })
}

/// Whether an engine would take it as a container's name.
fn is_plain(name: &str) -> bool {
    let is_good = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    name.len() <= 100
        && name.chars().all(is_good)
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
}

/// The beginning of an app's name, made from any text.
fn stem(text: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let text: String = text.chars().map(plain).collect();
    let text = text.trim_start_matches(|c: char| !c.is_ascii_lowercase());
    let text: String = text.chars().take(STEM_MAX).collect();
    let text = text.trim_end_matches('-');
    if text.is_empty() { "app".to_owned() } else { text.to_owned() }
}

/// An app's name for a name that no app can have; the same each time, and another for another.
fn slug(name: &str) -> Option<AppName> {
    let digest = Digest::of_bytes(name.as_bytes());
    AppName::new(&format!("{}-x{}", stem(name), digest.short(6))).ok()
}

/// A name for who named none.
fn made_up(image: &ImageRef, seed: &str) -> Option<AppName> {
    let last = image.as_str().rsplit('/').next().unwrap_or_default();
    let bare = last.split([':', '@']).next().unwrap_or_default();
    let digest = Digest::of_bytes(seed.as_bytes());
    AppName::new(&format!("{}-x{}", stem(bare), digest.short(6))).ok()
}

/// The ports that the image says it listens on. An image that is not here is pulled first.
async fn exposed(
    shared: &Shared,
    image: &ImageRef,
    end: Instant,
) -> Result<Vec<(u16, Protocol)>, Problem> {
    let hands = &shared.parts.compat.hands;
    let known = hands.exposed(image.as_str()).await.map_err(|error| away(&error))?;
    if let Some(ports) = known {
        return Ok(ports);
    }
    // What it says is for the log of a build, which this is none of.
    let (log, _) = tokio::sync::mpsc::channel(1);
    match timeout_at(end, shared.parts.engine.pull(image, log)).await {
        Ok(Ok(_)) => {
            let known = hands.exposed(image.as_str()).await.map_err(|error| away(&error))?;
            Ok(known.unwrap_or_default())
        }
        Ok(Err(Error::Work(message))) => {
            let (status, title) = (StatusCode::NOT_FOUND, "No such image");
            Err(Problem::new(status, "container.no-image", title, message))
        }
        Ok(Err(error)) => Err(away(&error)),
        Err(_) => {
            let detail = format!("the image `{image}` is still being pulled: ask again");
            Err(late("container.late", detail))
        }
    }
}

/// The manifest. JSON strings are YAML strings, whatever is in them.
fn manifest(order: &Order, ports: &[(u16, Protocol)]) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let mut text = format!(
        "# Made by POST /containers/create.\napiVersion: berth/v1\nkind: App\nmetadata:\n  name: {}\n",
        order.app
    );
    if let Some(wished) = &order.wished {
        text.push_str(&format!("  annotations:\n    {WISHED}: {}\n", quoted(wished)));
    }
    text.push_str(&format!("spec:\n  image: {}\n", quoted(order.image.as_str())));
    if !ports.is_empty() {
        text.push_str("  ports:\n");
    }
    for (port, protocol) in ports.iter().take(PORTS_MAX) {
        text.push_str(&format!("    - containerPort: {port}\n"));
        if *protocol != Protocol::Tcp {
            text.push_str(&format!("      protocol: {protocol}\n"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(name: &str, wished: Option<&str>) -> Order {
        Order {
            app: AppName::new(name).unwrap(),
            wished: wished.map(ToOwned::to_owned),
            image: ImageRef::parse("registry.example:5000/team/web:1").unwrap(),
        }
    }

    #[test]
    fn what_is_written_is_a_manifest_without_a_mistake() {
        let ports = [(5000, Protocol::Tcp), (8080, Protocol::Tcp), (53, Protocol::Udp)];
        for (order, ports) in [
            (order("web", None), &ports[..]),
            (order("my-server-xabc123", Some("My_Server.1")), &ports[..1]),
            (order("job", None), &[]),
        ] {
            let text = manifest(&order, ports);
            let reading = reading::read("web.yaml", text.as_bytes());
            assert!(reading.mistakes.is_empty() && reading.warnings.is_empty(), "{text}");
            let app = &reading.apps[0];
            assert_eq!(app.name, order.app);
            assert_eq!(app.annotations.get(WISHED), order.wished.as_ref());
            let given: Vec<_> =
                app.spec.ports.iter().map(|p| (p.container_port, p.protocol)).collect();
            assert_eq!(given, ports);
            assert!(app.spec.ports.iter().all(|port| port.host_port.is_none()), "{text}");
        }
    }

    #[test]
    fn any_name_that_an_engine_takes_becomes_an_apps() {
        let long = "x".repeat(100);
        for name in ["My_Server", "1st.server", "a--", "0123456789abcdef", &long, "9"] {
            assert!(is_plain(name), "{name}");
            let app = slug(name).unwrap();
            assert_eq!(slug(name), Some(app.clone()), "the same each time");
            assert_ne!(slug(&format!("{name}_")), Some(app), "and another for another");
        }
        for name in ["", "-x", "a b", "a/b", "ä", "a\n", &"x".repeat(101)] {
            assert!(!is_plain(name), "{name}");
        }
        let image = ImageRef::parse("base-api-server:latest").unwrap();
        let made = made_up(&image, "1").unwrap();
        assert!(made.as_str().starts_with("base-api-server-x"), "{made}");
        assert_ne!(made_up(&image, "2"), Some(made));
    }
}
