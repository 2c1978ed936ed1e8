//! What answers is not the engine that Berth knows, or not at the same socket.

use std::{fs, os::unix::fs::symlink, path::Path};

use super::second::{Berth, Home, Second, TINY};

/// Has `at` lead to another socket, from one moment to the next.
fn turn(at: &Path, to: &Path) {
    let draft = at.with_extension("draft");
    symlink(to, &draft).unwrap();
    fs::rename(&draft, at).unwrap();
}

/// Waits until Berth has said that it does not know the engine, some passes long.
fn until_read_only(berth: &Berth<'_>) {
    berth.until_said("a", "Unknown", "another engine answers at this address");
    berth.until_said("a", "Unknown", "berth confirm");
    berth.passes_more(4);
}

/// Fault D48: the known engine is there, and lives, while another takes its place. Nothing is done
/// on either before a person confirms it, whatever is asked for and however often Berth starts.
#[test]
fn another_engine_is_left_alone_until_it_is_confirmed() {
    let (known, other) = (Second::start("", &[]), Second::start("", &[]));
    let home = Home::new();
    let socket = known.path("berth.sock");
    turn(&socket, &known.path("engine.sock"));
    for app in ["a", "b"] {
        home.put_unchecked(app, "1");
    }
    other.docker(&["run", "--detach", "--name=foreign", TINY]);
    let foreign = other.all();
    let berth = home.start(&known, "berth.sock");
    let before = berth.until_running(&["a", "b"]);
    assert!(berth.ask(&["confirm"]).is_err(), "there is nothing to confirm");

    turn(&socket, &other.path("engine.sock"));
    home.put_unchecked("new", "1");
    fs::remove_file(home.path("manifests/b.yaml")).unwrap();
    until_read_only(&berth);
    drop(berth);
    let berth = home.start(&known, "berth.sock");
    until_read_only(&berth);
    assert_eq!(other.all(), foreign);
    assert_eq!([known.lives("a"), known.lives("b")].concat(), before);

    // The known one comes back: all goes on where it was.
    turn(&socket, &known.path("engine.sock"));
    berth.until_running(&["new"]);
    berth.until("b is removed", || known.lives("b").is_empty());
    assert_eq!(berth.until_running(&["a"]), before[..1]);

    // A person says that the other one is right.
    turn(&socket, &other.path("engine.sock"));
    until_read_only(&berth);
    let said = berth.ask(&["confirm"]).unwrap();
    assert!(said.contains("going on with the engine"), "{said}");
    for app in ["a", "new"] {
        berth.until(&format!("{app} runs there"), || other.lives(app).len() == 1);
        berth.until_said(app, "Running", "");
    }
    assert_eq!(other.all().len(), 3);
    assert!(other.all().contains(&foreign[0]));
    assert_eq!(known.lives("a"), before[..1], "what the old one has stays as it is");
    // From now on what runs there is looked after.
    let there = other.lives("a");
    other.docker(&["kill", &there[0].id]);
    berth.until("it is started again", || {
        let now = other.lives("a");
        now.len() == 1 && now[0].started != there[0].started
    });
}

/// Fault D48: the same engine with another data root has the same id before 24.0, and none of the
/// containers.
#[test]
fn an_engine_with_another_data_root_is_another_engine() {
    let second = Second::start("", &[]);
    let home = Home::new();
    home.put_unchecked("a", "1");
    let berth = home.start(&second, "engine.sock");
    let before = berth.until_running(&["a"]);
    second.kill("dockerd");
    second.up(&["--data-root", &second.text("other")]);
    until_read_only(&berth);
    assert!(second.all().is_empty());
    second.kill("dockerd");
    second.up(&[]);
    berth.until_said("a", "Running", "");
    assert_eq!(second.lives("a")[0].id, before[0].id);
    assert_eq!(second.all().len(), 1);
}

/// Fault D49: the socket goes, comes back as another one, and is replaced by a third.
#[test]
fn another_socket_of_the_same_engine_changes_nothing() {
    let names = ["one", "two", "three"];
    let sockets = names.map(|name| format!("{name}.sock"));
    let second = Second::hold("");
    let hosts = sockets.each_ref().map(|socket| format!("--host=unix://{}", second.text(socket)));
    second.up(&hosts.each_ref().map(String::as_str));
    second.load();
    let home = Home::new();
    home.put("a", "1");
    let socket = second.path("berth.sock");
    let replace = |with: &str| fs::rename(second.path(with), &socket).unwrap();
    replace("one.sock");
    let berth = home.start(&second, "berth.sock");
    let before = berth.until_running(&["a"]);
    fs::remove_file(&socket).unwrap();
    berth.until_said("a", "Unknown", "there is no such socket");
    replace("two.sock");
    berth.until_running(&["a"]);
    replace("three.sock");
    berth.passes_more(4);
    home.put("b", "1");
    berth.until_running(&["b"]);
    assert_eq!(berth.until_running(&["a"]), before);
    assert_eq!(second.all().len(), 2);
}
