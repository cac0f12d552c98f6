//! The demonstration (`make demo`) and the benchmark (`make bench`) of hostsync, on the real servers that `make up`
//! starts and with the real programs as processes of their own.
//!
//! Nothing here is part of the product. What both have in common stands at the top; [`demo`] and [`measure`] are the two
//! programs, and [`today`] is what the benchmark compares with.

pub mod demo;
pub mod measure;
pub mod today;

mod expected;
mod fleet;
mod processes;
mod prometheus;
mod runs;
mod sample;
mod screen;
