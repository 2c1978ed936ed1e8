//! The model store: what it keeps, whatever happens, and how it is asked.

mod asked;
mod clients;
mod crash;
pub(crate) mod faulty;
mod hooks;
mod inspection;
mod joined;
mod joined_crash;
mod limits;
pub(crate) mod memory;
mod parts;
mod parts_crash;
mod places;
mod scrub;
mod trusted;
mod web;
