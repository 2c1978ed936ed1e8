//! The list of an image's parts as a `CycloneDX` 1.6 document.

use std::fmt::Write as _;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::inventory::{Distribution, Inventory, Kind, Package};

/// What a Package URL leaves as it is.
const PLAIN: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'.').remove(b'-').remove(b'_').remove(b'~').remove(b':');

/// The document of an image: the same packages of the same image give the same bytes.
pub fn sbom(image: &str, inventory: &Inventory) -> Value {
    let distribution = inventory.distribution.as_ref();
    let parts: Vec<_> = inventory.packages.iter().map(|one| component(one, distribution)).collect();
    let mut about = json!({ "type": "container", "bom-ref": image, "name": image });
    if let Some(distribution) = distribution {
        about["properties"] = json!([{
            "name": "berth:distribution",
            "value": format!("{} {}", distribution.id, distribution.version).trim(),
        }]);
    }
    json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": serial(image, &parts),
        "version": 1,
        "metadata": {
            "tools": { "components": [{
                "type": "application", "name": "berth", "version": env!("CARGO_PKG_VERSION"),
            }] },
            "component": about,
        },
        "components": parts,
    })
}

fn component(package: &Package, distribution: Option<&Distribution>) -> Value {
    let purl = purl(package, distribution);
    let mut part = Map::new();
    part.insert("type".to_owned(), json!("library"));
    part.insert("bom-ref".to_owned(), json!(purl));
    part.insert("name".to_owned(), json!(package.name));
    part.insert("version".to_owned(), json!(package.version));
    part.insert("purl".to_owned(), json!(purl));
    if let Some(source) = &package.source {
        let name = format!("{} {}", source.name, source.version);
        part.insert("properties".to_owned(), json!([{ "name": "berth:source", "value": name }]));
    }
    Value::Object(part)
}

/// `pkg:deb/debian/NAME@VERSION?arch=…&distro=debian-12`, `pkg:pypi/NAME@VERSION`.
fn purl(package: &Package, distribution: Option<&Distribution>) -> String {
    let plain = |text: &str| utf8_percent_encode(text, PLAIN).to_string();
    let (name, version) = (plain(&package.name), plain(&package.version));
    match package.kind {
        Kind::Pypi => format!("pkg:pypi/{name}@{version}"),
        Kind::Deb => {
            let vendor = distribution.map_or("debian", |one| one.id.as_str());
            let mut purl = format!("pkg:deb/{}/{name}@{version}", plain(vendor));
            let mut sign = '?';
            let mut add = |key: &str, value: &str| {
                let _ = write!(purl, "{sign}{key}={}", plain(value));
                sign = '&';
            };
            if let Some(architecture) = &package.architecture {
                add("arch", architecture);
            }
            if let Some(one) = distribution.filter(|one| !one.version.is_empty()) {
                add("distro", &format!("{}-{}", one.id, one.version));
            }
            purl
        }
    }
}

/// A UUID of RFC 9562's version 8, made of what the document says.
fn serial(image: &str, parts: &[Value]) -> String {
    let mut hash = Sha256::new();
    hash.update(image);
    hash.update(Value::from(parts.to_vec()).to_string());
    let mut bytes: [u8; 16] = std::array::from_fn(|_| 0);
    bytes.copy_from_slice(&hash.finalize()[..16]);
    bytes[6] = (bytes[6] & 0x0f) | 0x80;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let mut text = String::from("urn:uuid:");
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        let _ = write!(text, "{byte:02x}");
    }
    text
}
