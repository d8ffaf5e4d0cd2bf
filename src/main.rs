//! The binary: everything is in the library.

use std::process::ExitCode;

/// Gives back what a first sync or a large render needed for a moment: what the agent remembers
/// afterwards is a fraction of it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    trimtab::run(std::env::args_os())
}
