//! The `intermission` command.

fn main() {}
