//! The program `vkernel`: arguments in, a subcommand run, an exit status out.

mod affinity;
mod args;
mod boot;
mod config;
mod ddb;
mod demo;
mod dispatch;
mod exit;
mod explore;
mod gdb;
mod gdb_port;
mod generate;
mod ls;
mod other_model;
mod pidfile;
mod pin;
mod replay;
mod report;
mod result;
mod rm;
mod say;
mod symbols;
#[cfg(test)]
mod testing;
mod text;
mod trace_events;
mod trace_info;
mod trace_pack;
mod vmcore;

use std::process::ExitCode;

fn main() -> ExitCode {
    let status = match args::parse(std::env::args_os().skip(1).collect()) {
        Ok(command) => exit::guarded(|| dispatch::run(command)),
        Err(args::Stop::Print(text)) => say::print(&text).map(|()| exit::ExitStatus::Good),
        Err(args::Stop::Error(error)) => Err(error),
    };
    status.unwrap_or_else(|error| say::error(&error)).into()
}
