//! The program: arguments in, exit code out.

use clap::Parser as _;

use ringress::cli::arguments::Arguments;
use ringress::sys::signals;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    // Cannot fail with signals that there are; if it did, they would do what they do to every process.
    let _ = signals::hold();
    match ringress::cli::main(Arguments::parse()) {
        Ok(code) => std::process::exit(code),
        Err(error) => {
            eprintln!("ringress: {error:#}");
            std::process::exit(1);
        }
    }
}
