//! The description of one route.

use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::{inline, of};

type Make = fn(&mut SchemaGenerator) -> Schema;

/// What an answer carries.
pub(super) enum Body {
    /// Nothing.
    None,
    /// A document.
    Json(Make),
    /// Text of this kind.
    Text(&'static str),
    /// A document of another kind.
    Kind(Make, &'static str),
    /// A document, or text for who asks for it.
    Either(Make, &'static str),
}

/// One route: what it does, takes and answers.
pub(super) struct Operation {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    pub(super) id: &'static str,
    pub(super) tag: &'static str,
    pub(super) summary: &'static str,
    pub(super) description: &'static str,
    pub(super) queries: Vec<Make>,
    pub(super) headers: Vec<(&'static str, &'static str)>,
    pub(super) bodies: Vec<(&'static str, Make)>,
    pub(super) is_body_needed: bool,
    pub(super) answers: Vec<(u16, &'static str, Body)>,
    pub(super) problems: Vec<u16>,
}

/// Begins a description.
pub(super) fn op(
    (method, path): (&'static str, &'static str),
    (tag, id): (&'static str, &'static str),
    summary: &'static str,
) -> Operation {
    Operation {
        method,
        path,
        id,
        tag,
        summary,
        description: summary,
        queries: Vec::new(),
        headers: Vec::new(),
        bodies: Vec::new(),
        is_body_needed: true,
        answers: Vec::new(),
        problems: Vec::new(),
    }
}

impl Operation {
    /// Says more.
    pub(super) fn says(self, description: &'static str) -> Self {
        Self { description, ..self }
    }

    /// The parameters that its query is read into.
    pub(super) fn query<T: JsonSchema>(mut self) -> Self {
        self.queries.push(inline::<T>);
        self
    }

    /// A header that it looks at.
    pub(super) fn header(mut self, name: &'static str, description: &'static str) -> Self {
        self.headers.push((name, description));
        self
    }

    /// What may be sent.
    pub(super) fn takes<T: JsonSchema>(mut self, kind: &'static str) -> Self {
        self.bodies.push((kind, of::<T>));
        self
    }

    /// Nothing need be sent.
    pub(super) fn or_nothing(self) -> Self {
        Self { is_body_needed: false, ..self }
    }

    /// An answer that is a document.
    pub(super) fn json<T: JsonSchema>(mut self, status: u16, description: &'static str) -> Self {
        self.answers.push((status, description, Body::Json(of::<T>)));
        self
    }

    /// An answer that is a document of another kind.
    pub(super) fn kind<T: JsonSchema>(
        mut self,
        status: u16,
        kind: &'static str,
        description: &'static str,
    ) -> Self {
        self.answers.push((status, description, Body::Kind(of::<T>, kind)));
        self
    }

    /// An answer that is a document, or text.
    pub(super) fn either<T: JsonSchema>(mut self, status: u16, description: &'static str) -> Self {
        self.answers.push((status, description, Body::Either(of::<T>, "text/plain")));
        self
    }

    /// An answer that is text.
    pub(super) fn text(
        mut self,
        status: u16,
        kind: &'static str,
        description: &'static str,
    ) -> Self {
        self.answers.push((status, description, Body::Text(kind)));
        self
    }

    /// An answer without a body.
    pub(super) fn empty(mut self, status: u16, description: &'static str) -> Self {
        self.answers.push((status, description, Body::None));
        self
    }

    /// How it may refuse, beside what every route may answer.
    pub(super) fn problems(mut self, all: &[u16]) -> Self {
        self.problems.extend(all);
        self
    }

    /// It has a tag.
    pub(super) fn tagged(self) -> Self {
        self.header("If-None-Match", "The tag of what is known already.")
            .empty(304, "It is what the client knows.")
    }

    /// It is done once for each key.
    pub(super) fn once(self) -> Self {
        self.header("Idempotency-Key", "Requests with the same key are done once in ten minutes.")
            .problems(&[422])
    }
}

/// What a status means.
pub(super) fn meaning(status: u16) -> &'static str {
    match status {
        400 => "The request makes no sense.",
        401 => "Nobody is signed in, or the token is not good.",
        403 => "It is not allowed, or comes from elsewhere.",
        404 => "There is no such thing.",
        405 => "It is not asked so.",
        408 => "The body took too long.",
        409 => "It contradicts what is there.",
        410 => "It has changed on the disk, and is given to nobody.",
        412 => "It is another one by now.",
        413 => "The body is too large.",
        415 => "The body is of another kind.",
        416 => "There is no such part.",
        422 => "It has mistakes; `errors` lists all of them.",
        423 => "Another request about it does not end.",
        426 => "It is asked otherwise; the problem says how.",
        429 => "Too many requests.",
        460 => "The part is not what its checksum says.",
        500 => "Berth failed; its log says more.",
        503 => "Something that is needed does not answer; try again.",
        504 => "It is not so yet, and may still become so.",
        507 => "It is being done and is not on the disk.",
        _ => "A problem.",
    }
}
