//! The product with faults that a test asks for; the lab starts it, nobody installs it.

use std::process::ExitCode;

/// A held request costs a third of what it costs with the system's allocator.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    intermission::cli::run(std::env::args_os())
}
