//! What only images of the base family can give: ssh, and remotes as folders.

use crate::model::{
    Bind, KEY_FILES, Mount, MountSource, PortSpec, Protocol, REMOTES_FILE, Remote, SSH_PORT,
    SecretRef, SshAccess,
};

use super::{
    super::{
        problem::{Broken, Trail},
        v1::{self, Short},
        validate,
    },
    Lower, required, secret,
};

const CONFLICT: &str = "manifest.conflict";
/// A key is one line, and not a long one.
const KEY_MAX: usize = 16 << 10;

impl Lower<'_> {
    /// The way in by ssh. Its port is one more port, keys that are secrets are files.
    pub(super) fn ssh(
        &mut self,
        spec: &Trail<'_>,
        ports: &mut Vec<PortSpec>,
        mounts: &mut Vec<Mount>,
    ) -> Option<SshAccess> {
        let wire = self.spec.access.as_ref()?.ssh.as_ref()?;
        let trail = spec.key("access");
        let trail = trail.key("ssh");
        let at = trail.key("authorizedKeys");
        let listed = required(self.problems, wire.authorized_keys.as_ref(), &at)?;
        if listed.is_empty() {
            let broken = Broken::new("there is no key, so nobody could get in");
            self.problems.refuse(&at, broken.help("write a public key, or `{secret: NAME}`"));
        }
        if self.spec.env.iter().flatten().any(|(name, _)| name == "SSH_PUBKEY") {
            let message = "`SSH_PUBKEY` is set from `access.ssh.authorizedKeys`";
            let env = spec.key("env");
            self.problems.error(CONFLICT, &env.key("SSH_PUBKEY"), message).at_key();
        }
        let mut keys = Vec::new();
        for (nth, key) in listed.iter().enumerate() {
            let at = at.index(nth);
            match key {
                Short::Short(text) => {
                    keys.extend(self.problems.keep(&at, public_key(text)));
                }
                Short::Long(wire) => {
                    let wanted = secret::reference(wire, &at, self.problems);
                    mounts.extend(wanted.map(|wanted| Mount {
                        path: format!("{KEY_FILES}{nth}.pub"),
                        source: MountSource::Secret(wanted),
                        read_only: true,
                    }));
                }
            }
        }
        let at = trail.key("port");
        let port = match &wire.port {
            None | Some(v1::AutoPort::Auto) => None,
            Some(v1::AutoPort::Number(port)) => self.problems.keep(&at, validate::host_port(*port)),
        };
        let bind = wire.bind.as_ref().map(|bind| match bind {
            v1::Bind::Loopback => Bind::Loopback,
            v1::Bind::Lan => Bind::Lan,
        });
        if ports.iter().any(|port| port.container_port == SSH_PORT) {
            let message = "`access.ssh` publishes the port 22 already";
            self.problems.error(CONFLICT, &trail, message).at_key();
        }
        ports.push(PortSpec {
            name: None,
            container_port: SSH_PORT,
            host_port: port,
            protocol: Protocol::Tcp,
            bind,
        });
        Some(SshAccess { port, bind, keys })
    }

    /// The files with rclone's configuration that mounts name: one for all of them.
    pub(super) fn remotes_file(&mut self, trail: &Trail<'_>, mounts: &mut Vec<Mount>) {
        let mut found: Option<SecretRef> = None;
        for (at, wire) in self.spec.mounts.iter().flatten().enumerate() {
            let Some(Short::Long(v1::Rclone { config: Some(wire), .. })) = &wire.rclone else {
                continue;
            };
            let at = trail.index(at);
            let at = at.key("rclone");
            let at = at.key("config");
            let Some(wanted) = secret::reference(wire, &at, self.problems) else { continue };
            match &found {
                Some(other) if *other != wanted => {
                    let message = "rclone has one configuration in a container";
                    let problem = self.problems.error(CONFLICT, &at, message);
                    problem.help("name the same secret everywhere");
                }
                Some(_) => {}
                None => found = Some(wanted),
            }
        }
        mounts.extend(found.map(|wanted| Mount {
            path: REMOTES_FILE.to_owned(),
            source: MountSource::Secret(wanted),
            read_only: true,
        }));
    }

    /// A remote.
    pub(super) fn remote(
        &mut self,
        wire: &Short<String, v1::Rclone>,
        trail: &Trail<'_>,
    ) -> Option<MountSource> {
        let none = v1::Rclone::default();
        let trail = trail.key("rclone");
        let at = trail.key("remote");
        let (text, long, at) = match wire {
            Short::Short(text) => (Some(text), &none, &trail),
            Short::Long(long) => (long.remote.as_ref(), long, &at),
        };
        let text = required(self.problems, text, at)?;
        let remote = self.problems.keep(at, remote(text))?;
        let cache = long.cache.as_ref().map(|cache| match cache {
            v1::Cache::Off => "off",
            v1::Cache::Minimal => "minimal",
            v1::Cache::Writes => "writes",
            v1::Cache::Full => "full",
        });
        Some(MountSource::Remote(Remote { remote, cache: cache.map(ToOwned::to_owned) }))
    }
}

/// A public key as `authorized_keys` has them: one line, and never a private one.
fn public_key(text: &str) -> Result<String, Broken> {
    let text = text.trim();
    if text.contains("PRIVATE KEY") {
        let broken = Broken::new("this is a private key");
        return Err(broken.help(
            "take it out and make a new pair, for others may have read it; the public one is in the file that ends with `.pub`",
        ));
    }
    let has_key = text.split_whitespace().any(|word| 40 <= word.len() && word.starts_with("AAAA"));
    if has_key && text.len() <= KEY_MAX && !text.contains(['\n', '\r', '\0']) {
        return Ok(text.to_owned());
    }
    let broken = Broken::new("this is not a public key of ssh");
    Err(broken.help("write one line, like `ssh-ed25519 AAAA… me@laptop`, or `{secret: NAME}`"))
}

/// A remote and a path there, in characters that mean nothing to a shell or to supervisord.
fn remote(text: &str) -> Result<String, Broken> {
    let legal = |c: char| c.is_alphanumeric() || "_-.+@/=,~".contains(c);
    let parts = text.split_once(':');
    let is_name = |name: &str| {
        !name.is_empty() && !name.starts_with('-') && name.chars().all(|c| legal(c) && c != '/')
    };
    if parts.is_some_and(|(name, path)| is_name(name) && path.chars().all(legal)) {
        return Ok(text.to_owned());
    }
    let broken = Broken::new("this is not a remote of rclone");
    Err(broken.help("write the remote's name and a path there, like `nas:projects/lab` or `nas:`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_one_public_line() {
        let key = format!("ssh-ed25519 AAAA{} me", "x".repeat(60));
        assert!(public_key(&format!("  {key}\n")).is_ok_and(|kept| kept == key));
        assert!(public_key(&format!("restrict,command=\"true\" {key}")).is_ok());
        for wrong in ["", "ssh-ed25519", "me@laptop", &format!("{key}\n{key}")] {
            assert!(public_key(wrong).is_err(), "{wrong}");
        }
        assert!(public_key("-----BEGIN OPENSSH PRIVATE KEY-----").is_err());
    }

    #[test]
    fn remotes_have_a_name_and_no_trick() {
        for right in ["nas:", "nas:projects/lab", "my-box_2:a.b/ä+c"] {
            assert!(remote(right).is_ok(), "{right}");
        }
        for wrong in
            ["", "nas", ":memory:", "-x:a", "nas:a b", "nas:a\nb", "a/b:c", "nas:$(x)", "nas:%s"]
        {
            assert!(remote(wrong).is_err(), "{wrong}");
        }
    }
}
