//! The command line: one file a verb group. Whatever asks a control plane is a client of its API like any other.
//!
//! Owns what is typed and what is printed, and the exit codes: 0 done, 1 refused or failed, 2 bad usage or bad configuration.
//! The environment is read here (by clap) and nowhere else. Whatever callers supplied is printed escaped ([`shown`]).

mod audit;
mod certs;
mod check;
mod client;
mod connection;
mod explain;
mod failure;
mod grant;
mod grants;
mod halves;
mod output;
mod policy;
mod revoke;
pub mod sample;
mod shown;
mod status;
mod telemetry;
mod up;

pub use failure::Failure;

use clap::{CommandFactory, Parser, Subcommand};
use connection::Connection;
use output::Output;
use std::process::ExitCode;

/// Just-in-time access for AI agents and other workloads: a proxy that checks every request against live grants.
#[derive(Debug, Parser)]
#[command(name = "jitgate", version, about, disable_help_subcommand = true, propagate_version = true)]
#[command(after_help = "Start here:\n  jitgate up\n\nEvery verb has examples: jitgate VERB --help")]
pub struct Cli {
    #[command(flatten)]
    connection: Connection,
    /// How to print data
    #[arg(long, global = true, value_enum, default_value_t, help_heading = "Output")]
    output: Output,
    #[command(flatten)]
    telemetry: telemetry::Telemetry,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Up(up::Up),
    Proxy(halves::Proxy),
    Control(halves::Control),
    Check(check::Check),
    Grant(grant::GrantVerb),
    Grants(grants::Grants),
    Revoke(revoke::Revoke),
    Explain(explain::Explain),
    Status(status::Status),
    #[command(subcommand)]
    Policy(policy::Policy),
    #[command(subcommand)]
    Audit(audit::Audit),
    #[command(subcommand)]
    Certs(certs::Certs),
    Completions(Completions),
}

/// Print shell completions
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  jitgate completions bash > ~/.local/share/bash-completion/completions/jitgate\n  \
jitgate completions zsh > ~/.zfunc/_jitgate\n  jitgate completions fish > ~/.config/fish/completions/jitgate.fish"
)]
struct Completions {
    /// For which shell
    shell: clap_complete::Shell,
}

/// Does what the command line asks for; prints what there is to print.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    let Cli { connection, output, telemetry, verb } = cli;
    match verb {
        Verb::Up(verb) => verb.run(&connection, &telemetry),
        Verb::Proxy(verb) => verb.run(&telemetry),
        Verb::Control(verb) => verb.run(&telemetry),
        Verb::Check(verb) => verb.run(output),
        Verb::Grant(verb) => verb.run(&connection, output),
        Verb::Grants(verb) => verb.run(&connection, output),
        Verb::Revoke(verb) => verb.run(&connection, output),
        Verb::Explain(verb) => verb.run(&connection, output),
        Verb::Status(verb) => verb.run(&connection, output),
        Verb::Policy(verb) => verb.run(&connection, output),
        Verb::Audit(verb) => verb.run(&connection, output),
        Verb::Certs(verb) => verb.run(&connection, output),
        Verb::Completions(Completions { shell }) => {
            clap_complete::generate(shell, &mut Cli::command(), "jitgate", &mut std::io::stdout());
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests;
