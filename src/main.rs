//! The program: arguments in, exit code out.

use clap::Parser as _;

use ringress::cli::arguments::Arguments;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    match ringress::cli::main(Arguments::parse()) {
        Ok(code) => std::process::exit(code),
        Err(error) => {
            eprintln!("ringress: {error:#}");
            std::process::exit(1);
        }
    }
}
