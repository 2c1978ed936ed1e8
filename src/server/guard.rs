//! What every request passes: panics are caught, other sites are kept out, headers are set.

use std::{net::IpAddr, panic::AssertUnwindSafe, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use futures_util::FutureExt as _;

use super::{Shared, hooks, problem::Problem};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The headers of every answer.
const SECURITY: [(HeaderName, &str); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (header::CACHE_CONTROL, "no-store"),
];

/// Guards one request.
pub(super) async fn guard(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let mut response = match check(&request, shared.address) {
        Ok(()) => run(request, next).await,
        Err(problem) => {
            tracing::warn!(%method, ?path, "request of another site refused");
            problem.into_response()
        }
    };
    if !method.is_safe() {
        let status = response.status().as_u16();
        tracing::info!(%method, ?path, status, "change requested");
    }
    for (name, value) in SECURITY {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
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

fn check(request: &Request, address: IpAddr) -> Result<(), Problem> {
    let refuse = |code, detail: String| {
        Err(Problem::new(StatusCode::FORBIDDEN, code, "The request comes from elsewhere", detail))
    };
    let headers = request.headers();
    let Some(host) = text(headers, header::HOST) else {
        return Err(Problem::bad_request("the request names no host"));
    };
    if request.method() == Method::POST && request.uri().path() == hooks::PATH {
        // Git servers name this machine as they know it. What they say is signed; what a browser
        // says is never heard here.
        let is_browser = |name: &HeaderName| headers.contains_key(name);
        if [header::ORIGIN, SEC_FETCH_SITE].iter().any(is_browser) {
            return refuse("request.origin", "a browser can't send webhooks".to_owned());
        }
        return Ok(());
    }
    let target = request.uri().authority().map(axum::http::uri::Authority::as_str);
    for name in [Some(host), target].into_iter().flatten() {
        if !is_local(name, address) {
            let detail = format!("`{name}` is not a name of this machine: use localhost");
            return refuse("request.host", detail);
        }
    }
    if request.method().is_safe() && request.method() != Method::TRACE {
        return Ok(());
    }
    if let Some(origin) = headers.get(header::ORIGIN)
        && origin.as_bytes() != format!("http://{host}").as_bytes()
    {
        return refuse("request.origin", "another site may not change anything here".to_owned());
    }
    match text(headers, SEC_FETCH_SITE) {
        None | Some("same-origin" | "none") => Ok(()),
        Some(_) => refuse("request.origin", "another site may not change anything here".to_owned()),
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// Whether `authority` (`host` or `host:port`) names this machine.
fn is_local(authority: &str, address: IpAddr) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(""),
        None => authority.split(':').next().unwrap_or(""),
    };
    let named = ["localhost", "127.0.0.1", "::1"];
    named.iter().any(|name| host.eq_ignore_ascii_case(name))
        || host.parse::<IpAddr>().is_ok_and(|host| host == address)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fault H01: a name that resolves to this machine is not a name of this machine.
    #[test]
    fn only_names_of_this_machine_are_local() {
        let bound: IpAddr = "127.0.0.2".parse().unwrap();
        for good in ["localhost", "LOCALHOST:8000", "127.0.0.1:1", "[::1]:8000", "127.0.0.2:8000"] {
            assert!(is_local(good, bound), "{good}");
        }
        for bad in ["", "evil.example:8000", "localhost.evil.example", "127.0.0.3", "[::2]:8000"] {
            assert!(!is_local(bad, bound), "{bad}");
        }
    }
}
