//! What the engine says about itself, for whoever looks whether it is set up well.

use serde_json::{Value, json};

use super::errors::within;
use super::transport::decode;
use super::{Docker, Error, LIST_LIMIT, Wants};

impl Docker {
    /// `/info`, with whether it builds with `BuildKit` and how many networks it has.
    pub(super) async fn look_at_itself(&self) -> Result<Value, Error> {
        let asked = self.transport().get("info", "/info");
        let mut said: Value = decode("info", &within("info", LIST_LIMIT, asked).await?)?;
        let asked = self.transport().get("networks", "/networks");
        let networks: Vec<Value> =
            decode("networks", &within("networks", LIST_LIMIT, asked).await?)?;
        said["Networks"] = json!(networks.len());
        said["HasBuildKit"] = json!(self.chosen(&Wants::default(), false).await.unwrap_or(false));
        Ok(said)
    }
}
