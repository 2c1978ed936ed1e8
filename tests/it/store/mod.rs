//! The model store: what it keeps, whatever happens, and how it is asked.

mod clients;
mod crash;
mod faulty;
mod hooks;
mod inspection;
mod limits;
mod memory;
mod parts;
mod parts_crash;
mod places;
mod scrub;
mod web;
