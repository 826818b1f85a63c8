//! The command line: one file a verb group. Whatever asks a control plane is a client of its API like any other.
//!
//! Owns what is typed and what is printed, and the exit codes: 0 done, 1 refused or failed, 2 bad usage or bad configuration;
//! of `run` the command's own, or 125.
//! The environment is read here (by clap) and nowhere else. Whatever callers supplied is printed escaped ([`shown`]).

mod ask;
mod audit;
mod certs;
mod check;
mod client;
mod connect;
mod connection;
mod cooldown;
mod decide;
mod explain;
mod failure;
mod grant;
mod grants;
mod halves;
mod hand_on;
mod loopback;
mod output;
mod policy;
mod request;
mod requests;
mod reviews;
mod revoke;
mod run;
pub mod sample;
mod scopes;
mod shown;
mod status;
mod task;
mod telemetry;
mod up;

pub use failure::Failure;

use clap::{CommandFactory, Parser, Subcommand};
use connection::Connection;
use output::{Format, Output};
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
    output: Format,
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
    Request(request::Request),
    Requests(requests::Requests),
    Run(run::Run),
    Connect(connect::Connect),
    Approve(decide::Approve),
    Deny(decide::Deny),
    Cancel(decide::Cancel),
    Grant(grant::GrantVerb),
    Grants(grants::Grants),
    Extend(hand_on::Extend),
    Delegate(hand_on::Delegate),
    Revoke(revoke::Revoke),
    #[command(subcommand)]
    Task(task::Task),
    Reviews(reviews::Reviews),
    #[command(subcommand)]
    Cooldown(cooldown::Cooldown),
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
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return misused(&error),
    };
    match run(cli) {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}

/// Help, or what is wrong with the command line. An error repeats what was typed, which may be somebody else's text.
fn misused(error: &clap::Error) -> ExitCode {
    let acts = std::env::args_os().any(|argument| {
        let text = argument.to_string_lossy();
        shown::escaped(&text) != text
    });
    if !acts || !error.use_stderr() {
        error.exit();
    }
    // Without colours: then nothing in it is meant to act.
    for line in error.render().to_string().lines() {
        eprintln!("{}", shown::escaped(line));
    }
    ExitCode::from(2)
}

fn run(cli: Cli) -> Result<ExitCode, Failure> {
    let Cli { connection, output: format, telemetry, verb } = cli;
    let output = match (format, &verb) {
        (Format::Csv, Verb::Audit(audit::Audit::Search(_))) | (Format::Table, _) => Output::Table,
        (Format::Json, _) => Output::Json,
        (Format::Csv, _) => {
            return Err(Failure::usage("only `audit search` prints CSV: choose `table` or `json`"));
        }
    };
    let done = match verb {
        // The only one whose exit code is another program's.
        Verb::Run(verb) => return verb.run(&connection),
        Verb::Up(verb) => verb.run(&connection, &telemetry),
        Verb::Proxy(verb) => verb.run(&telemetry),
        Verb::Control(verb) => verb.run(&telemetry),
        Verb::Check(verb) => verb.run(output),
        Verb::Connect(verb) => verb.run(&connection, output),
        Verb::Request(verb) => verb.run(&connection, output),
        Verb::Requests(verb) => verb.run(&connection, output),
        Verb::Approve(verb) => verb.run(&connection, output),
        Verb::Deny(verb) => verb.run(&connection, output),
        Verb::Cancel(verb) => verb.run(&connection, output),
        Verb::Extend(verb) => verb.run(&connection, output),
        Verb::Delegate(verb) => verb.run(&connection, output),
        Verb::Task(verb) => verb.run(&connection, output),
        Verb::Reviews(verb) => verb.run(&connection, output),
        Verb::Cooldown(verb) => verb.run(&connection, output),
        Verb::Grant(verb) => verb.run(&connection, output),
        Verb::Grants(verb) => verb.run(&connection, output),
        Verb::Revoke(verb) => verb.run(&connection, output),
        Verb::Explain(verb) => verb.run(&connection, output),
        Verb::Status(verb) => verb.run(&connection, output),
        Verb::Policy(verb) => verb.run(&connection, output),
        Verb::Audit(verb) => verb.run(&connection, output, format),
        Verb::Certs(verb) => verb.run(&connection, output),
        Verb::Completions(Completions { shell }) => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "jitgate", &mut script);
            output::bytes(&script)
        }
    };
    done.map(|()| ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests;
