//! A real ssh server on the loopback, with git behind it and nothing else.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// The server, until it is dropped.
pub(crate) struct Sshd {
    folder: PathBuf,
    pub(crate) port: u16,
    child: Child,
}

impl Sshd {
    /// Starts a server with a host key of its own; `client.pub` in `folder` may log in.
    pub(crate) fn start(folder: &Path, served: &Path) -> Self {
        let program = "/usr/sbin/sshd";
        assert!(Path::new(program).exists(), "sshd is missing: run compose/setup/sshd.sh");
        if is_root() {
            // Where the server locks its unprivileged half in.
            fs::create_dir_all("/run/sshd").unwrap();
        }
        for key in ["host", "client"] {
            let path = folder.join(key);
            if !path.exists() {
                make_key(&path, "");
            }
        }
        let script = folder.join("serve");
        fs::write(&script, script_text(served)).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        let public = fs::read_to_string(folder.join("client.pub")).unwrap();
        let line = format!("command=\"{}\",restrict {public}", script.display());
        fs::write(folder.join("authorized"), line).unwrap();
        // Another program may take the port between our look and the server's.
        for _ in 0..5 {
            if let Some(server) = Self::listen(program, folder) {
                return server;
            }
        }
        panic!(
            "sshd does not start: {}",
            fs::read_to_string(folder.join("log")).unwrap_or_default()
        );
    }

    fn listen(program: &str, folder: &Path) -> Option<Self> {
        let probe = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = probe.local_addr().unwrap().port();
        drop(probe);
        let at = folder.display();
        // A server may have more than one key.
        let second = folder.join("second");
        let second =
            if second.exists() { format!("HostKey {}\n", second.display()) } else { String::new() };
        let config = format!(
            "{second}ListenAddress 127.0.0.1:{port}\nHostKey {at}/host\nAuthorizedKeysFile {at}/authorized\n\
             PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n\
             KbdInteractiveAuthentication no\nPermitRootLogin yes\nLogLevel VERBOSE\n"
        );
        fs::write(folder.join("config"), config).unwrap();
        let mut child = Command::new(program)
            .args(["-D", "-e", "-f"])
            .arg(folder.join("config"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = String::new();
        let is_up = lines.by_ref().map_while(Result::ok).any(|line| {
            said += &line;
            said.push('\n');
            line.starts_with("Server listening on")
        });
        let log = folder.join("log");
        fs::write(&log, said).unwrap();
        // The server must not be kept waiting by a full pipe.
        std::thread::spawn(move || {
            use std::io::Write as _;
            let mut log = fs::File::options().append(true).open(log).unwrap();
            lines.map_while(Result::ok).for_each(|line| drop(writeln!(log, "{line}")));
        });
        let server = Self { folder: folder.to_owned(), port, child };
        is_up.then_some(server)
    }

    pub(crate) fn url(&self) -> String {
        format!("ssh://{}@127.0.0.1:{}/app.git", user(), self.port)
    }

    /// The line of `known_hosts` for this server.
    pub(crate) fn known(&self) -> String {
        let public = fs::read_to_string(self.folder.join("host.pub")).unwrap();
        format!("[127.0.0.1]:{} {public}", self.port)
    }

    /// The key that may log in.
    pub(crate) fn client_key(&self) -> String {
        fs::read_to_string(self.folder.join("client")).unwrap()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn make_key(path: &Path, passphrase: &str) {
    make_key_of("ed25519", path, passphrase);
}

pub(crate) fn make_key_of(kind: &str, path: &Path, passphrase: &str) {
    let done = Command::new("ssh-keygen")
        .args(["-q", "-t", kind, "-C", "", "-N", passphrase, "-f"])
        .arg(path)
        .stdin(Stdio::null())
        .status();
    assert!(done.expect("ssh-keygen is missing: run compose/setup/sshd.sh").success());
}

/// Serves repositories of a folder, whatever the client asks for. The program `lfs` in that folder,
/// where there is one, answers for Git LFS, and is told the repository.
fn script_text(served: &Path) -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    let served = served.display();
    format!(
        "#!/bin/sh\nPATH='{path}'\n\
         said() {{ printf %s \"$SSH_ORIGINAL_COMMAND\" | sed -n \"s/^$1 '\\/*\\([a-z.-]*\\)'$2\\$/\\1/p\"; }}\n\
         name=$(said git-lfs-authenticate ' download')\n\
         [ -z \"$name\" ] || [ ! -x '{served}/lfs' ] || exec '{served}/lfs' \"$name\"\n\
         name=$(said git-upload-pack '')\n\
         [ -n \"$name\" ] || {{ echo \"no: $SSH_ORIGINAL_COMMAND\" >&2; exit 1; }}\n\
         exec git upload-pack '{served}'/\"$name\"\n"
    )
}

fn user() -> String {
    let out = Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
