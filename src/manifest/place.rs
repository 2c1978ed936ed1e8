//! Where in a document's text its fields are.

use std::{marker::PhantomData, ops::Range};

use serde::de::{Deserialize, Deserializer};
use serde_yaml::{Location, Spanned};

use super::{
    document::{self, Branch, Tree},
    node::Node,
    problem::{Part, Path, Step},
    v1,
};

/// A value with its position.
pub(super) struct Place(pub(super) Spanned<Shape>);

/// What is at a place.
pub(super) enum Shape {
    Leaf,
    List(Vec<Place>),
    Map(Vec<(Spanned<Option<String>>, Place)>),
}

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Spanned::deserialize(deserializer).map(Self)
    }
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Tree(PhantomData::<Self>))
    }
}

impl Branch for Shape {
    type Key = Spanned<Option<String>>;
    type Child = Place;

    fn leaf(_: Node) -> Self {
        Self::Leaf
    }

    fn list(list: Vec<Place>) -> Self {
        Self::List(list)
    }

    fn map(map: Vec<(Self::Key, Place)>) -> Self {
        Self::Map(map)
    }
}

/// The bytes of something, within the document's text.
pub(super) fn bytes(location: Location) -> Option<Range<usize>> {
    let span = location.span();
    let start = usize::try_from(span.byte_offset()?).ok()?;
    let length = usize::try_from(span.byte_len()?).ok()?;
    Some(start..start + length)
}

impl Place {
    /// The places of a document that could be parsed.
    pub(super) fn of(text: &str) -> Option<Self> {
        document::parse_again(text)
    }

    /// The bytes of a field, or of the nearest thing around it that is there.
    pub(super) fn find(&self, path: &Path, part: Part) -> Option<Range<usize>> {
        let mut here = self;
        let mut key = None;
        let mut is_found = true;
        for step in &path.0 {
            let Some((name, below)) = here.step(step) else {
                is_found = false;
                break;
            };
            key = name.or(key);
            here = below;
        }
        let value = match here.0.value {
            Shape::Leaf if is_found && part == Part::Value => here.bytes(),
            // An element of a list: its first key, which is where it begins.
            _ if is_found && matches!(path.0.last(), Some(Step::Index(_))) => here.first_key(),
            _ => None,
        };
        value.filter(|span| !span.is_empty()).or(key).or_else(|| self.first_key())
    }

    fn step(&self, step: &Step) -> Option<(Option<Range<usize>>, &Self)> {
        match (&self.0.value, step) {
            (Shape::List(list), Step::Index(at)) => Some((None, list.get(*at)?)),
            (Shape::Map(map), Step::Key(name)) => map
                .iter()
                .find(|(key, _)| key.value.as_deref().unwrap_or("null") == name)
                .map(|(key, value)| (bytes(key.referenced), value)),
            _ => None,
        }
    }

    /// The bytes of a value that is no container.
    pub(super) fn bytes(&self) -> Option<Range<usize>> {
        bytes(self.0.referenced)
    }

    fn first_key(&self) -> Option<Range<usize>> {
        match &self.0.value {
            Shape::Map(map) => bytes(map.first()?.0.referenced),
            Shape::List(list) => list.first()?.first_key(),
            Shape::Leaf => self.bytes(),
        }
    }

    /// The bytes of all values that could be secrets: of the environment and the build arguments,
    /// and of every field whose name says so (fault Y10).
    pub(super) fn secrets(&self, text: &str) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        if self.is_of_secret(text) {
            // What somebody wrote in there by mistake may look like anything.
            self.collect_all("", &mut found);
        } else {
            self.collect_secrets(text, "", false, &mut found);
        }
        found
    }

    /// Whether the document says that it is about a secret.
    fn is_of_secret(&self, text: &str) -> bool {
        let Some((_, kind)) = self.step(&Step::Key("kind".to_owned())) else { return false };
        let raw = kind.bytes().and_then(|span| text.get(span)).unwrap_or_default();
        raw.trim_matches(['"', '\'']) == v1::SECRET
    }

    fn collect_all(&self, name: &str, found: &mut Vec<Range<usize>>) {
        match &self.0.value {
            Shape::Leaf if ["apiVersion", "kind", "name"].contains(&name) => {}
            Shape::Leaf => found.extend(self.bytes()),
            Shape::List(list) => list.iter().for_each(|below| below.collect_all("", found)),
            Shape::Map(map) => {
                for (key, below) in map {
                    below.collect_all(key.value.as_deref().unwrap_or(""), found);
                }
            }
        }
    }

    fn collect_secrets(
        &self,
        text: &str,
        name: &str,
        is_inside: bool,
        found: &mut Vec<Range<usize>>,
    ) {
        match &self.0.value {
            Shape::Leaf => {
                if let Some(span) = self.bytes()
                    && (is_inside || is_sensitive(name))
                    && !text.get(span.clone()).is_none_or(|raw| may_show(name, raw))
                {
                    found.push(span);
                }
            }
            Shape::List(list) => {
                for below in list {
                    below.collect_secrets(text, name, is_inside, found);
                }
            }
            Shape::Map(map) => {
                for (key, below) in map {
                    let name = key.value.as_deref().unwrap_or("null");
                    // `args` below `build` is a mapping of names, `args` below `spec` a list.
                    let is_names = holds_values(name) && matches!(below.0.value, Shape::Map(_));
                    below.collect_secrets(text, name, is_inside || is_names, found);
                }
            }
        }
    }
}

/// Whether a field of this name holds values by name.
pub(super) fn holds_values(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.starts_with("env") || name == "args" || name.contains("secret")
}

/// Whether a name says that its value is a secret.
pub fn is_sensitive(name: &str) -> bool {
    const WORDS: [&str; 9] = [
        "secret",
        "token",
        "password",
        "passwd",
        "apikey",
        "api_key",
        "credential",
        "_pass",
        "_pin",
    ];
    let name = name.to_ascii_lowercase();
    name.ends_with("_key") || WORDS.iter().any(|word| name.contains(word))
}

/// Whether the value of a name in the environment may be repeated: only what cannot be a secret.
pub(super) fn may_show(name: &str, raw: &str) -> bool {
    let is_plain = raw.eq_ignore_ascii_case("true")
        || raw.eq_ignore_ascii_case("false")
        || (raw.len() <= 5 && raw.chars().all(|c| c.is_ascii_digit() || c == '.'));
    is_plain && !is_sensitive(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "a: 1\nspec:\n  ports:\n  - name: x\n    n: 'y'\n  env: {T: abc, P: 80, Q:}\n";

    fn find(path: &[&str], part: Part) -> String {
        let step = |name: &&str| match name.parse() {
            Ok(at) => Step::Index(at),
            Err(_) => Step::Key((*name).to_owned()),
        };
        let place = Place::of(TEXT).unwrap();
        let span = place.find(&Path(path.iter().map(step).collect()), part).unwrap();
        TEXT[span].to_owned()
    }

    #[test]
    fn fields_are_found_by_their_path() {
        assert_eq!(find(&["a"], Part::Value), "1");
        assert_eq!(find(&["a"], Part::Key), "a");
        assert_eq!(find(&["spec", "ports", "0", "n"], Part::Value), "'y'");
        assert_eq!(find(&["spec", "ports", "0"], Part::Value), "name");
        assert_eq!(find(&["spec", "ports", "0"], Part::Key), "name");
    }

    #[test]
    fn a_field_that_is_not_there_is_shown_by_what_is_around_it() {
        assert_eq!(find(&["spec", "health", "http"], Part::Value), "spec");
        assert_eq!(find(&["b"], Part::Value), "a");
        assert_eq!(find(&["spec", "env", "Q"], Part::Value), "Q");
    }

    /// Fault Y10.
    #[test]
    fn values_of_the_environment_are_hidden_unless_they_are_plain() {
        let hidden: Vec<_> =
            Place::of(TEXT).unwrap().secrets(TEXT).into_iter().map(|span| &TEXT[span]).collect();
        assert_eq!(hidden, ["abc"]);
        assert!(!may_show("DB_PASSWORD", "123"));
        assert!(!may_show("X", "1234567"));
    }
}
