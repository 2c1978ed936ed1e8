//! `berth ssh`: into an app's container, where its image has sshd and its manifest `access.ssh`.
//!
//! Address and port come from the controller. The keys of hosts are kept apart from the user's own
//! `known_hosts`: an app is known by its name, wherever its port is.

use std::{
    fs::DirBuilder,
    os::unix::{fs::DirBuilderExt as _, process::CommandExt as _},
    path::PathBuf,
    process::Command,
};

use serde_json::Value;

use super::{
    document::{condition, list, text},
    error::{Error, Exit},
    server::{Server, app_name},
};
use crate::model::{AppName, SSH_PORT};

/// What it takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The app.
    #[arg(value_parser = app_name, add = super::completion::apps())]
    name: AppName,
    /// Whom to log in as [default: `root`; `nonroot` with the profile `restricted`].
    #[arg(short, long, value_name = "NAME")]
    login: Option<String>,
    /// The private key to use [default: as ssh's own configuration says].
    #[arg(short, long, value_name = "FILE")]
    identity: Option<PathBuf>,
    /// What to run there [default: a shell].
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Where sshd of an app is.
#[derive(Debug, PartialEq, Eq)]
struct Door {
    host: String,
    port: u16,
    user: String,
}

pub(super) async fn run(args: &Args, server: &Server, named: Option<&str>) -> Result<Exit, Error> {
    let app = server.get(&format!("/api/v1/apps/{}", args.name)).await?;
    let machine = named.map_or_else(|| "127.0.0.1".to_owned(), host_of);
    let door = door(&args.name, &app, &machine)?;
    let known = known_hosts()?;
    let mut command = Command::new("ssh");
    command
        .args(["-p", &door.port.to_string()])
        .args(["-l", args.login.as_deref().unwrap_or(&door.user)])
        .arg("-o")
        .arg(format!("UserKnownHostsFile={}", quoted(&known.display().to_string())))
        .arg("-o")
        .arg(format!("HostKeyAlias={}.{machine}.berth", args.name))
        .args(["-o", "StrictHostKeyChecking=accept-new", "-o", "CheckHostIP=no"]);
    if let Some(identity) = &args.identity {
        command.args(["-o", "IdentitiesOnly=yes", "-i"]).arg(identity);
    }
    command.arg("--").arg(&door.host).args(&args.command);
    // It takes this process's place: terminal, signals and exit code are its own.
    let error = command.exec();
    Err(Error::new(Exit::Trouble, "ssh can't be run")
        .why(error.to_string())
        .fix("install the OpenSSH client, on Debian: apt-get install openssh-client"))
}

/// Where to get in, as the controller says it.
fn door(name: &AppName, app: &Value, machine: &str) -> Result<Door, Error> {
    if app.pointer("/spec/access/ssh").is_none() {
        return Err(Error::new(Exit::Refused, format!("`{name}` has no way in by ssh"))
            .why("its manifest has no `access.ssh`")
            .fix("add `access: {ssh: {authorizedKeys: [\"ssh-ed25519 …\"]}}` to its spec; its image must be of Berth's base family"));
    }
    // A port is an app's own before it runs, too.
    let runs = condition(app, "Available") == Some("True");
    let ports = if runs { list(app, "/status/ports") } else { &[] };
    let is_ssh = |port: &&Value| port["containerPort"] == SSH_PORT && port["protocol"] == "tcp";
    let bound = ports.iter().find(is_ssh);
    let port = bound.and_then(|port| port["hostPort"].as_u64());
    let Some(port) = port.and_then(|port| u16::try_from(port).ok()) else {
        return Err(Error::new(Exit::NotSo, format!("`{name}` does not listen at present"))
            .why(text(app, "/status/message"))
            .fix(format!("`berth status {name}` says how it stands")));
    };
    let bound_to = bound.map(|port| text(port, "/hostIp")).unwrap_or_default();
    let is_here = is_loopback(machine);
    if is_loopback(bound_to) && !is_here {
        return Err(Error::new(
            Exit::Refused,
            format!("the way into `{name}` is open on {machine} itself only"),
        )
        .why(format!("its port {port} is bound to {bound_to}"))
        .fix("set `access.ssh.bind: lan`, or run this there"));
    }
    let host = match bound_to {
        "" | "0.0.0.0" | "::" => machine,
        _ if is_loopback(bound_to) => "127.0.0.1",
        address => address,
    };
    let is_tight = text(app, "/spec/security/profile") == "restricted";
    let user = if is_tight { "nonroot" } else { "root" };
    Ok(Door { host: host.to_owned(), port, user: user.to_owned() })
}

fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The machine in a controller's address.
fn host_of(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?']).next().unwrap_or(rest);
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest).to_owned(),
        None => authority.split(':').next().unwrap_or(authority).to_owned(),
    }
}

/// The file of the hosts' keys, whose folder is made when it is missing.
fn known_hosts() -> Result<PathBuf, Error> {
    let from = |name: &str| std::env::var_os(name).filter(|text| !text.is_empty());
    let base = from("XDG_STATE_HOME").map(PathBuf::from);
    let base = base.or_else(|| from("HOME").map(|home| PathBuf::from(home).join(".local/state")));
    let Some(folder) = base.map(|base| base.join("berth")) else {
        return Err(Error::new(Exit::Trouble, "there is no place for the keys of hosts")
            .fix("set HOME or XDG_STATE_HOME"));
    };
    DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(|error| {
        Error::new(Exit::Trouble, format!("can't make {}", folder.display())).why(error.to_string())
    })?;
    Ok(folder.join("known_hosts"))
}

/// A path as a value of ssh's options.
fn quoted(path: &str) -> String {
    format!("\"{}\"", path.replace('%', "%%"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn app(address: &str) -> Value {
        json!({
            "spec": {"access": {"ssh": {"port": "auto"}}},
            "status": {"message": "m", "conditions": [{"type": "Available", "status": "True"}], "ports": [
                {"hostIp": "127.0.0.1", "hostPort": 8001, "containerPort": 7860, "protocol": "tcp"},
                {"hostIp": address, "hostPort": 8002, "containerPort": 22, "protocol": "tcp"},
            ]},
        })
    }

    fn found(app: &Value, machine: &str) -> Result<Door, Exit> {
        door(&AppName::new("lab").unwrap(), app, machine).map_err(|error| error.exit())
    }

    fn at(host: &str, user: &str) -> Door {
        Door { host: host.to_owned(), port: 8002, user: user.to_owned() }
    }

    #[test]
    fn the_door_is_where_the_port_is_bound() {
        assert_eq!(found(&app("127.0.0.1"), "127.0.0.1"), Ok(at("127.0.0.1", "root")));
        assert_eq!(found(&app("0.0.0.0"), "gpu.example.com"), Ok(at("gpu.example.com", "root")));
        assert_eq!(found(&app("192.0.2.7"), "gpu.example.com"), Ok(at("192.0.2.7", "root")));
        assert_eq!(found(&app("127.0.0.1"), "gpu.example.com"), Err(Exit::Refused));
        let mut tight = app("127.0.0.1");
        tight["spec"]["security"] = json!({"profile": "restricted"});
        assert_eq!(found(&tight, "localhost"), Ok(at("127.0.0.1", "nonroot")));
        let mut closed = app("127.0.0.1");
        closed["status"]["ports"] = json!([]);
        assert_eq!(found(&closed, "localhost"), Err(Exit::NotSo));
        let mut down = app("127.0.0.1");
        down["status"]["conditions"][0]["status"] = json!("False");
        assert_eq!(found(&down, "localhost"), Err(Exit::NotSo));
        assert_eq!(found(&json!({"spec": {}}), "localhost"), Err(Exit::Refused));
    }

    #[test]
    fn the_machine_is_the_controllers() {
        for (url, host) in [
            ("http://127.0.0.1:8000", "127.0.0.1"),
            ("https://gpu.example.com/berth", "gpu.example.com"),
            ("https://[::1]:8000", "::1"),
            ("gpu", "gpu"),
        ] {
            assert_eq!(host_of(url), host);
        }
    }
}
