//! One service as the metadata and the spec of a manifest.

use std::collections::BTreeMap;

use super::super::emit::{Map, Yaml};
use super::{
    Desk, beyond, gpus, health, mounts, names, ports,
    tree::Node,
    values::{self, shown_bytes},
};
use crate::model::{AppName, label};

/// Set by Berth to the workspace's place.
const WORKSPACE: &str = "WORKSPACE";

/// Reads a service.
pub(super) fn read(app: &AppName, node: &Node, desk: &mut Desk<'_>) -> (Map, Map) {
    let mut metadata = Map::new();
    metadata.put("name", app.as_str());
    metadata.put_map("labels", labels(node, desk));
    metadata.put_some("annotations", beyond::part(node, "annotations"));
    let mut spec = Map::new();
    origin(node, &mut spec, desk);
    words(node, &mut spec, desk);
    if let Some(list) = node.get("ports").map(|node| ports::read(node, desk))
        && !list.is_empty()
    {
        spec.put("ports", list);
    }
    let mut resources = Map::new();
    limits(node, &mut resources, desk);
    spec.put_map("resources", resources);
    let workspace = beyond::text(node, "workspace", "path");
    let (env, visible) = environment(node, workspace.as_deref(), desk);
    gpus::read(node, visible.as_deref(), &mut spec, desk);
    spec.put_map("env", env);
    let mounts = mounts::read(node, workspace.as_deref(), desk);
    if !mounts.is_empty() {
        spec.put("mounts", mounts);
    }
    let own = beyond::part(node, "health");
    let check = node.get("healthcheck").and_then(|node| health::read(node, desk));
    spec.put_some("health", own.or(check));
    restart(node, &mut spec, desk);
    spec.put_some("rollout", beyond::part(node, "rollout"));
    depends_on(node, &mut spec, desk);
    spec.put_some("workspace", beyond::part(node, "workspace"));
    if let Some(grace) = node.get("stop_grace_period") {
        match grace.text().and_then(|text| values::duration(&text)) {
            Some(grace) => spec.put("stopGracePeriod", grace),
            None => desk.lose(grace, "this is not a duration such as `30s`"),
        }
    }
    settled(app, node, desk);
    (metadata, spec)
}

/// Pairs that are written as a mapping, or as a list of `NAME=value`. None is a name alone.
fn pairs(node: &Node, desk: &mut Desk<'_>) -> Vec<(String, Option<String>, u32)> {
    let mut pairs = Vec::new();
    for (key, value) in node.entries() {
        match value.text() {
            None if !value.is_null() => desk.lose(value, "this is not a text"),
            text => pairs.push((key.to_owned(), text, value.line)),
        }
    }
    for element in node.elements() {
        match element.text() {
            None => desk.lose(element, "this is not a text such as `NAME=value`"),
            Some(text) => {
                let (key, value) = match text.split_once('=') {
                    Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                    None => (text, None),
                };
                pairs.push((key, value, element.line));
            }
        }
    }
    if !node.is_map() && !node.is_list() && !node.is_null() {
        desk.lose(node, "this must be a mapping or a list");
    }
    pairs
}

fn labels(service: &Node, desk: &mut Desk<'_>) -> Map {
    let Some(node) = service.get("labels") else { return Map::new() };
    let mut labels = BTreeMap::new();
    for (key, value, _) in pairs(node, desk) {
        let legal = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
        let is_own = [label::INSTANCE, label::COMPOSE_PROJECT]
            .iter()
            .any(|own| own.rsplit_once('.').is_some_and(|(space, _)| key.starts_with(space)));
        if is_own || key.is_empty() || 253 < key.len() || !key.chars().all(legal) {
            desk.lose(node, format!("the label `{}` can't be used here", names::shown(&key)));
            continue;
        }
        labels.insert(key, value.unwrap_or_default());
    }
    if !labels.is_empty() && service.get("x-berth").is_none() {
        desk.note(node, "labels become the app's; they are not on its container");
    }
    labels.into_iter().map(|(key, value)| (key, Yaml::Text(value))).collect()
}

/// Where the image comes from.
fn origin(node: &Node, spec: &mut Map, desk: &mut Desk<'_>) {
    let image = node.get("image");
    let Some(build) = node.get("build").filter(|build| !build.is_null()) else {
        match image.and_then(Node::text) {
            Some(image) => spec.put("image", image),
            None => desk.mistake(node, "a service needs `image` or `build`"),
        }
        pull_policy(node, spec, desk);
        return;
    };
    let own = beyond::part(node, "source");
    if let Some(image) = image.filter(|_| own.is_none()) {
        desk.note(image, "Berth names the images that it builds");
    }
    let is_own = own.is_some();
    let context = if build.is_map() { build.get("context") } else { Some(build) };
    let source = own.or_else(|| source(context.unwrap_or(build), desk));
    spec.put_some("source", source);
    let mut map = Map::new();
    let dockerfile = build.get("dockerfile");
    // Of a Dockerfile that Berth wrote only what it was written from counts.
    if is_own {
        for key in ["dockerfile", "base", "requirements", "packages", "caBundle"] {
            let part = node.get("x-berth").and_then(|own| own.get("build"));
            if part.is_some_and(|part| part.get(key).is_some()) {
                map.put_some(key, build_part(node, key));
            }
        }
    } else {
        map.put_some("dockerfile", dockerfile.and_then(Node::text));
    }
    map.put_some("target", build.get("target").and_then(Node::text));
    if let Some(args) = build.get("args") {
        let pairs = pairs(args, desk);
        let mut known = BTreeMap::new();
        for (name, value, _) in pairs {
            match value.or_else(|| (desk.request.lookup)(&name)) {
                Some(value) => {
                    known.insert(name, Yaml::Text(value));
                }
                None => desk.lose(args, format!("{} has no value here", names::shown(&name))),
            }
        }
        map.put_map("args", known.into_iter().collect());
    }
    spec.put_map("build", map);
}

fn build_part(service: &Node, key: &str) -> Option<Yaml> {
    match beyond::part(service, "build")? {
        Yaml::Map(map) => map.get(key).cloned(),
        _ => None,
    }
}

fn pull_policy(node: &Node, spec: &mut Map, desk: &mut Desk<'_>) {
    if let Some(own) = beyond::part(node, "pullPolicy") {
        return spec.put("pullPolicy", own);
    }
    let Some(policy) = node.get("pull_policy") else { return };
    match policy.text().as_deref() {
        Some("always") => spec.put("pullPolicy", "Always"),
        Some("missing" | "if_not_present") => {}
        _ => desk.lose(policy, "Berth pulls `IfNotPresent` or `Always`"),
    }
}

/// The repository that is built.
fn source(context: &Node, desk: &mut Desk<'_>) -> Option<Yaml> {
    let Some(text) = context.text() else {
        desk.mistake(context, "a build needs a `context`");
        return None;
    };
    let mut git = Map::new();
    let is_remote = text.contains("://") || text.starts_with("git@");
    if is_remote {
        let (url, rest) = text.split_once('#').unwrap_or((&text, ""));
        let (reference, path) = rest.split_once(':').unwrap_or((rest, ""));
        git.put("url", url);
        git.put_some("ref", Some(reference).filter(|text| !text.is_empty()));
        git.put_some("path", Some(path.trim_matches('/')).filter(|text| !text.is_empty()));
    } else {
        let Some(folder) = mounts::absolute(desk.request.folder, &text) else {
            desk.mistake(context, "write this path out: `~` is not known here");
            return None;
        };
        if let Some((root, path)) = desk.request.files.repository(&folder) {
            git.put("url", root);
            git.put_some("path", Some(path).filter(|path| !path.is_empty()));
            let what =
                "what is committed is built; the operator allows it with `--allow-local-git`";
            desk.note(context, what);
        } else {
            let what = "this folder is in no git repository: run `git init` there and commit";
            desk.note(context, what);
            git.put("url", folder);
        }
    }
    let mut source = Map::new();
    source.put("git", git);
    Some(source.into())
}

/// A command, as a list or as a line.
fn line(node: &Node, desk: &mut Desk<'_>) -> Option<Vec<String>> {
    let read = match node.text() {
        Some(text) => values::words(&text),
        None => node.elements().iter().map(Node::text).collect(),
    };
    match read {
        None => {
            desk.lose(node, "this is not a command");
            None
        }
        Some(words) if words.is_empty() => {
            desk.lose(node, "an app can't do without the image's own command or entry point");
            None
        }
        words => words,
    }
}

fn words(node: &Node, spec: &mut Map, desk: &mut Desk<'_>) {
    let given = |key: &str| node.get(key).filter(|node| !node.is_null());
    let entrypoint = given("entrypoint").and_then(|node| line(node, desk));
    let command = given("command").and_then(|node| line(node, desk));
    let is_shell = entrypoint.as_ref().is_some_and(|words| words == &["/bin/sh", "-c"]);
    match command {
        Some(words) if is_shell && words.len() == 1 && !words[0].trim().is_empty() => {
            spec.put("run", words.concat());
        }
        command => {
            spec.put_some("command", entrypoint);
            spec.put_some("args", command);
        }
    }
}

/// The environment, and what it says of GPUs.
fn environment(node: &Node, workspace: Option<&str>, desk: &mut Desk<'_>) -> (Map, Option<String>) {
    let mut env = BTreeMap::new();
    if let Some(files) = node.get("env_file") {
        let list = if files.is_list() { files.elements() } else { std::slice::from_ref(files) };
        for file in list {
            env_file(file, &mut env, desk);
        }
    }
    if let Some(said) = node.get("environment") {
        for (name, value, _) in pairs(said, desk) {
            match value.or_else(|| (desk.request.lookup)(&name)) {
                Some(value) => {
                    env.insert(name, value);
                }
                None => desk.lose(said, format!("{} has no value here", names::shown(&name))),
            }
        }
    }
    let at = node.get("environment").unwrap_or(node);
    let visible = env.get(gpus::VISIBLE).cloned();
    for name in gpus::told().chain([WORKSPACE]) {
        let Some(value) = env.get(name) else { continue };
        let is_ours = match name {
            WORKSPACE => Some(value.as_str()) == workspace,
            _ => gpus::is_told(node, name, value),
        };
        // Others than these may be the user's own.
        let is_reserved = [WORKSPACE, gpus::VISIBLE].contains(&name);
        if !is_ours && is_reserved {
            desk.lose(at, format!("{name} is set by Berth"));
        }
        if is_ours || is_reserved {
            env.remove(name);
        }
    }
    (env.into_iter().map(|(name, value)| (name, Yaml::Text(value))).collect(), visible)
}

fn env_file(node: &Node, env: &mut BTreeMap<String, String>, desk: &mut Desk<'_>) {
    let path = if node.is_map() { node.get("path") } else { Some(node) };
    let Some(path) = path.and_then(Node::text) else {
        return desk.lose(node, "this is not the path of a file");
    };
    let is_required = node.get("required").and_then(Node::flag) != Some(false);
    let full = mounts::absolute(desk.request.folder, &path).unwrap_or(path);
    match desk.request.files.read(&full) {
        Ok(text) => env.extend(values::dotenv(&text)),
        Err(why) if is_required => {
            desk.mistake(node, format!("{} can't be read: {why}", names::shown(&full)));
        }
        Err(_) => desk.note(node, "the file is not there, and need not be"),
    }
}

fn limits(node: &Node, resources: &mut Map, desk: &mut Desk<'_>) {
    let deploy = node.get("deploy").and_then(|deploy| {
        let resources = deploy.get("resources")?;
        resources.get("limits")
    });
    let within = |key: &str| deploy.and_then(|limits| limits.get(key));
    let mut memory = None;
    for (own, other, field) in [
        ("cpus", "cpus", "cpus"),
        ("mem_limit", "memory", "memory"),
        ("shm_size", "shm_size", "shmSize"),
    ] {
        let Some(said) = within(other).into_iter().chain(node.get(own)).next_back() else {
            continue;
        };
        let text = said.text().unwrap_or_default();
        let value = match field {
            "cpus" => values::cpus(&text),
            _ => values::bytes(&text).map(shown_bytes),
        };
        if value.is_none() {
            desk.lose(said, "this is not an amount");
        } else if field == "memory" {
            memory = values::bytes(&text);
        }
        resources.put_some(field, value);
    }
    if let Some(said) = within("pids").into_iter().chain(node.get("pids_limit")).next_back() {
        match said.text().and_then(|text| text.parse::<i64>().ok()) {
            Some(pids) if 0 < pids => resources.put("pids", pids),
            _ => desk.lose(said, "an app has a limit of processes, 4096 unless another is said"),
        }
    }
    if let Some(swap) = node.get("memswap_limit")
        && swap.text().and_then(|text| values::bytes(&text)) != memory
    {
        desk.lose(swap, super::reasons::of("memswap_limit"));
    }
}

fn restart(node: &Node, spec: &mut Map, desk: &mut Desk<'_>) {
    let said = node.get("restart").and_then(Node::text);
    let policy = match said.as_deref() {
        Some("always" | "unless-stopped") => "Always",
        Some(text) if text.starts_with("on-failure") => {
            if let Some(node) = node.get("restart").filter(|_| text.contains(':')) {
                desk.note(node, "the number of tries is not limited");
            }
            "OnFailure"
        }
        None if node.get("deploy").is_some_and(|deploy| deploy.get("restart_policy").is_some()) => {
            let policy = node.get("deploy").and_then(|deploy| deploy.get("restart_policy"));
            match policy.and_then(|p| p.get("condition")).and_then(Node::text).as_deref() {
                Some("none") => "Never",
                Some("on-failure") => "OnFailure",
                _ => "Always",
            }
        }
        Some("no" | "false") | None => "Never",
        Some(_) => {
            if let Some(node) = node.get("restart") {
                desk.lose(node, "this is none of `no`, `always`, `on-failure`, `unless-stopped`");
            }
            "Always"
        }
    };
    if said.is_none() && policy == "Never" {
        desk.note(node, "without `restart` compose starts nothing again, so neither does Berth");
    }
    spec.put("restart", policy);
}

fn depends_on(node: &Node, spec: &mut Map, desk: &mut Desk<'_>) {
    if let Some(own) = beyond::part(node, "dependsOn") {
        return spec.put("dependsOn", own);
    }
    let Some(said) = node.get("depends_on") else { return };
    let mut apps = Vec::new();
    let mut add = |name: &str, at: &Node, desk: &mut Desk<'_>| match desk.names.get(name) {
        Some(app) => apps.push(app.to_string()),
        None => desk.lose(at, format!("there is no service `{}`", names::shown(name))),
    };
    for element in said.elements() {
        add(&element.text().unwrap_or_default(), element, desk);
    }
    for (name, how) in said.entries() {
        let condition = how.get("condition");
        // Whether it must be there or not: an app waits.
        how.get("required");
        if condition.and_then(Node::text).as_deref() == Some("service_completed_successfully") {
            desk.lose(how, "an app can't wait for the end of another");
            continue;
        }
        add(name, how, desk);
    }
    if !apps.is_empty() {
        spec.put("dependsOn", apps);
    }
}

/// What Berth does of its own accord; anything else under these keys is not carried over.
fn settled(app: &AppName, node: &Node, desk: &mut Desk<'_>) {
    let is = |key: &str, fits: &dyn Fn(&Node) -> bool| node.peek(key).is_some_and(fits);
    let only = |node: &Node, words: &[&str]| {
        let found: Option<Vec<_>> = node.elements().iter().map(Node::text).collect();
        found.is_some_and(|found| {
            !found.is_empty() && found.iter().all(|w| words.contains(&w.as_str()))
        })
    };
    let text = |node: &Node, word: &str| node.text().as_deref() == Some(word);
    let none = ["no-new-privileges", "no-new-privileges:true", "no-new-privileges=true"];
    // With options of its own only as Berth wrote it.
    let is_log = |log: &Node| {
        let is_plain = log.peek("options").is_none() || node.peek("x-berth").is_some();
        is_plain && log.peek("driver").is_some_and(|driver| text(driver, "json-file"))
    };
    let fits: [(&str, bool); 7] = [
        ("init", is("init", &|node| node.flag() == Some(true))),
        ("ipc", is("ipc", &|node| text(node, "private"))),
        ("cap_drop", is("cap_drop", &|node| only(node, &["NET_RAW"]))),
        ("security_opt", is("security_opt", &|node| only(node, &none))),
        ("privileged", is("privileged", &|node| node.flag() == Some(false))),
        ("scale", is("scale", &|node| text(node, "1"))),
        ("logging", is("logging", &is_log)),
    ];
    for (key, _) in fits.iter().filter(|(_, fits)| *fits) {
        if let Some(node) = node.get(key) {
            node.use_all();
        }
    }
    if let Some(deploy) = node.get("deploy")
        && deploy.peek("replicas").is_some_and(|replicas| text(replicas, "1"))
    {
        deploy.get("replicas");
    }
    network(app, node, desk);
}

/// A service on Berth's network, under the app's name, stands where the app will.
fn network(app: &AppName, node: &Node, desk: &mut Desk<'_>) {
    let Some(networks) = node.peek("networks") else { return };
    let Some(own) = networks.peek("berth") else { return };
    node.get("networks");
    networks.get("berth");
    for alias in own.get("aliases").into_iter().flat_map(Node::elements) {
        if alias.text().as_deref() != Some(app.as_str()) {
            desk.lose(alias, "an app is known by its own name only");
        }
    }
}
