//! `make bench-load`.
fn main() {}
