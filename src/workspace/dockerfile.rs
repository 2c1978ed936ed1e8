//! What a Dockerfile takes from its build context, and what it takes from its builder.
//!
//! # Guarantees
//! Whatever the engine would copy from the context is named here. Where that is not certain, for
//! want of knowing a variable or a form of an instruction, it is everything.

/// What a Dockerfile needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needs {
    /// What it copies from the context.
    pub sources: Sources,
    /// The images that it begins from, but for its own stages and `scratch`; none when one of them
    /// depends on an argument. Triggers in them (`ONBUILD`) may copy more.
    pub bases: Option<Vec<String>>,
    /// What only `BuildKit` can do, as it is written there.
    pub buildkit: Option<String>,
}

/// Paths in a build context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sources {
    /// Possibly everything; why.
    All(&'static str),
    /// Only these, with `*` and `?` in their parts.
    Only(Vec<String>),
}

/// Flags of `COPY` and `ADD` that change nothing about what is taken, and whether they take
/// `BuildKit`.
const FLAGS: [(&str, bool); 8] = [
    ("chown", false),
    ("from", false),
    ("chmod", true),
    ("link", true),
    ("exclude", true),
    ("keep-git-dir", true),
    ("checksum", true),
    ("unpack", true),
];

/// What is left of two backslashes at the end of a line.
const UNCERTAIN_END: &str = "\\ ";

/// Reads a Dockerfile.
pub fn needs(text: &str) -> Needs {
    let mut reader = Reader::default();
    if let Some(why) = foreign_syntax(text) {
        reader.give_up(why);
    }
    for line in instructions(text) {
        // Engines disagree about whether the line goes on.
        if line.contains(UNCERTAIN_END) {
            reader.give_up("a line ends in two backslashes");
        }
        reader.take(&line);
    }
    let mut sources = reader.sources;
    sources.sort();
    sources.dedup();
    Needs {
        sources: reader.all.map_or(Sources::Only(sources), Sources::All),
        bases: reader.bases,
        buildkit: reader.buildkit,
    }
}

/// A directive at the top that has the rest read in another way.
fn foreign_syntax(text: &str) -> Option<&'static str> {
    for line in text.lines() {
        let (name, value) = line.trim().strip_prefix('#')?.split_once('=')?;
        let value = value.trim();
        match name.trim().to_ascii_lowercase().as_str() {
            "escape" if value != "\\" => return Some("the Dockerfile sets another escape"),
            "syntax" if !is_dockers(value) => return Some("the Dockerfile names its own syntax"),
            "syntax" | "escape" | "check" => {}
            _ => return None,
        }
    }
    None
}

/// Whether a `# syntax` is Docker's own language.
fn is_dockers(value: &str) -> bool {
    let name = value.strip_prefix("docker.io/").unwrap_or(value);
    name.strip_prefix("docker/dockerfile")
        .is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '@']))
}

/// The instructions, each on one line.
fn instructions(text: &str) -> Vec<String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (mut all, mut open) = (Vec::new(), String::new());
    for line in text.lines() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(part) = line.strip_suffix('\\') {
            open.push_str(part);
            open.push(' ');
        } else {
            open.push_str(line);
            all.push(std::mem::take(&mut open));
        }
    }
    if !open.trim().is_empty() {
        all.push(open);
    }
    all
}

struct Reader {
    sources: Vec<String>,
    all: Option<&'static str>,
    bases: Option<Vec<String>>,
    stages: Vec<String>,
    buildkit: Option<String>,
}

impl Default for Reader {
    fn default() -> Self {
        Self {
            sources: Vec::new(),
            all: None,
            bases: Some(Vec::new()),
            stages: Vec::new(),
            buildkit: None,
        }
    }
}

impl Reader {
    fn give_up(&mut self, why: &'static str) {
        self.all.get_or_insert(why);
    }

    fn takes_buildkit(&mut self, what: String) {
        self.buildkit.get_or_insert(what);
    }

    fn take(&mut self, line: &str) {
        let line = line.trim_start();
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let word = word.to_ascii_uppercase();
        let (flags, rest) = flags_of(rest);
        match word.as_str() {
            "FROM" => self.from(rest),
            "COPY" | "ADD" => {
                self.heredoc(&word, rest);
                self.copy(&word, &flags, rest);
            }
            "RUN" => {
                self.heredoc(&word, rest);
                self.run(&flags);
            }
            "ONBUILD" | "ARG" | "CMD" | "ENTRYPOINT" | "ENV" | "EXPOSE" | "HEALTHCHECK"
            | "LABEL" | "MAINTAINER" | "SHELL" | "STOPSIGNAL" | "USER" | "VOLUME" | "WORKDIR" => {}
            _ => self.give_up("the Dockerfile has an instruction that is not known"),
        }
    }

    fn from(&mut self, rest: &str) {
        let words: Vec<_> = rest.split_whitespace().collect();
        let base = words.first().copied().unwrap_or_default();
        let is_stage = self.stages.iter().any(|stage| stage.eq_ignore_ascii_case(base));
        if base.contains(['$', '"', '\'', '\\']) {
            self.bases = None;
        } else if !is_stage && base != "scratch" {
            self.bases.iter_mut().for_each(|bases| bases.push(base.to_owned()));
        }
        if let [_, word, name, ..] = words.as_slice()
            && word.eq_ignore_ascii_case("as")
        {
            self.stages.push((*name).to_owned());
        }
    }

    /// A document within the Dockerfile: its lines look like instructions and are none.
    fn heredoc(&mut self, word: &str, rest: &str) {
        let begins = |part: &str| {
            let part = part.trim_start_matches(|c: char| c.is_ascii_digit());
            part.strip_prefix("<<").is_some_and(|rest| !rest.is_empty() && !rest.contains('<'))
        };
        if rest.split_whitespace().any(begins) {
            self.takes_buildkit(format!("{word} <<"));
            self.give_up("the Dockerfile has a document within it");
        }
    }

    fn run(&mut self, flags: &[&str]) {
        for flag in flags {
            let (name, value) = flag.split_once('=').unwrap_or((flag, ""));
            self.takes_buildkit(format!("RUN --{name}"));
            if name != "mount" {
                continue;
            }
            let field = |key: &str| {
                let mut fields = value.split(',').filter_map(|field| field.split_once('='));
                fields.find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| value)
            };
            let is_bind = field("type").is_none_or(|kind| kind.eq_ignore_ascii_case("bind"));
            if value.contains(['$', '"']) || (is_bind && field("from").is_none()) {
                self.give_up("a step mounts the build context");
            }
        }
    }

    fn copy(&mut self, word: &str, flags: &[&str], rest: &str) {
        let mut is_from_stage = false;
        for flag in flags {
            let name = flag.split_once('=').map_or(*flag, |(name, _)| name);
            let known = FLAGS.iter().find(|(known, _)| *known == name);
            is_from_stage |= name == "from";
            if known.is_none_or(|(_, takes_buildkit)| *takes_buildkit) {
                self.takes_buildkit(format!("{word} --{name}"));
            }
            if known.is_none() {
                self.give_up("a copy has a flag that is not known");
            }
        }
        if is_from_stage {
            return;
        }
        let Some(words) = words_of(rest) else {
            return self.give_up("a copy is written in a way that is not certain");
        };
        let Some((_, sources)) = words.split_last().filter(|(_, sources)| !sources.is_empty())
        else {
            return self.give_up("a copy has no source");
        };
        for source in sources {
            self.source(word, source);
        }
    }

    fn source(&mut self, word: &str, source: &str) {
        let is_remote = ["http://", "https://", "git@", "git://", "ssh://"]
            .iter()
            .any(|scheme| source.starts_with(scheme));
        if word == "ADD" && is_remote {
            return;
        }
        if source.contains(['$', '"', '\'', '\\', '[', '<']) {
            return self.give_up("a copy depends on a variable or a pattern");
        }
        let path = clean(source);
        if path.is_empty() {
            return self.give_up("a copy takes the whole context");
        }
        self.sources.push(path);
    }
}

/// The flags at the beginning of an instruction, without their dashes, and the rest.
fn flags_of(text: &str) -> (Vec<&str>, &str) {
    let (mut flags, mut rest) = (Vec::new(), text.trim_start());
    while let Some(after) = rest.strip_prefix("--") {
        let (flag, next) = after.split_once(char::is_whitespace).unwrap_or((after, ""));
        flags.push(flag);
        rest = next.trim_start();
    }
    (flags, rest)
}

/// The words of a copy, in either form; none when it is not certain what they are.
fn words_of(text: &str) -> Option<Vec<String>> {
    if text.starts_with('[') {
        return serde_json::from_str(text).ok();
    }
    Some(text.split_whitespace().map(ToOwned::to_owned).collect())
}

/// A path within the context, as the engine reads it: from the root, and never above it.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(text: &str) -> Option<Vec<String>> {
        match needs(text).sources {
            Sources::Only(sources) => Some(sources),
            Sources::All(_) => None,
        }
    }

    #[test]
    fn what_is_copied_is_found_in_every_form() {
        let only: &[(&str, &[&str])] = &[
            ("FROM a\nCOPY f /f", &["f"]),
            ("from a\ncopy f /f", &["f"]),
            ("FROM a\nCOPY --chown=1:1 a.txt b/ /x/", &["a.txt", "b"]),
            ("FROM a\nCOPY [\"a b\", \"c\", \"/x/\"]", &["a b", "c"]),
            ("FROM a\nADD ./d/../e /e", &["e"]),
            ("FROM a\nADD /e /e", &["e"]),
            ("FROM a\nCOPY ../../e /e", &["e"]),
            ("FROM a\nADD https://h.example/x.tgz /x\nCOPY f f", &["f"]),
            ("FROM a AS b\nCOPY f f\nFROM c\nCOPY --from=b /f /f\nCOPY g g", &["f", "g"]),
            ("FROM a\nCOPY requirements*.txt deps/?.in ./", &["deps/?.in", "requirements*.txt"]),
            ("FROM a\nCOPY a \\\n  # a remark\n\n  b \\\n  /x/", &["a", "b"]),
            ("# syntax=docker/dockerfile:1.7\nFROM a\nCOPY f f", &["f"]),
            ("FROM a\nRUN --mount=type=cache,target=/c make\nCOPY f f", &["f"]),
            ("FROM a\nRUN --mount=type=bind,from=b,target=/c make\nCOPY f f", &["f"]),
            ("FROM a\nRUN echo COPY . /x", &[]),
            ("FROM a\nONBUILD COPY . /x\nCOPY f f", &["f"]),
            ("FROM a\nRUN echo $((1<<3)) && x <<<y\nCOPY f f", &["f"]),
        ];
        for (text, expected) in only {
            let expected: Vec<_> = expected.iter().map(|path| (*path).to_owned()).collect();
            assert_eq!(sources(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn where_it_is_not_certain_everything_is_sent() {
        for text in [
            "FROM a\nCOPY . /x",
            "FROM a\nCOPY ./ /x",
            "FROM a\nADD / /x",
            "FROM a\nCOPY a/.. /x",
            "FROM a\nARG X\nCOPY $X /x",
            "FROM a\nCOPY dist/${V} /x",
            "FROM a\nCOPY [\"a\", /x]",
            "FROM a\nCOPY \"a b\" /x",
            "FROM a\nCOPY a\\ b /x",
            "FROM a\nCOPY [a-z] /x",
            "FROM a\nCOPY f[1] /x",
            "FROM a\nCOPY --parents a/b /x",
            "FROM a\nCOPY --strange=1 a /x",
            "FROM a\nCOPY /x",
            "FROM a\nCOPY <<EOF /x\nhello\nEOF",
            "FROM a\nRUN cat <<EOF\nCOPY f f\nEOF",
            "FROM a\nRUN --mount=target=/src make",
            "FROM a\nRUN --mount=type=bind,target=/src make",
            "FROM a\nRUN --mount=type=$T,target=/src make",
            "# escape=`\nFROM a\nCOPY f f",
            "# syntax=h.example/other\nFROM a\nCOPY f f",
            "FROM a\nRUN echo \\\\\nCOPY . /x",
            "FROM a\nINCLUDE other\nCOPY f f",
        ] {
            assert_eq!(sources(text), None, "{text}");
        }
    }

    #[test]
    fn bases_are_images_and_not_stages() {
        let bases = |text| needs(text).bases;
        let named = Some(vec!["a:1".to_owned(), "c".to_owned()]);
        assert_eq!(
            bases("FROM a:1 AS x\nFROM --platform=linux/amd64 c\nFROM X\nFROM scratch"),
            named
        );
        assert_eq!(bases("ARG V=1\nFROM a:$V"), None);
    }

    #[test]
    fn what_takes_buildkit_is_named() {
        let buildkit = |line: &str| needs(&format!("FROM a\n{line}\n")).buildkit;
        for (line, what) in [
            ("RUN --mount=type=cache,target=/c x", Some("RUN --mount")),
            ("RUN --network=none x", Some("RUN --network")),
            ("COPY --chmod=755 a b", Some("COPY --chmod")),
            ("ADD --checksum=sha256:0 http://h.example/a b", Some("ADD --checksum")),
            ("RUN <<EOF\nx\nEOF", Some("RUN <<")),
            ("COPY --chown=1 --from=a a b", None),
            ("RUN x --mount=y", None),
        ] {
            assert_eq!(buildkit(line).as_deref(), what, "{line}");
        }
    }
}
