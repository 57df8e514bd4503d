//! `vkernel trace events`: one line an event, its place first.

use crate::args::traces::TraceEventsArgs;
use crate::config::open_trace;
use crate::exit::{ExitStatus, usage};
use crate::say::written;
use crate::text::harmless;
use anyhow::Result;
use boundary::{LandmarkKind, Mark};
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
            written(if arguments.json {
                writeln!(out, "{}", json_object(mark, &event))
            } else {
                writeln!(out, "{:<16} {}", mark.to_string(), harmless(&event.to_string()))
            })?;
            left -= 1;
        }
    }
    Ok(())
}

/// `kind` is as `--kind` takes it, `text` what is printed without `--json`.
fn json_object(mark: Mark, event: &Event) -> serde_json::Value {
    serde_json::json!({
        "place": mark.to_string(),
        "icount": mark.icount.0,
        "seq": mark.seq,
        "kind": event.kind(),
        "text": event.to_string(),
    })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::values::place;
    use crate::exit::ExitStatus;
    use crate::testing::{record, store_in};

    /// The lines that these arguments print of the small recording.
    fn printed(kinds: &[&str], from: Option<&str>, limit: Option<u64>) -> Vec<String> {
        lines(false, kinds, from, limit)
    }

    fn lines(json: bool, kinds: &[&str], from: Option<&str>, limit: Option<u64>) -> Vec<String> {
        let directory = tempfile::tempdir().unwrap();
        let (trace, reader) = record(&store_in(directory.path()));
        let kind = kinds.iter().map(ToString::to_string).collect();
        let from = from.map(|from| place(from).unwrap());
        let mut out = Vec::new();
        print_events(&reader, &TraceEventsArgs { json, trace, kind, from, limit }, &mut out).unwrap();
        String::from_utf8(out).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn each_event_is_a_line_that_begins_with_its_place() {
        let lines = printed(&[], None, None);
        assert_eq!(lines.len(), 3);
        assert!(lines[0].starts_with("@100             timer vcpu 0 vector 0xec"), "{}", lines[0]);
        assert_eq!(lines[1], r#"@200             console input "x\n""#);
    }

    #[test]
    fn kinds_places_and_a_limit_choose() {
        assert_eq!(printed(&["landmark"], None, None).len(), 2);
        assert_eq!(printed(&["ipi"], None, None).len(), 1);
        assert_eq!(printed(&["ipi", "input"], None, None).len(), 2);
        assert_eq!(printed(&["digest"], None, None).len(), 0);
        assert_eq!(printed(&[], Some("@200"), None).len(), 2);
        assert_eq!(printed(&[], Some("@200+1"), None).len(), 1);
        assert_eq!(printed(&[], None, Some(1)).len(), 1);
        assert_eq!(printed(&["ipi"], None, Some(1)).len(), 1);
        assert_eq!(printed(&[], None, Some(0)).len(), 0);
    }

    #[test]
    fn json_has_an_object_a_line() {
        let lines = lines(true, &["input"], None, None);
        let event: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(
            (lines.len(), &event["icount"], &event["kind"]),
            (1, &200.into(), &"console input".into())
        );
    }

    #[test]
    fn a_kind_that_is_none_is_refused_with_those_there_are() {
        let error = check_kinds(&["keys".into()]).unwrap_err();
        assert_eq!(ExitStatus::of_error(&error), ExitStatus::Usage);
        assert!(error.to_string().contains("console input"));
    }
}
