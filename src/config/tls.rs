//! The options about TLS.

use std::{path::Path, time::Duration};

use super::{Auth, Mistake, Origin, Reader, flag, readable_file};
use crate::model::parse_duration;
use crate::server::CertificateSource;

/// How the interface speaks TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsOptions {
    /// Where the certificate comes from; none is plain HTTP.
    pub source: Option<CertificateSource>,
    /// For how long browsers are told to come by TLS only.
    pub hsts: Option<Duration>,
}

impl Reader {
    pub(super) fn tls(
        &mut self,
        state_dir: Option<&Path>,
        auth: Option<&Auth>,
    ) -> Option<TlsOptions> {
        let cert = self.list("tls-cert", readable_file);
        let key = self.list("tls-key", readable_file);
        let is_made = self.one("tls-self-signed", flag);
        let hsts = self.one("hsts", hsts);
        let cert = cert?.into_iter().next_back();
        let key = key?.into_iter().next_back();
        let source = match (cert, key, is_made?) {
            (None, None, false) => None,
            (Some(cert), Some(key), false) => Some(CertificateSource::Files { cert, key }),
            (None, None, true) => {
                let folder = std::path::absolute(state_dir?.join("tls")).ok()?;
                Some(CertificateSource::SelfSigned { folder, names: auth?.host_names.clone() })
            }
            (Some(_), None, false) => return self.lacks("tls-cert", "say `--tls-key FILE`, too"),
            (None, Some(_), false) => return self.lacks("tls-key", "say `--tls-cert FILE`, too"),
            (_, _, true) => {
                return self
                    .lacks("tls-self-signed", "it can't be had beside --tls-cert and --tls-key");
            }
        };
        let hsts = hsts?;
        let is_files = matches!(source, Some(CertificateSource::Files { .. }));
        if !hsts.is_zero() && !is_files {
            return self.lacks(
                "hsts",
                "it takes a certificate of --tls-cert: browsers would not come back",
            );
        }
        Some(TlsOptions { source, hsts: (!hsts.is_zero()).then_some(hsts) })
    }

    pub(super) fn lacks<T>(&mut self, name: &'static str, message: &str) -> Option<T> {
        let origin = self.settings.iter().find(|setting| setting.name == name);
        let origin = origin.map_or(Origin::Default, |setting| setting.origin.clone());
        let (name, message) = (name.to_owned(), message.to_owned());
        self.mistakes.push(Mistake { origin, name, message });
        None
    }
}

fn hsts(text: &str) -> Result<Duration, String> {
    let duration = parse_duration(text).map_err(|error| error.to_string())?;
    if duration <= Duration::from_hours(2 * 366 * 24) {
        Ok(duration)
    } else {
        Err("write a duration up to two years".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::{Config, Layers};
    use super::*;

    fn read(flags: &[(&'static str, &str)]) -> Result<TlsOptions, String> {
        let flags: BTreeMap<_, _> =
            flags.iter().map(|(name, value)| (*name, vec![(*value).to_owned()])).collect();
        let config = Config::read(&Layers { flags, ..Layers::default() });
        config.map(|config| config.tls).map_err(|error| error.0[0].to_string())
    }

    #[test]
    fn a_certificate_takes_its_key_and_nothing_beside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.pem");
        std::fs::write(&path, "").unwrap();
        let file = path.display().to_string();
        let (cert, key) = (("tls-cert", file.as_str()), ("tls-key", file.as_str()));
        assert_eq!(read(&[]).unwrap(), TlsOptions { source: None, hsts: None });
        let both = read(&[cert, key, ("hsts", "24h")]).unwrap();
        assert!(matches!(both.source, Some(CertificateSource::Files { .. })));
        assert_eq!(both.hsts, Some(Duration::from_hours(24)));
        let made = [("tls-self-signed", "true"), ("host-names", "Berth.example.com")];
        match read(&made).unwrap().source {
            Some(CertificateSource::SelfSigned { folder, names }) => {
                assert!(folder.is_absolute() && folder.ends_with("tls"), "{folder:?}");
                assert_eq!(names, ["berth.example.com"]);
            }
            other => panic!("{other:?}"),
        }
        for (flags, word) in [
            (&[cert][..], "--tls-key"),
            (&[key], "--tls-cert"),
            (&[cert, key, ("tls-self-signed", "true")], "beside"),
            (&[("hsts", "24h")], "takes a certificate"),
            (&[("tls-self-signed", "true"), ("hsts", "24h")], "takes a certificate"),
            (&[("tls-cert", "/no/such/file"), key], "No such file"),
        ] {
            let error = read(flags).unwrap_err();
            assert!(error.contains(word), "{flags:?}: {error}");
        }
    }
}
