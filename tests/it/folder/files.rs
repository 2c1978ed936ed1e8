//! Files that go, move, multiply, or turn into something else.

use std::{fs, os::unix::fs::symlink, os::unix::net::UnixListener};

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::yard::{APPS, Notice, Scenario, Yard, bad, manifest, survive};

fn files() -> impl Iterator<Item = String> {
    APPS.iter().map(|app| format!("{app}.yaml"))
}

/// Something is done to each of the first `count` files.
fn each(
    name: &str,
    notice: Notice,
    count: usize,
    harm: impl Fn(&Yard, &str) + 'static,
) -> Scenario {
    bad(name, notice, move |yard: &Yard| files().take(count).for_each(|file| harm(yard, &file)))
}

// W01, W04, W07, W12
#[tokio::test]
async fn files_that_vanish_together_take_nothing_down() {
    let scenarios = [
        each("W01 two of five deleted", Notice::Brake(2), 2, Yard::remove),
        each("W01 three of five deleted", Notice::Brake(3), 3, Yard::remove),
        each("W01 all but one deleted", Notice::Brake(4), 4, Yard::remove),
        each("W01 all deleted", Notice::Brake(5), 5, Yard::remove),
        each("W04 all renamed to .bak", Notice::Brake(5), 5, |yard, file| {
            yard.rename(file, &format!("{file}.bak"));
        }),
        each("W04 all renamed to names of backups", Notice::Brake(5), 5, |yard, file| {
            yard.rename(file, &format!("{file}~"));
        }),
        each("all renamed to .YAML", Notice::Brake(5), 5, |yard, file| {
            yard.rename(file, &file.replace(".yaml", ".YAML"));
        }),
        each("all hidden", Notice::Brake(5), 5, |yard, file| {
            yard.rename(file, &format!(".{file}"));
        }),
        bad("all moved into a hidden folder", Notice::Brake(5), |yard| {
            fs::create_dir(yard.path(".old")).unwrap();
            files().for_each(|file| yard.rename(&file, &format!(".old/{file}")));
        }),
        bad("all moved too deep", Notice::Brake(5), |yard| {
            fs::create_dir_all(yard.path("1/2/3/4/5")).unwrap();
            files().for_each(|file| yard.rename(&file, &format!("1/2/3/4/5/{file}")));
        }),
        bad("two named otherwise", Notice::Brake(2), |yard| {
            yard.put("api.yaml", "# nothing yet\n");
            yard.put("web.yaml", "# nothing yet\n");
        }),
    ];
    survive(&Yard::new(), &scenarios).await;
}

// W12: the app is what the file says, wherever the file is.
#[tokio::test]
async fn files_that_move_within_the_folder_change_nothing() {
    let scenarios = [
        each("W12 renamed", Notice::Nothing, 5, |yard, file| {
            yard.rename(file, &format!("new-{file}"));
        }),
        each("W12 renamed to .yml", Notice::Nothing, 5, |yard, file| {
            yard.rename(file, &file.replace(".yaml", ".yml"));
        }),
        bad("W12 moved into a folder", Notice::Nothing, |yard| {
            fs::create_dir(yard.path("team")).unwrap();
            files().for_each(|file| yard.rename(&file, &format!("team/{file}")));
        }),
        bad("W12 put together in one file", Notice::Nothing, |yard| {
            let all: Vec<_> = APPS.iter().map(|app| manifest(app)).collect();
            yard.put("all.yaml", all.join("---\n"));
            files().for_each(|file| yard.remove(&file));
        }),
        bad("W12 taken from that file", Notice::Nothing, |yard| {
            let both = format!("{}---\n{}", manifest("api"), manifest("web"));
            yard.put(".new", both);
            yard.rename(".new", "api.yaml");
            yard.remove("web.yaml");
        }),
    ];
    survive(&Yard::new(), &scenarios).await;
}

fn become_fifo(yard: &Yard, file: &str) {
    yard.remove(file);
    mknodat(CWD, yard.path(file), FileType::Fifo, Mode::RUSR, 0).unwrap();
}

fn become_folder(yard: &Yard, file: &str) {
    yard.remove(file);
    fs::create_dir(yard.path(file)).unwrap();
}

fn become_socket(yard: &Yard, file: &str) {
    yard.remove(file);
    drop(UnixListener::bind(yard.path(file)).unwrap());
}

fn become_link(target: &'static str) -> impl Fn(&Yard, &str) {
    move |yard, file| {
        yard.remove(file);
        symlink(target.replace("{}", file), yard.path(file)).unwrap();
    }
}

// W14, W15
#[tokio::test]
async fn files_that_turn_into_something_else_take_nothing_down() {
    let unreadable = Notice::Mistake("manifest.unreadable");
    let scenarios = [
        each("W14 one FIFO", unreadable, 1, become_fifo),
        each("W14 five FIFOs", unreadable, 5, become_fifo),
        each("W15 one folder", unreadable, 1, become_folder),
        each("W15 five folders", unreadable, 5, become_folder),
        each("W14 one socket", unreadable, 1, become_socket),
        each("W14 five sockets", unreadable, 5, become_socket),
        each("W14 links to nothing", unreadable, 5, become_link("nowhere")),
        each("W14 links to themselves", unreadable, 5, become_link("{}")),
        each("W14 links out of the folder", unreadable, 5, become_link("../secret/{}")),
        each("W14 links to a device", unreadable, 5, become_link("/dev/zero")),
        each("W14 one link to a file of passwords", unreadable, 1, become_link("/etc/passwd")),
    ];
    survive(&Yard::new(), &scenarios).await;
}

// W15. Who may read everything can't be kept from it by permissions; for that person this is the
// same as the other unreadable files.
#[tokio::test]
async fn files_that_may_not_be_read_take_nothing_down() {
    use std::os::unix::fs::PermissionsExt as _;

    let forbid = |path: &std::path::Path| {
        fs::set_permissions(path, fs::Permissions::from_mode(0o000)).unwrap();
    };
    let allow = |yard: &Yard| {
        fs::set_permissions(&yard.root, fs::Permissions::from_mode(0o755)).unwrap();
        yard.mend();
    };
    let yard = Yard::new();
    forbid(&yard.path("api.yaml"));
    let may_read_all = fs::read(yard.path("api.yaml")).is_ok();
    yard.remove("api.yaml");
    yard.mend();
    if may_read_all {
        let unreadable = Notice::Mistake("manifest.unreadable");
        return survive(&yard, &[each("W15 two folders", unreadable, 2, become_folder)]).await;
    }
    let scenarios = [
        each("W15 one file", Notice::Mistake("manifest.unreadable"), 1, move |yard, file| {
            forbid(&yard.path(file));
        }),
        each("W15 five files", Notice::Mistake("manifest.unreadable"), 5, move |yard, file| {
            forbid(&yard.path(file));
        }),
        bad("W15 the folder", Notice::Source("failed to read"), move |yard| forbid(&yard.root)),
    ];
    let scenarios: Vec<_> = scenarios.into_iter().map(|scenario| scenario.mended(allow)).collect();
    survive(&yard, &scenarios).await;
}

// W15: the apps of a folder within the folder.
#[tokio::test]
async fn a_folder_within_the_folder_that_goes_takes_nothing_down() {
    let into_team = |yard: &Yard| {
        yard.mend();
        fs::create_dir(yard.path("team")).unwrap();
        yard.rename("api.yaml", "team/api.yaml");
        yard.rename("web.yaml", "team/web.yaml");
    };
    let scenarios = [
        bad("W07 deleted", Notice::Brake(2), |yard| {
            fs::remove_dir_all(yard.path("team")).unwrap();
        }),
        bad("moved out", Notice::Brake(2), |yard| {
            fs::rename(yard.path("team"), yard.beside("moved")).unwrap();
        }),
        bad("hidden", Notice::Brake(2), |yard| yard.rename("team", ".team")),
        bad("replaced by a FIFO", Notice::Brake(2), |yard| {
            fs::remove_dir_all(yard.path("team")).unwrap();
            mknodat(CWD, yard.path("team"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        }),
        bad("W14 replaced by a link", Notice::Brake(2), |yard| {
            yard.rename("team", ".team");
            symlink(".team", yard.path("team")).unwrap();
        }),
        bad("W12 renamed", Notice::Nothing, |yard| yard.rename("team", "crew")),
    ];
    let scenarios: Vec<_> =
        scenarios.into_iter().map(|scenario| scenario.mended(into_team)).collect();
    let yard = Yard::new();
    into_team(&yard);
    survive(&yard, &scenarios).await;
}

// W16
#[tokio::test]
async fn a_folder_with_far_too_many_files_takes_nothing_down() {
    let scenarios = [bad("W16 20,001 files", Notice::Source("more than 20000"), |yard| {
        for number in 0..20_001 - APPS.len() {
            yard.put(&format!("x{number}.yaml"), "");
        }
    })];
    survive(&Yard::new(), &scenarios).await;
}

// Files that are none of Berth's business.
#[tokio::test]
async fn what_lies_about_in_the_folder_changes_nothing() {
    let lies = |name: &str, file: &'static str, bytes: &'static [u8]| {
        bad(name, Notice::Nothing, move |yard: &Yard| yard.put(file, bytes))
    };
    let scenarios = [
        lies("W04 vim's swap file", ".api.yaml.swp", b"b0VIM"),
        lies("W04 vim's test file", "4913", b""),
        lies("W04 a backup", "api.yaml~", b"kind: App"),
        lies("W04 Emacs' lock and saved files", "#api.yaml#", b"kind: App"),
        lies("a read-me", "README.md", b"# read me"),
        lies("a git folder", ".git/config.yaml", b"}{"),
        lies("a program", "berth", b"\x7fELF"),
        lies("what the system found", "lost+found/api.yaml", b"}{"),
    ];
    survive(&Yard::new(), &scenarios).await;
}
