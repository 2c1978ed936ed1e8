//! Every route, in one table: how it is asked, what it needs, and what answers.
//!
//! There is no other way to register one, so none is without a permission (fault H05). What is not
//! in the table is refused, whatever the router thinks.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{Method, StatusCode, Uri, header},
    middleware,
    response::{IntoResponse as _, Response},
    routing::{MethodRouter, delete, get, patch, post, put},
};

use super::{
    Shared, actions, apps, containers, family, figures, gc, gpus, guard, hooks, host, hub, images,
    leases, logs, models, notices, oci, openapi, page, plans, ports, probes, problem::Problem,
    rollouts, scans, sign_in, stream, targets, terminals, trail, usage,
};
use crate::auth::{Mode, Needs, Role};

type Methods = MethodRouter<Arc<Shared>>;

/// A route.
pub(super) struct Route {
    method: &'static str,
    path: &'static str,
    needs: Needs,
    answer: fn() -> Methods,
}

const PUBLIC: Needs = Needs::Public;
const SIGNED: Needs = Needs::Signature;
const FIGURES: Needs = Needs::Metrics;
const VIEWER: Needs = Needs::Role(Role::Viewer);
const OPERATOR: Needs = Needs::Role(Role::Operator);
const ADMIN: Needs = Needs::Role(Role::Admin);
const READ: Needs = Needs::Store(Mode::Read);
const WRITE: Needs = Needs::Store(Mode::Write);
const READ_SOME: Needs = Needs::StorePart(Mode::Read);
const WRITE_SOME: Needs = Needs::StorePart(Mode::Write);

macro_rules! routes {
    ($($method:ident $path:expr, $needs:expr, $answer:path;)*) => {
        &[$(Route {
            method: stringify!($method),
            path: $path,
            needs: $needs,
            answer: || $method($answer),
        }),*]
    };
}

/// The routes, one a line: method, path, what it needs, what answers. Every HTTP path and every
/// permission of Berth stands here.
static ROUTES: &[Route] = routes! {
    get "/", VIEWER, page::root;
    get "/ui/assets/{tag}/{file}", PUBLIC, page::asset;
    get "/ui/live", VIEWER, page::live;
    get "/ui/plan", VIEWER, page::plans;
    get "/ui/gpus", VIEWER, page::gpus;
    get "/ui/models", VIEWER, page::models;
    get "/ui/models/{project}/{app}/{version}/{model}", VIEWER, page::model;
    post "/ui/models/upload", OPERATOR, page::upload_model;
    post "/ui/models/remove", OPERATOR, page::remove_model;
    get "/ui/host", VIEWER, page::host;
    get "/ui/events", VIEWER, page::events;
    get "/ui/audit", OPERATOR, page::audit;
    get "/ui/settings", VIEWER, page::settings;
    post "/ui/settings/tokens", ADMIN, page::token;
    post "/ui/settings/tokens/revoke", ADMIN, page::revoke;
    get "/ui/register", OPERATOR, page::register;
    post "/ui/register", OPERATOR, page::create;
    post "/ui/containers", OPERATOR, page::container;
    post "/ui/confirm", ADMIN, page::release;
    get "/ui/apps/{name}", VIEWER, page::overview;
    get "/ui/apps/{name}/plan", VIEWER, page::plan;
    get "/ui/apps/{name}/logs", VIEWER, page::logs;
    get "/ui/apps/{name}/lines", VIEWER, page::lines;
    get "/ui/apps/{name}/metrics", VIEWER, page::metrics;
    get "/ui/apps/{name}/manifest", VIEWER, page::manifest;
    post "/ui/apps/{name}/manifest", OPERATOR, page::save;
    get "/ui/apps/{name}/history", VIEWER, page::history;
    get "/ui/apps/{name}/terminal", VIEWER, page::terminal;
    get "/ui/apps/{name}/confirm", OPERATOR, page::confirm;
    post "/ui/apps/{name}/start", OPERATOR, page::start;
    post "/ui/apps/{name}/stop", OPERATOR, page::stop;
    post "/ui/apps/{name}/restart", OPERATOR, page::restart;
    post "/ui/apps/{name}/install", OPERATOR, page::install;
    post "/ui/apps/{name}/rebuild", OPERATOR, page::rebuild;
    post "/ui/apps/{name}/reconcile", OPERATOR, page::reconcile;
    post "/ui/apps/{name}/undo", OPERATOR, page::undo;
    post "/ui/apps/{name}/remove", OPERATOR, page::remove;
    get "/sign-in", PUBLIC, sign_in::form;
    post "/sign-in", PUBLIC, sign_in::begin;
    post "/sign-out", VIEWER, sign_in::end;
    get "/health", PUBLIC, probes::health;
    get "/livez", PUBLIC, probes::alive;
    get "/readyz", PUBLIC, probes::ready;
    get "/metrics", FIGURES, figures::metrics;
    get "/sd/prometheus", FIGURES, targets::list;
    get "/api/v1/apps", VIEWER, apps::list;
    post "/api/v1/apps", OPERATOR, apps::create;
    get "/api/v1/apps/{name}", VIEWER, apps::one;
    put "/api/v1/apps/{name}", OPERATOR, apps::put;
    patch "/api/v1/apps/{name}", OPERATOR, apps::patch;
    delete "/api/v1/apps/{name}", OPERATOR, apps::delete;
    get "/api/v1/apps/{name}/logs", VIEWER, logs::logs;
    get "/api/v1/apps/{name}/usage", VIEWER, usage::app;
    get "/api/v1/apps/{name}/scan", VIEWER, scans::one;
    get "/api/v1/apps/{name}/sbom", VIEWER, scans::parts;
    get "/api/v1/apps/{name}/plan", VIEWER, plans::one;
    post "/api/v1/apps/{name}/start", OPERATOR, actions::start;
    post "/api/v1/apps/{name}/stop", OPERATOR, actions::stop;
    post "/api/v1/apps/{name}/restart", OPERATOR, actions::restart;
    post "/api/v1/apps/{name}/install", OPERATOR, actions::install;
    post "/api/v1/apps/{name}/rebuild", OPERATOR, actions::rebuild;
    post "/api/v1/apps/{name}/reconcile", OPERATOR, actions::reconcile;
    get "/api/v1/apps/{name}/revisions", VIEWER, rollouts::list;
    post "/api/v1/apps/{name}/undo", OPERATOR, rollouts::undo;
    post "/api/v1/apps/{name}/rollback", OPERATOR, rollouts::undo;
    post "/api/v1/apps/{name}/terminal", OPERATOR, terminals::ask;
    get "/api/v1/terminals/{id}", OPERATOR, terminals::open;
    get "/api/v1/gpus", VIEWER, gpus::list;
    get "/api/v1/gpus/leases", VIEWER, leases::list;
    post "/api/v1/gpus/leases", OPERATOR, leases::acquire;
    post "/api/v1/gpus/leases/{id}/renew", OPERATOR, leases::renew;
    delete "/api/v1/gpus/leases/{id}", OPERATOR, leases::release;
    get "/api/v1/capacity", VIEWER, usage::capacity;
    get "/api/v1/scans", VIEWER, scans::all;
    get "/api/v1/images", VIEWER, images::list;
    post "/api/v1/images/gc", OPERATOR, images::gc;
    post "/api/v1/gc", ADMIN, gc::collect;
    get "/api/v1/notifications", VIEWER, notices::list;
    post "/api/v1/notifications/test", OPERATOR, notices::test;
    get "/api/v1/plan", VIEWER, plans::all;
    post "/api/v1/confirm", ADMIN, actions::confirm;
    post "/api/v1/rescan", OPERATOR, actions::rescan;
    post "/api/v1/hooks/git", SIGNED, hooks::git;
    get "/api/v1/events", VIEWER, stream::events;
    get "/api/v1/events/recent", VIEWER, stream::recent;
    get "/api/v1/audit", OPERATOR, trail::list;
    get "/api/v1/schema", VIEWER, probes::schema;
    get "/api/v1/models/trash", OPERATOR, models::trash;
    post "/api/v1/models/trash/{id}/restore", OPERATOR, models::restore;
    post "/api/v1/models/gc", OPERATOR, models::gc;
    get "/api/v1/models/health", VIEWER, models::health;
    get "/api/v1/models/inspections/{project}/{app}/{version}/{model}", VIEWER, models::inspected;
    post "/api/v1/models/verify/{project}/{app}/{version}/{model}", OPERATOR, models::verify;
    get "/uploads", READ_SOME, models::all_uploads;
    post "/uploads", WRITE_SOME, models::begin_upload;
    get "/uploads/{id}", READ_SOME, models::look_at_upload;
    patch "/uploads/{id}", WRITE_SOME, models::add_part;
    delete "/uploads/{id}", WRITE_SOME, models::end_upload;
    post "/api/v1/models/pull", OPERATOR, models::pull;
    get "/api/v1/models/pulls", OPERATOR, models::pulls;
    get "/blobs/{digest}", READ_SOME, models::blob;
    post "/models/upload", WRITE_SOME, models::upload;
    get "/models/list", READ_SOME, models::all;
    get "/models/{project}", READ, models::of_project;
    get "/models/{project}/{app}", READ, models::of_app;
    get "/models/{project}/{app}/aliases", READ, models::aliases;
    get "/models/{project}/{app}/aliases/{alias}", READ, models::alias;
    put "/models/{project}/{app}/aliases/{alias}", WRITE, models::set_alias;
    delete "/models/{project}/{app}/aliases/{alias}", WRITE, models::remove_alias;
    get "/models/{project}/{app}/{version}", READ, models::of_version;
    get "/models/{project}/{app}/{version}/{model}", READ, models::download;
    put "/models/{project}/{app}/{version}/{model}", WRITE, models::put;
    post "/models/{project}/{app}/{version}/{model}", WRITE, models::freeze;
    delete "/models/{project}/{app}/{version}/{model}", WRITE, models::delete;
    get "/models/{project}/{app}/{version}/{model}/info", READ, models::info;
    get "/api/whoami-v2", READ_SOME, hub::whoami;
    post "/api/validate-yaml", READ_SOME, hub::validate;
    post "/api/repos/create", WRITE_SOME, hub::create;
    delete "/api/repos/delete", WRITE_SOME, hub::delete;
    post "/api/repos/move", WRITE_SOME, hub::rename;
    get "/api/models", READ_SOME, hub::list;
    get "/api/models/{ns}", READ, hub::unnamed;
    get "/api/models/{ns}/{name}", READ, hub::info;
    get "/api/models/{ns}/{name}/auth-check", READ, hub::auth_check;
    get "/api/models/{ns}/{name}/revision/{rev}", READ, hub::info_at;
    get "/api/models/{ns}/{name}/tree/{rev}", READ, hub::tree;
    get "/api/models/{ns}/{name}/tree/{rev}/{*path}", READ, hub::tree_below;
    post "/api/models/{ns}/{name}/paths-info/{rev}", READ, hub::paths;
    get "/api/models/{ns}/{name}/refs", READ, hub::refs;
    get "/api/models/{ns}/{name}/commits/{rev}", READ, hub::commits;
    get "/api/models/{ns}/{name}/safetensors-metadata/{*path}", READ, hub::tensors;
    put "/api/models/{ns}/{name}/settings", WRITE, hub::change;
    post "/api/models/{ns}/{name}/branch/{rev}", WRITE, hub::make_branch;
    delete "/api/models/{ns}/{name}/branch/{rev}", WRITE, hub::remove_branch;
    post "/api/models/{ns}/{name}/tag/{rev}", WRITE, hub::make_tag;
    delete "/api/models/{ns}/{name}/tag/{rev}", WRITE, hub::remove_tag;
    post "/api/models/{ns}/{name}/preupload/{rev}", WRITE, hub::preupload;
    post "/api/models/{ns}/{name}/commit/{rev}", WRITE, hub::commit;
    get "/api/models/{ns}/{name}/xet-write-token/{rev}", WRITE, hub::write_token;
    get "/{ns}/{name}/resolve/{rev}/{*path}", READ, hub::download;
    post "/{ns}/{name}/info/lfs/objects/batch", WRITE, hub::batch;
    post "/{ns}/{name}/info/lfs/objects/verify", WRITE, hub::verify;
    put "/_lfs/{ns}/{oid}", SIGNED, hub::put;
    put "/_lfs/{ns}/{oid}/{part}", SIGNED, hub::part;
    post "/_lfs/{ns}/{oid}/{part}", SIGNED, hub::join;
    get "/xet/{gen}/v1/chunks/{prefix}/{hash}", PUBLIC, hub::nothing;
    post "/xet/{gen}/v1/xorb-grants/{prefix}/{hash}", SIGNED, hub::grant;
    post "/xet/{gen}/v1/xorbs/{prefix}/{hash}", SIGNED, hub::xorb;
    post "/xet/{gen}/v1/shards", SIGNED, hub::shard;
    post "/xet/{gen}/v2/shards", SIGNED, hub::shard_told;
    post "/xet/{gen}/v1/telemetry", SIGNED, hub::telemetry;
    get "/v2", READ_SOME, oci::base;
    get "/v2/_catalog", READ_SOME, oci::catalog;
    get "/v2/{project}/{app}/tags/list", READ_SOME, oci::tags;
    get "/v2/{project}/{app}/manifests/{reference}", READ_SOME, oci::manifest;
    get "/v2/{project}/{app}/blobs/{digest}", READ_SOME, oci::blob;
    get "/v2/{project}/{app}/referrers/{digest}", READ_SOME, oci::referrers;
    get "/api/v1/ports", VIEWER, ports::all;
    get "/api/v1/host", VIEWER, host::look;
    get "/containers", VIEWER, containers::list;
    post "/containers/create", OPERATOR, containers::create;
    get "/containers/running", VIEWER, containers::running;
    get "/containers/{id}", VIEWER, containers::one;
    delete "/containers/{id}", OPERATOR, containers::remove;
    post "/containers/{id}/start", OPERATOR, containers::start;
    post "/containers/{id}/stop", OPERATOR, containers::stop;
    get "/containers/{id}/stats", VIEWER, containers::stats;
    get "/system/stats", VIEWER, containers::system;
    get "/ports", VIEWER, ports::compatible;
    get "/openapi.json", VIEWER, openapi::openapi;
};

/// What is declared about a request's route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Declared {
    /// This is what it needs.
    Needs(Needs),
    /// There is no such route, or it does not take the method: whoever may look is told so.
    Nothing,
    /// The router knows a route that the table does not: a defect, and nobody gets through.
    Undeclared,
}

/// What is declared about the route that the router found. `HEAD` is asked as `GET` is.
pub(super) fn declared(method: &Method, matched: Option<&str>) -> Declared {
    let Some(matched) = matched.map(family::bare) else { return Declared::Nothing };
    let word = if *method == Method::HEAD { "GET" } else { method.as_str() };
    let mut is_known = false;
    for route in ROUTES.iter().filter(|route| route.path == matched) {
        if route.method.eq_ignore_ascii_case(word) {
            return Declared::Needs(route.needs);
        }
        is_known = true;
    }
    if is_known { Declared::Nothing } else { Declared::Undeclared }
}

/// Every route, as a client would ask it, with what it needs.
pub fn routes() -> impl Iterator<Item = (String, &'static str, Needs)> {
    ROUTES.iter().map(|route| (route.method.to_ascii_uppercase(), route.path, route.needs))
}

/// Every route in every way that it may be written.
pub fn spelled_routes() -> impl Iterator<Item = (String, String, Needs)> {
    ROUTES.iter().flat_map(|route| {
        spellings(route.path)
            .map(move |path| (route.method.to_ascii_uppercase(), path, route.needs))
    })
}

/// The router with everything around it.
pub(super) fn router(shared: Arc<Shared>) -> Router {
    let guard = middleware::from_fn_with_state(Arc::clone(&shared), guard::guard);
    let empty = Router::new();
    ROUTES
        .iter()
        .flat_map(|route| spellings(route.path).map(move |path| (path, route)))
        .fold(empty, |router, (path, route)| router.route(&path, (route.answer)()))
        .method_not_allowed_fallback(wrong_method)
        .fallback(nothing)
        .with_state(shared)
        .layer(guard)
}

/// How a path may be written.
fn spellings(path: &'static str) -> impl Iterator<Item = String> {
    let slashed = family::takes_slash(path).then(|| format!("{path}/"));
    let below = family::is_hub_route(path).then(|| format!("/hf{path}"));
    [path.to_owned()].into_iter().chain(slashed).chain(below)
}

async fn nothing(method: Method, uri: Uri) -> Response {
    if let Some(bare) = family::without_slash(&uri) {
        return (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, bare)]).into_response();
    }
    if family::is_registry(uri.path()) && !method.is_safe() {
        return oci::unsupported(&method).into_response();
    }
    if uri.path().starts_with("/models/") {
        let status = StatusCode::NOT_FOUND;
        return Problem::new(status, "request.not-found", "No such route", "Not Found")
            .into_response();
    }
    Problem::no_route(uri.path()).into_response()
}

async fn wrong_method(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
) -> Result<Response, Problem> {
    if method == Method::OPTIONS && uri.path() == "/uploads" {
        return Ok(models::abilities(&shared));
    }
    if family::is_registry(uri.path()) {
        return Err(oci::unsupported(&method));
    }
    let detail = format!("{} does not take {method}", uri.path());
    Err(Problem::new(StatusCode::METHOD_NOT_ALLOWED, "request.method", "Wrong method", detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fault H05: what the table does not name is refused, not let through.
    #[test]
    fn what_is_not_declared_is_not_let_through() {
        let of = |method: &Method, path| declared(method, Some(path));
        assert_eq!(of(&Method::GET, "/api/v1/apps"), Declared::Needs(VIEWER));
        assert_eq!(of(&Method::HEAD, "/api/v1/apps"), Declared::Needs(VIEWER));
        assert_eq!(of(&Method::POST, "/api/v1/apps"), Declared::Needs(OPERATOR));
        assert_eq!(of(&Method::OPTIONS, "/api/v1/apps"), Declared::Nothing);
        assert_eq!(of(&Method::GET, "/api/v1/secret"), Declared::Undeclared);
        assert_eq!(of(&Method::GET, "/api/v1/apps/chat"), Declared::Undeclared);
        assert_eq!(declared(&Method::GET, None), Declared::Nothing);
    }

    /// Fault H02: nothing changes by `GET`, and every change needs more than a viewer.
    #[test]
    fn every_change_needs_an_operator_or_a_signature() {
        for route in ROUTES {
            let is_change = route.method != "get";
            let is_of_page = route.path.starts_with("/sign-");
            let is_high = matches!(
                route.needs,
                OPERATOR | ADMIN | SIGNED | Needs::Store(_) | Needs::StorePart(_)
            );
            assert!(!is_change || is_of_page || is_high, "{} {}", route.method, route.path);
        }
    }
}
