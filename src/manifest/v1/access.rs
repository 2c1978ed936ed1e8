//! The wire types of what only images of the base family can give.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer,
    de::{Error, Unexpected, Visitor},
};

use super::{Bind, SecretValue, Short};

/// How people get into an app's container.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub(in crate::manifest) struct Access {
    /// By ssh. The image must be one of Berth's base family.
    pub(in crate::manifest) ssh: Option<Ssh>,
}

/// A way in by ssh.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub(in crate::manifest) struct Ssh {
    /// The port on the host, or `auto`. Default: `auto`, one that stays the same.
    pub(in crate::manifest) port: Option<AutoPort>,
    /// Who may reach it. Default: the operator's.
    pub(in crate::manifest) bind: Option<Bind>,
    /// The public keys that let in: texts, or secrets by name.
    #[schemars(required)]
    pub(in crate::manifest) authorized_keys: Option<Vec<Short<String, SecretValue>>>,
}

/// A port's number, or `auto`.
#[derive(Debug)]
pub(in crate::manifest) enum AutoPort {
    /// Berth chooses.
    Auto,
    /// This one.
    Number(i64),
}

impl<'de> Deserialize<'de> for AutoPort {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AutoVisitor)
    }
}

struct AutoVisitor;

impl Visitor<'_> for AutoVisitor {
    type Value = AutoPort;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a port's number, or `auto`")
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<AutoPort, E> {
        Ok(AutoPort::Number(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<AutoPort, E> {
        match value {
            "auto" => Ok(AutoPort::Auto),
            other => Err(E::invalid_value(Unexpected::Str(other), &self)),
        }
    }
}

impl JsonSchema for AutoPort {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "AutoPort".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "integer", "minimum": 1024, "maximum": 65535 },
                { "type": "string", "enum": ["auto"] },
            ],
        })
    }
}

/// A remote of rclone, in its long form.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub(in crate::manifest) struct Rclone {
    /// The remote and the path there, like `nas:projects/lab`.
    #[schemars(required)]
    pub(in crate::manifest) remote: Option<String>,
    /// What is kept in the workspace for a while. Default: `writes`.
    pub(in crate::manifest) cache: Option<Cache>,
    /// The secret that is rclone's configuration file. Default: `RCLONE_CONFIG_…` in `env`.
    pub(in crate::manifest) config: Option<SecretValue>,
}

/// What is kept here for a while.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::manifest) enum Cache {
    /// Nothing.
    Off,
    /// Files that are read and written at once.
    Minimal,
    /// What is written.
    Writes,
    /// All that is read and written.
    Full,
}
