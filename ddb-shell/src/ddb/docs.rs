//! docs/ddb.md, made from the table of commands.

use super::commands::{COMMANDS, Group};
use std::fmt::Write as _;

/// What stands before the commands.
const INTRODUCTION: &str = include_str!("manual.md");

/// The names of each command.
pub fn names_of_commands() -> impl Iterator<Item = &'static [&'static str]> {
    COMMANDS.iter().map(|command| command.names)
}

/// The manual of the prompt, as Markdown.
#[must_use]
pub fn manual() -> String {
    let mut text = INTRODUCTION.to_owned();
    for group in Group::ALL {
        let _ = writeln!(text, "\n## {}\n", group.heading());
        for command in COMMANDS.iter().filter(|command| command.group == group) {
            let names: Vec<String> = command.names.iter().map(|name| format!("`{name}`")).collect();
            let usage =
                if command.usage.is_empty() { String::new() } else { format!(" `{}`", command.usage) };
            let _ = writeln!(text, "**{}**{usage}  \n{}\n", names.join(", "), command.help);
        }
    }
    text
}
