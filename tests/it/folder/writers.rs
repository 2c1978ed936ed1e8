//! How people and programs write: editors, copies, checkouts, slow hands. The end is the same
//! five manifests, so nothing may happen on the way.

use std::{
    fs::{self, File, OpenOptions},
    io::Write as _,
    time::{Duration, SystemTime},
};

use berth::source::writer;

use super::yard::{APPS, Berth, Notice, Yard, bad, manifest, survive};

/// How a file is saved, once with the text that it had.
type Save = fn(&Yard, &str, &str);

const SAVES: &[(&str, Save)] = &[
    ("W04 vim", |yard, file, text| {
        yard.put("4913", "");
        yard.remove("4913");
        yard.rename(file, &format!("{file}~"));
        yard.put(file, text);
        yard.remove(&format!("{file}~"));
    }),
    ("W04 Emacs", |yard, file, text| {
        yard.rename(file, &format!("#{file}#"));
        yard.put(file, text);
        yard.remove(&format!("#{file}#"));
    }),
    ("W04 sed -i", |yard, file, text| {
        yard.put("sedQx2aT1", text);
        yard.rename("sedQx2aT1", file);
    }),
    ("W04 an editor that saves a hidden file over it", |yard, file, text| {
        yard.put(&format!(".{file}.tmp"), text);
        yard.rename(&format!(".{file}.tmp"), file);
    }),
    ("W07 rsync", |yard, file, text| {
        yard.put(&format!(".{file}.Kx81zQ"), text);
        yard.rename(&format!(".{file}.Kx81zQ"), file);
    }),
    ("W07 an upload that ends by renaming", |yard, file, text| {
        yard.put(&format!("{file}.part"), text);
        yard.rename(&format!("{file}.part"), file);
    }),
    ("Berth's own interface", |yard, file, text| {
        writer::write(&yard.root, file, text.as_bytes()).unwrap();
    }),
    ("cp", |yard, file, text| yard.put(file, text)),
    ("a file moved in from elsewhere", |yard, file, text| {
        fs::write(yard.beside("elsewhere"), text).unwrap();
        fs::rename(yard.beside("elsewhere"), yard.path(file)).unwrap();
    }),
    ("W20 deleted and written again", |yard, file, text| {
        yard.remove(file);
        yard.put(file, text);
    }),
    ("W20 renamed away and back", |yard, file, _| {
        yard.rename(file, "elsewhere");
        yard.rename("elsewhere", file);
    }),
    ("touch", |yard, file, _| {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000);
        open(yard, file).set_modified(now).unwrap();
    }),
    ("D47 a time of writing long ago", |yard, file, _| {
        open(yard, file).set_modified(SystemTime::UNIX_EPOCH).unwrap();
    }),
    ("a hard link in its place", |yard, file, text| {
        yard.put("origin", text);
        fs::hard_link(yard.path("origin"), yard.path("second")).unwrap();
        yard.rename("second", file);
    }),
];

fn open(yard: &Yard, file: &str) -> File {
    OpenOptions::new().write(true).open(yard.path(file)).unwrap()
}

#[tokio::test]
async fn a_save_of_one_file_in_any_way_changes_nothing() {
    let scenarios: Vec<_> = SAVES
        .iter()
        .map(|&(name, save)| {
            let harm = move |yard: &Yard| save(yard, "api.yaml", &manifest("api"));
            bad(name, Notice::Nothing, harm)
        })
        .collect();
    survive(&Yard::new(), &scenarios).await;
}

#[tokio::test]
async fn a_save_of_all_files_in_any_way_changes_nothing() {
    let scenarios: Vec<_> = SAVES
        .iter()
        .map(|&(name, save)| {
            let harm = move |yard: &Yard| {
                for app in APPS {
                    save(yard, &format!("{app}.yaml"), &manifest(app));
                }
            };
            bad(format!("{name}, five times"), Notice::Nothing, harm)
        })
        .collect();
    // Without events, as on a share or in a virtual machine (W09).
    let mut yard = Yard::new();
    yard.options.events = false;
    yard.options.poll = Duration::from_millis(20);
    survive(&yard, &scenarios).await;
}

/// A Berth that runs well, and what was done until then.
async fn begin(yard: &Yard) -> (Berth, Vec<String>) {
    let berth = yard.start_well().await;
    let deeds = yard.deeds();
    (berth, deeds)
}

// W05: each state on the way is looked at.
#[tokio::test]
async fn a_file_that_is_rewritten_slowly_in_its_place_changes_nothing() {
    let yard = Yard::new();
    let (berth, before) = begin(&yard).await;
    let mut file = File::create(yard.path("api.yaml")).unwrap();
    berth.look().await;
    for line in manifest("api").split_inclusive('\n') {
        file.write_all(line.as_bytes()).unwrap();
        file.flush().unwrap();
        berth.look().await;
        assert_eq!(yard.deeds(), before, "after {line:?}");
    }
    drop(file);
    berth.look_twice("W05 written slowly").await;
    berth.until_well().await;
    assert_eq!(yard.deeds(), before);
}

// W05: the writer died, and the half stays for good.
#[tokio::test]
async fn a_file_that_stays_half_written_changes_nothing() {
    let text = manifest("api");
    let lines: Vec<_> = text.split_inclusive('\n').collect();
    let scenarios: Vec<_> = (1..lines.len())
        .map(|count| {
            let half = lines[..count].concat();
            let harm = move |yard: &Yard| yard.put("api.yaml", &half);
            let notice = Notice::Mistake("manifest.missing-field");
            bad(format!("W05 {count} lines"), notice, harm)
        })
        .collect();
    survive(&Yard::new(), &scenarios).await;
}

// W07: rm -r and a new checkout, file by file, with a look after each.
#[tokio::test]
async fn a_folder_that_is_emptied_and_filled_slowly_changes_nothing() {
    let yard = Yard::new();
    let (berth, before) = begin(&yard).await;
    for app in APPS {
        yard.remove(&format!("{app}.yaml"));
    }
    berth.until("the brake", |overview| overview.hold.is_some()).await;
    for app in APPS {
        yard.put(&format!("{app}.yaml"), manifest(app));
        berth.look_twice(&format!("W07 up to {app}")).await;
        assert_eq!(yard.deeds(), before, "W07 up to {app}");
        berth.all_stand(&format!("W07 up to {app}"));
    }
    berth.until_well().await;
    assert_eq!(yard.deeds(), before);
}

// W07, W08: the same with the folder itself made anew.
#[tokio::test]
async fn a_folder_that_is_removed_and_filled_slowly_changes_nothing() {
    let yard = Yard::new();
    let (berth, before) = begin(&yard).await;
    fs::remove_dir_all(&yard.root).unwrap();
    berth.until("it is missing", |overview| overview.source_error.is_some()).await;
    fs::create_dir(&yard.root).unwrap();
    for app in APPS {
        yard.put(&format!("{app}.yaml"), manifest(app));
        berth.look_twice(&format!("W07 up to {app}")).await;
        assert_eq!(yard.deeds(), before, "W07 up to {app}");
    }
    berth.until_well().await;
    assert_eq!(yard.deeds(), before);
}

// W07: half of a synchronisation, seen by Berth in that moment.
#[tokio::test]
async fn half_of_a_synchronisation_changes_nothing() {
    let yard = Yard::new();
    let (berth, before) = begin(&yard).await;
    for pair in [["api", "web"], ["blog", "chat"], ["docs", "api"]] {
        for app in pair {
            yard.remove(&format!("{app}.yaml"));
        }
        berth.look().await;
        for app in pair {
            yard.put(&format!("{app}.yaml"), manifest(app));
            berth.look().await;
        }
        berth.look_twice("W07 half").await;
        assert_eq!(yard.deeds(), before, "{pair:?}");
    }
    berth.until_well().await;
    assert_eq!(yard.deeds(), before);
}

// W02, W19: more events than anybody can listen to, while the five files stay what they are.
#[tokio::test]
async fn a_storm_of_events_changes_nothing() {
    let yard = Yard::new();
    let (berth, before) = begin(&yard).await;
    for round in 0..200 {
        for app in APPS {
            yard.put(&format!(".{app}.{round}.tmp"), manifest(app));
            yard.rename(&format!(".{app}.{round}.tmp"), &format!("{app}.yaml"));
        }
        tokio::task::yield_now().await;
    }
    berth.look_twice("W19 a storm").await;
    berth.until_well().await;
    assert_eq!(yard.deeds(), before);
}
