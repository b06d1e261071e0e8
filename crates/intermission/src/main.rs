//! The `intermission` command.

use std::process::ExitCode;

/// A held request costs a third of what it costs with the system's allocator.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    intermission::cli::run(std::env::args_os())
}
