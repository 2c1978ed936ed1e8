//! Authorities that the operator believes beside those of this machine, for git servers whose
//! certificates nobody else has signed.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

/// The variable by which the worker's libraries find a bundle.
const VARIABLE: &str = "SSL_CERT_FILE";
/// Where distributions keep theirs.
const OF_THE_MACHINE: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
const BEGINNING: &str = "-----BEGIN CERTIFICATE-----";

/// Has a worker with this environment believe the authorities of `own` too: the file `to` holds
/// them together with those that it believes already.
pub fn believe(own: &Path, to: &Path, env: &mut BTreeMap<String, String>) -> io::Result<()> {
    let added = fs::read_to_string(own)?;
    if !added.contains(BEGINNING) {
        let message = "it holds no certificate in PEM form";
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    let known = env.get(VARIABLE).map(PathBuf::from).into_iter();
    let mut known = known.chain(OF_THE_MACHINE.iter().map(PathBuf::from));
    let known = known.find_map(|path| fs::read_to_string(path).ok()).unwrap_or_default();
    fs::write(to, format!("{known}\n{added}"))?;
    env.insert(VARIABLE.to_owned(), to.display().to_string());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_believed_is_believed_further() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("known"), "known\n").unwrap();
        fs::write(at("own"), format!("{BEGINNING}\nown\n")).unwrap();
        let mut env = BTreeMap::from([(VARIABLE.to_owned(), at("known").display().to_string())]);
        believe(&at("own"), &at("both"), &mut env).unwrap();
        assert_eq!(env[VARIABLE], at("both").display().to_string());
        let both = fs::read_to_string(at("both")).unwrap();
        assert!(both.contains("known\n") && both.ends_with("own\n"), "{both}");
    }

    #[test]
    fn a_file_without_certificates_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("own");
        fs::write(&own, "text").unwrap();
        let error = believe(&own, &folder.path().join("to"), &mut BTreeMap::new()).unwrap_err();
        assert!(error.to_string().contains("PEM"), "{error}");
    }
}
