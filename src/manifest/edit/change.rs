//! What differs between two documents, as changes of the text of one.

use std::ops::Range;

use super::{
    is_same, scan,
    write::{self, Style},
};
use crate::manifest::{
    node::Node,
    place::{Place, Shape, bytes},
};

/// A container can't be changed within: its text is not laid out as is known here.
#[derive(Debug)]
struct Opaque;

type Done = Result<(), Opaque>;

/// Changes of a text that do not overlap.
pub(super) struct Changes<'a> {
    text: &'a str,
    style: Style<'a>,
    list: Vec<(Range<usize>, String)>,
}

/// A field in block form.
#[derive(Clone, Copy)]
struct Field {
    /// Where its line begins.
    line: usize,
    /// Its column.
    column: usize,
    /// The colon behind its key, or the dash before it.
    mark: usize,
    /// Where what follows it begins at the latest.
    limit: usize,
}

impl<'a> Changes<'a> {
    /// The text with what differs changed; none when nobody knows how.
    pub(super) fn between(
        text: &'a str,
        place: &Place,
        have: &Node,
        want: &Node,
    ) -> Option<String> {
        let style = Style { newline: scan::newline(text), is_json: false };
        let mut changes = Self { text, style, list: Vec::new() };
        let end = scan::document_end(text);
        let start = first(place)?;
        let open = text.get(..start)?.rfind(['{', '[']).filter(|open| {
            let before = text[scan::line_start(text, *open)..*open].trim();
            before.is_empty() || before == "---"
        });
        let done = match (open, have, want) {
            (Some(open), ..) => changes.flow(open, place, have, want),
            (None, Node::Map(have), Node::Map(want)) if !want.is_empty() => {
                changes.block_map(place, have, want, end)
            }
            _ => Err(Opaque),
        };
        done.ok()?;
        Some(changes.applied())
    }

    fn applied(mut self) -> String {
        self.list.sort_by_key(|(range, _)| (range.start, range.end));
        let mut out = String::new();
        let mut at = 0;
        for (range, new) in &self.list {
            out.push_str(self.text.get(at..range.start).unwrap_or(""));
            out.push_str(new);
            at = range.end.max(at);
        }
        out.push_str(&self.text[at..]);
        out
    }

    fn put(&mut self, range: Range<usize>, new: impl Into<String>) {
        self.list.push((range, new.into()));
    }

    /// Lines put in at `at`, where one ends.
    fn insert_lines(&mut self, at: usize, lines: String) {
        let newline = self.style.newline;
        if at == 0 || self.text[..at].ends_with('\n') {
            self.put(at..at, lines);
        } else {
            self.put(at..at, format!("{newline}{}", lines.trim_end_matches(['\r', '\n'])));
        }
    }

    /// Changes a mapping in block form that ends before `limit`.
    fn block_map(
        &mut self,
        place: &Place,
        have: &[(String, Node)],
        want: &[(String, Node)],
        limit: usize,
    ) -> Done {
        let Shape::Map(places) = &place.0.value else { return Err(Opaque) };
        if places.len() != have.len() || have.is_empty() {
            return Err(Opaque);
        }
        let mut fields = self.fields(places.iter().map(|(key, _)| bytes(key.referenced)), limit)?;
        // The first field of an element stands behind a dash: its line is not its own.
        let is_behind_dash = scan::indentation(self.text, fields[0].line + fields[0].column)
            .is_some_and(|(_, has_dash)| has_dash);
        for field in &mut fields {
            let after = self.text[field.mark + 1..].chars().next();
            if after.is_some_and(|c| !c.is_whitespace()) {
                return Err(Opaque);
            }
        }
        for (at, ((name, old), (_, below))) in have.iter().zip(places).enumerate() {
            match want.iter().find(|(other, _)| other == name) {
                Some((_, new)) => self.field(fields[at], below, old, new),
                None if at == 0 && is_behind_dash => return Err(Opaque),
                None => {
                    let end = self.end_of(fields[at], below);
                    self.put(scan::lines(fields[at].line, end), "");
                }
            }
        }
        let is_new = |(name, _): &&(String, Node)| !have.iter().any(|(other, _)| other == name);
        let new: Vec<_> = want.iter().filter(is_new).cloned().collect();
        if let (Some(last), Some((_, below)), false) =
            (fields.last(), places.last(), new.is_empty())
        {
            let lines = write::entries(&new, last.column, self.style);
            let end = self.end_of(*last, below);
            self.insert_lines(end, lines);
        }
        Ok(())
    }

    /// The fields of a mapping in block form, from the places of their keys.
    fn fields(
        &self,
        keys: impl Iterator<Item = Option<Range<usize>>>,
        limit: usize,
    ) -> Result<Vec<Field>, Opaque> {
        let mut fields: Vec<Field> = Vec::new();
        for (at, key) in keys.enumerate() {
            let key = key.filter(|key| !key.is_empty() && key.end <= limit).ok_or(Opaque)?;
            let (column, has_dash) = scan::indentation(self.text, key.start).ok_or(Opaque)?;
            let line = scan::line_start(self.text, key.start);
            let mark = scan::colon(self.text, key.end).ok_or(Opaque)?;
            if 0 < at && has_dash {
                return Err(Opaque);
            }
            if let Some(before) = fields.last_mut() {
                if before.column != column || line <= before.line {
                    return Err(Opaque);
                }
                before.limit = line;
            }
            fields.push(Field { line, column, mark, limit });
        }
        Ok(fields)
    }

    /// Where a field's last line of content ends.
    fn end_of(&self, field: Field, below: &Place) -> usize {
        let start = scan::value_start(self.text, field.mark, field.limit);
        let is_block = start.is_some_and(|start| self.text[start..].starts_with(['|', '>']))
            && matches!(below.0.value, Shape::Leaf);
        let column = is_block.then_some(field.column);
        scan::content_end(self.text, field.mark, field.limit, column)
    }

    /// Changes the value of a field in block form, or of an element.
    fn field(&mut self, field: Field, place: &Place, old: &Node, new: &Node) {
        if is_same(old, new) {
            return;
        }
        let known = self.list.len();
        if self.within(field, place, old, new).is_err() {
            self.list.truncate(known);
            self.anew(field, place, new);
        }
    }

    /// Writes a value in block form anew.
    fn anew(&mut self, field: Field, place: &Place, new: &Node) {
        let end = self.end_of(field, place);
        let is_element = self.text[field.mark..].starts_with('-');
        let mut text = if is_element {
            write::element(new, field.column, self.style)
        } else {
            write::below(new, field.column, self.style)
        };
        if !self.text[..end].ends_with('\n') {
            text.truncate(text.trim_end_matches(['\r', '\n']).len());
        }
        self.put(field.mark + 1..end, text);
    }

    /// Changes a value within.
    fn within(&mut self, field: Field, place: &Place, old: &Node, new: &Node) -> Done {
        let text = self.text;
        let start = scan::value_start(text, field.mark, field.limit);
        let is_flow = start.is_some_and(|start| text[start..].starts_with(['{', '[']));
        match (old, new) {
            (Node::Map(_) | Node::List(_), _) if is_flow => {
                self.flow(start.ok_or(Opaque)?, place, old, new)
            }
            (Node::Map(old), Node::Map(new)) if !new.is_empty() => {
                self.block_map(place, old, new, field.limit)
            }
            (Node::List(old), Node::List(new)) if !new.is_empty() => {
                self.block_list(place, old, new, field.limit)
            }
            (Node::Map(_) | Node::List(_), _) => Err(Opaque),
            (Node::Null, new) if !is_container(new) && start.is_none() => {
                let value = write::flow(new, self.style);
                self.put(field.mark + 1..field.mark + 1, format!(" {value}"));
                Ok(())
            }
            (_, Node::Map(map)) if !map.is_empty() => Err(Opaque),
            (_, Node::List(_)) => Err(Opaque),
            _ => self.leaf(place, new),
        }
    }

    /// Changes a value that is no container, where it stands.
    fn leaf(&mut self, place: &Place, new: &Node) -> Done {
        let span = place.bytes().filter(|span| !span.is_empty()).ok_or(Opaque)?;
        let raw = self.text.get(span.clone()).ok_or(Opaque)?;
        if raw.contains('\n') || raw.starts_with(['|', '>']) {
            return Err(Opaque);
        }
        let value = match new {
            Node::Text(text) => write::text_like(raw, text, self.style),
            other => write::flow(other, self.style),
        };
        self.put(span, value);
        Ok(())
    }

    /// Changes a list in block form that ends before `limit`.
    fn block_list(&mut self, place: &Place, have: &[Node], want: &[Node], limit: usize) -> Done {
        let Shape::List(places) = &place.0.value else { return Err(Opaque) };
        if places.len() != have.len() || have.is_empty() {
            return Err(Opaque);
        }
        let mut fields: Vec<Field> = Vec::new();
        for below in places {
            let start = first(below).ok_or(Opaque)?;
            // What is in brackets begins before its first content.
            let line = scan::line_start(self.text, start);
            let start =
                self.text[line..start].find(['{', '[', '"', '\'']).map_or(start, |at| line + at);
            let mark = scan::dash(self.text, start).ok_or(Opaque)?;
            let (column, has_dash) = scan::indentation(self.text, mark).ok_or(Opaque)?;
            let line = scan::line_start(self.text, mark);
            if has_dash || limit <= mark {
                return Err(Opaque);
            }
            if let Some(before) = fields.last_mut() {
                if before.column != column || line <= before.line {
                    return Err(Opaque);
                }
                before.limit = line;
            }
            fields.push(Field { line, column, mark, limit });
        }
        let (front, back) = common(have, want);
        let (old, new) = (front..have.len() - back, front..want.len() - back);
        for (at, other) in old.clone().zip(new.clone()) {
            self.field(fields[at], &places[at], &have[at], &want[other]);
        }
        for at in old.clone().skip(new.len()) {
            let end = self.end_of(fields[at], &places[at]);
            self.put(scan::lines(fields[at].line, end), "");
        }
        let more = &want[(new.start + old.len()).min(new.end)..new.end];
        if !more.is_empty() {
            let lines = write::items(more, fields[0].column, self.style);
            match old.end.checked_sub(1) {
                Some(before) => {
                    let end = self.end_of(fields[before], &places[before]);
                    self.insert_lines(end, lines);
                }
                None => self.insert_lines(fields[0].line, lines),
            }
        }
        Ok(())
    }

    /// Changes a container in brackets that opens at `open`.
    fn flow(&mut self, open: usize, place: &Place, old: &Node, new: &Node) -> Done {
        let known = self.list.len();
        if self.flow_within(open, place, old, new).is_ok() {
            return Ok(());
        }
        self.list.truncate(known);
        let end = scan::flow_end(self.text, open).ok_or(Opaque)?;
        let inside = self.text[open + 1..].trim_start();
        let style = Style { is_json: inside.starts_with('"'), ..self.style };
        self.put(open..end, write::flow(new, style));
        Ok(())
    }

    fn flow_within(&mut self, open: usize, place: &Place, old: &Node, new: &Node) -> Done {
        match (&place.0.value, old, new) {
            (Shape::Map(places), Node::Map(old), Node::Map(new)) => {
                self.flow_map(open, places, old, new)
            }
            (Shape::List(places), Node::List(old), Node::List(new)) if old.len() == new.len() => {
                let mut at = open + 1;
                for ((below, old), new) in places.iter().zip(old).zip(new) {
                    let (start, end) = self.flow_value(at, below)?;
                    self.flow_part(start, below, old, new)?;
                    at = self.text[end..].find(',').map_or(end, |comma| end + comma + 1);
                }
                Ok(())
            }
            _ => Err(Opaque),
        }
    }

    fn flow_part(&mut self, start: usize, place: &Place, old: &Node, new: &Node) -> Done {
        match (old, new) {
            _ if is_same(old, new) => Ok(()),
            (Node::Map(_) | Node::List(_), _) => self.flow(start, place, old, new),
            (_, Node::Map(_) | Node::List(_)) => Err(Opaque),
            _ => self.leaf(place, new),
        }
    }

    /// Where a value in brackets begins and ends that is not before `from`.
    fn flow_value(&self, from: usize, place: &Place) -> Result<(usize, usize), Opaque> {
        if matches!(place.0.value, Shape::Leaf) {
            let span = place.bytes().filter(|span| !span.is_empty() && from <= span.start);
            return span.map(|span| (span.start, span.end)).ok_or(Opaque);
        }
        let start = scan::value_start(self.text, from.saturating_sub(1), self.text.len());
        let start = start.filter(|at| self.text[*at..].starts_with(['{', '['])).ok_or(Opaque)?;
        Ok((start, scan::flow_end(self.text, start).ok_or(Opaque)?))
    }

    fn flow_map(
        &mut self,
        open: usize,
        places: &[(serde_yaml::Spanned<Option<String>>, Place)],
        old: &[(String, Node)],
        new: &[(String, Node)],
    ) -> Done {
        if places.len() != old.len() || old.is_empty() {
            return Err(Opaque);
        }
        let mut spots = Vec::new();
        for (key, below) in places {
            let key = bytes(key.referenced).filter(|key| !key.is_empty()).ok_or(Opaque)?;
            let colon = scan::colon(self.text, key.end).ok_or(Opaque)?;
            let (start, end) = self.flow_value(colon + 1, below)?;
            spots.push((key.start, start, end));
        }
        let is_gone = |at: usize| new.iter().all(|(other, _)| *other != old[at].0);
        let last = old.len() - 1;
        // Its comma is behind the one before it, which must stay then.
        if is_gone(last) && (last == 0 || is_gone(last - 1)) {
            return Err(Opaque);
        }
        for (at, ((name, old), (_, below))) in old.iter().zip(places).enumerate() {
            match new.iter().find(|(other, _)| other == name) {
                Some((_, new)) => self.flow_part(spots[at].1, below, old, new)?,
                None if at < last => self.put(spots[at].0..spots[at + 1].0, ""),
                None => self.put(spots[at - 1].2..spots[at].2, ""),
            }
        }
        let is_new = |(name, _): &&(String, Node)| !old.iter().any(|(other, _)| other == name);
        let more: Vec<_> = new.iter().filter(is_new).collect();
        if more.is_empty() {
            return Ok(());
        }
        let (first, (_, _, end)) = (spots[0].0, spots[last]);
        if is_gone(last) {
            return Err(Opaque);
        }
        let gap = &self.text[open + 1..first];
        let gap = if gap.contains('\n') && gap.trim().is_empty() { gap } else { " " };
        let style = Style { is_json: self.text[first..].starts_with('"'), ..self.style };
        for (name, value) in more {
            let entry = format!("{}: {}", write::key(name, style), write::flow(value, style));
            self.put(end..end, format!(",{gap}{entry}"));
        }
        Ok(())
    }
}

fn is_container(node: &Node) -> bool {
    matches!(node, Node::Map(map) if !map.is_empty()) || matches!(node, Node::List(_))
}

/// How many elements are the same at the front and at the back.
fn common(have: &[Node], want: &[Node]) -> (usize, usize) {
    let same = |(a, b): &(&Node, &Node)| is_same(a, b);
    let front = have.iter().zip(want).take_while(same).count();
    let (rest, other) = (&have[front..], &want[front..]);
    let back = rest.iter().rev().zip(other.iter().rev()).take_while(same).count();
    (front, back)
}

/// Where a value's first content begins.
fn first(place: &Place) -> Option<usize> {
    match &place.0.value {
        Shape::Map(map) => bytes(map.first()?.0.referenced).map(|span| span.start),
        Shape::List(list) => first(list.first()?),
        Shape::Leaf => place.bytes().map(|span| span.start),
    }
}
