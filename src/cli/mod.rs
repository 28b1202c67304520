//! The command line: what is typed, and which command does it. It holds no logic of the gateway.

pub mod access;
mod audience;
mod audit;
mod bar;
mod cancel;
mod caret;
mod certs;
mod config;
pub mod demo;
mod enrol;
mod group;
mod key;
pub mod listen;
mod load;
mod load_report;
mod login;
mod moment;
mod node;
mod operator;
pub mod options;
mod presence;
pub mod push;
mod receipts;
mod resume;
pub mod serve;
mod share;
pub mod style;
mod table;
mod tag;
mod tenant;
mod token;
mod topic;
mod trace;
mod twin;
mod user;
mod users;
mod webhook;

use std::ffi::OsString;
use std::io;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use style::{Color, Output};

/// A self-hosted push gateway: one long TLS connection on HTTP/2, durable pushes, exact acks.
#[derive(Debug, Parser)]
#[command(name = "pushline", version, styles = style::CLAP, after_help = EXAMPLES, max_term_width = 100)]
#[command(propagate_version = true, arg_required_else_help = true)]
struct Arguments {
    /// Write one JSON object a line, for scripts.
    #[arg(long, global = true)]
    json: bool,
    /// Colours: `auto` has them on a terminal, unless NO_COLOR is set.
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    color: Color,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// See the gateway at work: pushes, acks, an offline device, a crash, and nothing lost.
    Demo(demo::Arguments),
    /// Run the gateway.
    Serve(serve::Arguments),
    /// Enqueue one push.
    Push(push::Arguments),
    Audience(audience::Arguments),
    Group(group::Arguments),
    User(user::Arguments),
    Topic(topic::Arguments),
    Cancel(cancel::Arguments),
    Receipts(receipts::Arguments),
    Tag(tag::Arguments),
    Trace(trace::Arguments),
    Presence(presence::Arguments),
    Webhook(webhook::Arguments),
    Tenant(tenant::Arguments),
    Key(key::Arguments),
    Share(share::Arguments),
    Enrol(enrol::Arguments),
    Login(login::Arguments),
    Audit(audit::Arguments),
    Node(node::Arguments),
    /// Connect as a device and print what is pushed.
    Listen(listen::Arguments),
    Load(load::Arguments),
    /// A part of the crowd of `load`, in a process of its own.
    #[command(hide = true)]
    LoadCrew,
    Token(token::Arguments),
    /// Make a throw-away certificate for development.
    Certs(certs::Arguments),
    /// Print every option with its default, unit and meaning, or check a file.
    Config(config::Arguments),
}

/// Runs the command that the arguments (the program's name first) ask for. The code is 0 for success, 1 for failure, 2
/// for arguments that make no sense.
#[must_use]
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<_> = arguments.into_iter().collect();
    let color = Color::in_arguments(&arguments).apply();
    let parsed = Arguments::command()
        .color(color)
        .try_get_matches_from(arguments)
        .and_then(|matches| Arguments::from_arg_matches(&matches));
    let arguments = match parsed {
        Ok(arguments) => arguments,
        Err(refusal) => {
            // Help and version are such "refusals" too. A reader that went away needs no words.
            let _ = refusal.print();
            return ExitCode::from(u8::try_from(refusal.exit_code()).unwrap_or(2));
        }
    };
    let output = Output { json: arguments.json };
    let outcome = match &arguments.command {
        Command::Demo(arguments) => demo::run(arguments, output),
        Command::Serve(arguments) => serve::run(arguments, output),
        Command::Push(arguments) => push::run(arguments, output),
        Command::Audience(arguments) => audience::run(arguments, output),
        Command::Group(arguments) => group::run(arguments, output),
        Command::User(arguments) => user::run(arguments, output),
        Command::Topic(arguments) => topic::run(arguments, output),
        Command::Cancel(arguments) => cancel::run(arguments, output),
        Command::Receipts(arguments) => receipts::run(arguments, output),
        Command::Tag(arguments) => tag::run(arguments, output),
        Command::Trace(arguments) => trace::run(arguments, output),
        Command::Presence(arguments) => presence::run(arguments, output),
        Command::Webhook(arguments) => webhook::run(arguments, output),
        Command::Tenant(arguments) => tenant::run(arguments, output),
        Command::Audit(arguments) => audit::run(arguments, output),
        Command::Share(arguments) => share::run(arguments, output),
        Command::Enrol(arguments) => enrol::run(arguments, output),
        Command::Login(arguments) => login::run(arguments, output),
        Command::Node(arguments) => node::run(arguments, output),
        Command::Key(arguments) => key::run(arguments, output),
        Command::Listen(arguments) => listen::run(arguments, output),
        Command::Load(arguments) => load::run(arguments, output),
        Command::LoadCrew => load::run_child(),
        Command::Token(arguments) => token::run(arguments, output),
        Command::Certs(arguments) => certs::run(arguments, output),
        Command::Config(arguments) => config::run(arguments, output),
    };
    match outcome {
        Ok(code) => code,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output.failure(&words_of(&error));
            ExitCode::FAILURE
        }
    }
}

/// The failure and its causes. A cause that is part of the words before it is not said twice.
fn words_of(error: &anyhow::Error) -> String {
    let mut words = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !words.ends_with(&cause) {
            words = format!("{words}: {cause}");
        }
    }
    words
}

/// Whether the reader of our output went away, as `| head` does: no failure of ours.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

const EXAMPLES: &str = "\
Examples:
  pushline demo                              all of it at work, in a few seconds
  pushline serve                             a gateway for this machine
  pushline token --user ada --device phone   a token for one device, valid for a day
  pushline key create --scope push           an API key for a backend
  pushline push --user ada 'hello'           a push; `pushline trace ID` tells what became of it
  pushline load fanout --connections 5000    a crowd against it: how fast, how dear, nothing lost
  pushline certs --name push.example.org     a development certificate in certs/
  pushline config > pushline.toml            every option, explained, ready to edit
  pushline config check pushline.toml        what is wrong with it, if anything";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Arguments;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_flag_and_command_is_explained() {
        fn check(command: &clap::Command) {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{} {}", command.get_name(), argument.get_id());
            }
            command.get_subcommands().for_each(check);
        }
        check(&Arguments::command());
    }
}
