//! Berth: a reconciliation controller over plain Docker.
//!
//! Berth is a function from (manifests, observed host) to a plan, and a loop that runs it.
//! Everything else feeds that function or reports on it:
//!
//! ```text
//! source ─► manifest ─► intake ─► Desired ─┐
//!                                          ├─► plan ─► execute ─► engine
//!                       engine ─► World ───┘      └──► status ─► record ─► server
//! ```
//!
//! The modules stand below in reading order, and in layers: each uses only what stands above it.
//! The first five are pure; from `clock` on, things wait, fail and cost.

// Words.
pub mod model;

// Text to intent, and the two sides that are compared.
pub mod manifest;
pub mod state;

// The decision.
pub mod plan;

// The verdict.
pub mod status;

// The time, the machine, secrets, logs and figures; what is inside model files and images,
// and how model files are sent in chunks.
pub mod clock;
pub mod host;
pub mod inspect;
pub mod scan;
pub mod secret;
pub mod telemetry;
pub mod xet;

// Who may do what, and who did what.
pub mod audit;
pub mod auth;

// The edges: manifests, git, the engine, the model store, backups.
pub mod backup;
pub mod engine;
pub mod gpu;
pub mod source;
pub mod store;
pub mod usage;
pub mod workspace;

// Who is next, and what is known.
pub mod queue;
pub mod record;

// The hands, and what git servers say and are told.
pub mod doctor;
pub mod execute;
pub mod forge;
pub mod health;

// Who is told when something is wrong.
pub mod notice;

// One pass for one app; from a reading to what is desired; what runs as compose files.
pub mod compose;
pub mod intake;
pub mod reconcile;

// The loop, and the face.
pub mod controller;
pub mod server;

// Every option; the wiring; the verbs.
pub mod config;
pub mod daemon;

pub mod cli;
