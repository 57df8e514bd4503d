//! Debian packages, fetched by `apt-get download` into target/ and unpacked there. Needs no root, and changes
//! nothing on the host: where the host's package lists are missing or stale, private ones are fetched.

use crate::shared::{once, run};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder of an unpacked package: of those whose name begins with `prefix`, ends with `suffix` and has only a
/// number between them, the one with the highest number.
pub fn unpacked(prefix: &str, suffix: &str) -> PathBuf {
    once(&format!("{prefix}{suffix}"), |scratch| {
        let deb = from_host_lists(prefix, suffix, scratch)
            .or_else(|first| {
                from_own_lists(prefix, suffix, scratch).map_err(|second| [first, second].join("\n"))
            })
            .unwrap_or_else(|errors| {
                panic!("cannot fetch the Debian package {prefix}*{suffix} that this test boots:\n{errors}")
            });
        let folder = scratch.join("unpacked");
        run(Command::new("dpkg-deb").arg("-x").arg(&deb).arg(&folder))
            .unwrap_or_else(|error| panic!("{error}"));
        folder
    })
}

fn from_host_lists(prefix: &str, suffix: &str, scratch: &Path) -> Result<PathBuf, String> {
    download(&[], prefix, suffix, scratch)
}

fn from_own_lists(prefix: &str, suffix: &str, scratch: &Path) -> Result<PathBuf, String> {
    let (lists, cache) = (scratch.join("lists"), scratch.join("cache"));
    for folder in [lists.join("partial"), cache.join("archives/partial")] {
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    let options =
        [format!("Dir::State::Lists={}", lists.display()), format!("Dir::Cache={}", cache.display())];
    run(apt("apt-get", &options).arg("update"))?;
    download(&options, prefix, suffix, scratch)
}

fn download(options: &[String], prefix: &str, suffix: &str, scratch: &Path) -> Result<PathBuf, String> {
    let mut list = apt("apt-cache", options);
    let names = run(list.arg("pkgnames").arg(prefix))?;
    let newest = names
        .lines()
        .filter_map(|name| Some((ordinal(name.strip_prefix(prefix)?.strip_suffix(suffix)?)?, name)))
        .max();
    let Some((_, name)) = newest else { return Err(format!("{list:?} knows no {prefix}*{suffix}")) };
    run(apt("apt-get", options).arg("download").arg(name).current_dir(scratch))?;
    let mut entries = fs::read_dir(scratch).map_err(|error| error.to_string())?.flatten();
    let deb = entries.find(|entry| entry.path().extension().is_some_and(|extension| extension == "deb"));
    deb.map(|entry| entry.path()).ok_or_else(|| format!("apt-get download {name} left no .deb"))
}

/// apt as root wants to become another user, who cannot write to target/.
fn apt(program: &str, options: &[String]) -> Command {
    let mut command = Command::new(program);
    command.args(["-o", "APT::Sandbox::User=root"]).env("LC_ALL", "C");
    options.iter().for_each(|option| {
        command.arg("-o").arg(option);
    });
    command
}

/// The number between prefix and suffix; 0 where the name is given whole.
fn ordinal(between: &str) -> Option<u32> {
    if between.is_empty() { Some(0) } else { between.parse().ok() }
}
