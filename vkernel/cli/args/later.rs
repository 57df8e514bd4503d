//! What vkernel will have and has not yet. Each is known by name and refused with a reason: never ignored, and never
//! mistaken for something else.

use super::boot::LaterArgs;
use crate::exit::usage;
use clap::ValueEnum;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use std::ffi::OsString;

/// Subcommands to come, and what each is for.
pub const SUBCOMMANDS: [(&str, &str); 3] = [
    ("minimize", "reducing a failing schedule"),
    ("first", "finding the first instruction at which an expression holds"),
    ("bisect", "bisecting over builds"),
];

/// Subcommands of `trace` to come.
pub const TRACE_SUBCOMMANDS: [(&str, &str); 2] =
    [("diff", "comparing two recordings"), ("export", "exporting a recording to other tools")];

/// Parses the values of `T`, and refuses one more, which is to come. `instead` says what to do until it has.
pub fn with_later<T: ValueEnum + Clone + Send + Sync + 'static>(
    later: &'static str,
    instead: &'static str,
) -> impl TypedValueParser<Value = T> {
    let known = T::value_variants().iter().filter_map(ValueEnum::to_possible_value);
    let values: Vec<PossibleValue> = known.chain([PossibleValue::new(later).hide(true)]).collect();
    PossibleValuesParser::new(values).try_map(move |text| {
        T::from_str(&text, false).map_err(|_| format!("it is not built into this vkernel yet: {instead}"))
    })
}

/// Refuses every option of [`LaterArgs`] that was given.
pub fn refuse_options(options: &LaterArgs) -> anyhow::Result<()> {
    match asked_for(options) {
        Some((option, instead)) => {
            Err(usage(format!("{option} is not built into this vkernel yet{instead}")))
        }
        None => Ok(()),
    }
}

/// The first of them, and what to do until it is built.
fn asked_for(options: &LaterArgs) -> Option<(&'static str, &'static str)> {
    let LaterArgs { disk, cow_disk, cdrom, network, memory_image } = options;
    let initrd = ": put the files into an initrd (--initrd DIR)";
    let known = [
        (!disk.is_empty(), "-r (disk)", initrd),
        (!cow_disk.is_empty(), "-R (copy-on-write disk)", initrd),
        (!cdrom.is_empty(), "-c (CD-ROM)", initrd),
        (!network.is_empty(), "-I (network)", ": leave it out"),
        (
            !memory_image.is_empty(),
            "-i (memory image file)",
            ": leave it out, -m alone gives the guest its memory",
        ),
    ];
    known.into_iter().find(|(given, ..)| *given).map(|(_, option, instead)| (option, instead))
}

/// The error for a subcommand that clap does not know.
pub fn unknown_subcommand(words: &[OsString]) -> anyhow::Error {
    refuse_subcommand("vkernel", words, &SUBCOMMANDS)
}

/// The error for a subcommand of `trace` that clap does not know.
pub fn unknown_trace_subcommand(words: &[OsString]) -> anyhow::Error {
    refuse_subcommand("vkernel trace", words, &TRACE_SUBCOMMANDS)
}

fn refuse_subcommand(program: &str, words: &[OsString], later: &[(&str, &str)]) -> anyhow::Error {
    let word = words.first().map(|word| word.to_string_lossy()).unwrap_or_default();
    match later.iter().find(|(name, _)| *name == word) {
        Some((name, purpose)) => usage(format!(
            "{program} {name} ({purpose}) is not built into this vkernel yet; recordings made now will open in it"
        )),
        None => usage(format!("{program} has no subcommand `{word}`; see {program} --help")),
    }
}
