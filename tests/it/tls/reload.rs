//! Certificates that change under a running Berth, in all the ways in which tools change them.

use std::{fs, os::unix::fs::symlink, path::Path, time::Duration};

use berth::server::CertificateSource;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{DAY, Harbour, PATIENCE, USUAL, ask::Many, write_key};

const FAILED: &str = "berth_tls_certificate_loads_total{outcome=\"failed\"} ";

impl Harbour {
    /// Waits until those who come are shown this certificate.
    async fn until_serial(&self, serial: u32) {
        let waiting = async {
            while self.serial().await != serial {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("the new certificate is never shown");
    }

    fn warning(&self) -> Option<String> {
        self.stage.record.overview().certificate.as_ref()?.warning.clone()
    }

    fn events(&self, slug: &str) -> usize {
        let events = self.stage.record.events(None);
        events.iter().filter(|event| event.reason.slug() == slug).count()
    }
}

fn lay(folder: &Path, (cert, key): &(Vec<u8>, Vec<u8>)) {
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("cert.pem"), cert).unwrap();
    write_key(&folder.join("key.pem"), key);
}

#[tokio::test]
async fn a_pair_that_was_written_over_is_shown_to_new_connections_and_drops_no_old_one() {
    let harbour = Harbour::start().await;
    let mut old = harbour.connect(&["http/1.1"]).await;
    let many = Many::open(&harbour).await;
    assert_eq!(harbour.serial().await, 2);
    lay(harbour.folder.path(), &harbour.authority.pair(3, USUAL));
    harbour.until_serial(3).await;
    // What is open goes on with what it began with.
    let head = format!("GET /livez HTTP/1.1\r\nhost: {}\r\n\r\n", harbour.stage.address);
    old.write_all(head.as_bytes()).await.unwrap();
    let mut said = [0; 15];
    old.read_exact(&mut said).await.unwrap();
    assert_eq!(&said, b"HTTP/1.1 200 OK");
    assert_eq!(super::serial(&old), 2);
    assert_eq!(many.get("/livez").await.0, 200);
    assert_eq!(harbour.events("tls.changed"), 1);
    assert!(harbour.figure("berth_tls_certificate_loads_total{outcome=\"ok\"} 2"));
    assert_eq!(harbour.warning(), None);
}

/// As certbot does it: `live/` holds links, which are put to the next files of `archive/`.
#[tokio::test]
async fn links_that_are_put_elsewhere_one_after_the_other_are_followed() {
    let harbour = moored(|folder, pair| {
        lay(&folder.join("archive/1"), pair);
        fs::create_dir(folder.join("live")).unwrap();
        for name in ["cert.pem", "key.pem"] {
            symlink(format!("../archive/1/{name}"), folder.join("live").join(name)).unwrap();
        }
        folder.join("live")
    })
    .await;
    lay(&harbour.path("archive/2"), &harbour.authority.pair(4, USUAL));
    for name in ["cert.pem", "key.pem"] {
        let link = harbour.path("live").join(name);
        fs::remove_file(&link).unwrap();
        symlink(format!("../archive/2/{name}"), &link).unwrap();
    }
    harbour.until_serial(4).await;
}

/// As Kubernetes does it: the files are links through `..data`, which is swapped by a rename.
#[tokio::test]
async fn a_folder_that_is_swapped_by_a_rename_is_followed() {
    let harbour = moored(|folder, pair| {
        lay(&folder.join("..v1"), pair);
        symlink("..v1", folder.join("..data")).unwrap();
        for name in ["cert.pem", "key.pem"] {
            symlink(format!("..data/{name}"), folder.join(name)).unwrap();
        }
        folder.to_owned()
    })
    .await;
    for (version, serial) in [("..v2", 5), ("..v3", 6)] {
        lay(&harbour.path(version), &harbour.authority.pair(serial, USUAL));
        symlink(version, harbour.path("..tmp")).unwrap();
        fs::rename(harbour.path("..tmp"), harbour.path("..data")).unwrap();
        harbour.until_serial(serial).await;
    }
}

/// As many scripts do it: new files take the places of the old ones.
#[tokio::test]
async fn files_that_are_renamed_into_place_are_followed() {
    let harbour = Harbour::start().await;
    lay(&harbour.path("new"), &harbour.authority.pair(7, USUAL));
    for name in ["cert.pem", "key.pem"] {
        fs::rename(harbour.path("new").join(name), harbour.path(name)).unwrap();
    }
    harbour.until_serial(7).await;
}

/// A server whose files are laid out in this way.
async fn moored(layout: impl FnOnce(&Path, &(Vec<u8>, Vec<u8>)) -> std::path::PathBuf) -> Harbour {
    let folder = tempfile::tempdir().unwrap();
    let authority = super::Authority::new("berth tests");
    let place = layout(folder.path(), &authority.pair(2, USUAL));
    let (cert, key) = (place.join("cert.pem"), place.join("key.pem"));
    let mut harbour = Harbour::with(USUAL, |settings| {
        settings.tls.as_mut().unwrap().source = CertificateSource::Files { cert, key };
    })
    .await;
    (harbour.folder, harbour.authority) = (folder, authority);
    assert_eq!(harbour.serial().await, 2);
    harbour
}

type Spoil<'a> = Box<dyn Fn() + 'a>;

#[tokio::test]
async fn what_can_t_be_used_leaves_the_old_one_and_says_so_everywhere() {
    let harbour = Harbour::start().await;
    let (cert, key) = (harbour.path("cert.pem"), harbour.path("key.pem"));
    let other = harbour.authority.pair(9, USUAL);
    let over = harbour.authority.pair(10, (-2 * DAY, -DAY));
    let good = fs::read(&cert).unwrap();
    let wrong: [(&str, Spoil<'_>); 6] = [
        ("is not the key of", Box::new(|| fs::write(&cert, &other.0).unwrap())),
        ("no certificate in PEM form", Box::new(|| fs::write(&cert, "what?").unwrap())),
        (
            "no certificate in PEM form",
            Box::new(|| fs::write(&cert, &good[..good.len() / 2]).unwrap()),
        ),
        ("can't read", Box::new(|| fs::remove_file(&cert).unwrap())),
        ("is valid from", Box::new(|| lay(harbour.folder.path(), &over))),
        (
            "chmod 600",
            Box::new(|| {
                use std::os::unix::fs::PermissionsExt as _;
                lay(harbour.folder.path(), &other);
                fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
            }),
        ),
    ];
    for (number, (word, spoil)) in wrong.iter().enumerate() {
        spoil();
        harbour.until_figure(&format!("{FAILED}{}", number + 1)).await;
        assert_eq!(harbour.serial().await, 2, "{word}");
        let waiting = async {
            while !harbour.warning().is_some_and(|said| said.contains(word)) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let said = tokio::time::timeout(PATIENCE, waiting).await;
        assert!(said.is_ok(), "`{word}` is not in {:?}", harbour.warning());
        assert!(harbour.figure("berth_tls_certificate_refused 1"));
        assert_eq!(harbour.events("tls.refused"), number + 1);
    }
    let (_, page) = Many::open(&harbour).await.whole("GET", "/", &[("accept", "text/html")]).await;
    assert!(page.contains("The certificate needs care"), "{page}");
    // The way back is a good pair.
    lay(harbour.folder.path(), &harbour.authority.pair(11, USUAL));
    harbour.until_serial(11).await;
    harbour.until_figure("berth_tls_certificate_refused 0").await;
    let waiting = async {
        while harbour.warning().is_some() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("the warning stays");
}

#[tokio::test]
async fn a_certificate_that_ends_within_thirty_days_is_warned_about() {
    let harbour = Harbour::with((-DAY, 29 * DAY), |_| ()).await;
    harbour.until_figure("berth_tls_certificate_expiry_timestamp_seconds 1").await;
    let waiting = async {
        while harbour.warning().is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("nobody is warned");
    assert!(harbour.warning().unwrap().contains("expires in"), "{:?}", harbour.warning());
    assert_eq!(harbour.events("tls.expiring"), 1, "once a day, not at every look");
    lay(harbour.folder.path(), &harbour.authority.pair(12, USUAL));
    harbour.until_serial(12).await;
    let waiting = async {
        while harbour.warning().is_some() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("the warning stays");
    let calm = Harbour::with((-DAY, 32 * DAY), |_| ()).await;
    calm.until_figure("berth_tls_certificate_expiry_timestamp_seconds 1").await;
    assert_eq!((calm.warning(), calm.events("tls.expiring")), (None, 0));
}
