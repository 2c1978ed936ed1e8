//! Changes of a text, one by one.

use serde_json::{Value, json};

use super::*;

const TEXT: &str = "# The chat of the house.
apiVersion: berth/v1
kind: App   # there is no other

metadata:
  name: chat
  labels: {team: vision, tier: \"1\"}
spec:
  # where it comes from
  source:
    git: 'https://git.example.com/acme/chat.git'
  run: python app.py # as ever
  port: 7860
  env:
    # the key
    API_KEY: hunter2

    MODE: \"fast\"
  ports:
    - {name: http, containerPort: 80}
    # the other one
    - name: admin
      containerPort: 81
  packages: [ffmpeg, git]
# the end
";

fn changed(patch: &Value) -> String {
    edited(TEXT, patch)
}

fn edited(text: &str, patch: &Value) -> String {
    let mut wanted = read(text.as_bytes()).unwrap();
    merge(&mut wanted, patch);
    let edited = edit(text.as_bytes(), &wanted).unwrap();
    assert!(!edited.is_anew, "{}", edited.text);
    assert_eq!(read(edited.text.as_bytes()).unwrap(), {
        let mut sorted = read(edited.text.as_bytes()).unwrap();
        merge(&mut sorted, patch);
        sorted
    });
    edited.text
}

/// The lines that only one of two texts has.
fn differing(one: &str, other: &str) -> (Vec<String>, Vec<String>) {
    let only = |a: &str, b: &str| {
        a.lines().filter(|line| !b.lines().any(|o| o == *line)).map(str::to_owned).collect()
    };
    (only(one, other), only(other, one))
}

#[test]
fn one_value_is_one_line() {
    for (patch, old, new) in [
        (json!({"spec": {"port": 80}}), "  port: 7860", "  port: 80"),
        (
            json!({"spec": {"run": "sh: x"}}),
            "  run: python app.py # as ever",
            "  run: \"sh: x\" # as ever",
        ),
        (json!({"spec": {"env": {"MODE": "slow"}}}), "    MODE: \"fast\"", "    MODE: \"slow\""),
        (
            json!({"spec": {"source": {"git": "it's"}}}),
            "    git: 'https://git.example.com/acme/chat.git'",
            "    git: 'it''s'",
        ),
        (
            json!({"metadata": {"labels": {"team": "audio"}}}),
            "  labels: {team: vision, tier: \"1\"}",
            "  labels: {team: audio, tier: \"1\"}",
        ),
        (
            json!({"metadata": {"labels": {"team": null, "x": "y"}}}),
            "  labels: {team: vision, tier: \"1\"}",
            "  labels: {tier: \"1\", x: y}",
        ),
        (json!({"spec": {"packages": ["a"]}}), "  packages: [ffmpeg, git]", "  packages: [a]"),
    ] {
        let text = changed(&patch);
        assert_eq!(differing(TEXT, &text), (vec![old.to_owned()], vec![new.to_owned()]));
    }
}

#[test]
fn fields_come_and_go_with_the_comments_of_others_kept() {
    let text = changed(&json!({"spec": {"env": {"API_KEY": null, "NEW": "1"}, "suspend": true}}));
    let (gone, come) = differing(TEXT, &text);
    assert_eq!(gone, ["    API_KEY: hunter2"]);
    assert_eq!(come, ["    NEW: \"1\"", "  suspend: true"]);
    assert!(text.contains("    # the key\n\n    MODE: \"fast\"\n    NEW: \"1\"\n  ports:"));
    assert!(text.ends_with("  packages: [ffmpeg, git]\n  suspend: true\n# the end\n"), "{text}");
}

#[test]
fn elements_come_and_go_with_the_others_kept() {
    let ports = |list: Value| json!({"spec": {"ports": list}});
    let (http, admin) = (
        json!({"name": "http", "containerPort": 80}),
        json!({"name": "admin", "containerPort": 81}),
    );
    let more = changed(&ports(json!([http, admin, {"containerPort": 82}])));
    assert!(more.contains("      containerPort: 81\n    - containerPort: 82\n"), "{more}");
    let fewer = changed(&ports(json!([admin])));
    assert!(!fewer.contains("http, ") && fewer.contains("    # the other one\n    - name: admin"));
    let other = changed(&ports(json!([http, {"name": "admin", "containerPort": 90}])));
    let (gone, come) = differing(TEXT, &other);
    assert_eq!((gone.len(), come), (1, vec!["      containerPort: 90".to_owned()]));
    let none = changed(&ports(Value::Null));
    assert!(!none.contains("admin") && none.contains("packages"));
}

#[test]
fn a_whole_value_takes_the_place_of_another() {
    let text = changed(&json!({"spec": {"port": {"a": {"b": [1, {"c": "x"}]}}, "source": "s"}}));
    assert!(text.contains("  port:\n    a:\n      b:\n        - 1\n        - c: x\n"), "{text}");
    assert!(text.contains("  source: s\n  run:"), "{text}");
    let text = changed(&json!({"spec": {"env": {"API_KEY": null, "MODE": null}}}));
    assert!(text.contains("  env: {}\n  ports:"), "{text}");
}

#[test]
fn json_stays_json_and_lines_end_as_they_did() {
    let json = "{\n  \"kind\": \"App\",\n  \"spec\": {\n    \"port\": 1\n  }\n}\n";
    let text = edited(json, &json!({"spec": {"run": "x"}, "kind": "Job"}));
    assert_eq!(
        text,
        "{\n  \"kind\": \"Job\",\n  \"spec\": {\n    \"port\": 1,\n    \"run\": \"x\"\n  }\n}\n"
    );
    let text = edited("a: 1\r\nb: # c\r\n  d: 2\r\n", &json!({"b": {"e": 3}, "f": {"g": 4}}));
    assert_eq!(text, "a: 1\r\nb: # c\r\n  d: 2\r\n  e: 3\r\nf:\r\n  g: 4\r\n");
    let text = edited("---\na: 1\nb: |\n  x\n  # y\n\n# z\n...\n", &json!({"c": 1}));
    assert_eq!(text, "---\na: 1\nb: |\n  x\n  # y\nc: 1\n\n# z\n...\n");
    assert_eq!(edited("\u{feff}a: 1", &json!({"b": 2})), "\u{feff}a: 1\nb: 2");
}

#[test]
fn what_is_not_laid_out_as_known_is_written_anew_below_its_comments() {
    let text = "# head\n? a\n: 1\n? b\n: 2\n";
    let edited = edit(text.as_bytes(), &json!({"a": 1, "b": 3})).unwrap();
    assert_eq!((edited.text.as_str(), edited.is_anew), ("# head\na: 1\nb: 3\n", true));
    for (bad, why) in [
        ("a: [", Error::Unreadable),
        ("a: 1\na: 2\n", Error::Unreadable),
        ("a: &x 1\nb: *x\n", Error::Unreadable),
        ("a: 1\n---\nb: 2\n", Error::NotOne),
        ("# nothing\n", Error::NotOne),
    ] {
        assert_eq!(edit(bad.as_bytes(), &json!({"a": 3})), Err(why), "{bad}");
    }
    assert_eq!(read(b"a: .inf\n"), Err(Error::NotJson));
    let deep = (0..40).fold(json!(1), |inner, _| json!({"a": inner}));
    assert_eq!(edit(b"a: 1\n", &deep), Err(Error::TooMuch));
}

/// The examples of RFC 7396, appendix A.
#[test]
fn a_patch_is_merged_as_the_standard_says() {
    for (target, patch, result) in [
        (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
        (json!({"a": "b"}), json!({"a": null}), json!({})),
        (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
        (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
        (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
        (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
        (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
        (json!({"a": "b"}), json!(["c"]), json!(["c"])),
        (json!({"a": "foo"}), json!(null), json!(null)),
        (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
        (json!([1, 2]), json!({"a": "b", "c": null}), json!({"a": "b"})),
        (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
    ] {
        let mut merged = target;
        merge(&mut merged, &patch);
        assert_eq!(merged, result);
    }
}

#[test]
fn comments_are_seen() {
    for with in ["# x\na: 1\n", "a: 1 # x\n", "a: 1\n  # x\n"] {
        assert!(has_comments(with.as_bytes()), "{with}");
    }
    for without in ["a: x#y\n", "a: 'x # y'\n", "a: 1\n"] {
        assert!(!has_comments(without.as_bytes()), "{without}");
    }
}
