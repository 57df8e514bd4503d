//! `vkernel trace info`: a recording summed up.

use crate::args::traces::TraceInfoArgs;
use crate::config::open_trace;
use crate::exit::ExitStatus;
use crate::say;
use crate::text::{bytes, count, date, harmless, shell};
use anyhow::Result;
use boundary::{BootProtocol, Role};
use recorder::{Ending, Tail, TraceInfo, TraceReader};
use std::fmt::Write;

/// Prints the summary. A damaged trace is summed up to its damage, and is host trouble.
pub fn run(arguments: &TraceInfoArgs) -> Result<ExitStatus> {
    let reader = open_trace(&arguments.trace)?;
    let info = TraceInfo::of(&reader)?;
    say::print(&if arguments.json { json(&reader, &info) } else { summary(&reader, &info) })?;
    match info.damage {
        Some(damage) => Err(damage.into()),
        None => Ok(ExitStatus::Good),
    }
}

/// Collects lines of a name and a value.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn add(&mut self, name: &str, value: impl AsRef<str>) {
        writeln!(self.0, "{name:<14}{}", value.as_ref()).expect("a String takes everything");
    }
}

/// The same as one object; what is not known is null.
fn json(reader: &TraceReader, info: &TraceInfo) -> String {
    let (meta, machine, end) = (reader.meta(), reader.power_on(), reader.ending());
    let images = machine.boot.images.iter().map(|image| {
        serde_json::json!({
            "name": image.name,
            "blake3": image.id.to_string(),
            "length_bytes": image.length_bytes,
        })
    });
    let failed_at = end.and_then(|end| match &end.ending {
        Ending::Failure { place, .. } => Some(place.to_string()),
        _ => None,
    });
    let value = serde_json::json!({
        "path": reader.path().display().to_string(),
        "vkernel": meta.vkernel_version,
        "format": reader.version(),
        "model": machine.model,
        "executable": meta.executable.map(|id| id.to_string()),
        "started_s": meta.started_s,
        "command": meta.command_line,
        "command_line": machine.boot.command_line,
        "images": images.collect::<Vec<_>>(),
        "vcpus": machine.topology.vcpus,
        "ram_bytes": machine.ram_bytes,
        "seed": machine.seed,
        "outcome": end.map(|end| end.ending.to_string()),
        "exit_status": end.map(|end| end.exit_status),
        "failed_at": failed_at,
        "end": info.last_mark.to_string(),
        "instructions": info.last_mark.icount.0,
        "guest_time_ns": end.map(|end| end.virtual_time.0),
        "console_bytes": end.map(|end| end.console.length_bytes),
        "digest": end.and_then(|end| end.digest).map(|digest| digest.to_string()),
        "events": info.events,
        "trace_bytes": info.trace_bytes,
        "file_bytes": info.file_bytes,
        "packed": reader.is_packed(),
    });
    format!("{value:#}\n")
}

fn summary(reader: &TraceReader, info: &TraceInfo) -> String {
    let mut lines = Lines::default();
    add_recording(&mut lines, reader);
    add_machine(&mut lines, reader);
    add_run(&mut lines, reader, info);
    add_size(&mut lines, reader, info);
    lines.0
}

fn add_recording(lines: &mut Lines, reader: &TraceReader) {
    let meta = reader.meta();
    lines.add("trace", reader.path().display().to_string());
    lines.add("recorded", date(meta.started_s));
    lines.add("by", format!("vkernel {}, format {}", harmless(&meta.vkernel_version), reader.version()));
    lines.add("command", shell(&meta.command_line));
}

fn add_machine(lines: &mut Lines, reader: &TraceReader) {
    let machine = reader.power_on();
    for image in &machine.boot.images {
        let role = match image.role {
            Role::Kernel => "kernel",
            Role::Initrd => "initrd",
            Role::Module => "module",
        };
        lines.add(role, format!("{} ({} bytes, {})", harmless(&image.name), image.length_bytes, image.id));
    }
    lines.add(
        "protocol",
        match machine.boot.protocol {
            BootProtocol::LinuxBzImage => "Linux bzImage",
            BootProtocol::LinuxElf => "Linux vmlinux",
            BootProtocol::Pvh => "PVH",
            BootProtocol::Multiboot1 => "Multiboot 1",
            BootProtocol::Multiboot2 => "Multiboot 2",
            BootProtocol::Limine => "Limine",
            BootProtocol::Elf64 => "plain ELF64",
        },
    );
    lines.add("command line", harmless(&machine.boot.command_line));
    let topology = machine.topology;
    lines.add(
        "vcpus",
        format!("{}:{}:{} (ncpus:lbits:cbits)", topology.vcpus, topology.thread_bits, topology.core_bits),
    );
    lines.add("memory", format!("{} MiB", machine.ram_bytes >> 20));
    let perturbed = if machine.rules.perturb { "schedule perturbed" } else { "round robin" };
    lines.add("seed", format!("{} ({perturbed})", machine.seed));
    lines.add("guest's clock", format!("began at {}", date(machine.rtc_start_s)));
    lines.add("model", machine.model.to_string());
}

fn add_run(lines: &mut Lines, reader: &TraceReader, info: &TraceInfo) {
    // Only an idle machine under a host clock is woken.
    let clock =
        if info.events.contains_key("wake") { "host" } else { "virtual, or host without an idle moment" };
    lines.add("clock", clock);
    match reader.ending() {
        Some(end) => {
            lines.add(
                "outcome",
                format!("{} (exit status {})", harmless(&end.ending.to_string()), end.exit_status),
            );
            if let Ending::Failure { place, .. } = &end.ending {
                lines.add("failed at", place.to_string());
            }
        }
        None => lines.add("outcome", "unfinished: it is being recorded, or its recorder was killed"),
    }
    match &info.tail {
        Tail::Complete | Tail::Open => {}
        Tail::Torn { offset_bytes } => {
            lines.add("tail", format!("the last chunk, at byte {offset_bytes}, is cut short"))
        }
        Tail::Damaged { offset_bytes, reason } => {
            lines.add("tail", format!("damaged at byte {offset_bytes}: {reason}"))
        }
    }
    let icount = info.last_mark.icount.0;
    lines.add("last place", format!("{} ({} instructions)", info.last_mark, count(icount)));
    if let Some(end) = reader.ending() {
        lines.add("guest time", end.virtual_time.to_string());
        lines.add("console", bytes(end.console.length_bytes));
        if let Some(digest) = end.digest {
            lines.add("digest", digest.to_string());
        }
    }
}

fn add_size(lines: &mut Lines, reader: &TraceReader, info: &TraceInfo) {
    let events: u64 = info.events.values().sum();
    lines.add("events", format!("{events} in {} chunks", info.event_chunks));
    for (kind, number) in &info.events {
        lines.add("", format!("{number:>10} {kind}"));
    }
    if let Some(time) = reader.ending().map(|end| end.virtual_time.0).filter(|time_ns| *time_ns > 0) {
        let rate = info.landmarks() as f64 / (time as f64 / 1e9);
        lines.add("landmarks", format!("{rate:.1} in a second of guest time"));
    }
    lines.add("size", format!("{} bytes without images", info.trace_bytes));
    lines.add(
        "",
        format!("{} bytes as it is{}", info.file_bytes, if reader.is_packed() { ", packed" } else { "" }),
    );
    let images: u64 = reader.power_on().boot.images.iter().map(|image| image.length_bytes).sum();
    lines.add("", format!("{} bytes with images", info.trace_bytes.saturating_add(images)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{record, store_in};

    #[test]
    fn a_summary_says_what_ran_how_it_ended_and_what_it_cost() {
        let directory = tempfile::tempdir().unwrap();
        let (_, reader) = record(&store_in(directory.path()));
        let text = summary(&reader, &TraceInfo::of(&reader).unwrap());
        let size = reader.length_bytes().unwrap();
        for line in [
            "recorded      2026-11-21 03:14:15 UTC",
            "command       vkernel 'my kernel'",
            "command line  root=x",
            "vcpus         2:0:1 (ncpus:lbits:cbits)",
            "memory        64 MiB",
            "seed          7 (schedule perturbed)",
            "model         1",
            "outcome       panic: no init (exit status 1)",
            "failed at     @900",
            "last place    @1000 (1.00 k instructions)",
            "guest time    2.500000000s",
            "                       2 landmark",
            "                       1 console input",
            "landmarks     0.8 in a second of guest time",
            &format!("size          {size} bytes without images"),
            &format!("              {} bytes with images", size + 6),
        ] {
            assert!(text.lines().any(|have| have == line), "{line}\n{text}");
        }
        assert!(!text.contains('\u{1b}'), "an image's name commands no terminal");
    }

    #[test]
    fn json_says_the_same_to_programs() {
        let directory = tempfile::tempdir().unwrap();
        let (_, reader) = record(&store_in(directory.path()));
        let value: serde_json::Value =
            serde_json::from_str(&json(&reader, &TraceInfo::of(&reader).unwrap())).unwrap();
        for (field, expected) in [("model", 1), ("seed", 7), ("exit_status", 1), ("instructions", 1000)] {
            assert_eq!(value[field], expected, "{field}");
        }
        assert_eq!((&value["failed_at"], &value["digest"]), (&"@900".into(), &serde_json::Value::Null));
        assert_eq!(value["events"]["landmark"], 2);
    }

    #[test]
    fn a_recording_without_its_last_words_is_summed_up_and_said_to_be_unfinished() {
        let directory = tempfile::tempdir().unwrap();
        let (_, reader) = record(&store_in(directory.path()));
        let bytes = std::fs::read(reader.path()).unwrap();
        let torn = TraceReader::from_bytes(reader.path(), bytes[..bytes.len() - 1].to_vec()).unwrap();
        let text = summary(&torn, &TraceInfo::of(&torn).unwrap());
        assert!(text.contains("outcome       unfinished") && text.contains("is cut short"), "{text}");
        assert!(text.contains("last place    @300 "), "{text}");
    }
}
