//! The words of a `vkernel boot` that `explore` gives itself: seed, recording, result.

use crate::args::boot_command;
use crate::args::qemu::takes_value;
use crate::exit::usage;
use anyhow::Result;
use std::ffi::OsString;

/// Options that BOOT-ARGS may not have, and what to do instead.
const OWN: [(&str, &str); 11] = [
    ("--seed", "the first seed is given before BOOT-ARGS"),
    ("--keep", "the recording of the failing run is kept, and no other"),
    ("--no-record", "the failing run is recorded, and no other"),
    ("--trace", "the recording is kept in the store; explore --pack FILE writes a copy"),
    ("--pack", "write it before BOOT-ARGS"),
    ("--result", "write it before BOOT-ARGS"),
    ("--gdb", "what fails is recorded: open that by vkernel gdb"),
    ("--stop-at", "what fails is recorded: open that by vkernel ddb"),
    ("-p", "there are several processes at a time"),
    ("-t", "the seed is to be all that differs, so the clock is virtual"),
    ("--clock", "the seed is to be all that differs, so the clock is virtual"),
];

/// The arguments of a boot, cut into options with their values and the rest. The first word is the option's or KERNEL.
fn parts(words: &[OsString]) -> Vec<(String, Vec<OsString>)> {
    let command = boot_command();
    let mut parts = Vec::new();
    let mut words = words.iter().cloned();
    while let Some(word) = words.next() {
        let text = word.to_string_lossy().into_owned();
        let value = if takes_value(&text, &command) { words.next() } else { None };
        let name = match text.split_once('=') {
            Some((name, _)) if text.starts_with("--") => name.to_owned(),
            _ => text,
        };
        parts.push((name, std::iter::once(word).chain(value).collect()));
    }
    parts
}

fn is_own(name: &str) -> Option<&'static (&'static str, &'static str)> {
    OWN.iter().find(|(own, _)| name == *own)
}

/// Refuses what `explore` gives itself; takes a leading `boot` away.
pub fn checked(words: &[OsString]) -> Result<Vec<OsString>> {
    let words = words.strip_prefix(&[OsString::from("boot")]).unwrap_or(words);
    match parts(words).iter().find_map(|(name, _)| is_own(name)) {
        Some((name, instead)) => Err(usage(format!("{name} in BOOT-ARGS: {instead}"))),
        None => Ok(words.to_vec()),
    }
}

/// The arguments of this `vkernel boot` as `explore` takes them, for a shell.
pub fn to_show() -> String {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    shown(&words)
}

fn shown(words: &[OsString]) -> String {
    let words = words.strip_prefix(&[OsString::from("boot")]).unwrap_or(words);
    let kept = parts(words).into_iter().filter(|(name, _)| is_own(name).is_none());
    let kept = kept.flat_map(|(_, words)| words).map(|word| word.to_string_lossy().into_owned());
    crate::text::shell(&kept.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::ExitStatus;

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn what_explore_gives_itself_is_refused_by_name() {
        for (own, _) in OWN {
            let line = format!("-n 4 {own} kernel");
            let error = checked(&words(&line)).unwrap_err();
            assert_eq!(ExitStatus::of_error(&error), ExitStatus::Usage);
            assert!(error.to_string().starts_with(own), "{error}");
        }
        assert!(checked(&words("--seed=3 kernel")).is_err());
    }

    #[test]
    fn a_value_that_looks_like_such_an_option_is_one() {
        assert_eq!(checked(&words("boot --append --seed kernel")).unwrap(), words("--append --seed kernel"));
    }

    #[test]
    fn the_words_to_show_are_what_explore_takes() {
        let line = "boot --seed 7 -n 4 --trace=t.vkt --keep failed --append --seed --limit 5s k";
        assert_eq!(shown(&words(line)), "-n 4 --append --seed --limit 5s k");
        assert_eq!(shown(&words("demo:")), "demo:");
    }
}
