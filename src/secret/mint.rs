//! Tokens of apps for the Hub: made of the key of the seals and the app's name, so that nobody keeps
//! them and an app has the same one as long as it is there.

use std::fmt;

use super::{Book, Value};
use crate::model::{AppName, SecretRef};

/// Who knows which tokens are good.
pub trait Mint: fmt::Debug + Send + Sync {
    /// Whether anybody signs in at all.
    fn is_used(&self) -> bool;
    /// Has the token of an app be good for reading.
    ///
    /// # Errors
    /// Why it can't be made good.
    fn keep(&self, app: &AppName, token: &str) -> Result<(), String>;
    /// Makes the token of an app worthless, if it has one.
    fn revoke(&self, app: &AppName);
}

impl Book {
    fn mint(&self) -> Result<&dyn Mint, String> {
        let none = || "this Berth has no tokens for apps".to_owned();
        self.inner()?.settings.mint.as_deref().ok_or_else(none)
    }

    /// The token of an app, good or not yet: empty where nobody signs in.
    pub(super) fn hub_token(&self, wanted: &SecretRef) -> Result<Value, String> {
        if !self.mint()?.is_used() {
            return Ok(Value::new(String::new()));
        }
        Ok(Value::new(format!("hf_{}", self.inner()?.key.letters(wanted.key()))))
    }

    /// Has the token be good: a container is made that gets it.
    pub(super) fn mint_token(&self, app: &AppName, value: &Value) -> Result<(), String> {
        match value.text() {
            Some(token) if !token.is_empty() => self.mint()?.keep(app, token),
            _ => Ok(()),
        }
    }

    /// The app has no use for a token any more.
    pub fn revoke(&self, app: &AppName) {
        if let Ok(mint) = self.mint() {
            mint.revoke(app);
        }
    }
}
