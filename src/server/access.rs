//! Who asks, and whether that one may: everything that is decided before a handler runs.

use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse as _, Response},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{listen::Peer, problem::Problem};
use crate::audit;
use crate::auth::{
    Denial, Failures, Group, Identity, Kind, Proxy, Role, Scope, Secret, Session, Sessions, Tokens,
    Verdict, looks_like_token,
};
use crate::model::Timestamp;

/// The session's cookie. With TLS its name has a prefix that binds it to this host.
const COOKIE: &str = "berth-session";
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// Names of parameters in which tokens are sent elsewhere.
const TOKEN_PARAMETERS: [&str; 6] =
    ["token", "access_token", "auth_token", "api_key", "apikey", "authorization"];

/// Who may ask, as the operator set it.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// The tokens; none is a server on which nobody signs in.
    pub tokens: Option<Arc<Tokens>>,
    /// The proxies that may say who asks.
    pub proxy: Proxy,
    /// Whether others than this machine may ask without signing in, as long as no token exists.
    pub is_open_allowed: bool,
    /// Whether figures are shown to everybody.
    pub are_metrics_public: bool,
    /// What of the model store everybody may read, also where people sign in.
    pub open_models: Vec<Scope>,
    /// Other names by which this Berth is reached.
    pub host_names: Vec<String>,
    /// The address that links to this Berth begin with, as the operator set it.
    pub base_url: Option<String>,
    /// Whether people reach it by TLS.
    pub is_tls: bool,
    /// The group whose members are operators, by the socket.
    pub group: Option<Group>,
    /// The log of changes, and the state folder that it is in.
    pub audit: Option<Arc<audit::Log>>,
    /// The state folder, from which the log is read.
    pub state_dir: std::path::PathBuf,
}

impl Access {
    /// Whether those that ask sign in.
    pub(super) fn is_used(&self) -> bool {
        self.proxy.is_used() || self.tokens.as_ref().is_some_and(|tokens| tokens.is_used())
    }
}

/// The address that a request comes from, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Client {
    /// The client's own address, as far as it is known.
    pub(super) address: IpAddr,
    /// Whether a proxy that is trusted passed it on.
    pub(super) is_proxied: bool,
    /// Whether the browser speaks TLS.
    pub(super) is_tls: bool,
    /// The user at the other end of the socket.
    pub(super) user: Option<(u32, u32)>,
}

impl<S: Send + Sync> FromRequestParts<S> for Client {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().copied().ok_or_else(Problem::failed)
    }
}

/// What decides.
pub(super) struct Door {
    pub(super) access: Access,
    pub(super) sessions: Sessions,
    pub(super) failures: Failures,
    /// Whether nobody but this machine reaches the address.
    is_loopback: bool,
    own_uid: u32,
}

impl Door {
    pub(super) fn new(access: Access, is_loopback: bool) -> std::io::Result<Self> {
        let own_uid = rustix::process::geteuid().as_raw();
        let (sessions, failures) = (Sessions::new()?, Failures::default());
        Ok(Self { access, sessions, failures, is_loopback, own_uid })
    }

    /// Whether nobody signs in here at present.
    pub(super) fn is_open(&self) -> bool {
        !self.access.is_used() && (self.is_loopback || self.access.is_open_allowed)
    }

    /// Where a request comes from. What it says about that counts from trusted proxies only.
    pub(super) fn client(&self, peer: Peer, headers: &HeaderMap) -> Client {
        let proxy = &self.access.proxy;
        let is_proxied = peer.user.is_none() && proxy.trusts(peer.address);
        let lines = headers.get_all(FORWARDED_FOR).iter();
        let lines: Vec<_> = lines.map(|line| line.to_str().unwrap_or("")).collect();
        let address =
            if is_proxied { proxy.client(peer.address, lines.into_iter()) } else { peer.address };
        let is_https = is_proxied && one(headers, &FORWARDED_PROTO) == Some("https");
        let is_tls = peer.is_tls || self.access.is_tls || is_https;
        Client { address, is_proxied, is_tls, user: peer.user }
    }

    /// Who asks.
    pub(super) fn identify(
        &self,
        client: &Client,
        headers: &HeaderMap,
        now: Timestamp,
    ) -> Result<Identity, Response> {
        let is_used = self.access.is_used();
        if is_used && headers.contains_key(header::AUTHORIZATION) {
            return self.bearer(client, headers, now);
        }
        if let Some((uid, gid)) = client.user {
            return Ok(self.user(uid, gid));
        }
        if self.is_open() {
            return Ok(Identity::open());
        }
        if client.is_proxied
            && let Some(identity) = self.of_proxy(headers)
        {
            return Ok(identity);
        }
        Ok(self
            .of_session(client, headers, now)
            .unwrap_or_else(|| Identity::anyone(&self.access.open_models)))
    }

    /// Whether somebody who was let in as an operator would still be: for what lasts longer than a
    /// request.
    pub(super) fn is_still_let_in(&self, who: &Identity, now: Timestamp) -> bool {
        match who.kind {
            Kind::Open => self.is_open(),
            Kind::Token | Kind::Session => {
                let all = self.access.tokens.as_ref().map(|tokens| tokens.all());
                // While the tokens can't be read, nobody new is let in; nobody is put out, either.
                let Some(Ok(all)) = all else { return all.is_some() };
                let own = all.iter().flat_map(|all| all.iter()).find(|kept| kept.name == who.name);
                own.is_some_and(|kept| {
                    !kept.has_expired(now) && Some(Role::Operator) <= Some(kept.role)
                })
            }
            Kind::Uid | Kind::Proxy => true,
            Kind::Hook | Kind::Nobody => false,
        }
    }

    fn bearer(
        &self,
        client: &Client,
        headers: &HeaderMap,
        now: Timestamp,
    ) -> Result<Identity, Response> {
        let text = one(headers, &header::AUTHORIZATION);
        let token = text.and_then(|text| {
            let (scheme, token) = text.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
        let Some(token) = token else {
            return Err(refused("auth.scheme", "send `Authorization: Bearer TOKEN`, once"));
        };
        self.check(&Secret::given(token), client, now).map(|kept| kept.identity(Kind::Token))
    }

    /// What is kept of a token that is good. Others count as failures of the address.
    pub(super) fn check(
        &self,
        secret: &Secret,
        client: &Client,
        now: Timestamp,
    ) -> Result<crate::auth::Kept, Response> {
        let Some(tokens) = &self.access.tokens else {
            return Err(refused("auth.wrong-token", "there are no tokens here"));
        };
        let verdict = tokens.check(secret, now).map_err(|error| {
            tracing::error!(%error, "tokens not readable: nobody is let in by one");
            let detail = "the tokens can't be read; Berth's log says why".to_owned();
            Problem::unavailable("auth.unreadable", "Nobody can sign in", detail).into_response()
        })?;
        let expired = match verdict {
            Verdict::Good(kept) => return Ok(kept),
            Verdict::Expired(name) => Some(name),
            Verdict::Wrong => None,
        };
        let address = client.address;
        if let Some(wait) = self.failures.wait(address, now) {
            return Err(too_many(wait));
        }
        self.failures.note(address, now);
        tracing::warn!(%address, expired, "sign-in failed");
        Err(match expired {
            Some(_) => refused("auth.expired", "the token has expired; ask for another one"),
            None => refused("auth.wrong-token", "this is no token of this Berth"),
        })
    }

    fn user(&self, uid: u32, gid: u32) -> Identity {
        let is_member = || self.access.group.as_ref().is_some_and(|group| group.has(uid, gid));
        let role = if uid == 0 || uid == self.own_uid {
            Some(Role::Admin)
        } else {
            is_member().then_some(Role::Operator)
        };
        Identity { kind: Kind::Uid, name: uid.to_string(), role, scopes: Vec::new() }
    }

    fn of_proxy(&self, headers: &HeaderMap) -> Option<Identity> {
        let proxy = &self.access.proxy;
        // A header that is there twice could be the client's own beside the proxy's.
        let user = one(headers, &name(&proxy.user_header)?)?;
        let groups = name(&proxy.groups_header)?;
        let groups = if headers.contains_key(&groups) { one(headers, &groups)? } else { "" };
        proxy.identity(user, groups)
    }

    fn of_session(&self, client: &Client, headers: &HeaderMap, now: Timestamp) -> Option<Identity> {
        let tokens = self.access.tokens.as_ref()?;
        let id = session_id(headers, client.is_tls)?;
        let Session { token, .. } = self.sessions.find(&id, now)?;
        // A token that was revoked or has expired takes its sessions with it.
        let Some(kept) = tokens.still_good(&token, now) else {
            self.sessions.end(&id);
            return None;
        };
        Some(kept.identity(Kind::Session))
    }
}

/// Clients of registries send a name and a password; the password is the token. Only where nothing
/// can be changed: browsers remember such passwords, and send them by themselves.
pub(super) fn password_as_token(headers: &mut HeaderMap) {
    let Some((scheme, text)) =
        one(headers, &header::AUTHORIZATION).and_then(|text| text.split_once(' '))
    else {
        return;
    };
    if !scheme.eq_ignore_ascii_case("basic") {
        return;
    }
    let bytes = STANDARD.decode(text.trim()).unwrap_or_default();
    let text = String::from_utf8(bytes).unwrap_or_default();
    let password = text.split_once(':').map_or("", |(_, password)| password);
    if let Ok(mut value) = HeaderValue::from_str(&format!("Bearer {password}")) {
        value.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, value);
    }
}

/// Why `denial` is the answer to `who`.
pub(super) fn denied(who: &Identity, denial: &Denial) -> Response {
    let forbidden = |code, detail: String| {
        Problem::new(StatusCode::FORBIDDEN, code, "Not allowed", detail).into_response()
    };
    match denial {
        Denial::SignIn if who.kind == Kind::Nobody => {
            refused("auth.required", "send a token: `Authorization: Bearer TOKEN`")
        }
        Denial::SignIn => forbidden("auth.no-role", format!("`{}` has no role here", who.name)),
        Denial::Role(role) => {
            let own = who.role.map_or("nobody", Role::word);
            let detail = format!("this takes the role {role}; `{}` is {own}", who.name);
            forbidden("auth.role", detail)
        }
        Denial::Scope => {
            let detail = format!("the scopes of `{}` do not reach this", who.name);
            forbidden("auth.scope", detail)
        }
    }
}

/// A token in an address ends up in logs, histories and `Referer` (fault H03).
pub(super) fn refuse_token_in_url(path: &str, query: Option<&str>) -> Option<Problem> {
    let query = query.unwrap_or("");
    let names = query.split('&').filter_map(|pair| pair.split('=').next());
    let is_named =
        names.map(str::to_ascii_lowercase).any(|name| TOKEN_PARAMETERS.contains(&name.as_str()));
    if !is_named && !looks_like_token(path) && !looks_like_token(query) {
        return None;
    }
    let detail = "a token in the address ends up in logs: send it as `Authorization: Bearer TOKEN`, and revoke this one";
    let status = StatusCode::BAD_REQUEST;
    Some(Problem::new(status, "auth.token-in-url", "A token in the address", detail))
}

fn refused(code: &'static str, detail: &str) -> Response {
    let problem = Problem::new(StatusCode::UNAUTHORIZED, code, "Not signed in", detail);
    let mut response = problem.into_response();
    let challenge = HeaderValue::from_static("Bearer realm=\"berth\"");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    response
}

/// Too many failures.
pub(super) fn too_many(wait: Duration) -> Response {
    let seconds = wait.as_secs() + u64::from(0 < wait.subsec_nanos());
    let detail = format!("too many sign-ins from this address failed; try again in {seconds} s");
    let status = StatusCode::TOO_MANY_REQUESTS;
    let problem = Problem::new(status, "auth.limited", "Too many failures", detail);
    let mut response = problem.into_response();
    response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    response
}

/// The id of the session that the browser says it has.
pub(super) fn session_id(headers: &HeaderMap, is_tls: bool) -> Option<String> {
    let wanted = cookie_name(is_tls);
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.split_once('='));
    let (_, id) = pairs.find(|(name, _)| name.trim() == wanted)?;
    Some(id.trim().to_owned())
}

/// The cookie that keeps `id`, or that forgets it.
pub(super) fn cookie(id: Option<&str>, is_tls: bool) -> Option<HeaderValue> {
    let (name, secure) = (cookie_name(is_tls), if is_tls { "; Secure" } else { "" });
    let (id, age) = id.map_or(("", "; Max-Age=0"), |id| (id, ""));
    let text = format!("{name}={id}; Path=/; HttpOnly; SameSite=Strict{secure}{age}");
    HeaderValue::from_str(&text).ok()
}

fn cookie_name(is_tls: bool) -> String {
    if is_tls { format!("__Host-{COOKIE}") } else { COOKIE.to_owned() }
}

fn name(text: &str) -> Option<HeaderName> {
    HeaderName::from_bytes(text.as_bytes()).ok()
}

/// The value of a header that is there once.
fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    if values.next().is_some() { None } else { value.to_str().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fault H03.
    #[test]
    fn a_token_in_an_address_is_seen() {
        let is_seen = |path: &str, query| refuse_token_in_url(path, query).is_some();
        let token = format!("hf_{}", "a1".repeat(20));
        assert!(is_seen(&format!("/models/{token}"), None));
        let query = format!("x={token}");
        assert!(is_seen("/", Some(&query)));
        for query in ["token=x", "a=b&access_token=", "TOKEN=x", "api_key=1"] {
            assert!(is_seen("/", Some(query)), "{query}");
        }
        for query in ["app=token", "tail=7&follow", "tokens=2"] {
            assert!(!is_seen("/api/v1/apps/token", Some(query)), "{query}");
        }
    }

    #[test]
    fn a_password_is_a_token() {
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, text.parse().unwrap());
            password_as_token(&mut headers);
            headers[header::AUTHORIZATION].to_str().unwrap().to_owned()
        };
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        assert_eq!(of(&basic("any:hf_x:y")), "Bearer hf_x:y");
        assert_eq!(of(&basic(":hf_x").replace("Basic", "bAsIc")), "Bearer hf_x");
        for none in [basic("hf_x"), "Basic !".to_owned(), "Basic ".to_owned()] {
            assert_eq!(of(&none).trim_end(), "Bearer", "{none}");
        }
        assert_eq!(of("Bearer hf_x"), "Bearer hf_x");
    }

    #[test]
    fn a_cookie_is_bound_as_tightly_as_browsers_know() {
        let text = |id, is_tls| cookie(id, is_tls).unwrap().to_str().unwrap().to_owned();
        assert_eq!(
            text(Some("x"), true),
            "__Host-berth-session=x; Path=/; HttpOnly; SameSite=Strict; Secure"
        );
        assert_eq!(text(Some("x"), false), "berth-session=x; Path=/; HttpOnly; SameSite=Strict");
        assert!(text(None, true).ends_with("; Max-Age=0"));
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, HeaderValue::from_static("a=b; berth-session=x;c=d"));
        assert_eq!(session_id(&headers, false).as_deref(), Some("x"));
        assert_eq!(session_id(&headers, true), None, "set without TLS, it is not believed");
    }
}
