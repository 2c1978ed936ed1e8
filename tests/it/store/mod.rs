//! The model store: what it keeps, whatever happens, and how it is asked.

mod clients;
mod crash;
mod faulty;
mod limits;
mod memory;
mod places;
mod web;
