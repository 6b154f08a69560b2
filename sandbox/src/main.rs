//! `cargo sandbox`.

use std::process::ExitCode;

fn main() -> ExitCode {
    sandbox::cli::main()
}
