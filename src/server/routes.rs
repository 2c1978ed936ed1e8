//! Every route, in one table.

use std::sync::Arc;

use axum::{
    Router,
    http::{Method, StatusCode, Uri},
    middleware,
    routing::{MethodRouter, delete, get, post},
};

use super::{
    Shared, actions, apps, figures, gpus, guard, hooks, images, leases, logs, page, plans, probes,
    problem::Problem, rollouts, stream, targets, usage,
};

type Methods = MethodRouter<Arc<Shared>>;

/// The routes, as the root lists them.
pub(super) const ENDPOINTS: &[&str] = &[
    "GET /",
    "GET /health",
    "GET /livez",
    "GET /readyz",
    "GET /metrics",
    "GET /sd/prometheus",
    "GET /api/v1/apps",
    "POST /api/v1/apps",
    "GET /api/v1/apps/{name}",
    "PUT /api/v1/apps/{name}",
    "DELETE /api/v1/apps/{name}",
    "GET /api/v1/apps/{name}/logs",
    "GET /api/v1/apps/{name}/usage",
    "GET /api/v1/apps/{name}/plan",
    "POST /api/v1/apps/{name}/start",
    "POST /api/v1/apps/{name}/stop",
    "POST /api/v1/apps/{name}/restart",
    "POST /api/v1/apps/{name}/rebuild",
    "POST /api/v1/apps/{name}/reconcile",
    "GET /api/v1/apps/{name}/revisions",
    "POST /api/v1/apps/{name}/undo",
    "GET /api/v1/gpus/leases",
    "POST /api/v1/gpus/leases",
    "POST /api/v1/gpus/leases/{id}/renew",
    "DELETE /api/v1/gpus/leases/{id}",
    "GET /api/v1/capacity",
    "GET /api/v1/gpus",
    "GET /api/v1/images",
    "POST /api/v1/images/gc",
    "GET /api/v1/plan",
    "POST /api/v1/confirm",
    "POST /api/v1/rescan",
    "POST /api/v1/hooks/git",
    "GET /api/v1/events",
    "GET /api/v1/events/recent",
    "GET /api/v1/schema",
];

/// The router with everything around it.
pub(super) fn router(shared: Arc<Shared>) -> Router {
    let guard = middleware::from_fn_with_state(Arc::clone(&shared), guard::guard);
    Router::new()
        .route("/", get(page::root))
        .route("/page.css", get(page::style))
        .route("/health", get(probes::health))
        .route("/livez", get(probes::alive))
        .route("/readyz", get(probes::ready))
        .route("/metrics", get(figures::metrics))
        .route("/sd/prometheus", get(targets::list))
        .route("/api/v1/schema", get(probes::schema))
        .route("/api/v1/apps", apps_methods())
        .route("/api/v1/apps/{name}", app_methods())
        .route("/api/v1/apps/{name}/logs", get(logs::logs))
        .route("/api/v1/apps/{name}/usage", get(usage::app))
        .route("/api/v1/capacity", get(usage::capacity))
        .route("/api/v1/apps/{name}/plan", get(plans::one))
        .route("/api/v1/apps/{name}/start", post(actions::start))
        .route("/api/v1/apps/{name}/stop", post(actions::stop))
        .route("/api/v1/apps/{name}/restart", post(actions::restart))
        .route("/api/v1/apps/{name}/rebuild", post(actions::rebuild))
        .route("/api/v1/apps/{name}/reconcile", post(actions::reconcile))
        .route("/api/v1/apps/{name}/revisions", get(rollouts::list))
        .route("/api/v1/apps/{name}/undo", post(rollouts::undo))
        .route("/api/v1/gpus/leases", get(leases::list).post(leases::acquire))
        .route("/api/v1/gpus/leases/{id}/renew", post(leases::renew))
        .route("/api/v1/gpus/leases/{id}", delete(leases::release))
        .route("/api/v1/gpus", get(gpus::list))
        .route("/api/v1/images", get(images::list))
        .route("/api/v1/images/gc", post(images::gc))
        .route("/api/v1/plan", get(plans::all))
        .route("/api/v1/confirm", post(actions::confirm))
        .route("/api/v1/rescan", post(actions::rescan))
        .route(hooks::PATH, post(hooks::git))
        .route("/api/v1/events", get(stream::events))
        .route("/api/v1/events/recent", get(stream::recent))
        .method_not_allowed_fallback(wrong_method)
        .fallback(nothing)
        .with_state(shared)
        .layer(guard)
}

fn apps_methods() -> Methods {
    get(apps::list).post(apps::create)
}

fn app_methods() -> Methods {
    get(apps::one).put(apps::put).delete(apps::delete)
}

async fn nothing(uri: Uri) -> Problem {
    Problem::no_route(uri.path())
}

async fn wrong_method(method: Method, uri: Uri) -> Problem {
    let detail = format!("{} does not take {method}", uri.path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "request.method", "Wrong method", detail)
}
