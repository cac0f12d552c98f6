//! The demonstration (`make demo`), the benchmark (`make bench`), the sizes (`make sizes`) and the autoscaler's play
//! (`make autoscale`) of hostsync, on the real servers that `make up` starts and with the real programs as processes of
//! their own.
//!
//! Nothing here is part of the product. What they have in common stands at the top; [`demo`], [`measure`], [`sizes`] and
//! [`autoscale`] are the programs, and [`today`] is what the benchmark compares with.

pub mod autoscale;
pub mod demo;
pub mod measure;
pub mod program;
pub mod sizes;
pub mod today;

mod database_work;
mod expected;
mod fleet;
mod processes;
mod prometheus;
mod runs;
mod sample;
mod screen;
mod statements;
