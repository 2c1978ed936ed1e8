//! The options that say who may ask.

use std::path::{Path, PathBuf};

use super::{Reader, flag};
use crate::auth::{Group, Proxy, Role, Scope, Tokens};

/// Who may ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// Whether whoever reaches the interface may do everything, until a token is made.
    pub is_open_allowed: bool,
    /// Whether a token was made.
    pub has_tokens: bool,
    /// The proxies that say who asks.
    pub proxy: Proxy,
    /// Whether figures are shown to everybody.
    pub are_metrics_public: bool,
    /// What of the model store everybody may read.
    pub open_models: Vec<Scope>,
    /// Names by which people reach this Berth.
    pub host_names: Vec<String>,
    /// Where the socket is; none is no socket.
    pub socket: Option<PathBuf>,
    /// Whether somebody said where it is.
    pub is_socket_set: bool,
    /// The group whose members are operators by it.
    pub group: Option<Group>,
}

impl Auth {
    /// Whether those that reach the interface sign in, or need not because the operator says so.
    pub fn is_guarded(&self) -> bool {
        self.is_open_allowed || self.has_tokens || self.proxy.is_used()
    }
}

impl Reader {
    pub(super) fn auth(&mut self, state_dir: Option<&Path>) -> Option<Auth> {
        let is_open_allowed = self.one("allow-unauthenticated", flag);
        let are_metrics_public = self.one("metrics-public", flag);
        let open_models = self.list("model-anonymous-read", open_project);
        let host_names = self.list("host-names", host_name);
        let socket = self.list("api-socket", socket);
        let group = self.list("api-socket-group", |name| {
            Group::find(name).ok_or_else(|| "there is no such group on this machine".to_owned())
        });
        let from = self.list("auth-proxy-from", str::parse);
        let user_header = self.one("auth-proxy-user-header", header);
        let groups_header = self.one("auth-proxy-groups-header", header);
        let roles = self.list("auth-proxy-role", role);
        let (from, roles) = (from?, roles?);
        let proxy = Proxy { from, user_header: user_header?, groups_header: groups_header?, roles };
        let socket = socket?;
        let is_socket_set = !socket.is_empty();
        let by_default = || Some(state_dir?.join("berth.sock"));
        let socket = socket.into_iter().next_back().unwrap_or_else(by_default);
        let has_tokens = state_dir.is_some_and(|folder| Tokens::new(folder).is_used());
        Some(Auth {
            is_open_allowed: is_open_allowed?,
            has_tokens,
            proxy,
            are_metrics_public: are_metrics_public?,
            open_models: open_models?,
            host_names: host_names?,
            socket,
            is_socket_set,
            group: group?.into_iter().next_back(),
        })
    }
}

/// A project that everybody may read, or `*`.
fn open_project(text: &str) -> Result<Scope, String> {
    let what = if text == "*" { "*".to_owned() } else { format!("{text}/*") };
    let scope = format!("store:{what}:read").parse();
    scope.map_err(|_| "write the name of a project, or `*` for all".to_owned())
}

fn socket(text: &str) -> Result<Option<PathBuf>, String> {
    match text {
        "off" => Ok(None),
        text => super::absolute_path(text).map(Some),
    }
}

fn host_name(text: &str) -> Result<String, String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if text.is_empty() || !text.chars().all(legal) {
        return Err("write a name such as `berth.example.com`, without a port".to_owned());
    }
    Ok(text.to_ascii_lowercase())
}

fn header(text: &str) -> Result<String, String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    if text.is_empty() || !text.chars().all(legal) {
        return Err("write the name of a header, such as `X-Forwarded-User`".to_owned());
    }
    Ok(text.to_ascii_lowercase())
}

fn role(text: &str) -> Result<(String, Role), String> {
    let wrong = || "write `GROUP=ROLE`, such as `ops=operator`".to_owned();
    let (group, role) = text.rsplit_once('=').ok_or_else(wrong)?;
    if group.is_empty() || group.contains(',') {
        return Err(wrong());
    }
    Ok((group.to_owned(), role.parse()?))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::{Config, Layers};
    use super::*;

    fn read(flags: &[(&'static str, &str)]) -> Result<Config, String> {
        let flags: BTreeMap<_, _> =
            flags.iter().map(|(name, value)| (*name, vec![(*value).to_owned()])).collect();
        let layers = Layers { flags, ..Layers::default() };
        Config::read(&layers).map_err(|error| error.0[0].to_string())
    }

    #[test]
    fn what_everybody_may_read_is_a_project_or_all() {
        let open = |text: &str| {
            let read = read(&[("state-dir", "/tmp/none"), ("model-anonymous-read", text)]);
            read.map(|config| {
                config.auth.open_models.iter().map(Scope::to_string).collect::<Vec<_>>()
            })
        };
        assert_eq!(open("vision").unwrap(), ["store:vision/*:read"]);
        assert_eq!(open("*").unwrap(), ["store:*:read"]);
        for bad in ["a/b", "a:write", "../x", "a/*"] {
            assert!(open(bad).unwrap_err().contains("name of a project, or `*`"), "{bad}");
        }
    }

    /// Fault H01: others get in only where they sign in, or where the operator says otherwise.
    #[test]
    fn an_address_of_others_takes_a_token_a_proxy_or_a_word() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().display().to_string();
        let with = |more: &[(&'static str, &str)]| {
            let base = [("state-dir", state.as_str()), ("listen", "0.0.0.0:8000")];
            read(&[&base[..], more].concat())
        };
        assert!(with(&[]).unwrap_err().contains("berth token create"));
        assert!(with(&[("allow-unauthenticated", "true")]).is_ok());
        assert!(with(&[("auth-proxy-from", "10.0.0.7")]).is_ok());
        let new = crate::auth::New {
            name: "a".to_owned(),
            role: Role::Admin,
            expires: None,
            scopes: Vec::new(),
        };
        let now = crate::model::Timestamp::from_millis(1);
        Tokens::new(folder.path()).create(new, now).unwrap();
        assert!(with(&[]).unwrap().auth.has_tokens);
    }

    #[test]
    fn the_socket_is_in_the_state_folder_or_elsewhere_or_nowhere() {
        let socket = |flags: &[(&'static str, &str)]| read(flags).unwrap().auth.socket;
        let usual = socket(&[("state-dir", "/srv/berth")]);
        assert_eq!(usual, Some(PathBuf::from("/srv/berth/berth.sock")));
        assert_eq!(socket(&[("api-socket", "/run/b.sock")]), Some(PathBuf::from("/run/b.sock")));
        assert_eq!(socket(&[("api-socket", "off")]), None);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (name, value, word) in [
            ("auth-proxy-from", "proxy", "10.0.0.0/8"),
            ("auth-proxy-role", "ops", "GROUP=ROLE"),
            ("auth-proxy-role", "ops=root", "viewer"),
            ("auth-proxy-user-header", "X User", "X-Forwarded-User"),
            ("host-names", "https://x", "without a port"),
            ("api-socket-group", "no-such-group", "no such group"),
        ] {
            let error = read(&[(name, value)]).unwrap_err();
            assert!(error.contains(word), "{name}: {error}");
        }
    }
}
