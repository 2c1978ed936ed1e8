//! The controller, as the verbs ask it.

use std::{
    io::{self, Read as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::error::{Error, Exit};
use super::models::Blocks;
use crate::auth::Secret;
use crate::config::{Config, Layers};
use crate::model::AppName;
use crate::server::client::{self, Answer, Client, Content, Method, Opened, Parts, Trust};

/// Where a controller is when nobody says.
const USUAL: &str = "http://127.0.0.1:8000";
/// The longest token that makes sense.
const TOKEN_MAX: u64 = 4096;

/// The controller.
pub(super) struct Server(Client);

impl Server {
    /// The controller at `base`; when nobody names one, the one at this machine's socket, else the
    /// usual address.
    pub(super) fn new(
        base: Option<&str>,
        token_file: Option<&Path>,
        trust: &Trust,
    ) -> Result<Self, Error> {
        let token = token(token_file)?;
        let client = match (base, socket()) {
            (Some(base), _) => Client::with_trust(base, trust)?,
            (None, Some(path)) => Client::of_socket(&path),
            (None, None) => Client::new(USUAL)?,
        };
        Ok(Self(client.with_token(token)))
    }

    /// Reads a document.
    pub(super) async fn get(&self, path: &str) -> Result<Value, Error> {
        document(&self.0.ask(Method::GET, path, None).await?)
    }

    /// Asks for something to be done.
    pub(super) async fn post(&self, path: &str) -> Result<Value, Error> {
        document(&self.0.ask(Method::POST, path, None).await?)
    }

    /// Asks for something to be done, and says more about it.
    pub(super) async fn post_with(&self, path: &str, content: Content) -> Result<Value, Error> {
        document(&self.0.ask(Method::POST, path, Some(content)).await?)
    }

    /// Creates or replaces an app.
    pub(super) async fn put(&self, path: &str, content: Content) -> Result<Value, Error> {
        document(&self.0.ask(Method::PUT, path, Some(content)).await?)
    }

    /// Changes an app's manifest in part.
    pub(super) async fn patch(&self, path: &str, content: Content) -> Result<Value, Error> {
        document(&self.0.ask(Method::PATCH, path, Some(content)).await?)
    }

    /// Stores a file whose blocks are these; `is_new` says that none of this name may be there.
    pub(super) async fn upload(
        &self,
        path: &str,
        size: u64,
        is_new: bool,
        blocks: impl Blocks,
    ) -> Result<Value, Error> {
        document(&self.0.upload(path, size, is_new, blocks).await?)
    }

    /// Sends a part of a file whose blocks are these.
    pub(super) async fn part(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, String)],
        size: u64,
        blocks: impl Blocks,
    ) -> Result<Value, Error> {
        let answer = self.0.part(method, path, headers, size, blocks).await?;
        if answer.status < 300 && answer.body.is_empty() {
            return Ok(Value::Null);
        }
        document(&answer)
    }

    /// Removes something.
    pub(super) async fn delete(&self, path: &str) -> Result<Value, Error> {
        document(&self.0.ask(Method::DELETE, path, None).await?)
    }

    /// Reads a part of a content, as long as that is still the same.
    pub(super) async fn range(
        &self,
        path: &str,
        range: (u64, u64),
        etag: &str,
    ) -> Result<Parts, Error> {
        let parts = self.0.range(path, range, etag).await?;
        if parts.status < 300 {
            return Ok(parts);
        }
        let answer = parts.whole().await?;
        Err(Error::of_answer(answer.status, &answer.body))
    }

    /// Opens the terminal at this path.
    pub(super) async fn terminal(&self, path: &str) -> Result<Opened, Error> {
        Ok(self.0.terminal(path).await?)
    }

    /// Reads something that comes in parts.
    pub(super) async fn follow(&self, path: &str, accept: &str) -> Result<Parts, Error> {
        let parts = self.0.follow(path, accept).await?;
        if parts.status < 300 {
            return Ok(parts);
        }
        let answer = parts.whole().await?;
        Err(Error::of_answer(answer.status, &answer.body))
    }
}

/// Whose certificate is believed.
pub(super) fn trust(ca: Option<PathBuf>, fingerprint: Option<&str>) -> Result<Trust, Error> {
    match (ca, fingerprint) {
        (_, Some(digits)) => Ok(Trust::fingerprint(digits).map_err(client::Error::from)?),
        (Some(path), None) => Ok(Trust::Roots(path)),
        (None, None) => Ok(Trust::Machine),
    }
}

/// Where the packaged service has its socket: the group that may use it gets there.
const OF_SERVICE: &str = "/run/berth/berth.sock";

/// The socket at which a controller of this machine answers this user.
fn socket() -> Option<PathBuf> {
    // What is wrong with the configuration is not for these verbs to say.
    let auth = Config::read(&Layers::of_process(std::collections::BTreeMap::new())).ok()?.auth;
    // The service's own options are not those of this shell.
    let of_service = (!auth.is_socket_set).then(|| PathBuf::from(OF_SERVICE));
    let mut all = auth.socket.into_iter().chain(of_service);
    all.find(|path| UnixStream::connect(path).is_ok())
}

/// The token of a file, else of the environment.
fn token(file: Option<&Path>) -> Result<Option<Secret>, Error> {
    let text = match file {
        Some(path) => {
            let wrong = |error: io::Error| {
                Error::new(Exit::Trouble, format!("can't read the token file {}", path.display()))
                    .why(error.to_string())
            };
            let mut text = String::new();
            let file = std::fs::File::open(path).map_err(wrong)?;
            file.take(TOKEN_MAX).read_to_string(&mut text).map_err(wrong)?;
            text
        }
        None => std::env::var("BERTH_TOKEN").unwrap_or_default(),
    };
    let text = text.trim();
    if text.chars().any(|c| !c.is_ascii_graphic()) {
        return Err(Error::new(Exit::Trouble, "the token holds what no token holds"));
    }
    Ok((!text.is_empty()).then(|| Secret::given(text)))
}

fn document(answer: &Answer) -> Result<Value, Error> {
    if 300 <= answer.status {
        return Err(Error::of_answer(answer.status, &answer.body));
    }
    let not_ours = |_| {
        Error::new(Exit::Unreachable, "the server's answer is not a document")
            .fix("check that --server or BERTH_SERVER names a Berth")
    };
    serde_json::from_slice(&answer.body).map_err(not_ours)
}

/// Reads an app's name as people write it: `chat`, or `app/chat`.
pub(super) fn app_name(text: &str) -> Result<AppName, String> {
    AppName::new(text.strip_prefix("app/").unwrap_or(text)).map_err(|error| error.to_string())
}
