//! The engine itself fails: it is killed and comes back, its disk is full, another one answers in
//! its place. The real program beside a real engine of our own, which takes root and the image
//! `berth/tiny:offline` (`make tiny-image`).

#![expect(clippy::disallowed_methods, reason = "other programs are waited for, without a runtime")]

mod builds;
mod cache;
mod clock;
mod disk;
mod kills;
mod left;
mod outage;
mod room;
pub(crate) mod second;
mod soak;
mod stranger;
