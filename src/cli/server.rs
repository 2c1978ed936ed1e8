//! The controller, as the verbs ask it.

use serde_json::Value;

use super::error::{Error, Exit};
use crate::model::AppName;
use crate::server::client::{Answer, Client, Content, Method, Parts};

/// The controller.
pub(super) struct Server(Client);

impl Server {
    pub(super) fn new(base: &str) -> Result<Self, Error> {
        Ok(Self(Client::new(base)?))
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

    /// Removes something.
    pub(super) async fn delete(&self, path: &str) -> Result<Value, Error> {
        document(&self.0.ask(Method::DELETE, path, None).await?)
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
