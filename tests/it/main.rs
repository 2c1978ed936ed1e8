//! Every test that needs more than one module, in one binary.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that can not go on has failed")]

mod access;
mod api;
mod authority;
mod catalogue;
mod cli;
mod compat;
mod compose;
mod convergence;
mod crash;
mod devices;
mod dockerignore;
mod e2e;
mod engine_contract;
mod engine_failure;
mod figures;
mod folder;
mod front;
mod git_access;
mod git_server;
mod gitops;
mod gpu;
mod gpus;
mod images;
mod interface;
mod manifest;
mod matrix;
mod model;
mod plan;
mod plan_props;
mod policy;
mod proxy;
mod recipe;
mod rig;
mod rollouts;
mod secrets;
mod seeded;
mod sim;
mod source;
mod state_files;
mod store;
mod tidy;
mod tls;
mod usage;
mod workspace;
