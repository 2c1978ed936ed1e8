//! Published ports.

use super::super::emit::{Map, Yaml};
use super::{
    Desk,
    tree::Node,
    values::{self, Port},
};

/// The lowest host port that manifests may name.
const HOST_PORT_MIN: u16 = 1024;

pub(super) fn read(node: &Node, desk: &mut Desk<'_>) -> Vec<Yaml> {
    if !node.is_list() {
        desk.lose(node, "`ports` must be a list");
        return Vec::new();
    }
    let mut taken = Vec::new();
    let mut list = Vec::new();
    for element in node.elements() {
        let ports = if element.is_map() {
            long(element, desk)
        } else {
            element.text().and_then(|text| values::ports(&text))
        };
        let Some(ports) = ports else {
            desk.lose(element, "this is not a port such as `8080:80`");
            continue;
        };
        for port in ports {
            let key = (port.container, port.protocol.clone());
            if taken.contains(&key) {
                let (port, protocol) = key;
                desk.lose(element, format!("{port}/{protocol} is published once already"));
                continue;
            }
            taken.push(key);
            list.extend(manifest_port(&port, element, desk));
        }
    }
    list
}

fn long(node: &Node, desk: &mut Desk<'_>) -> Option<Vec<Port>> {
    let text = |key: &str| node.get(key).and_then(Node::text);
    let container = values::range(&text("target")?)?;
    let host = text("published").filter(|host| !host.is_empty());
    let hosts = match host {
        None => vec![None; container.len()],
        Some(host) => values::range(&host)?.into_iter().map(Some).collect(),
    };
    if let Some(mode) = node.get("mode").filter(|mode| mode.text().as_deref() == Some("host")) {
        desk.note(mode, "ports are published the same way in every mode");
    }
    let (address, protocol) = (text("host_ip"), text("protocol").unwrap_or_else(|| "tcp".into()));
    if hosts.len() != container.len() {
        return None;
    }
    let port = |(host, container)| Port {
        address: address.clone().filter(|address| !address.is_empty()),
        host,
        container,
        protocol: protocol.clone(),
    };
    Some(hosts.into_iter().zip(container).map(port).collect())
}

fn manifest_port(port: &Port, node: &Node, desk: &mut Desk<'_>) -> Option<Yaml> {
    let mut map = Map::new();
    map.put("containerPort", i64::from(port.container));
    match port.host {
        Some(host) if host < HOST_PORT_MIN => {
            let why = format!(
                "host ports below {HOST_PORT_MIN} are not given; {host} becomes an automatic one"
            );
            desk.lose(node, why);
        }
        host => map.put_some("hostPort", host.map(i64::from)),
    }
    match port.protocol.as_str() {
        "tcp" => {}
        "udp" => map.put("protocol", "udp"),
        other => {
            let other: String = other.chars().take(20).collect();
            desk.lose(node, format!("the protocol `{other}` is neither tcp nor udp"));
            return None;
        }
    }
    match port.address.as_deref() {
        None | Some("0.0.0.0" | "::") => map.put("bind", "lan"),
        Some("127.0.0.1" | "::1" | "localhost") => map.put("bind", "loopback"),
        Some(_) => {
            let why = "a port is published on loopback or on every address; it becomes loopback";
            desk.lose(node, why);
            map.put("bind", "loopback");
        }
    }
    Some(Yaml::Map(map))
}
