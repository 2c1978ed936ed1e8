//! What every request passes, in this order: no token in its address, a name of this machine, no
//! other site, a route that is declared, somebody who may. Then the handler; then the audit log.

use std::{net::IpAddr, panic::AssertUnwindSafe, sync::Arc};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Redirect, Response},
};
use futures_util::FutureExt as _;

use super::{
    Shared, access,
    access::{Access, Client},
    dry::{self, Dry},
    family,
    listen::Peer,
    problem::{Problem, Told},
    request::wants,
    routes::{Declared, declared},
    sign_in, trail,
};
use crate::auth::{Identity, Kind, Mode, Needs, Role};
use crate::store::Figures;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// How clients call their requests.
const TRACES: [HeaderName; 2] =
    [HeaderName::from_static("x-request-id"), HeaderName::from_static("x-amzn-trace-id")];
/// The longest such name that is said again.
const TRACE_MAX: usize = 256;

/// The headers of every answer.
const SECURITY: [(HeaderName, &str); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    // With `no-referrer`, browsers send the page's own forms with `Origin: null`.
    (header::REFERRER_POLICY, "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (header::CACHE_CONTROL, "no-store"),
];

/// Guards one request.
pub(super) async fn guard(
    State(shared): State<Arc<Shared>>,
    mut request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path().to_owned();
    let traces = TRACES.map(|name| request.headers().get(&name).cloned());
    let is_change = family::changes_hub(request.method(), &path);
    let response = match admit(&shared, &mut request) {
        Ok(deed) => perform(&shared, deed, request, next).await,
        Err(response) => response,
    };
    if let Some(told) = response.extensions().get::<Told>() {
        shared.parts.metrics.door().problem(told.code);
    }
    if is_change && !response.status().is_success() {
        Figures::add(&shared.parts.models.figures().refusals, 1);
    }
    let mut response = family::translate(&path, response);
    for (name, value) in TRACES.into_iter().zip(traces) {
        // What a client calls its request is said again, so that both logs have it.
        if let Some(value) = value.filter(|value| value.len() <= TRACE_MAX) {
            response.headers_mut().entry(name).or_insert(value);
        }
    }
    for (name, value) in SECURITY {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// Lets a request through, or says why not. What is let through carries who asks, and from where.
fn admit(shared: &Shared, request: &mut Request) -> Result<Option<trail::Draft>, Response> {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    if let Some(problem) = access::refuse_token_in_url(&path, request.uri().query()) {
        tracing::warn!(%method, "a token in an address was refused");
        return Err(problem.into_response());
    }
    let Some(peer) = request.extensions().get::<Peer>().copied() else {
        return Err(Problem::failed().into_response());
    };
    if family::is_registry(&path) {
        access::password_as_token(request.headers_mut());
    }
    let door = &shared.door;
    let client = door.client(peer, request.headers());
    let matched = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let needs = match declared(&method, matched.as_deref()) {
        Declared::Needs(Needs::Metrics) if door.access.are_metrics_public => Needs::Public,
        Declared::Needs(needs) => needs,
        Declared::Nothing if family::is_registry(&path) => Needs::StorePart(Mode::Read),
        Declared::Nothing if family::project(&path).is_some() => Needs::Store(Mode::Read),
        Declared::Nothing => Needs::Role(Role::Viewer),
        Declared::Undeclared => {
            tracing::error!(%method, matched, "a route without a permission was asked");
            let (status, detail) = (StatusCode::FORBIDDEN, "the route declares no permission");
            let problem = Problem::new(status, "auth.undeclared", "Not allowed", detail);
            return Err(problem.into_response());
        }
    };
    if let Err(problem) = check(request, needs, (shared.address, &client), &door.access) {
        tracing::warn!(%method, ?path, "request of another site refused");
        return Err(problem.into_response());
    }
    let who = if needs == Needs::Signature {
        Identity { kind: Kind::Hook, ..Identity::nobody() }
    } else {
        let who = door.identify(&client, request.headers(), shared.parts.clock.now());
        // What is public stays so for who comes with a token that is not good any more.
        let who =
            if needs == Needs::Public { who.unwrap_or_else(|_| Identity::nobody()) } else { who? };
        check_ambient(request, &who)?;
        who
    };
    let dry = dry::asked(&method, matched.as_deref(), request.uri().query());
    let draft = match &dry {
        Ok(Dry(true)) => None,
        _ => trail::Draft::new(shared, &who, &client, request, matched.as_deref()),
    };
    if let Err(denial) = who.may(needs, family::project(&path).as_deref()) {
        if who.kind == Kind::Nobody && method.is_safe() && wants(request.headers(), "text/html") {
            return Err(Redirect::to(sign_in::PATH).into_response());
        }
        tracing::warn!(%method, ?path, who = who.name, address = %client.address, "not allowed");
        let response = access::denied(&who, &denial);
        if let Some(draft) = draft {
            draft.refuse(shared, &response);
        }
        return Err(response);
    }
    request.extensions_mut().insert(dry.map_err(IntoResponse::into_response)?);
    request.extensions_mut().insert(client);
    request.extensions_mut().insert(who);
    Ok(draft)
}

/// Runs the handler. A change that can't be recorded is not made; one that was begun is recorded,
/// also when its client hangs up meanwhile.
async fn perform(
    shared: &Arc<Shared>,
    draft: Option<trail::Draft>,
    request: Request,
    next: Next,
) -> Response {
    let Some(draft) = draft else { return run(request, next).await };
    if let Err(problem) = trail::check_ready(shared).await {
        return problem.into_response();
    }
    match shared.under_way.begin(change(Arc::clone(shared), draft, request, next)) {
        Ok(doing) => doing.await.unwrap_or_else(|_| Problem::failed().into_response()),
        Err(problem) => problem.into_response(),
    }
}

async fn change(
    shared: Arc<Shared>,
    draft: trail::Draft,
    request: Request,
    next: Next,
) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let response = tokio::select! {
        response = run(request, next) => response,
        problem = shared.under_way.given_up() => problem.into_response(),
    };
    let status = response.status().as_u16();
    tracing::info!(%method, ?path, status, "change requested");
    draft.record(&shared, response).await
}

async fn run(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(panic) => {
            let said = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let said = said.or_else(|| panic.downcast_ref::<String>().cloned());
            tracing::error!(?path, panic = said.as_deref(), "a handler panicked");
            Problem::failed().into_response()
        }
    }
}

fn elsewhere(code: &'static str, detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, code, "The request comes from elsewhere", detail)
}

fn check(
    request: &Request,
    needs: Needs,
    (address, client): (IpAddr, &Client),
    access: &Access,
) -> Result<(), Problem> {
    let headers = request.headers();
    let Some(host) = text(headers, header::HOST) else {
        return Err(Problem::bad_request("the request names no host"));
    };
    if needs == Needs::Signature {
        // Git servers name this machine as they know it. What they say is signed; what a browser
        // says is never heard here.
        let is_browser = |name: &HeaderName| headers.contains_key(name);
        if [header::ORIGIN, SEC_FETCH_SITE].iter().any(is_browser) {
            return Err(elsewhere("request.origin", "a browser can't send webhooks"));
        }
        return Ok(());
    }
    let target = request.uri().authority().map(axum::http::uri::Authority::as_str);
    for name in [Some(host), target].into_iter().flatten() {
        if !is_local(name, address, &access.host_names) {
            let detail = format!("`{name}` is not a name of this machine: use localhost");
            return Err(elsewhere("request.host", detail));
        }
    }
    if request.method().is_safe() && request.method() != Method::TRACE && !turns(headers) {
        return Ok(());
    }
    let other = || elsewhere("request.origin", "another site may not change anything here");
    if let Some(origin) = headers.get(header::ORIGIN) {
        let is_direct = request.extensions().get::<Peer>().is_some_and(|peer| peer.is_tls);
        let schemes: &[&str] = match (is_direct, client.is_tls) {
            (true, _) => &["https"],
            (false, true) => &["http", "https"],
            (false, false) => &["http"],
        };
        let is_own = |scheme: &&str| origin.as_bytes() == format!("{scheme}://{host}").as_bytes();
        if !schemes.iter().any(is_own) {
            return Err(other());
        }
    }
    match text(headers, SEC_FETCH_SITE) {
        None | Some("same-origin" | "none") => Ok(()),
        Some(_) => Err(other()),
    }
}

/// What a browser adds by itself is no will: a change by a session, or by a proxy's word, must
/// also say that it comes from this site (fault H02).
fn check_ambient(request: &Request, who: &Identity) -> Result<(), Response> {
    let is_ambient = matches!(who.kind, Kind::Session | Kind::Proxy);
    let says = |name: &HeaderName| request.headers().contains_key(name);
    let is_look = request.method().is_safe() && !turns(request.headers());
    if !is_ambient || is_look || says(&header::ORIGIN) || says(&SEC_FETCH_SITE) {
        return Ok(());
    }
    let detail = "the request does not say which site it comes from: send `Origin`, or a token";
    Err(elsewhere("request.origin", detail).into_response())
}

/// Whether a request wants its connection to become something else. A browser lets any site ask for
/// that and read what comes, so it is as much as a change (fault H02).
fn turns(headers: &HeaderMap) -> bool {
    headers.contains_key(header::UPGRADE)
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// Whether `authority` (`host` or `host:port`) names this machine. Where every address is listened
/// on, each of them does: only a name can be made to point here by others.
fn is_local(authority: &str, address: IpAddr, names: &[String]) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(""),
        None => authority.split(':').next().unwrap_or(""),
    };
    let named = ["localhost", "127.0.0.1", "::1"].into_iter();
    let mut named = named.chain(names.iter().map(String::as_str));
    named.any(|name| host.eq_ignore_ascii_case(name))
        || host.parse::<IpAddr>().is_ok_and(|host| host == address || address.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fault H01: a name that resolves to this machine is not a name of this machine.
    #[test]
    fn only_names_of_this_machine_are_local() {
        let bound: IpAddr = "127.0.0.2".parse().unwrap();
        for good in ["localhost", "LOCALHOST:8000", "127.0.0.1:1", "[::1]:8000", "127.0.0.2:8000"] {
            assert!(is_local(good, bound, &[]), "{good}");
        }
        for bad in ["", "evil.example:8000", "localhost.evil.example", "127.0.0.3", "[::2]:8000"] {
            assert!(!is_local(bad, bound, &[]), "{bad}");
        }
        let names = ["berth.example.com".to_owned()];
        assert!(is_local("Berth.example.com:443", bound, &names));
        assert!(!is_local("x.berth.example.com", bound, &names));
        let all: IpAddr = "0.0.0.0".parse().unwrap();
        assert!(is_local("192.0.2.7:8000", all, &[]) && !is_local("evil.example", all, &[]));
    }
}
