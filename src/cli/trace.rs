//! `berth trace`: whose a container, a port or a GPU is, up to the manifest and the commit.

use serde_json::Value;

use super::{
    branches::Branch,
    document::{list, text},
    error::{Error, Exit},
    get::origin,
    output::{Output, phase, plain},
    server::Server,
};

/// What it takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A container (its name, or the beginning of its id), a host port, or a GPU (`GPU-…`,
    /// `gpu/0`); `container/`, `port/` and `gpu/` before it say which.
    thing: String,
}

pub(super) async fn run(args: &Args, server: &Server, output: &mut Output) -> Result<Exit, Error> {
    let thing = args.thing.as_str();
    let found = match thing.split_once('/') {
        Some(("port", number)) => port(number, server).await?,
        Some(("gpu", gpu)) => self::gpu(gpu, server).await?,
        Some(("container", id)) => container(id, server).await?,
        _ if thing.parse::<u16>().is_ok() => port(thing, server).await?,
        _ if thing.starts_with("GPU-") || thing.starts_with("MIG-") => gpu(thing, server).await?,
        _ => container(thing, server).await?,
    };
    let Some(found) = found else {
        return Err(Error::new(Exit::NotFound, format!("nobody here has `{}`", plain(thing)))
            .fix("`berth ports`, `berth gpu ls` and `berth get -o wide` list what there is"));
    };
    for line in found.lines(output) {
        output.line(&line)?;
    }
    Ok(Exit::Done)
}

async fn port(number: &str, server: &Server) -> Result<Option<Branch>, Error> {
    let all = server.get("/api/v1/ports").await?;
    let is_it = |port: &&Value| {
        port.pointer("/port").and_then(Value::as_u64).is_some_and(|n| n.to_string() == number)
    };
    let Some(port) = list(&all, "/items").iter().find(is_it) else { return Ok(None) };
    let (state, holder) = (text(port, "/state"), text(port, "/holder"));
    let mut found = Branch::new(format!("port {number}  {}", plain(state)));
    match text(port, "/app") {
        "" if holder.is_empty() => found.push(Branch::new("a program of this machine")),
        "" => found.push(Branch::new(plain(holder))),
        name => found.push(app(name, server).await?),
    }
    Ok(Some(found))
}

async fn gpu(named: &str, server: &Server) -> Result<Option<Branch>, Error> {
    let all = server.get("/api/v1/gpus").await?;
    let is_it = |gpu: &&Value| {
        let index = gpu.pointer("/index").and_then(Value::as_u64);
        text(gpu, "/uuid") == named || index.is_some_and(|index| index.to_string() == named)
    };
    let Some(gpu) = list(&all, "/gpus").iter().find(is_it) else { return Ok(None) };
    let uuid = text(gpu, "/uuid");
    let mut found = Branch::new(plain(&format!("gpu {uuid}  {}", text(gpu, "/name"))));
    let apps = server.get("/api/v1/apps").await?;
    let holds = |app: &&Value| list(app, "/status/gpus").iter().any(|held| held == uuid);
    let mut is_held = false;
    for holder in list(&apps, "/items").iter().filter(holds) {
        found.push(app(text(holder, "/metadata/name"), server).await?);
        is_held = true;
    }
    for holder in list(gpu, "/holders").iter().filter(|holder| holder["app"].is_null()) {
        let what = text(holder, "/name");
        let kind = text(holder, "/kind");
        found.push(Branch::new(plain(format!("{kind} {what}").trim())));
        is_held = true;
    }
    if !is_held {
        found.push(Branch::new("free"));
    }
    Ok(Some(found))
}

async fn container(named: &str, server: &Server) -> Result<Option<Branch>, Error> {
    let apps = server.get("/api/v1/apps").await?;
    let named_so = |id: &str| 4 <= named.len() && id.starts_with(named);
    let all = server.get("/containers").await?;
    let all = all.as_array().map_or_else(|| list(&all, "/containers"), Vec::as_slice);
    let is_it = |one: &&Value| text(one, "/name") == named || named_so(text(one, "/id"));
    if let Some(one) = all.iter().find(is_it) {
        let (id, name, state) = (text(one, "/id"), text(one, "/name"), text(one, "/state"));
        let found = Branch::new(plain(&format!("container {id} ({name})  {state}")));
        return Ok(Some(match text(one, "/app") {
            "" => found.with(Branch::new("no app of this Berth")),
            name => found.with(app(name, server).await?),
        }));
    }
    let holds = |app: &&Value| {
        named_so(text(app, "/status/containerId")) || text(app, "/metadata/name") == named
    };
    match list(&apps, "/items").iter().find(holds) {
        Some(one) => app(text(one, "/metadata/name"), server).await.map(Some),
        None => Ok(None),
    }
}

/// An app, and where it comes from.
async fn app(name: &str, server: &Server) -> Result<Branch, Error> {
    let Ok(app) = server.get(&format!("/api/v1/apps/{name}")).await else {
        return Ok(Branch::new(format!("app/{}  (not known any more)", plain(name))));
    };
    let title = format!("app/{}  {}", plain(name), phase(text(&app, "/status/phase")));
    let mut found = Branch::new(title);
    let origin = origin(&app);
    if !origin.is_empty() {
        found.push(Branch::new(format!("manifest {}", plain(&origin))));
    }
    let commit = text(&app, "/status/commit");
    if !commit.is_empty() {
        let url = text(&app, "/spec/source/git/url");
        found.push(Branch::new(plain(&format!("commit {commit} of {url}"))));
    }
    Ok(found)
}
