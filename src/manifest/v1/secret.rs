//! The wire types of secrets: where a value comes from, and never a value.

use schemars::JsonSchema;
use serde::Deserialize;

use super::Metadata;

/// Fields of other systems that hold values.
pub(in crate::manifest) const HOLD_VALUES: [&str; 5] =
    ["value", "values", "data", "stringData", "binaryData"];

/// A secret by name: where its values come from.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub(in crate::manifest) struct SecretManifest {
    /// The version of this format.
    #[schemars(required, extend("enum" = ["berth/v1"]))]
    pub(in crate::manifest) api_version: Option<String>,
    /// What is described.
    #[schemars(required, extend("enum" = ["Secret"]))]
    #[expect(dead_code, reason = "it was read before, to choose this type")]
    pub(in crate::manifest) kind: Option<String>,
    /// What it is called.
    #[schemars(required)]
    pub(in crate::manifest) metadata: Option<Metadata>,
    /// Where its values come from: exactly one of these.
    #[schemars(required)]
    pub(in crate::manifest) spec: Option<SecretSource>,
}

/// Where the values of a secret come from: exactly one of these.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields, extend("minProperties" = 1, "maxProperties" = 1))]
pub(in crate::manifest) struct SecretSource {
    /// The secret of this name in the operator's folder of secrets.
    pub(in crate::manifest) folder: Option<String>,
    /// The credential of this name that systemd hands over.
    pub(in crate::manifest) credential: Option<String>,
    /// The variable of this name in Berth's environment. It begins with `BERTH_SECRET_`.
    pub(in crate::manifest) variable: Option<String>,
    /// The value, encrypted with age and armoured.
    pub(in crate::manifest) age: Option<String>,
    /// The values by key, as a document that SOPS has encrypted.
    pub(in crate::manifest) sops: Option<String>,
}

/// A value that is a secret's.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub(in crate::manifest) struct SecretValue {
    /// The name of the secret.
    #[schemars(required)]
    pub(in crate::manifest) secret: Option<String>,
    /// Which value of the secret. Default: its only one.
    pub(in crate::manifest) key: Option<String>,
}

/// How tightly the container is held.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub(in crate::manifest) struct Security {
    /// Default: the operator's.
    pub(in crate::manifest) profile: Option<Profile>,
}

/// How tightly a container is held.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::manifest) enum Profile {
    /// No privilege, no raw sockets, nothing of the host.
    Baseline,
    /// Besides, not root, no capability, and nothing of the image can be written.
    Restricted,
}
