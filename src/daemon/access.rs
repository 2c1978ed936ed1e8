//! The wiring of who may ask.

use std::sync::Arc;

use crate::audit::Log;
use crate::auth::Tokens;
use crate::config::Config;
use crate::server::{Access, CertificateSource, Settings, Socket, Tls};
use crate::workspace::Reach;

/// How the server behaves, and who may ask.
pub(super) fn settings(config: &Config, log: &Arc<Log>) -> Settings {
    let auth = &config.auth;
    let base_url = config.gitops.base_url.as_deref();
    let host_names = auth.host_names.iter().cloned().chain(base_url.and_then(host)).collect();
    Settings {
        access: Access {
            tokens: Some(Arc::new(Tokens::new(&config.state_dir))),
            proxy: auth.proxy.clone(),
            is_open_allowed: auth.is_open_allowed,
            are_metrics_public: auth.are_metrics_public,
            open_models: auth.open_models.clone(),
            host_names,
            base_url: base_url.map(ToOwned::to_owned),
            is_tls: base_url.is_some_and(|url| url.starts_with("https://")),
            group: auth.group.clone(),
            audit: Some(Arc::clone(log)),
            state_dir: config.state_dir.clone(),
        },
        socket: auth.socket.clone().map(|path| Socket {
            path,
            group: auth.group.clone(),
            is_required: auth.is_socket_set,
        }),
        tls: tls(config),
        place: Some(Arc::new(super::place(config))),
        reach: Reach::of(super::access(config)),
        terminals_max: config.terminals.max,
        terminal_idle: config.terminals.idle,
        ..Settings::new(config.listen)
    }
}

/// How it speaks TLS. A certificate that Berth makes is for all names by which it is reached.
fn tls(config: &Config) -> Option<Tls> {
    let mut source = config.tls.source.clone()?;
    if let CertificateSource::SelfSigned { names, .. } = &mut source {
        names.extend(config.gitops.base_url.as_deref().and_then(host));
        let listen = config.listen.ip();
        names.extend((!listen.is_unspecified()).then(|| listen.to_string()));
    }
    Some(Tls { hsts: config.tls.hsts, ..Tls::new(source) })
}

/// The host of an address such as `https://berth.example.com:8443/x`.
fn host(url: &str) -> Option<String> {
    let rest = url.split_once("://")?.1.split('/').next()?;
    let host = match rest.strip_prefix('[') {
        Some(v6) => v6.split(']').next()?,
        None => rest.split(':').next()?,
    };
    (!host.is_empty()).then(|| host.to_ascii_lowercase())
}
