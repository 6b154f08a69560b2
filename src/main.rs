//! The `k3s-boot` program; everything it does is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    k3s_boot::main_impl()
}
