//! `vkernel generate`: the manual page and the completions, from the same definitions that parse the command line.
//! docs/vkernel.1 is written so; a test holds it fresh.

use crate::args::{GenerateArgs, Generated, command};
use crate::exit::{ExitStatus, TABLE};
use crate::say;
use anyhow::{Context, Result};
use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use std::fs;

/// Files and environment, for the manual page.
const PLACES: [(&str, &str); 5] = [
    (
        "$VKERNEL_DIR",
        "Where recordings live: traces in traces/, kernels, initrds and the vkernels that recorded, once by content, in images/.",
    ),
    ("$XDG_DATA_HOME/vkernel", "The same, if VKERNEL_DIR is not set."),
    ("~/.local/share/vkernel", "The same, if neither is set."),
    (
        "NAME.vkt",
        "A recording. It is readable only by its owner, for it holds what the guest's console held.",
    ),
    ("NAME.cache/", "What replays of it derived. Deletable at any time."),
];

/// Things to type, for the manual page.
const EXAMPLES: [(&str, &str); 7] = [
    ("vkernel demo", "See a failing boot recorded, replayed and explained."),
    ("vkernel bzImage --initrd rootfs/", "Boot a kernel with a directory as its initial RAM disk."),
    ("vkernel -m 512m -n 4 -s bzImage", "Boot with 512 MB and four vCPUs to single user."),
    ("vkernel replay", "Replay the last boot and check that it is the same."),
    ("vkernel trace info latest-fail", "Sum up the last boot that failed."),
    ("vkernel explore -- -n 4 bzImage", "Look for a failure that comes only now and then."),
    (
        "git bisect run sh -c 'make -s || exit 125; vkernel --limit 60s --expect passed --initrd test/ \
         arch/x86/boot/bzImage </dev/null'",
        "Find the commit since which a test no longer passes. Its init powers off when it is through.",
    ),
];

/// Writes what was asked for.
pub fn run(arguments: &GenerateArgs) -> Result<ExitStatus> {
    let directory = &arguments.directory;
    let trouble = || format!("cannot write to {}", directory.display());
    fs::create_dir_all(directory).with_context(trouble)?;
    match arguments.what {
        Generated::Man => fs::write(directory.join("vkernel.1"), generated_man()).with_context(trouble)?,
        Generated::Ddb => {
            fs::write(directory.join("ddb.md"), ddb_shell::ddb::manual()).with_context(trouble)?
        }
        Generated::Completions => {
            for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
                let path = clap_complete::generate_to(shell, &mut completed(), "vkernel", directory);
                say::line(&format!("wrote {}", path.with_context(trouble)?.display()));
            }
        }
    }
    Ok(ExitStatus::Good)
}

/// The command for completions: without what is hidden, which the scripts would offer otherwise; and what the default
/// subcommand takes, the program takes as well.
fn completed() -> Command {
    let boot = visible(&crate::args::boot_command());
    visible(&command()).args(boot.get_arguments().cloned())
}

/// A command without its hidden parts. clap cannot take a part away, so that it is put together again.
fn visible(command: &Command) -> Command {
    let arguments = command.get_arguments().filter(|argument| !argument.is_hide_set());
    let subcommands = command.get_subcommands().filter(|one| !one.is_hide_set());
    let about = command.get_about().cloned().unwrap_or_default();
    Command::new(command.get_name().to_owned())
        .about(about)
        .args(arguments.cloned())
        .subcommands(subcommands.map(visible))
}

/// The manual page, vkernel(1): one page for all subcommands, `boot`, the default one, first.
pub fn generated_man() -> Vec<u8> {
    let mut program = command();
    program.build();
    let boot = program.find_subcommand("boot").expect("boot is a subcommand").clone();
    let man = Man::new(program.clone()).manual("vkernel manual");
    let boot_man = Man::new(boot);
    let mut page = Vec::new();
    let mut write = || -> std::io::Result<()> {
        man.render_title(&mut page)?;
        man.render_name_section(&mut page)?;
        man.render_synopsis_section(&mut page)?;
        man.render_description_section(&mut page)?;
        boot_man.render_options_section(&mut page)?;
        page.extend(commands(&program)?);
        list("EXIT STATUS", &TABLE).to_writer(&mut page)?;
        list("FILES AND ENVIRONMENT", &PLACES).to_writer(&mut page)?;
        list("EXAMPLES", &EXAMPLES).to_writer(&mut page)
    };
    write().expect("a Vec takes everything");
    page
}

/// Every subcommand but `boot`, each as a part of the section COMMANDS.
fn commands(program: &Command) -> std::io::Result<Vec<u8>> {
    let mut section = Vec::new();
    Roff::new().control("SH", ["COMMANDS"]).to_writer(&mut section)?;
    for subcommand in program.get_subcommands().filter(|one| !one.is_hide_set() && one.get_name() != "boot") {
        let inner: Vec<&Command> = subcommand.get_subcommands().collect();
        for one in if inner.is_empty() { vec![subcommand] } else { inner } {
            section.extend(command_part(one)?);
        }
    }
    Ok(section)
}

/// The generator makes sections; within COMMANDS their headings become parts and lines.
fn command_part(subcommand: &Command) -> std::io::Result<Vec<u8>> {
    let man = Man::new(subcommand.clone());
    let mut rendered = Vec::new();
    man.render_synopsis_section(&mut rendered)?;
    man.render_description_section(&mut rendered)?;
    if subcommand.get_arguments().any(|argument| !argument.is_hide_set()) {
        man.render_options_section(&mut rendered)?;
    }
    let name = subcommand.get_bin_name().unwrap_or_else(|| subcommand.get_name());
    let text = String::from_utf8_lossy(&rendered)
        .replace(".SH SYNOPSIS", &format!(".SS \"{name}\""))
        .replace(".SH DESCRIPTION", ".PP")
        .replace(".SH OPTIONS", ".PP");
    // The page's preamble is there once already.
    let body = text.lines().filter(|line| !line.starts_with(".ie") && !line.starts_with(".el"));
    Ok(body.flat_map(|line| [line, "\n"]).collect::<String>().into_bytes())
}

/// A section of terms, each with its explanation.
fn list(heading: &str, entries: &[(&str, &str)]) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", [heading]);
    for (term, explanation) in entries {
        roff.control("TP", []).text([bold(*term)]).text([roman(*explanation)]);
    }
    roff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manual_page_has_every_option_and_command_that_works_and_none_that_does_not() {
        let page = String::from_utf8(generated_man()).unwrap().replace("\\-", "-");
        for boot in crate::args::boot_command().get_arguments() {
            let Some(name) = boot.get_long() else { continue };
            assert_eq!(page.contains(&format!("--{name}")), !boot.is_hide_set(), "--{name}");
        }
        for name in [
            "replay",
            "ddb",
            "gdb",
            "drgn",
            "crash",
            "trace vmcore",
            "trace info",
            "trace events",
            "trace verify",
            "trace pack",
            "ls",
            "rm",
            "pin",
            "explore",
            "demo",
        ] {
            assert!(page.contains(&format!(".SS \"vkernel {name}\"")), "{name}");
        }
        for (status, _) in TABLE {
            assert!(page.contains(status), "{status}");
        }
        assert!(!page.contains("generate"), "hidden");
    }

    #[test]
    fn both_runs_make_the_same_page() {
        assert_eq!(generated_man(), generated_man());
    }

    #[test]
    fn completions_complete_boots_options_without_boot() {
        let mut script = Vec::new();
        clap_complete::generate(Shell::Bash, &mut completed(), "vkernel", &mut script);
        let script = String::from_utf8(script).unwrap();
        // The first list of options is empty, the second is that of the program.
        let top = script.split("opts=\"").nth(2).unwrap().split('"').next().unwrap();
        assert!(top.contains("--initrd") && top.contains("replay") && !top.contains(" -r "), "{top}");
    }
}
