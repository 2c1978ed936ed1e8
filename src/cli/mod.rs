//! The command line: one file per verb.
//!
//! Standard output carries the answer, standard error everything else. Exit codes are promises,
//! see [`Exit`].

mod act;
mod apply;
mod audit;
mod backup;
mod branches;
mod completion;
mod config;
mod confirm;
mod delete;
mod describe;
mod doctor;
mod document;
mod dry;
mod error;
mod events;
mod exec;
mod explain;
mod flags;
mod gc;
mod get;
mod gpu;
mod images;
mod import;
mod init;
mod inspection;
mod jsonpath;
mod logs;
mod man;
mod models;
mod notices;
mod open;
mod output;
mod plan;
mod ports;
mod push;
mod rollout;
mod run;
mod said;
mod scan;
mod schema;
mod screen;
mod secrets;
mod server;
mod sse;
mod ssh;
mod status;
mod steps;
mod suspend;
mod table;
mod token;
mod top;
mod trace;
mod tree;
mod unified;
mod validate;
mod version;
mod wait;
mod watch;

use std::{ffi::OsString, process::ExitCode};

use clap::{CommandFactory as _, Parser, Subcommand, ValueEnum};
use clap_complete::CompleteEnv;

pub use error::Exit;

use error::Error;
use output::Output;

/// Keeps the apps that manifests describe running, on plain Docker.
#[derive(Debug, Parser)]
#[command(name = "berth", version, max_term_width = 100, disable_help_subcommand = true)]
struct Cli {
    /// The controller to ask [default: the one at this machine's socket, else port 8000 of loopback].
    #[arg(long, global = true, env = "BERTH_SERVER", value_name = "URL")]
    server: Option<String>,
    /// The file that holds the token to sign in with [default: the token in `BERTH_TOKEN`].
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<std::path::PathBuf>,
    /// The certificates that an https controller's must lead to, in PEM form [default: the machine's].
    #[arg(long, global = true, env = "BERTH_TLS_CA", value_name = "FILE")]
    tls_ca: Option<std::path::PathBuf>,
    /// The one certificate that an https controller must show, as `berth run` says it in its log.
    #[arg(long, global = true, env = "BERTH_TLS_FINGERPRINT", value_name = "SHA256")]
    #[arg(conflicts_with = "tls_ca")]
    tls_fingerprint: Option<String>,
    /// When to use colours.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    color: Color,
    /// Write with letters of ASCII only.
    #[arg(long, global = true)]
    no_unicode: bool,
    /// How what happens on the way is said, on standard error: by `wait`, `apply --wait` and `models`.
    #[arg(long, global = true, value_name = "STYLE", default_value = "auto")]
    progress: steps::Style,
    /// Say nothing that was not asked for.
    #[arg(short, long, global = true)]
    quiet: bool,
    #[command(subcommand)]
    verb: Verb,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Color {
    /// On a terminal, unless `NO_COLOR` is set; always with `CLICOLOR_FORCE`.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the controller.
    Run(run::Args),
    /// List the apps, or show one.
    Get(get::Args),
    /// Show how an app stands, on one screen.
    Status(status::Args),
    /// Show all that is known of an app.
    Describe(describe::Args),
    /// Show what an app is made of.
    Tree(tree::Args),
    /// Show whose a container, a host port or a GPU is, up to the manifest and the commit.
    Trace(trace::Args),
    /// Print an app's address, and open it where there is a browser.
    Open(open::Args),
    /// Show what the next pass would do, and why; exit code 1 says that it would do something.
    #[command(visible_alias = "diff")]
    Plan(plan::Args),
    /// Check manifests without a controller.
    Validate(validate::Args),
    /// Show what an app writes, or what its build wrote.
    Logs(logs::Args),
    /// Run a command in an app's container, or a shell.
    Exec(exec::Args),
    /// Show what happened.
    Events(events::Args),
    /// Put manifests into the watched folder: create apps, or replace them.
    Apply(apply::Args),
    /// Remove an app's manifest, and with it the app; its data stays.
    Delete(delete::Args),
    /// Start an app that was stopped.
    Start(act::Args),
    /// Stop an app, and keep it stopped.
    Stop(act::Args),
    /// Stop and start an app.
    Restart(act::Args),
    /// Get an app's image, and leave the app stopped.
    Install(act::Args),
    /// Build an app from scratch, or look up what its image's name means now.
    Rebuild(act::Args),
    /// Stop an app by its manifest: `suspend: true`.
    Suspend(suspend::Args),
    /// Start an app by its manifest: `suspend: true` is taken out.
    Resume(suspend::Args),
    /// Show how versions took each other's place, or go back to an earlier one.
    #[command(subcommand)]
    Rollout(rollout::Verb),
    /// Look at an app and its repository now, and try again what failed.
    Reconcile(act::Reconcile),
    /// Go on with another engine that answers, else with the removals that are held back.
    Confirm(confirm::Args),
    /// List the GPUs of the controller's machine, and who holds them.
    Gpu(gpu::Args),
    /// List the host ports, and who has them.
    Ports(ports::Args),
    /// Show what each app uses now and what the machine has, or what one app used in the last hour; on
    /// a terminal again and again.
    Top(top::Args),
    /// List the images that Berth built, or remove those that nothing needs.
    Images(images::Args),
    /// Remove what Berth left behind and nothing needs any more.
    Gc(gc::Args),
    /// List who is told when something is wrong, or send a test.
    Notify(notices::Args),
    /// Show known vulnerabilities of the apps' images.
    Scan(scan::Args),
    /// Show what is installed in an app's image, as a list of parts (SBOM).
    Sbom(scan::PartsArgs),
    /// Store, fetch, list and delete models.
    Models(models::Args),
    /// Write a manifest for a folder of code or a repository, with what could be found out.
    Init(init::Args),
    /// Make manifests from what ran otherwise.
    Import(import::Args),
    /// Get into an app's container by ssh.
    Ssh(ssh::Args),
    /// Wait until an app is ready, or gone.
    Wait(wait::Args),
    /// List, keep and remove the secrets of this machine's Berth; values are never shown.
    Secrets(secrets::Args),
    /// Make, list and revoke the tokens that people and programs sign in with.
    Token(token::Args),
    /// Say whether this machine is fit for Berth, what is wrong with it and what to do.
    Doctor(doctor::Args),
    /// Show who changed what, or check that nothing of that was changed.
    Audit(audit::Args),
    /// Back up all that can't be made again, look after backups, and restore them.
    Backup(backup::Args),
    /// Say what a field of a manifest is for, or what a code means and what to do.
    Explain(explain::Args),
    /// Print the JSON Schema of manifests.
    Schema,
    /// Show the controller's configuration.
    Config(config::Args),
    /// Print what a shell needs to complete commands.
    Completion(completion::Args),
    /// Print a page of the manual, or write all of them.
    Man(man::Args),
    /// Print the version.
    Version(version::Args),
}

/// Runs the command line and answers its exit code.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<_> = args.into_iter().collect();
    let completing = CompleteEnv::with_factory(Cli::command).var(completion::ASKED).bin("berth");
    match completing.try_complete(args.clone(), std::env::current_dir().ok().as_deref()) {
        Ok(false) => {}
        Ok(true) => return ExitCode::SUCCESS,
        Err(_) => return ExitCode::from(2),
    }
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let mut output = Output::new(cli.color, cli.no_unicode, cli.quiet, cli.progress);
    let ended = perform(cli, &mut output).unwrap_or_else(|error| output.fail(&error));
    ended.into()
}

fn perform(cli: Cli, output: &mut Output) -> Result<Exit, Error> {
    if let Verb::Run(args) = cli.verb {
        return run::run(args, output);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(ask(cli, output))
}

async fn ask(cli: Cli, output: &mut Output) -> Result<Exit, Error> {
    let Cli { server, token_file, tls_ca, tls_fingerprint, verb, .. } = cli;
    let trust = server::trust(tls_ca, tls_fingerprint.as_deref())?;
    let named = server.clone();
    let server = || server::Server::new(server.as_deref(), token_file.as_deref(), &trust);
    match verb {
        Verb::Run(args) => run::run(args, output),
        Verb::Get(args) => get::run(&args, &server()?, output).await,
        Verb::Status(args) => status::run(&args, &server()?, output).await,
        Verb::Describe(args) => describe::run(&args, &server()?, output).await,
        Verb::Tree(args) => tree::run(&args, &server()?, output).await,
        Verb::Trace(args) => trace::run(&args, &server()?, output).await,
        Verb::Open(args) => open::run(&args, &server()?, output).await,
        Verb::Suspend(args) => suspend::run(true, &args, &server()?, output).await,
        Verb::Resume(args) => suspend::run(false, &args, &server()?, output).await,
        Verb::Plan(args) => plan::run(&args, &server()?, output).await,
        Verb::Logs(args) => logs::run(&args, &server()?, output).await,
        Verb::Exec(args) => exec::run(&args, &server()?, output).await,
        Verb::Events(args) => events::run(&args, &server()?, output).await,
        Verb::Apply(args) => apply::run(&args, &server()?, output).await,
        Verb::Delete(args) => delete::run(&args, &server()?, output).await,
        Verb::Start(args) => act::run("start", &args, &server()?, output).await,
        Verb::Stop(args) => act::run("stop", &args, &server()?, output).await,
        Verb::Restart(args) => act::run("restart", &args, &server()?, output).await,
        Verb::Install(args) => act::run("install", &args, &server()?, output).await,
        Verb::Rebuild(args) => act::run("rebuild", &args, &server()?, output).await,
        Verb::Reconcile(args) => act::reconcile(&args, &server()?, output).await,
        Verb::Rollout(verb) => rollout::run(&verb, &server()?, output).await,
        Verb::Confirm(args) => confirm::run(&args, &server()?, output).await,
        Verb::Ports(args) => ports::run(&args, &server()?, output).await,
        Verb::Scan(args) => scan::run(&args, &server()?, output).await,
        Verb::Sbom(args) => scan::parts(&args, &server()?, output).await,
        Verb::Images(args) => images::run(&args, &server()?, output).await,
        Verb::Gc(args) => gc::run(&args, &server()?, output).await,
        Verb::Notify(args) => notices::run(&args, &server()?, output).await,
        Verb::Models(args) => models::run(&args, &server()?, output).await,
        Verb::Wait(args) => wait::run(&args, &server()?, output).await,
        Verb::Ssh(args) => ssh::run(&args, &server()?, named.as_deref()).await,
        Verb::Validate(args) => validate::run(&args, output),
        Verb::Gpu(args) => gpu::run(&args, &server()?, output).await,
        Verb::Top(args) => top::run(&args, &server()?, output).await,
        Verb::Init(args) => init::run(&args, output).await,
        Verb::Import(args) => import::run(&args, output),
        Verb::Secrets(args) => secrets::run(args, output),
        Verb::Token(args) => token::run(args, named.is_some(), output),
        Verb::Doctor(args) => doctor::run(args, server().ok(), output).await,
        Verb::Audit(args) => audit::run(args, server, output).await,
        Verb::Backup(args) => backup::run(args, output).await,
        Verb::Explain(args) => explain::run(&args, output),
        Verb::Completion(args) => completion::run(&args, output),
        Verb::Man(args) => man::run(&args, Cli::command(), output),
        Verb::Schema => schema::run(output),
        Verb::Config(args) => config::run(args, output),
        Verb::Version(args) => version::run(&args, output),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
