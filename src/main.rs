//! The `berth` command.

use std::process::ExitCode;

use berth::{cli, host, workspace::worker};

fn main() -> ExitCode {
    host::share_heaps();
    // Secrets and logins pass through here, the worker's too. `berth run` says when it failed.
    let _ = host::keep_memory();
    // The work of libgit2 runs in a child of its own, which is this same program.
    if std::env::args_os().nth(1).is_some_and(|word| word == worker::COMMAND) {
        return worker::main();
    }
    cli::main(std::env::args_os())
}
