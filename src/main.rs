//! The `berth` command.

use std::process::ExitCode;

use berth::{cli, workspace::worker};

fn main() -> ExitCode {
    // The work of libgit2 runs in a child of its own, which is this same program.
    if std::env::args_os().nth(1).is_some_and(|word| word == worker::COMMAND) {
        return worker::main();
    }
    cli::main(std::env::args_os())
}
