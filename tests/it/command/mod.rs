//! The command line against a Berth whose engine is in memory: what every verb writes, in every
//! surrounding, and that documents name no command that does not run.

mod codes;
mod desk;
pub(crate) mod docs;
mod exec;
mod golden;
mod more;
mod said;
mod secrets;
mod shells;
mod terminal;
mod top;
mod verbs;
