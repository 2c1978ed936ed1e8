//! JSON of unknown worth, in bounded memory: what is wanted of it, and no more than so many parts.

use std::{collections::BTreeSet, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// How many parts all that is lifted may have.
const PARTS: usize = 4_000;
/// How many bytes of text it may have.
const TEXT: usize = 256 << 10;
/// How many different texts are collected.
const TEXTS: usize = 10_000;

/// What may still be lifted.
#[derive(Debug)]
pub(super) struct Budget {
    parts: usize,
    text: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { parts: PARTS, text: TEXT }
    }
}

impl Budget {
    fn take(&mut self, text: usize) -> bool {
        let has_room = 0 < self.parts && text <= self.text;
        self.parts = self.parts.saturating_sub(1);
        if has_room {
            self.text -= text;
        }
        has_room
    }
}

/// One value, as far as the budget goes: what is beyond it is null, or left out.
pub(super) struct Lifted<'a>(pub(super) &'a mut Budget);

impl<'de> DeserializeSeed<'de> for Lifted<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Lifted<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(if self.0.take(value.len()) { value.into() } else { Value::Null })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while self.0.take(0) {
            match seq.next_element_seed(Lifted(&mut *self.0))? {
                Some(value) => all.push(value),
                None => return Ok(all.into()),
            }
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(all.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut all = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            if self.0.take(name.len()) {
                let value = map.next_value_seed(Lifted(&mut *self.0))?;
                all.insert(name, value);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(all.into())
    }
}

/// The different texts among an object's values.
pub(super) struct Texts;

impl<'de> DeserializeSeed<'de> for Texts {
    type Value = BTreeSet<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Texts {
    type Value = BTreeSet<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut all, mut room) = (BTreeSet::new(), TEXT);
        while map.next_key::<IgnoredAny>()?.is_some() {
            let value = map.next_value::<String>()?;
            if all.len() < TEXTS && value.len() <= room && !all.contains(&value) {
                room -= value.len();
                all.insert(value);
            }
        }
        Ok(all)
    }
}

/// Some names of an object.
pub(super) struct Wanted<'a> {
    pub(super) names: &'a [&'a str],
    /// Whether `weight_map` is wanted, too.
    pub(super) has_weights: bool,
    pub(super) budget: Budget,
}

/// What an object has of them.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// By name.
    pub(super) values: Map<String, Value>,
    /// Whether it names code of the repository.
    pub(super) has_code: bool,
    /// What its weights stand in.
    pub(super) shards: Option<BTreeSet<String>>,
    /// How many bytes its weights have.
    pub(super) total: Option<u64>,
}

impl<'de> DeserializeSeed<'de> for Wanted<'_> {
    type Value = Found;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Found, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Wanted<'_> {
    type Value = Found;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a document")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Found, E> {
        Ok(Found::default())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Found, E> {
        Ok(Found::default())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Found, E> {
        Ok(Found::default())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Found, E> {
        Ok(Found::default())
    }

    fn visit_unit<E: Error>(self) -> Result<Found, E> {
        Ok(Found::default())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Found, E> {
        Ok(Found::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Found, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Found::default())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Found, A::Error> {
        let mut found = Found::default();
        while let Some(name) = map.next_key::<String>()? {
            found.has_code |= name == "auto_map";
            if self.has_weights && name == "weight_map" {
                found.shards = Some(map.next_value_seed(Texts)?);
            } else if self.has_weights && name == "metadata" {
                let value = map.next_value_seed(Lifted(&mut self.budget))?;
                found.total = value.get("total_size").and_then(Value::as_u64);
            } else if self.names.contains(&name.as_str()) {
                let value = map.next_value_seed(Lifted(&mut self.budget))?;
                found.values.insert(name, value);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}
