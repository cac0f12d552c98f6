//! Stands for the crates that it names.

fn main() {}
