//! `vkernel trace events`: one line an event, its place first.

use crate::args::traces::TraceEventsArgs;
use crate::config::open_trace;
use crate::exit::{ExitStatus, usage};
use crate::say::written;
use crate::text::harmless;
use anyhow::Result;
use boundary::LandmarkKind;
use recorder::{Event, TraceReader};
use std::io::{self, Write};

/// What `--kind` takes beside [`Event::kind`]: groups, and the kinds of landmarks.
const OTHER_KINDS: [&str; 5] = ["input", "timer", "ipi", "device", "completion"];
/// All that [`Event::kind`] can say, for the message about one that it cannot.
const KINDS: [&str; 13] = [
    "console input",
    "network frame",
    "window size",
    "power button",
    "wake",
    "disk status",
    "operator write",
    "external device",
    "landmark",
    "digest",
    "console state",
    "power",
    "note",
];

/// Prints the events. Damage is an error after the events before it.
pub fn run(arguments: &TraceEventsArgs) -> Result<ExitStatus> {
    check_kinds(&arguments.kind)?;
    let reader = open_trace(&arguments.trace)?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    print_events(&reader, arguments, &mut out)?;
    written(out.flush())?;
    Ok(ExitStatus::Good)
}

fn check_kinds(kinds: &[String]) -> Result<()> {
    let known = |kind: &&String| KINDS.contains(&kind.as_str()) || OTHER_KINDS.contains(&kind.as_str());
    match kinds.iter().find(|kind| !known(kind)) {
        Some(kind) => Err(usage(format!(
            "--kind `{kind}` is no kind of event; they are: {}, {}",
            KINDS.join(", "),
            OTHER_KINDS.join(", ")
        ))),
        None => Ok(()),
    }
}

fn print_events(reader: &TraceReader, arguments: &TraceEventsArgs, out: &mut impl Write) -> Result<()> {
    let events = reader.events_from(arguments.from.unwrap_or_default());
    let mut left = arguments.limit.unwrap_or(u64::MAX);
    for event in events {
        if left == 0 {
            break;
        }
        let (mark, event) = event?;
        if wanted(&event, &arguments.kind) {
            written(writeln!(out, "{:<16} {}", mark.to_string(), harmless(&event.to_string())))?;
            left -= 1;
        }
    }
    Ok(())
}

fn wanted(event: &Event, kinds: &[String]) -> bool {
    let landmark = match event {
        Event::Landmark(landmark) => match landmark.kind {
            LandmarkKind::Timer => "timer",
            LandmarkKind::Ipi => "ipi",
            LandmarkKind::Device => "device",
            LandmarkKind::Completion => "completion",
        },
        Event::Input(_) => "input",
        _ => "",
    };
    kinds.is_empty() || kinds.iter().any(|kind| kind == event.kind() || kind == landmark)
}
