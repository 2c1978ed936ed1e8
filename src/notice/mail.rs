//! Mail.

use std::time::Duration;

use lettre::{
    Address, Message, SmtpTransport, Transport as _,
    message::{Mailbox, header::ContentType},
    transport::smtp::{
        Error,
        authentication::{Credentials, Mechanism},
        client::{Tls, TlsParameters},
    },
};

use super::{
    send::{Letter, Outcome},
    target::{Mail, MailTls},
    text::line,
};

/// How long a server may take for one step.
const PATIENCE: Duration = Duration::from_secs(10);
/// How much of what a server says is shown.
const SAID_MAX: usize = 200;

/// Whether this is an address that mail can be sent to.
pub(super) fn check_address(text: &str) -> Result<(), String> {
    let is_address = text.parse::<Address>().is_ok();
    is_address.then_some(()).ok_or_else(|| format!("`{}` is no address", text.escape_debug()))
}

/// Sends a letter. It waits in place.
pub(super) fn send(mail: &Mail, password: Option<&str>, letter: &Letter) -> Outcome {
    let message = match message(mail, letter) {
        Ok(message) => message,
        Err(why) => return Outcome::Refused(why),
    };
    let tls = match mail.tls {
        MailTls::None => Ok(Tls::None),
        MailTls::Starttls => TlsParameters::new(mail.host.clone()).map(Tls::Required),
        MailTls::Tls => TlsParameters::new(mail.host.clone()).map(Tls::Wrapper),
    };
    let tls = match tls {
        Ok(tls) => tls,
        Err(error) => return Outcome::Later(error.to_string()),
    };
    let mut server = SmtpTransport::builder_dangerous(mail.host.as_str())
        .port(mail.port)
        .timeout(Some(PATIENCE))
        .tls(tls);
    if let Some((user, password)) = mail.user.as_ref().zip(password) {
        server = server
            .credentials(Credentials::new(user.clone(), password.to_owned()))
            .authentication(vec![Mechanism::Plain, Mechanism::Login]);
    }
    match server.build().send(&message) {
        Ok(_) => Outcome::Taken,
        Err(error) if error.is_permanent() => Outcome::Refused(told(&error)),
        Err(error) => Outcome::Later(told(&error)),
    }
}

fn message(mail: &Mail, letter: &Letter) -> Result<Message, String> {
    let mailbox = |address: &str| {
        let address = address.parse::<Address>().map_err(|error| error.to_string())?;
        Ok::<_, String>(Mailbox::new(None, address))
    };
    let domain = mail.from.rsplit_once('@').map_or("localhost", |(_, domain)| domain);
    let mut builder = Message::builder()
        .from(mailbox(&mail.from)?)
        .subject(line(&letter.title))
        .message_id(Some(format!("<{}@{domain}>", letter.id)))
        .header(ContentType::TEXT_PLAIN);
    for to in &mail.to {
        builder = builder.to(mailbox(to)?);
    }
    builder.body(letter.text.clone()).map_err(|error| error.to_string())
}

/// What a server said, as far as it is worth showing.
fn told(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    line(&text).chars().take(SAID_MAX).collect()
}
