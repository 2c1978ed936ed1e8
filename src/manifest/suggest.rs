//! What somebody may have meant.

use super::{
    problem::{Help, Part, Path, Problem},
    schema, v1,
};

/// Words of other systems, and ours.
const OTHER_WORDS: [(&str, &str); 16] = [
    ("environment", "env"),
    ("environments", "env"),
    ("volumes", "mounts"),
    ("volumeMounts", "mounts"),
    ("entrypoint", "command"),
    ("cmd", "args"),
    ("startCommand", "run"),
    ("repositoryUrl", "source"),
    ("repo", "source"),
    ("healthcheck", "health"),
    ("livenessProbe", "health"),
    ("readinessProbe", "health"),
    ("restartPolicy", "restart"),
    ("strategy", "rollout"),
    ("limits", "resources"),
    ("terminationGracePeriodSeconds", "stopGracePeriod"),
];

/// The one of `names` that `word` is nearest to, when it is near enough for a slip.
pub(super) fn nearest<'a>(word: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |text: &str| text.replace(['_', '-'], "").to_ascii_lowercase();
    let word = plain(word);
    // A word of another language is not worth the time.
    let near_max = if 40 < word.len() { 0 } else { (word.len() / 3).clamp(1, 3) };
    names
        .map(|name| (strsim::damerau_levenshtein(&word, &plain(name)), name))
        .filter(|(distance, _)| *distance <= near_max)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// What there is to say about a field that the wire types do not have.
pub(super) fn unknown_field(path: Path) -> Problem {
    let pattern = path.pattern();
    if pattern == "status" {
        let mut problem = Problem::error(
            "manifest.status-ignored",
            path,
            "`status` is what Berth reports, it is ignored here",
        );
        problem.severity = super::Severity::Warning;
        problem.at_key().help("remove it");
        return problem;
    }
    if let Some((_, instead)) = v1::LATER.iter().find(|(later, _)| *later == pattern) {
        let mut problem = not_yet(path);
        if !instead.is_empty() {
            problem.help(*instead);
        }
        return problem;
    }
    let parent = path.parent();
    let legal = schema::fields(&parent);
    let name = path.last_key().unwrap_or("").to_owned();
    let other = OTHER_WORDS.iter().find(|(word, _)| *word == name).map(|(_, ours)| *ours);
    let meant =
        nearest(&name, legal.iter().copied()).or_else(|| other.filter(|ours| legal.contains(ours)));
    let mut problem =
        Problem::error("manifest.unknown-field", path.clone(), format!("unknown field `{path}`"));
    problem.at_key();
    problem.help = Help::Text(match (meant, schema::ways_to(&name).first()) {
        (Some(meant), _) => format!("did you mean `{meant}`?"),
        (None, Some(way)) => format!("this field belongs elsewhere: `{way}`"),
        (None, None) => format!("the fields here are {}", legal.join(", ")),
    });
    if let Some(meant) = meant {
        // The field that was meant is not missing.
        problem.stands_for = Some(parent.below(meant));
    }
    problem
}

/// A field that a later version supports.
pub(super) fn not_yet(path: Path) -> Problem {
    let message = format!("`{path}` is not yet supported");
    let mut problem = Problem::error("manifest.not-yet-supported", path, message);
    problem.part = Part::Key;
    problem
}

/// Adds what to write instead where the shape of a value is a known mix-up.
pub(super) fn explain(problem: &mut Problem) {
    if problem.code != "manifest.wrong-type" || problem.help != Help::None {
        return;
    }
    let found_text = problem.message.ends_with("found a text");
    let help = match problem.path.pattern().as_str() {
        "spec.command" | "spec.args" if found_text => {
            "write a list, like [sleep, infinity], or use `run` for a shell line"
        }
        "spec.ports" => "write `port: 8080`, or a list like [{containerPort: 8080}]",
        "spec.port" | "spec.ports[]" => {
            "write one number with `port: 8080`, or a list like `ports: [{containerPort: 80, hostPort: 8080}]`"
        }
        "spec.env" => "write `NAME: value` below it, without `-` and `=`",
        "spec.source" => "write `source: {git: https://…}`",
        "spec.mounts[]" => "write {path: /data, volume: my-data}",
        "spec.gpus" => "write a number, or like {count: 1, memory: 12Gi}",
        "spec.health" => "write {http: {path: /healthz}}, or `none`",
        _ => return,
    };
    problem.help(help);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_other_words_are_not() {
        let names = ["port", "ports", "dependsOn", "run", "Always"];
        for (word, meant) in [
            ("prot", Some("port")),
            ("depends_on", Some("dependsOn")),
            ("always", Some("Always")),
            ("replicas", None),
            ("x", None),
        ] {
            assert_eq!(nearest(word, names.into_iter()), meant, "{word}");
        }
    }

    /// The page about manifests names the same fields, and none that is read by now.
    #[test]
    fn the_page_lists_what_is_not_supported_yet() {
        let page = include_str!("../../docs/manifest.md");
        let (_, section) = page.split_once("\n## Not yet supported\n").unwrap();
        let section = section.split("\n## ").next().unwrap();
        let mut listed = Vec::new();
        for row in section
            .lines()
            .filter(|line| line.starts_with("| `spec") || line.starts_with("| others"))
        {
            let mut cells = row.trim_matches('|').split(" | ");
            let (place, names) = (cells.next().unwrap(), cells.next().unwrap());
            // What stands in brackets is what to use instead.
            let plain: String =
                names.split('(').map(|part| part.rsplit(')').next().unwrap()).collect();
            let place = place.trim().trim_matches('`');
            let above = if place == "others" { "spec" } else { place };
            listed
                .extend(plain.split('`').skip(1).step_by(2).map(|name| format!("{above}.{name}")));
        }
        listed.sort();
        let mut later: Vec<_> = v1::LATER.iter().map(|(path, _)| (*path).to_owned()).collect();
        later.sort();
        assert_eq!(listed, later);
    }

    /// A field that the wire types read must not also be listed as one of a later version.
    #[test]
    fn later_fields_are_not_fields_yet() {
        for (later, _) in v1::LATER {
            let name = later.rsplit('.').next().unwrap();
            assert!(!schema::ways_to(name).iter().any(|way| way == later), "{later}");
        }
    }
}
