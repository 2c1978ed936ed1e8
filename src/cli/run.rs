//! `berth run`: the controller.

use std::error::Error as _;

use super::{
    error::{Error, Exit},
    flags::Flags,
    output::Output,
};
use crate::config::{Config, Layers};
use crate::daemon;
use crate::telemetry::logging;

/// What it takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    flags: Flags,
}

pub(super) fn run(args: Args, _output: &mut Output) -> Result<Exit, Error> {
    let config = read(args.flags)?;
    let log = logging::init(config.log_format, &config.log)
        .map_err(|error| Error::new(Exit::NotSo, error.to_string()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ran = runtime.block_on(daemon::run(config));
    // A look at a slow folder may still be under way: nothing of it is needed any more.
    runtime.shutdown_background();
    log.finish();
    ran.map(|()| Exit::Done).map_err(|error| {
        let mut said = Error::new(Exit::NotSo, error.to_string());
        let mut cause = error.source();
        while let Some(source) = cause {
            said = said.why(source.to_string());
            cause = source.source();
        }
        said
    })
}

/// Reads the configuration, or says everything that is wrong with it.
pub(super) fn read(flags: Flags) -> Result<Config, Error> {
    Config::read(&Layers::of_process(flags.0)).map_err(|error| {
        let said = Error::new(Exit::Trouble, error.to_string())
            .fix("`berth run --help` lists the options; `berth config view --origin` shows them");
        error.0.iter().fold(said, |said, mistake| said.why(mistake.to_string()))
    })
}
