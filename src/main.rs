//! The `hutong` program: runs one command; what goes wrong becomes one line and an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    hutong::cli::main()
}
