//! The last release and this one, side by side: on one schema, at one broker, over the same runs.
//!
//! `make test-upgrade` builds the last release (`deploy/previous-release`) and names its folder.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "tests read the environment, make their documents now, and say what they counted"
)]

mod fleet;
mod rolling;
mod schema;
