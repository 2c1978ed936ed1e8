//! What is known of vulnerabilities in images.

use super::{
    documents::{Anything, ScanDocument, ScanList},
    operation::{Operation, op},
};

const TAG: &str = "scans";

pub(super) fn docs() -> Vec<Operation> {
    vec![
        op(
            ("GET", "/api/v1/apps/{name}/scan"),
            (TAG, "readScan"),
            "Known vulnerabilities of an app's image",
        )
        .json::<ScanDocument>(200, "What was found.")
        .problems(&[404]),
        op(
            ("GET", "/api/v1/apps/{name}/sbom"),
            (TAG, "readParts"),
            "What is installed in an app's image",
        )
        .says("A CycloneDX 1.6 document of its Python and Debian packages.")
        .json::<Anything>(200, "The list of parts.")
        .problems(&[404]),
        op(
            ("GET", "/api/v1/scans"),
            (TAG, "listScans"),
            "Known vulnerabilities of the apps' images, in short",
        )
        .json::<ScanList>(200, "How each app's image stands."),
    ]
}
