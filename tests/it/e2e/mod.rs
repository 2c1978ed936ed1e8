//! The whole of Berth on a real Docker Engine: real repositories, real builds, real processes.
//!
//! These tests need an engine with the images `berth/tiny:offline` and `berth/base:offline`
//! (`make tiny-image offline-image`), and fail without. Each makes an instance of its own and removes
//! all that belongs to it at its end.

mod authority;
mod bad_input;
mod base;
mod change;
mod clean;
mod compose;
mod conformance;
mod crash_points;
mod disaster;
mod engine;
mod fault_points;
mod figures;
mod first_run;
mod gone;
mod gpus;
mod images;
mod kill;
mod managers;
mod mounts;
mod notices;
mod program;
mod remote_backup;
mod repair;
pub(crate) mod repository;
mod restricted;
mod rollout;
mod scans;
mod secrets;
mod servers;
mod service;
mod shapes;
mod sources;
mod stage;
mod tutorial;
mod twins;
mod undo;
mod upgrade;
mod usage;
