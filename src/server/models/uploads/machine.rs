//! What may be added to an upload, and what it is afterwards: the rules of both protocols, without
//! waiting and without a clock.

/// Where an upload stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    /// How much there is.
    pub(super) offset: u64,
    /// How much there will be, once that is said.
    pub(super) length: Option<u64>,
    /// Whether nothing more comes.
    pub(super) is_over: bool,
}

/// When an upload is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ends {
    /// Once it is as long as was said (tus).
    WhenFull,
    /// With this request (`Upload-Complete: ?1`).
    Now,
    /// Not with this request (`Upload-Complete: ?0`).
    NotYet,
}

/// What a request wants to add.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Append {
    /// Where it begins.
    pub(super) offset: u64,
    /// How much it brings, where that is known.
    pub(super) content: Option<u64>,
    /// How long the whole will be, where it says so.
    pub(super) length: Option<u64>,
    /// When the whole is there.
    pub(super) ends: Ends,
}

/// What is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Course {
    /// Where it begins.
    pub(super) offset: u64,
    /// How long the whole will be, as far as is known now.
    pub(super) length: Option<u64>,
    /// How much may come at most.
    pub(super) most: u64,
    ends: Ends,
}

/// Why nothing may be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is whole already.
    Over,
    /// It stands elsewhere.
    Offset,
    /// It was said to be of another length.
    Length,
    /// It would be longer than it may be.
    TooLong,
}

/// What is so once a request has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// More must come.
    Open,
    /// All is there: this is how long it is.
    Whole(u64),
    /// It was said to be whole and is not as long as was said.
    Short,
}

/// Whether a request may add to an upload. `most` is how long one may be.
pub(super) fn begin(state: State, append: Append, most: Option<u64>) -> Result<Course, Refusal> {
    if state.is_over {
        return Err(Refusal::Over);
    }
    if append.offset != state.offset {
        return Err(Refusal::Offset);
    }
    let end = match append.content {
        Some(content) => Some(state.offset.checked_add(content).ok_or(Refusal::TooLong)?),
        None => None,
    };
    let ending = end.filter(|_| append.ends == Ends::Now);
    let mut length = state.length;
    for said in [append.length, ending].into_iter().flatten() {
        if *length.get_or_insert(said) != said {
            return Err(Refusal::Length);
        }
    }
    let limit = length.unwrap_or(u64::MAX).min(most.unwrap_or(u64::MAX));
    if length.is_some_and(|length| limit < length) || limit < state.offset {
        return Err(Refusal::TooLong);
    }
    if end.is_some_and(|end| limit < end) {
        return Err(Refusal::TooLong);
    }
    let (offset, ends) = (state.offset, append.ends);
    Ok(Course { offset, length, most: limit - state.offset, ends })
}

/// What is so after `came` bytes have come; `is_whole` says that the request did not break off.
pub(super) fn end(course: Course, came: u64, is_whole: bool) -> Outcome {
    let at = course.offset + came;
    match (course.ends, course.length) {
        (Ends::WhenFull, Some(length)) if at == length => Outcome::Whole(length),
        (Ends::Now, _) if !is_whole => Outcome::Open,
        (Ends::Now, Some(length)) if at != length => Outcome::Short,
        (Ends::Now, _) => Outcome::Whole(at),
        _ => Outcome::Open,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(offset: u64, length: Option<u64>) -> State {
        State { offset, length, is_over: false }
    }

    fn append(offset: u64, content: Option<u64>, ends: Ends) -> Append {
        Append { offset, content, length: None, ends }
    }

    #[test]
    fn what_may_not_be_added_is_refused_for_its_reason() {
        use Ends::{NotYet, Now, WhenFull};
        let some = Some;
        for (state, append, refusal) in [
            (State { is_over: true, ..state(5, some(5)) }, append(5, some(0), Now), Refusal::Over),
            (state(5, some(9)), append(4, some(1), WhenFull), Refusal::Offset),
            (state(5, some(9)), append(6, some(1), NotYet), Refusal::Offset),
            (state(5, some(9)), append(5, some(3), Now), Refusal::Length),
            (state(5, some(9)), append(5, some(5), WhenFull), Refusal::TooLong),
            (state(5, None), append(5, some(96), NotYet), Refusal::TooLong),
            (state(5, None), append(5, some(u64::MAX), NotYet), Refusal::TooLong),
            (state(0, None), append(0, some(101), Now), Refusal::TooLong),
            (state(0, some(101)), append(0, some(1), WhenFull), Refusal::TooLong),
        ] {
            assert_eq!(begin(state, append, some(100)), Err(refusal), "{state:?} {append:?}");
        }
        let other = Append { length: some(8), ..append(5, some(1), NotYet) };
        assert_eq!(begin(state(5, some(9)), other, None), Err(Refusal::Length));
    }

    #[test]
    fn an_upload_is_whole_as_its_protocol_says() {
        let run = |ends, length, content, came, is_whole| {
            let course = begin(state(4, length), append(4, content, ends), None).unwrap();
            assert!(came <= course.most);
            end(course, came, is_whole)
        };
        let (full, ten) = (Ends::WhenFull, Some(10));
        assert_eq!(run(full, ten, Some(6), 6, true), Outcome::Whole(10));
        // All that was said has come, whatever became of the connection.
        assert_eq!(run(full, ten, None, 6, false), Outcome::Whole(10));
        assert_eq!(run(full, ten, Some(6), 5, false), Outcome::Open);
        assert_eq!(run(full, None, Some(6), 6, true), Outcome::Open);
        assert_eq!(run(Ends::NotYet, ten, Some(6), 6, true), Outcome::Open);
        assert_eq!(run(Ends::Now, None, None, 7, true), Outcome::Whole(11));
        assert_eq!(run(Ends::Now, ten, Some(6), 6, true), Outcome::Whole(10));
        assert_eq!(run(Ends::Now, ten, Some(6), 3, false), Outcome::Open);
        assert_eq!(run(Ends::Now, ten, None, 3, true), Outcome::Short);
    }
}
