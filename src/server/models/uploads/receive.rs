//! The part that a request brings, on its way to the disk.
//!
//! The thread that writes holds the upload: when the client goes, or the request is ended for a later
//! one, what came is made to last all the same.

use std::{io, sync::Arc};

use axum::body::{BodyDataStream, Bytes};
use futures_util::StreamExt as _;
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use super::super::{
    blocks::{self, Blocks},
    upload::patient,
};
use super::{
    machine::{self, Course, Outcome},
    said::Sum,
};
use crate::model::Timestamp;
use crate::store::{Append, Claim, Error, Partial, Store, Stored};

/// What became of a part.
pub(super) enum Received {
    /// More must come.
    Open,
    /// The upload is a model now.
    Done(Box<Stored>),
    /// It was said to be whole, and is too short.
    Short,
    /// It is not what it was said to hash to; nothing of it is kept.
    Sum,
    /// More came than may; nothing of what is too much is kept.
    TooLong,
    /// The client sent nothing more, or a later request took over.
    Broken(io::ErrorKind),
}

/// What the thread that writes is told.
enum Told {
    Block(Bytes),
    /// The request has brought all that it has.
    End,
    /// The request has brought more than it may.
    TooMuch,
}

/// Computes what a part hashes to.
enum Summing {
    Sha1(Sha1, [u8; 20]),
    Md5(Md5, [u8; 16]),
    Sha256(Sha256, [u8; 32]),
}

impl Summing {
    fn new(sum: Sum) -> Self {
        match sum {
            Sum::Sha1(wanted) => Self::Sha1(Sha1::new(), wanted),
            Sum::Md5(wanted) => Self::Md5(Md5::new(), wanted),
            Sum::Sha256(wanted) => Self::Sha256(Sha256::new(), wanted),
        }
    }

    fn update(&mut self, block: &[u8]) {
        match self {
            Self::Sha1(hasher, _) => hasher.update(block),
            Self::Md5(hasher, _) => hasher.update(block),
            Self::Sha256(hasher, _) => hasher.update(block),
        }
    }

    fn agrees(self) -> bool {
        match self {
            Self::Sha1(hasher, wanted) => hasher.finalize()[..] == wanted,
            Self::Md5(hasher, wanted) => hasher.finalize()[..] == wanted,
            Self::Sha256(hasher, wanted) => hasher.finalize()[..] == wanted,
        }
    }
}

/// Where a part goes.
pub(super) struct Goal {
    pub(super) store: Arc<Store>,
    pub(super) partial: Arc<Partial>,
    pub(super) claim: Claim,
    pub(super) course: Course,
    pub(super) sum: Option<Sum>,
    pub(super) now: Timestamp,
}

/// Takes a part from a request.
pub(super) async fn receive(goal: Goal, body: &mut BodyDataStream) -> Result<Received, Error> {
    let wanted = goal.claim.wanted.clone();
    let (sender, receiver) = mpsc::channel(blocks::WAITING);
    let most = goal.course.most;
    let writing = tokio::task::spawn_blocking(move || write(&goal, receiver));
    let ended = |error: tokio::task::JoinError| Error::ended(&error.to_string());
    let mut stream = Box::pin(patient(body));
    let (mut coming, mut came) = (Blocks::new(None), 0_u64);
    let broken = 'coming: loop {
        let next = tokio::select! {
            () = wanted.cancelled() => break Some(io::ErrorKind::ConnectionAborted),
            next = stream.next() => next,
        };
        match next {
            None => break None,
            Some(Err(error)) => break Some(error.kind()),
            Some(Ok(mut part)) => {
                came = came.saturating_add(u64::try_from(part.len()).unwrap_or(u64::MAX));
                if most < came {
                    let _ = sender.send(Told::TooMuch).await;
                    drop(sender);
                    return writing.await.map_err(ended)?;
                }
                while !part.is_empty() {
                    if let Some(block) = coming.fill(&mut part)
                        && sender.send(Told::Block(block)).await.is_err()
                    {
                        break 'coming None;
                    }
                }
            }
        }
    };
    // Whether it failed is known by what the writer says.
    let _ = sender.send(Told::Block(coming.rest())).await;
    if broken.is_none() {
        let _ = sender.send(Told::End).await;
    }
    drop(sender);
    let received = writing.await.map_err(ended)??;
    Ok(match (received, broken) {
        (Received::Open, Some(kind)) => Received::Broken(kind),
        (received, _) => received,
    })
}

fn write(goal: &Goal, mut told: mpsc::Receiver<Told>) -> Result<Received, Error> {
    let Goal { store, partial, course, .. } = goal;
    let mut append = Append::begin(store, partial, goal.sum.is_some())?;
    let mut sum = goal.sum.map(Summing::new);
    let (began, mut is_whole) = (append.at(), false);
    while let Some(told) = told.blocking_recv() {
        match told {
            Told::Block(block) => {
                if let Some(sum) = &mut sum {
                    sum.update(&block);
                }
                append.take(&block)?;
            }
            Told::End => is_whole = true,
            Told::TooMuch => {
                if sum.is_none() {
                    append.keep()?;
                }
                return Ok(Received::TooLong);
            }
        }
    }
    if let Some(sum) = sum {
        if !is_whole {
            return Ok(Received::Open);
        }
        if !sum.agrees() {
            return Ok(Received::Sum);
        }
    }
    append.keep()?;
    let came = append.at() - began;
    drop(append);
    match machine::end(*course, came, is_whole) {
        Outcome::Open => {
            if let Some(length) = course.length {
                store.settle_partial(partial, length, false)?;
            }
            Ok(Received::Open)
        }
        Outcome::Short => Ok(Received::Short),
        Outcome::Whole(length) => {
            store.settle_partial(partial, length, true)?;
            if partial.kept().is_part() {
                // It waits for the others.
                return Ok(Received::Open);
            }
            let stored = store.complete_partial(partial, goal.now)?;
            Ok(Received::Done(Box::new(stored)))
        }
    }
}
