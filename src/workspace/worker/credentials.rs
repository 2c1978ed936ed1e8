//! What a server is told about us, and what it must show first.
//!
//! Each way to log in is tried once: a server that says no would say it again, and the library
//! would ask for ever (fault G02). What was decided here is told in our own words, whatever the
//! library makes of it.

use std::cell::{Cell, RefCell};

use git2::{CertificateCheckStatus, Cred, CredentialType, ErrorClass, ErrorCode, RemoteCallbacks};

use super::{addresses, failure::Failure, ssh};
use crate::workspace::{
    access::{Approach, Login},
    address::Host,
    error::Error,
    protocol::Job,
};

/// Who is logged in as when an ssh address names nobody.
const SSH_USER: &str = "git";

/// A conversation with one host.
pub(super) struct Talk<'a> {
    approach: &'a Approach,
    host: Host,
    shown: &'a str,
    /// Whether the user's name, and whether the login, were given.
    has_named: Cell<bool>,
    has_tried: Cell<bool>,
    /// Why we would not go on.
    refusal: RefCell<Option<Error>>,
}

impl<'a> Talk<'a> {
    /// Begins a conversation with the host of `url`, when it may be spoken to.
    pub(super) fn new(job: &'a Job, url: &str) -> Result<Self, Error> {
        let host = Host::of(url);
        addresses::check(&job.approach, url, &job.shown)?;
        if host.scheme == "ssh" {
            ssh::prefer_known(&job.area, &job.approach, &host)
                .map_err(|error| Error::disk(&job.area, &error))?;
        }
        Ok(Self {
            approach: &job.approach,
            host,
            shown: &job.shown,
            has_named: Cell::new(false),
            has_tried: Cell::new(false),
            refusal: RefCell::new(None),
        })
    }

    /// Has the library ask us.
    pub(super) fn join<'b>(&'b self, callbacks: &mut RemoteCallbacks<'b>) {
        callbacks.credentials(move |url, user, allowed| self.credentials(url, user, allowed));
        callbacks.certificate_check(move |certificate, _| {
            self.check_connected()?;
            match certificate.as_hostkey() {
                Some(key) => {
                    self.check_key(key.hostkey()).map(|()| CertificateCheckStatus::CertificateOk)
                }
                None => Ok(CertificateCheckStatus::CertificatePassthrough),
            }
        });
    }

    /// What to tell instead of what the library says.
    pub(super) fn explain(&self, failure: Failure) -> Failure {
        match self.refusal.take() {
            Some(refusal) => Failure::Told(refusal),
            None => failure,
        }
    }

    /// Whether what came is from a host that may be spoken to.
    pub(super) fn check_connected(&self) -> Result<(), git2::Error> {
        addresses::check_connected(self.approach, &self.host).map_err(|message| {
            self.refuse(Error::NotAllowed { url: self.shown.to_owned(), message })
        })
    }

    fn check_key(&self, key: Option<&[u8]>) -> Result<(), git2::Error> {
        let checked = ssh::check(self.approach, &self.host, key.unwrap_or_default());
        checked.map_err(|error| self.refuse(error))
    }

    fn credentials(
        &self,
        url: &str,
        user: Option<&str>,
        allowed: CredentialType,
    ) -> Result<Cred, git2::Error> {
        self.check_connected()?;
        let Some(login) = &self.approach.login else { return Err(no()) };
        // Nobody else gets it, whoever sent us there (fault G05).
        if !Host::of(url).is_same_place(&self.host) {
            let message = "it leads to another host, which is not logged in to".to_owned();
            return Err(self.refuse(Error::NotAllowed { url: self.shown.to_owned(), message }));
        }
        if allowed.contains(CredentialType::USERNAME) && !self.has_named.replace(true) {
            return Cred::username(SSH_USER);
        }
        if self.has_tried.replace(true) {
            return Err(no());
        }
        match (&login.username, &login.password, &login.key) {
            (_, _, Some(key))
                if self.host.scheme == "ssh" && allowed.contains(CredentialType::SSH_MEMORY) =>
            {
                let passphrase = login.passphrase.as_ref().map(|hidden| hidden.0.as_str());
                Cred::ssh_key_from_memory(user.unwrap_or(SSH_USER), None, &key.0, passphrase)
            }
            (Some(username), Some(password), _)
                if self.host.scheme != "ssh"
                    && allowed.contains(CredentialType::USER_PASS_PLAINTEXT) =>
            {
                Cred::userpass_plaintext(username, &password.0)
            }
            _ => Err(no()),
        }
    }

    fn refuse(&self, error: Error) -> git2::Error {
        let message = error.to_string();
        self.refusal.replace(Some(error));
        git2::Error::new(ErrorCode::Certificate, ErrorClass::Callback, message)
    }
}

fn no() -> git2::Error {
    git2::Error::new(ErrorCode::Auth, ErrorClass::Callback, "there is no login to offer")
}

/// What a refused login means for a person.
pub(super) fn refused(login: Option<&Login>) -> String {
    match login {
        Some(login) if login.key.is_some() && login.password.is_none() => format!(
            "the server did not accept the key of the secret `{}`, or the key can't be read with \
             its passphrase",
            login.secret
        ),
        Some(login) => format!(
            "the server did not accept the login of the secret `{}`, or it may not read this \
             repository",
            login.secret
        ),
        None => "the repository is private or does not exist; keep a login with `berth secrets \
                 set NAME --key token`, and name it with `source.git.auth: {secret: NAME}`"
            .to_owned(),
    }
}
