//! The prompt itself: help, variables, scripts, capture, leaving.

use super::super::CommandError;
use super::super::dispatch::{Found, find};
use super::super::hints::no_such_command;
use super::super::lexer::Token;
use super::super::prompt::Left;
use super::diversion::writable_register;
use super::{COMMANDS, Command, Group, Repeats};
use crate::debugger::Why;
use crate::gdb::Ended;
use std::fmt::Write as _;

/// Where gdb is awaited unless another address is named.
const DEFAULT_GDB_ADDRESS: &str = "localhost:1234";

/// `help`
pub const HELP: Command = Command {
    names: &["help"],
    usage: "[COMMAND]",
    help: "Lists the commands, or says what one does. A unique beginning of a name is enough.",
    group: Group::Session,
    repeats: Repeats::Never,
    run: |ddb, mut arguments| {
        let words: Vec<&str> = arguments.lexer.take_rest().split_whitespace().collect();
        if words.is_empty() {
            for group in Group::ALL {
                let _ = writeln!(ddb.out, "{}:", group.heading());
                let names = COMMANDS.iter().filter(|command| command.group == group);
                let names: Vec<&str> = names.map(|command| command.names[0]).collect();
                let _ = writeln!(ddb.out, "  {}", names.join(", "));
            }
            ddb.out.push_str("`help COMMAND` says more; docs/ddb.md has all of it.\n");
            return Ok(());
        }
        match find(&words) {
            Found::One(command) => {
                let _ = writeln!(ddb.out, "{} {}", command.names.join(", "), command.usage);
                let _ = writeln!(ddb.out, "{}", command.help);
                Ok(())
            }
            Found::Table(word) => {
                let names = COMMANDS.iter().flat_map(|command| command.names);
                let names: Vec<&str> =
                    names.filter(|name| name.split(' ').next() == Some(word)).copied().collect();
                let _ = writeln!(ddb.out, "{}", names.join(", "));
                Ok(())
            }
            Found::None => Err(no_such_command(&words.join(" "), &words.join(" "))),
            Found::Many(names) => Err(CommandError::said(format!("Ambiguous: {}", names.join(", ")))),
        }
    },
};

/// `set`
pub const SET: Command = Command {
    names: &["set"],
    usage: "[$VARIABLE [=] VALUE]",
    help: "Sets $radix, $maxoff, $maxwidth, $tabstops, $lines (of a page, 0 for none) or $work0 to $work31; alone, lists them. Sets a general register, $rip or $rflags of this vCPU as `write` does memory. Other registers, and places, are variables to be read: $cr3, $icount.",
    group: Group::Session,
    repeats: Repeats::Never,
    run: |ddb, mut arguments| match arguments.lexer.next()? {
        Token::End => {
            for (name, value) in ddb.variables.list() {
                let _ = writeln!(ddb.out, "${name} = {value:#x}");
            }
            Ok(())
        }
        Token::Variable(name) => {
            arguments.lexer.accept("=");
            let value = ddb.value(&mut arguments.lexer, "set")?;
            ddb.end(&mut arguments.lexer)?;
            let old = match writable_register(&name) {
                Some(register) => ddb.set_register(&name, register, value)?,
                None => ddb.variables.set(&name, value)?,
            };
            let _ = writeln!(ddb.out, "${name}\t\t{old:#x} = {value:#x}");
            Ok(())
        }
        _ => Err(CommandError::said(format!("set {}", SET.usage))),
    },
};

/// `script`
pub const SCRIPT: Command = Command {
    names: &["script"],
    usage: "NAME[=COMMAND; COMMAND ...]",
    help: "Defines a script, or shows one. kdb.enter.break, .watch, .interrupt, .unknown and .default are run when the prompt is entered for that reason.",
    group: Group::Session,
    repeats: Repeats::Never,
    run: |ddb, mut arguments| {
        let text = arguments.lexer.take_rest();
        match text.split_once('=') {
            Some((name, commands)) if !name.trim().is_empty() && !name.trim().contains(' ') => {
                ddb.scripts.named.insert(name.trim().to_owned(), commands.trim().to_owned());
                Ok(())
            }
            None if !text.is_empty() => match ddb.scripts.named.get(text) {
                Some(commands) => {
                    let _ = writeln!(ddb.out, "{text}={commands}");
                    Ok(())
                }
                None => Err(CommandError::said(format!("script '{text}' not found"))),
            },
            _ => Err(CommandError::said("usage: script NAME=COMMAND; COMMAND ...")),
        }
    },
};

/// `scripts`
pub const SCRIPTS: Command = Command {
    names: &["scripts"],
    usage: "",
    help: "Lists all scripts.",
    group: Group::Session,
    repeats: Repeats::Never,
    run: |ddb, mut arguments| {
        ddb.end(&mut arguments.lexer)?;
        for (name, commands) in &ddb.scripts.named {
            let _ = writeln!(ddb.out, "{name}={commands}");
        }
        Ok(())
    },
};

/// `run`
pub const RUN: Command = Command {
    names: &["run"],
    usage: "NAME",
    help: "Runs a script, showing each command.",
    group: Group::Session,
    repeats: Repeats::Never,
    run: |ddb, mut arguments| {
        let name = arguments.lexer.take_rest().to_owned();
        ddb.run_script(&name);
        Ok(())
    },
};

/// `unscript`
pub const UNSCRIPT: Command = Command {
    names: &["unscript"],
    usage: "NAME",
    help: "Forgets a script.",
    group: Group::Session,
    repeats: Repeats::Never,
    run: |ddb, mut arguments| {
        let name = arguments.lexer.take_rest();
        match ddb.scripts.named.remove(name) {
            Some(_) => Ok(()),
            None => Err(CommandError::said(format!("script '{name}' not found"))),
        }
    },
};

/// `capture`
pub const CAPTURE: Command = Command {
    names: &["capture"],
    usage: "on | off | reset | status | show",
    help: "Keeps what commands print, at most 4 MB, to be shown again.",
    group: Group::Session,
    repeats: Repeats::Never,
    run: |ddb, mut arguments| {
        match (arguments.lexer.take_rest(), ddb.capturing) {
            ("on", false) => ddb.capturing = true,
            ("on", true) => return Err(CommandError::said("Capture already started")),
            ("off", true) => ddb.capturing = false,
            ("off", false) => return Err(CommandError::said("Capture not started")),
            ("reset", _) => ddb.captured.clear(),
            ("status", is_on) => {
                let state = if is_on { "on" } else { "off" };
                let _ = writeln!(ddb.out, "{} bytes used", ddb.captured.len());
                let _ = writeln!(ddb.out, "capture is {state}");
            }
            ("show", _) => ddb.out.push_str(&ddb.captured),
            _ => return Err(CommandError::said(format!("capture {}", CAPTURE.usage))),
        }
        Ok(())
    },
};

/// `digest`
pub const DIGEST: Command = Command {
    names: &["digest"],
    usage: "",
    help: "Prints the digest of the whole machine here: two runs, or two visits, with the same digest are the same to the bit.",
    group: Group::Session,
    repeats: Repeats::Never,
    run: |ddb, mut arguments| {
        ddb.end(&mut arguments.lexer)?;
        let digest = ddb.debugger.target.digest();
        let _ = writeln!(ddb.out, "{digest}");
        Ok(())
    },
};

/// `gdb`
pub const GDB: Command = Command {
    names: &["gdb"],
    usage: "[ADDRESS]",
    help: "Waits for gdb at ADDRESS (localhost:1234), HOST:PORT or the path of a Unix socket, and lets it have the session. When it detaches, the prompt is back, where gdb has left the cursor. ^C ends the waiting.",
    group: Group::Session,
    repeats: Repeats::Never,
    run: |ddb, mut arguments| {
        let address = arguments.lexer.take_rest();
        let address = if address.is_empty() { DEFAULT_GDB_ADDRESS } else { address };
        let Some(mut gate) = ddb.gdb_gate.take() else {
            return Err(CommandError::said("gdb cannot be let in from here"));
        };
        let ended = gate(ddb, address);
        ddb.gdb_gate = Some(gate);
        if ended.map_err(CommandError::Said)? == Ended::Killed {
            ddb.left = Some(Left::Quit);
            return Ok(());
        }
        ddb.say_stop(&Why::Done, None);
        Ok(())
    },
};

/// `quit`
pub const QUIT: Command = Command {
    names: &["quit", "exit", "q"],
    usage: "",
    help: "Leaves the prompt of a recording. At a live guest's prompt it asks, and then ends the guest; its recording is kept.",
    group: Group::Session,
    repeats: Repeats::Never,
    run: |ddb, mut arguments| {
        ddb.end(&mut arguments.lexer)?;
        ddb.left = Some(Left::Quit);
        Ok(())
    },
};
