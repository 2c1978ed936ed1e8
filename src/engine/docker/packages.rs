//! What is installed in an image.
//!
//! Where the engine keeps its layers as folders that can be read here, with what marks emptied ones
//! (`CAP_SYS_ADMIN`), they are read there: a walk over names. Elsewhere the engine sends the image, and what does not matter is dropped on
//! the way. Neither changes anything, and nothing of the image is run.

use std::{collections::BTreeMap, io, path::PathBuf, time::Duration};

use futures_util::TryStreamExt as _;
use serde::Deserialize;
use tokio_util::io::{StreamReader, SyncIoBridge};

use super::super::Error;
use super::Docker;
use super::errors::within;
use super::transport::{SHORT_LIMIT, decode};
use crate::host;
use crate::scan::{Inventory, layers};

/// How long an image may take to be looked through.
const LIMIT: Duration = Duration::from_mins(30);

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Image {
    graph_driver: Option<Driver>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Driver {
    name: String,
    data: Option<BTreeMap<String, String>>,
}

impl Driver {
    /// The folders of the layers, the lowest first.
    fn folders(self) -> Option<Vec<PathBuf>> {
        let mut data = self.data.filter(|_| self.name == "overlay2")?;
        let upper = data.remove("UpperDir")?;
        let lower = data.remove("LowerDir").unwrap_or_default();
        let lower = lower.split(':').filter(|one| !one.is_empty()).map(str::to_owned);
        let mut all: Vec<_> = [upper].into_iter().chain(lower).map(PathBuf::from).collect();
        all.reverse();
        Some(all)
    }
}

impl Docker {
    /// The packages of an image, by its id.
    pub(super) async fn packages_of(&self, id: &str) -> Result<Inventory, Error> {
        let body = self.get("inspect image", SHORT_LIMIT, &format!("/images/{id}/json")).await?;
        let image: Image = decode("inspect image", &body)?;
        // Else a folder that was emptied by a layer looks as if it were not.
        let driver = image.graph_driver.filter(|_| host::sees_trusted());
        if let Some(folders) = driver.and_then(Driver::folders) {
            let read = move || layers::of_folders(&folders);
            if let Ok(Ok(found)) = tokio::task::spawn_blocking(read).await {
                return Ok(found);
            }
        }
        within("save image", LIMIT, self.saved(id)).await
    }

    async fn saved(&self, id: &str) -> Result<Inventory, Error> {
        let broken = |message: String| Error::Broken { call: "save image", message };
        let stream = self.client().export_image(id).map_err(io::Error::other);
        let reader = StreamReader::new(Box::pin(stream));
        let read = move || layers::of_archive(SyncIoBridge::new(reader));
        let read = tokio::task::spawn_blocking(read).await;
        let read = read.map_err(|error| broken(error.to_string()))?;
        read.map_err(|error| broken(error.to_string()))
    }
}
