//! Which secrets a container was given, by what an inspection says.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::super::Error;
use super::transport::decode;
use crate::model::label;
use crate::plan::Sealed;
use crate::secret::Value;

/// An inspection, as far as it is of use here.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct InspectWire {
    config: Option<ConfigWire>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct ConfigWire {
    env: Option<Vec<String>>,
    labels: Option<BTreeMap<String, String>>,
}

/// The values of those variables that are secrets: the container's label names them.
pub(super) fn secrets(body: &[u8]) -> Result<Vec<Value>, Error> {
    let wire: InspectWire = decode("inspect", body)?;
    let config = wire.config.unwrap_or_default();
    let label = config.labels.unwrap_or_default().remove(label::FIELDS).unwrap_or_default();
    let fields = label.split(',').filter_map(|pair| pair.split('=').next());
    let names: BTreeSet<_> = fields.filter_map(Sealed::variable_of_field).collect();
    let variables = config.env.unwrap_or_default();
    let given = variables.iter().filter_map(|pair| pair.split_once('='));
    Ok(given.filter(|(name, _)| names.contains(name)).map(|(_, value)| Value::new(value)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_variables_that_are_secrets_are_taken_for_secrets() {
        let body = br#"{"Config": {"Env": ["A=plain", "B=s3cret=x", "PATH=/bin"], "Labels":
            {"dev.berth.fields": "env.A=0f1e,secret.env.B=12ab,secret./run/b=34cd"}}}"#;
        assert_eq!(secrets(body).unwrap(), [Value::new("s3cret=x")]);
        assert_eq!(secrets(br#"{"Config": {"Env": ["A=x"]}}"#).unwrap(), []);
    }
}
