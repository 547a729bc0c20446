//! The program `rediscue`.

use std::process::ExitCode;

fn main() -> ExitCode {
    rediscue::app::cli::main()
}
