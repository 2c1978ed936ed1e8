//! Whose a container is: decided from its name and labels alone, in one place.

use std::collections::BTreeMap;

use crate::model::{AppName, Digest, PortBinding, Protocol, SpecHash, label};

/// Whose a container is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// Ours: it may be changed.
    Ours(Owner),
    /// Somebody else's: it is never changed.
    Foreign,
}

/// What the labels of one of our containers say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The app.
    pub app: AppName,
    /// The generation that it was made from.
    pub generation: u64,
    /// Its shape.
    pub spec_hash: SpecHash,
    /// What its image was built from.
    pub build: Option<Digest>,
    /// The commit it runs.
    pub commit: Option<String>,
    /// The short digests of the fields of its shape.
    pub fields: BTreeMap<String, String>,
}

impl Ownership {
    /// The app, when it is ours.
    pub fn app(&self) -> Option<&AppName> {
        self.owner().map(|owner| &owner.app)
    }

    /// What the labels say, when it is ours.
    pub fn owner(&self) -> Option<&Owner> {
        match self {
            Self::Ours(owner) => Some(owner),
            Self::Foreign => None,
        }
    }
}

/// Decides whose a container is.
///
/// It is ours when its labels name our instance, an app and a shape, **and** its name is the one
/// that we would give to that app and shape. Labels alone are not enough: a container started by
/// hand from an image, or from a copied compose file, may carry ours (fault D21).
pub fn owner_of(instance: &str, name: &str, labels: &BTreeMap<String, String>) -> Ownership {
    let get = |key: &str| labels.get(key).map(String::as_str);
    let read = || {
        if get(label::INSTANCE)? != instance {
            return None;
        }
        let app = AppName::new(get(label::APP)?).ok()?;
        let spec_hash = SpecHash::from_label(get(label::SPEC_HASH)?);
        let generation = get(label::GENERATION)?.parse().ok()?;
        if name != container_name(&app, &spec_hash) {
            return None;
        }
        let build = get(label::BUILD).and_then(Digest::parse);
        let commit = get(label::COMMIT).map(ToOwned::to_owned);
        let fields = fields_of_label(get(label::FIELDS).unwrap_or(""));
        Some(Owner { app, generation, spec_hash, build, commit, fields })
    };
    read().map_or(Ownership::Foreign, Ownership::Ours)
}

/// The name of the container of an app and shape.
pub fn container_name(app: &AppName, spec_hash: &SpecHash) -> String {
    format!("{app}-{}", spec_hash.suffix())
}

/// What the name of a container ends with that only proves that GPUs can be given.
const PROOF_NAME: &str = "-proof";

/// The name of the container by which it is proven that another one can be given its GPUs.
pub fn proof_name(container: &str) -> String {
    format!("{container}{PROOF_NAME}")
}

/// Whether a container of ours has such a name: those of apps end with the digits of their shape.
pub fn is_proof_name(name: &str) -> bool {
    name.ends_with(PROOF_NAME)
}

/// What its label says.
pub fn proof_label(instance: &str, app: &AppName) -> String {
    format!("{instance}/{app}")
}

/// The app whose proof a container is. Label and name must both say so, as with [`owner_of`].
pub fn proof_of(instance: &str, name: &str, labels: &BTreeMap<String, String>) -> Option<AppName> {
    let said = labels.get(label::PROOF)?;
    let (whose, app) = said.rsplit_once('/')?;
    let app = AppName::new(app).ok().filter(|_| whose == instance)?;
    let suffix = name.strip_suffix(PROOF_NAME)?.strip_prefix(app.as_str())?.strip_prefix('-')?;
    (!suffix.is_empty() && suffix.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(app)
}

fn fields_of_label(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs.map(|(field, digest)| (field.to_owned(), digest.to_owned())).collect()
}

/// The ports label's text for these bindings.
pub fn ports_label(bindings: &[PortBinding]) -> String {
    let texts: Vec<_> = bindings
        .iter()
        .map(|b| format!("{}:{}:{}/{}", b.host_ip, b.host_port, b.container_port, b.protocol))
        .collect();
    texts.join(",")
}

/// The bindings that a ports label's text says; what can't be read is left out.
pub fn ports_of_label(text: &str) -> Vec<PortBinding> {
    let read = |part: &str| {
        let (rest, protocol) = part.rsplit_once('/')?;
        let (rest, container_port) = rest.rsplit_once(':')?;
        let (host_ip, host_port) = rest.rsplit_once(':')?;
        let protocol = match protocol {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            _ => return None,
        };
        Some(PortBinding {
            host_ip: host_ip.to_owned(),
            host_port: host_port.parse().ok()?,
            container_port: container_port.parse().ok()?,
            protocol,
        })
    };
    text.split(',').filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(instance: &str) -> BTreeMap<String, String> {
        let pairs = [
            (label::INSTANCE, instance),
            (label::APP, "chat"),
            (label::GENERATION, "3"),
            (label::SPEC_HASH, "v1:0123456789abcdef"),
        ];
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn a_proof_is_ours_by_its_label_and_its_name() {
        let (chat, hash) = (AppName::new("chat").unwrap(), "0f3a2b1c");
        let name = proof_name(&format!("chat-{hash}"));
        let labels = |text: String| BTreeMap::from([(label::PROOF.to_owned(), text)]);
        let ours = labels(proof_label("home", &chat));
        assert_eq!(proof_of("home", &name, &ours), Some(chat.clone()));
        assert_eq!(owner_of("home", &name, &ours), Ownership::Foreign, "no app's container");
        for (instance, name, labels) in [
            ("other", name.as_str(), &ours),
            ("home", "chat-0f3a2b1c", &ours),
            ("home", "chat-proof", &ours),
            ("home", "chat-mine-proof", &ours),
            ("home", "shop-0f3a2b1c-proof", &ours),
            ("home", name.as_str(), &BTreeMap::new()),
            ("home", name.as_str(), &labels("chat".to_owned())),
        ] {
            assert_eq!(proof_of(instance, name, labels), None, "{instance} {name} {labels:?}");
        }
    }

    #[test]
    fn our_labels_and_our_name_make_it_ours() {
        let seen = owner_of("home", "chat-01234567", &labels("home"));
        assert_eq!(seen.owner().map(|owner| owner.generation), Some(3));
    }

    /// Fault D21: labels that were inherited, copied or made up.
    #[test]
    fn labels_without_our_name_or_instance_are_foreign() {
        assert_eq!(owner_of("home", "happy_curie", &labels("home")), Ownership::Foreign);
        assert_eq!(owner_of("home", "chat-01234567", &labels("other")), Ownership::Foreign);
        assert_eq!(owner_of("home", "chat-01234567", &BTreeMap::new()), Ownership::Foreign);
    }

    #[test]
    fn the_ports_label_reads_back() {
        let text = "127.0.0.1:8001:5000/tcp,0.0.0.0:53:53/udp";
        assert_eq!(ports_label(&ports_of_label(text)), text);
        assert!(ports_of_label("rubbish,,1:2").is_empty());
    }
}
