//! The kernel's command line, composed from `--append`, `-e`, `-s` and `-v`.
//!
//! Linux gives what follows a word `--` to init, so our words go before it.

use crate::args::boot::GuestArgs;
use crate::exit::usage;
use anyhow::Result;
use boundary::BootProtocol;

/// For a Linux kernel that is told of no console. The early one shows a boot that dies before drivers start.
const LINUX_CONSOLE: [&str; 2] = ["console=ttyS0", "earlycon=uart8250,io,0x3f8,115200n8"];

/// A command line, and what to tell the user about it.
#[derive(Debug, PartialEq, Eq)]
pub struct Composed {
    /// The command line.
    pub command_line: String,
    /// Lines for stderr.
    pub notices: Vec<String>,
}

/// Composes the command line for a kernel that speaks `protocol`.
pub fn compose(protocol: BootProtocol, guest: &GuestArgs) -> Result<Composed> {
    let is_linux = matches!(protocol, BootProtocol::LinuxBzImage | BootProtocol::LinuxElf);
    if guest.verbose && !is_linux {
        return Err(usage("-v knows only the words of Linux: give this kernel its own with --append"));
    }
    let appended = guest.append.join(" ");
    let (for_kernel, for_init) = split_at_init(words(&appended));
    let mut line: Vec<&str> = for_kernel;
    if guest.verbose {
        line.retain(|word| *word != "quiet" && !word.starts_with("loglevel="));
    }
    line.extend(guest.environment.iter().flat_map(|environment| environment.0.iter().map(String::as_str)));
    if guest.verbose {
        line.extend(["loglevel=8", "ignore_loglevel"]);
    }
    if guest.single_user {
        line.push("single");
    }
    let mut notices = Vec::new();
    if is_linux && !line.iter().any(|word| word.starts_with("console=")) {
        let has_early =
            line.iter().any(|word| word.starts_with("earlycon") || word.starts_with("earlyprintk"));
        let added = if has_early { &LINUX_CONSOLE[..1] } else { &LINUX_CONSOLE[..] };
        notices.push(format!(
            "added to the kernel's command line: {} (give a console= of your own to prevent it)",
            added.join(" ")
        ));
        line.splice(0..0, added.iter().copied());
    }
    line.extend(for_init);
    Ok(Composed { command_line: line.join(" "), notices })
}

/// The words of a command line. Double quotes protect blanks and stay where they are, for the kernel reads them too.
fn words(line: &str) -> Vec<&str> {
    let mut quoted = false;
    let is_gap = |c: char| {
        quoted ^= c == '"';
        c.is_ascii_whitespace() && !quoted
    };
    line.split(is_gap).filter(|word| !word.is_empty()).collect()
}

/// What is the kernel's, and what, from `--` on, is init's.
fn split_at_init(mut words: Vec<&str>) -> (Vec<&str>, Vec<&str>) {
    let end = words.iter().position(|word| *word == "--").unwrap_or(words.len());
    let for_init = words.split_off(end);
    (words, for_init)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Command, parse};

    fn composed(protocol: BootProtocol, line: &[&str]) -> Result<Composed> {
        let arguments = line.iter().chain(&["kernel"]).map(Into::into).collect();
        let Ok(Command::Boot(boot)) = parse(arguments) else { panic!("{line:?} is a boot") };
        compose(protocol, &boot.guest)
    }

    fn linux(line: &[&str]) -> String {
        composed(BootProtocol::LinuxBzImage, line).unwrap().command_line
    }

    const CONSOLE: &str = "console=ttyS0 earlycon=uart8250,io,0x3f8,115200n8";

    #[test]
    fn linux_without_console_gets_one_and_it_is_said_in_one_line() {
        let composed = composed(BootProtocol::LinuxElf, &["--append", "root=/dev/ram"]).unwrap();
        assert_eq!(composed.command_line, format!("{CONSOLE} root=/dev/ram"));
        assert_eq!(composed.notices.len(), 1);
        assert!(composed.notices[0].contains(CONSOLE) && !composed.notices[0].contains('\n'));
        assert_eq!(linux(&["--append", "earlyprintk=serial"]), "console=ttyS0 earlyprintk=serial");
    }

    #[test]
    fn a_console_of_the_users_own_is_left_alone() {
        for line in [&["--append", "quiet console=tty0"], &["-e", "console=tty0"]] {
            let composed = composed(BootProtocol::LinuxBzImage, line).unwrap();
            assert!(composed.notices.is_empty() && !composed.command_line.contains("ttyS0"), "{line:?}");
        }
        // A word that only looks like one, within a quoted value.
        assert!(linux(&["--append", "x=\"a console=tty0\""]).starts_with(CONSOLE));
    }

    #[test]
    fn other_kernels_get_exactly_what_is_given() {
        let composed = composed(BootProtocol::Multiboot1, &["-s", "--append", "a", "-e", "b=1:c=2"]).unwrap();
        assert_eq!(composed, Composed { command_line: "a b=1 c=2 single".into(), notices: vec![] });
    }

    #[test]
    fn verbose_takes_quiet_away_and_is_refused_for_kernels_it_knows_no_words_for() {
        let line = linux(&["-v", "--append", "console=ttyS0 quiet loglevel=3 x=\"quiet one\""]);
        assert_eq!(line, "console=ttyS0 x=\"quiet one\" loglevel=8 ignore_loglevel");
        let error = composed(BootProtocol::Pvh, &["-v"]).unwrap_err();
        assert!(error.to_string().contains("--append"));
    }

    #[test]
    fn our_words_stay_before_those_of_init() {
        let line = linux(&["-s", "--append", "console=ttyS0 -- console=x arg", "-e", "a=1"]);
        assert_eq!(line, "console=ttyS0 a=1 single -- console=x arg");
        assert!(linux(&["--append", "-- console=x"]).starts_with(CONSOLE));
    }

    #[test]
    fn several_appends_are_joined_in_order() {
        assert_eq!(linux(&["--append", "console=a", "--append", " b  c "]), "console=a b c");
    }
}
