//! A document as a tree, and how it becomes wire types.
//!
//! [`Node::read`] finds *all* mistakes of type: a value that does not fit is noted and left out,
//! and the rest is read again. Fields that nobody asked for are noted on the way.

use std::{cell::RefCell, collections::BTreeSet, fmt};

use serde::de::{
    self, DeserializeSeed, Deserializer, Expected, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, Visitor,
};

use super::problem::{Help, Path, Problem, Problems, Trail};

/// The most mistakes of type that are looked for in one document.
const MISTAKES_MAX: usize = 100;

/// A value of a document.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Node {
    /// Nothing, `null` or `~`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A mapping, in the order of the text.
    Map(Vec<(String, Node)>),
}

impl Node {
    /// The value of `key`, when this is a mapping that has it.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Map(map) => map.iter().find(|(name, _)| name == key).map(|(_, value)| value),
            _ => None,
        }
    }

    /// The text, when this is one.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Reads the tree as a `T`, and notes every value that does not fit. Answers also the fields
    /// that `T` does not have.
    pub(super) fn read<'de, T: de::Deserialize<'de>>(
        &'de self,
        problems: &mut Problems,
    ) -> (Option<T>, Vec<Path>) {
        let mut skipped = BTreeSet::new();
        loop {
            let walk = Walk { skipped: &skipped, unknown: RefCell::new(Vec::new()) };
            let reader = Reader { node: self, trail: &Trail::ROOT, walk: &walk };
            let mistake = match T::deserialize(reader) {
                Ok(value) => return (Some(value), walk.unknown.into_inner()),
                Err(mistake) => mistake,
            };
            let unknown = walk.unknown.into_inner();
            let (path, node) = mistake.at.unwrap_or((Path::default(), self));
            let mut problem = Problem::error("manifest.wrong-type", path, mistake.message);
            problem.help = mistake.help;
            problems.push(problem);
            if skipped.len() == MISTAKES_MAX || !skipped.insert(std::ptr::from_ref(node)) {
                return (None, unknown);
            }
        }
    }
}

/// A value that does not fit.
#[derive(Debug)]
pub(super) struct Mistake<'de> {
    message: String,
    help: Help,
    at: Option<(Path, &'de Node)>,
}

impl Mistake<'_> {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: Help::None, at: None }
    }
}

impl fmt::Display for Mistake<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Mistake<'_> {}

impl de::Error for Mistake<'_> {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let expected = words(&expected.to_string());
        let mut mistake = Self::new(format!("expected {expected}, found {}", kind(&found)));
        let is_scalar =
            matches!(found, Unexpected::Bool(_) | Unexpected::Signed(_) | Unexpected::Float(_));
        if expected == "a text" && is_scalar {
            mistake.help = Help::Quote;
        }
        if expected == "a whole number" && matches!(found, Unexpected::Float(_)) {
            let message = "expected a whole number, found a fraction or too large a number";
            message.clone_into(&mut mistake.message);
        }
        if let Unexpected::Str(text) = found
            && expected == "a whole number"
            && text.parse::<i64>().is_ok()
        {
            mistake.help = Help::Text("write it without quotes".to_owned());
        }
        mistake
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(format!("expected {}", words(&expected.to_string())))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let list: Vec<_> = expected.iter().map(|name| format!("`{name}`")).collect();
        let mut mistake = Self::new(match list.as_slice() {
            [one] => format!("expected {one}"),
            list => format!("expected one of {}", list.join(", ")),
        });
        if let Some(name) = super::suggest::nearest(variant, expected.iter().copied()) {
            mistake.help = Help::Text(format!("did you mean `{name}`?"));
        }
        mistake
    }
}

/// Serde's words for types in ours.
fn words(expected: &str) -> String {
    match expected {
        "a string" => "a text".to_owned(),
        "i64" => "a whole number".to_owned(),
        "a boolean" => "`true` or `false`".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" => "a mapping".to_owned(),
        other if other.starts_with("struct ") => "a mapping".to_owned(),
        other => other.to_owned(),
    }
}

fn kind(found: &Unexpected<'_>) -> &'static str {
    match found {
        Unexpected::Bool(_) => "a boolean",
        Unexpected::Unsigned(_) | Unexpected::Signed(_) | Unexpected::Float(_) => "a number",
        Unexpected::Str(_) => "a text",
        Unexpected::Seq => "a list",
        Unexpected::Map => "a mapping",
        Unexpected::Unit | Unexpected::Option => "nothing",
        _ => "something else",
    }
}

/// One walk over a tree.
struct Walk<'s> {
    skipped: &'s BTreeSet<*const Node>,
    unknown: RefCell<Vec<Path>>,
}

/// Reads one value of the tree.
#[derive(Clone, Copy)]
struct Reader<'de, 'r> {
    node: &'de Node,
    trail: &'r Trail<'r>,
    walk: &'r Walk<'r>,
}

impl<'de> Reader<'de, '_> {
    fn is_skipped(&self, node: &'de Node) -> bool {
        !self.walk.skipped.is_empty() && self.walk.skipped.contains(&std::ptr::from_ref(node))
    }

    /// Reads a value below this one. The innermost value that fails is the one at fault.
    fn below<S: DeserializeSeed<'de>>(
        &self,
        seed: S,
        node: &'de Node,
        trail: &Trail<'_>,
    ) -> Result<S::Value, Mistake<'de>> {
        let reader = Reader { node, trail, walk: self.walk };
        seed.deserialize(reader).map_err(|mut mistake| {
            mistake.at.get_or_insert_with(|| (trail.path(), node));
            mistake
        })
    }
}

impl<'de> Deserializer<'de> for Reader<'de, '_> {
    type Error = Mistake<'de>;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        match self.node {
            Node::Null => visitor.visit_unit(),
            Node::Bool(value) => visitor.visit_bool(*value),
            Node::Int(value) => visitor.visit_i64(*value),
            Node::Float(value) => visitor.visit_f64(*value),
            Node::Text(text) if text.contains('\0') => {
                Err(Mistake::new("a text may not contain the character NUL"))
            }
            Node::Text(text) => visitor.visit_borrowed_str(text),
            Node::List(list) => {
                visitor.visit_seq(Elements { reader: self, list: list.iter().enumerate() })
            }
            Node::Map(map) => {
                visitor.visit_map(Entries { reader: self, map: map.iter(), value: None })
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        match self.node {
            Node::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    /// A list of the right length is not a mapping.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        match self.node {
            Node::List(_) => Err(de::Error::invalid_type(Unexpected::Seq, &"a mapping")),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        match self.node {
            Node::Text(text) => visitor.visit_enum(text.as_str().into_deserializer()),
            _ => self.deserialize_str(visitor),
        }
    }

    /// Any value, taken as it is: nothing in it is unknown.
    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        visitor.visit_unit()
    }

    /// A field that nobody asked for.
    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        self.walk.unknown.borrow_mut().push(self.trail.path());
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        unit newtype_struct seq tuple tuple_struct map identifier
    }
}

struct Elements<'de, 'r> {
    reader: Reader<'de, 'r>,
    list: std::iter::Enumerate<std::slice::Iter<'de, Node>>,
}

impl<'de> SeqAccess<'de> for Elements<'de, '_> {
    type Error = Mistake<'de>;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Self::Error> {
        let reader = self.reader;
        let Some((at, node)) = self.list.find(|(_, node)| !reader.is_skipped(node)) else {
            return Ok(None);
        };
        let trail = reader.trail.index(at);
        reader.below(seed, node, &trail).map(Some)
    }
}

struct Entries<'de, 'r> {
    reader: Reader<'de, 'r>,
    map: std::slice::Iter<'de, (String, Node)>,
    value: Option<&'de (String, Node)>,
}

impl<'de> MapAccess<'de> for Entries<'de, '_> {
    type Error = Mistake<'de>;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Self::Error> {
        let reader = self.reader;
        self.value = self.map.find(|(_, node)| !reader.is_skipped(node));
        match self.value {
            Some((key, _)) => seed.deserialize(key.as_str().into_deserializer()).map(Some),
            None => Ok(None),
        }
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<S::Value, Self::Error> {
        let Some((key, node)) = self.value.take() else {
            return Err(Mistake::new("a value without a key"));
        };
        let reader = self.reader;
        let trail = reader.trail.key(key);
        reader.below(seed, node, &trail)
    }
}
