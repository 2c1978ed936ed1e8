//! A compose file as a tree that knows where its parts stand, and which of them were looked at.
//!
//! Whoever reads a key marks it. What is not marked in the end was not carried over: so a key that
//! this Berth has never heard of is reported without anybody having thought of it.

use std::{cell::Cell, marker::PhantomData};

use serde::de::{Deserialize, Deserializer};
use serde_yaml::{
    Spanned,
    options::{DuplicateKeyPolicy, MergeKeyPolicy, NonFiniteFloatPolicy},
};

use crate::manifest::{Branch, Leaf, Tree};

/// The largest file that is read.
const BYTES_MAX: usize = 256 * 1024;
/// The most values, with those that aliases repeat.
const NODES_MAX: usize = 10_000;
const DEPTH_MAX: usize = 32;
/// How much of a key is shown.
const SHOWN_MAX: usize = 64;

/// A value of the file.
#[derive(Debug)]
pub(super) struct Node {
    /// Where it is, like `services.web.ports[0]`.
    pub(super) path: String,
    /// The line of its key, or its own.
    pub(super) line: u32,
    pub(super) kind: Kind,
    is_used: Cell<bool>,
}

/// What a value is.
#[derive(Debug)]
pub(super) enum Kind {
    Null,
    Bool(bool),
    /// A number, as text.
    Number(String),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

/// Why a text is not a tree.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) line: u32,
    pub(super) message: String,
}

impl Node {
    /// Reads a text.
    pub(super) fn read(text: &str) -> Result<Self, Broken> {
        if BYTES_MAX < text.len() {
            let message = format!("the file is larger than {BYTES_MAX} bytes");
            return Err(Broken { line: 0, message });
        }
        let options = serde_yaml::options! {
            duplicate_keys: DuplicateKeyPolicy::Error,
            merge_keys: MergeKeyPolicy::Merge,
            strict_booleans: true,
            non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
            with_snippet: false,
            emit_comments: false,
            alias_limits: serde_yaml::alias_limits! {
                max_total_replayed_events: 2 * NODES_MAX,
                max_replay_stack_depth: 8,
                max_alias_expansions_per_anchor: 1000,
            },
            budget: serde_yaml::budget! {
                max_documents: 1,
                max_nodes: NODES_MAX,
                max_events: 4 * NODES_MAX,
                max_depth: DEPTH_MAX,
                flow_nesting_limit: DEPTH_MAX,
                max_anchors: 100,
                max_aliases: 1000,
            },
        };
        let read: Result<Spanned<Shape>, _> = serde_yaml::from_str_with_options(text, options);
        let raw = read.map_err(|error| {
            let error = error.without_snippet();
            let line = error.location().map_or(0, |at| u32::try_from(at.line()).unwrap_or(0));
            let said = error.to_string();
            let message = said.split(" at line ").next().unwrap_or_default().to_owned();
            Broken { line, message }
        })?;
        Ok(Self::of(raw.value, String::new(), line(raw.referenced)))
    }

    fn of(shape: Shape, path: String, at: u32) -> Self {
        let kind = match shape {
            Shape::Leaf(kind) => kind,
            Shape::List(list) => {
                let element = |(nth, value): (usize, Spanned<Shape>)| {
                    Self::of(value.value, format!("{path}[{nth}]"), line(value.referenced))
                };
                Kind::List(list.into_iter().enumerate().map(element).collect())
            }
            Shape::Map(map) => {
                let entry = |(key, value): (Spanned<Option<String>>, Spanned<Shape>)| {
                    let name = key.value.unwrap_or_else(|| "null".to_owned());
                    let shown: String = name.chars().take(SHOWN_MAX).collect();
                    let dot = if path.is_empty() { "" } else { "." };
                    let node =
                        Self::of(value.value, format!("{path}{dot}{shown}"), line(key.referenced));
                    (name, node)
                };
                Kind::Map(map.into_iter().map(entry).collect())
            }
        };
        Self { path, line: at, kind, is_used: Cell::new(false) }
    }

    /// The value of a key, which is marked.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        let (_, node) = self.map().iter().find(|(name, _)| name == key)?;
        node.is_used.set(true);
        Some(node)
    }

    /// The value of a key, which is not marked.
    pub(super) fn peek(&self, key: &str) -> Option<&Self> {
        self.map().iter().find(|(name, _)| name == key).map(|(_, node)| node)
    }

    /// The entries of a mapping, all marked.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&str, &Self)> {
        self.map().iter().map(|(key, node)| {
            node.is_used.set(true);
            (key.as_str(), node)
        })
    }

    /// The elements of a list.
    pub(super) fn elements(&self) -> &[Self] {
        match &self.kind {
            Kind::List(list) => list,
            _ => &[],
        }
    }

    fn map(&self) -> &[(String, Self)] {
        match &self.kind {
            Kind::Map(map) => map,
            _ => &[],
        }
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(self.kind, Kind::Null)
    }

    pub(super) fn is_map(&self) -> bool {
        matches!(self.kind, Kind::Map(_))
    }

    pub(super) fn is_list(&self) -> bool {
        matches!(self.kind, Kind::List(_))
    }

    /// A scalar as text.
    pub(super) fn text(&self) -> Option<String> {
        match &self.kind {
            Kind::Text(text) | Kind::Number(text) => Some(text.clone()),
            Kind::Bool(value) => Some(value.to_string()),
            Kind::Null | Kind::List(_) | Kind::Map(_) => None,
        }
    }

    /// A switch, also one that came from a variable.
    pub(super) fn flag(&self) -> Option<bool> {
        match self.text()?.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Some(true),
            "false" | "no" | "off" | "0" => Some(false),
            _ => None,
        }
    }

    /// Marks all that is below.
    pub(super) fn use_all(&self) {
        for (_, node) in self.map() {
            node.is_used.set(true);
            node.use_all();
        }
        self.elements().iter().for_each(Self::use_all);
    }

    /// Everything below that was never marked, outermost only.
    pub(super) fn unused<'a>(&'a self, found: &mut Vec<(&'a str, &'a Self)>) {
        for (key, node) in self.map() {
            if node.is_used.get() {
                node.unused(found);
            } else {
                found.push((key, node));
            }
        }
        for node in self.elements() {
            node.unused(found);
        }
    }

    /// Replaces every text by what `change` makes of it.
    pub(super) fn change_texts(&mut self, change: &mut impl FnMut(&str, &str, u32) -> String) {
        match &mut self.kind {
            Kind::Text(text) => *text = change(text, &self.path, self.line),
            Kind::List(list) => list.iter_mut().for_each(|node| node.change_texts(change)),
            Kind::Map(map) => map.iter_mut().for_each(|(_, node)| node.change_texts(change)),
            Kind::Null | Kind::Bool(_) | Kind::Number(_) => {}
        }
    }
}

fn line(at: serde_yaml::Location) -> u32 {
    u32::try_from(at.line()).unwrap_or(0)
}

enum Shape {
    Leaf(Kind),
    List(Vec<Spanned<Shape>>),
    Map(Vec<(Spanned<Option<String>>, Spanned<Shape>)>),
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Tree(PhantomData::<Self>))
    }
}

impl Branch for Shape {
    type Key = Spanned<Option<String>>;
    type Child = Spanned<Self>;

    fn leaf(leaf: Leaf) -> Self {
        Self::Leaf(match leaf {
            Leaf::Bool(value) => Kind::Bool(value),
            Leaf::Int(value) => Kind::Number(value.to_string()),
            Leaf::Float(value) => Kind::Number(value.to_string()),
            Leaf::Text(text) => Kind::Text(text),
            // Containers come as what they are.
            Leaf::Null | Leaf::List(_) | Leaf::Map(_) => Kind::Null,
        })
    }

    fn list(list: Vec<Spanned<Self>>) -> Self {
        Self::List(list)
    }

    fn map(map: Vec<(Spanned<Option<String>>, Spanned<Self>)>) -> Self {
        Self::Map(map)
    }
}
