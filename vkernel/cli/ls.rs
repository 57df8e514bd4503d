//! `vkernel ls`: the recordings, the newest last, where the prompt will be.

use crate::args::traces::LsArgs;
use crate::config::store;
use crate::exit::ExitStatus;
use crate::say;
use crate::text::{bytes, count, date, harmless};
use anyhow::Result;
use recorder::{Outcome, Row};
use serde::Serialize;

/// Lists.
pub fn run(arguments: &LsArgs) -> Result<ExitStatus> {
    let store = store()?;
    let rows = store.list()?;
    if arguments.json {
        say::print(&json(&rows))?;
    } else if rows.is_empty() {
        say::line(&format!("no recordings in {}; vkernel KERNEL makes one", store.traces().display()));
    } else {
        say::print(&table(&rows))?;
    }
    Ok(ExitStatus::Good)
}

/// One line a recording, columns aligned, the outcome last because it may be long.
fn table(rows: &[Row]) -> String {
    let head = ["NAME", "WHEN", "INSTRUCTIONS", "SIZE", "", "OUTCOME"].map(str::to_owned);
    let lines: Vec<[String; 6]> = std::iter::once(head).chain(rows.iter().map(cells)).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 6] = std::array::from_fn(width);
    let mut table = String::new();
    for [name, when, instructions, size, pin, outcome] in &lines {
        let line = format!(
            "{name:<0$}  {when:<1$}  {instructions:>2$}  {size:>3$}  {pin:<4$}  {outcome}",
            widths[0], widths[1], widths[2], widths[3], widths[4]
        );
        table.push_str(line.trim_end());
        table.push('\n');
    }
    table
}

fn cells(row: &Row) -> [String; 6] {
    let is_readable = !matches!(row.outcome, Outcome::Unreadable(_));
    let if_readable = |text: String| if is_readable { text } else { "-".to_owned() };
    [
        harmless(&row.name),
        if_readable(date(row.started_s)),
        if_readable(count(row.instructions)),
        bytes(row.trace_bytes),
        if row.pinned { "pinned".into() } else { String::new() },
        harmless(&row.outcome.to_string()),
    ]
}

/// An array of objects, one a line. `failed` is what `latest-fail` goes by.
fn json(rows: &[Row]) -> String {
    let objects: Vec<String> = rows.iter().map(json_object).collect();
    if objects.is_empty() { "[]\n".into() } else { format!("[\n{}\n]\n", objects.join(",\n")) }
}

/// A recording for programs.
#[derive(Serialize)]
struct JsonRow<'a> {
    name: &'a str,
    path: String,
    started_s: u64,
    state: &'static str,
    outcome: String,
    instructions: u64,
    trace_bytes: u64,
    pinned: bool,
}

fn json_object(row: &Row) -> String {
    let state = match row.outcome {
        Outcome::Succeeded(_) => "succeeded",
        Outcome::Failed(_) => "failed",
        Outcome::Stopped(_) => "stopped",
        Outcome::Unfinished => "unfinished",
        Outcome::Unreadable(_) => "unreadable",
    };
    let row = JsonRow {
        name: &row.name,
        path: row.elsewhere.as_ref().unwrap_or(&row.path).display().to_string(),
        started_s: row.started_s,
        state,
        outcome: row.outcome.to_string(),
        instructions: row.instructions,
        trace_bytes: row.trace_bytes,
        pinned: row.pinned,
    };
    serde_json::to_string(&row).expect("strings and numbers serialize")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn rows() -> Vec<Row> {
        let row = Row {
            name: "bzImage-20261121-031415".into(),
            path: PathBuf::from("/s/traces/bzImage-20261121-031415.vkt"),
            elsewhere: None,
            started_s: 1_795_230_855,
            outcome: Outcome::Failed("panic: \"x\"\u{1b}[2J".into()),
            trace_bytes: 48_312,
            instructions: 1_620_000_000,
            pinned: true,
        };
        let unreadable = Row {
            name: "k".into(),
            elsewhere: Some("/tmp/k.vkt".into()),
            outcome: Outcome::Unreadable("damaged".into()),
            pinned: false,
            ..row.clone()
        };
        vec![row, unreadable]
    }

    #[test]
    fn a_table_aligns_and_lets_no_guest_command_the_terminal() {
        let table = table(&rows());
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[1].contains("1.62 G") && lines[1].contains("48.3 kB") && lines[1].contains("pinned"));
        assert!(!table.contains('\u{1b}'));
        let outcome = |line: &str, text: &str| line.find(text).map(|at| line[..at].chars().count());
        assert_eq!(outcome(lines[1], "panic:"), outcome(lines[0], "OUTCOME"));
        assert_eq!(outcome(lines[2], "unreadable:"), outcome(lines[0], "OUTCOME"));
    }

    #[test]
    fn json_names_the_file_that_holds_the_recording() {
        let json = json(&rows());
        assert!(json.contains(r#""state":"failed","outcome":"panic: \"x\"\u001b[2J""#));
        assert!(json.contains(r#""path":"/tmp/k.vkt""#));
        assert_eq!(json.matches("\"pinned\":true").count(), 1);
        assert_eq!(super::json(&[]), "[]\n");
    }
}
