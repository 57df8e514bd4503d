//! Where kernels come from: packages of any suite of the host's own Debian mirror, by a private apt root in target/.
//! Versions roll, so that a package is named by what its name begins and ends with.

use harness::{must, once};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Main suites; the security suites of those without `-backports` come with them.
const SUITES: [&str; 5] = ["bullseye", "bookworm", "bookworm-backports", "trixie", "trixie-backports"];

/// Debian's keys, as its own package installs them.
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A package, fetched and unpacked.
#[derive(Clone, Debug)]
pub struct Package {
    /// Its full name.
    pub name: String,
    /// What is in it.
    pub folder: PathBuf,
}

/// The package whose name begins with `prefix` and ends with `suffix`, with nothing but numbers between; of several,
/// the one with the highest. Unpacked whole.
///
/// # Panics
/// If it cannot be had.
#[must_use]
pub fn package(prefix: &str, suffix: &str) -> Package {
    let apt = once("apt-root", make_apt_root);
    let names = must(apt_command("apt-cache", &apt).args(["pkgnames", prefix]));
    let numbered = names.lines().filter_map(|name| Some((numbers_between(name, prefix, suffix)?, name)));
    let (_, name) = numbered.max().unwrap_or_else(|| panic!("the mirror has no {prefix}*{suffix}"));
    let folder = once(name, |scratch| {
        must(apt_command("apt-get", &apt).args(["download", name]).current_dir(scratch));
        let deb = entry(scratch, name).expect("the package that was just fetched");
        let folder = scratch.join("unpacked");
        must(Command::new("dpkg-deb").arg("-x").args([&deb, &folder]));
        folder
    });
    Package { name: name.to_owned(), folder }
}

/// The first file of `folder` whose name begins with `prefix`.
#[must_use]
pub fn entry(folder: &Path, prefix: &str) -> Option<PathBuf> {
    let mut entries = fs::read_dir(folder).ok()?.flatten();
    let wanted = |name: &str| name.starts_with(prefix);
    entries.find(|entry| entry.file_name().to_str().is_some_and(wanted)).map(|entry| entry.path())
}

fn numbers_between(name: &str, prefix: &str, suffix: &str) -> Option<Vec<u32>> {
    let between = name.strip_prefix(prefix)?.strip_suffix(suffix)?;
    if between.is_empty() {
        return Some(vec![]);
    }
    between.split('.').map(|number| number.parse().ok()).collect()
}

fn make_apt_root(scratch: &Path) -> PathBuf {
    let root = scratch.join("root");
    for folder in ["lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(root.join(folder)).expect("a folder in target/");
    }
    let mirror = mirror("debian").expect("a Debian mirror among the host's apt sources");
    let security = mirror_of_security(&mirror);
    let mut sources = String::new();
    for suite in SUITES {
        writeln!(sources, "deb [arch=amd64 signed-by={KEYS}] {mirror} {suite} main").expect("a String");
        if let Some(security) = security.as_ref().filter(|_| !suite.ends_with("-backports")) {
            writeln!(sources, "deb [arch=amd64 signed-by={KEYS}] {security} {suite}-security main")
                .expect("a String");
        }
    }
    fs::write(root.join("sources.list"), sources).expect("sources written");
    fs::write(root.join("status"), "").expect("an empty status");
    must(apt_command("apt-get", &root).arg("update"));
    root
}

fn mirror_of_security(mirror: &str) -> Option<String> {
    self::mirror("debian-security").or_else(|| Some(format!("{}-security", mirror.trim_end_matches('/'))))
}

/// The address among the host's apt sources, in either of their formats, that ends in `/{archive}`.
fn mirror(archive: &str) -> Option<String> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    files.extend(harness::files_below(Path::new("/etc/apt/sources.list.d"), "sources"));
    files.extend(harness::files_below(Path::new("/etc/apt/sources.list.d"), "list"));
    let texts: Vec<String> = files.iter().filter_map(|file| fs::read_to_string(file).ok()).collect();
    let lines = texts.iter().flat_map(|text| text.lines()).filter(|line| !line.starts_with('#'));
    let mut words = lines.flat_map(str::split_whitespace);
    let end = format!("/{archive}");
    words.find(|word| word.contains("://") && word.trim_end_matches('/').ends_with(&end)).map(str::to_owned)
}

/// apt that knows of nothing but `root`.
fn apt_command(program: &str, root: &Path) -> Command {
    let mut command = Command::new(program);
    let options = [
        format!("Dir::State={}", root.display()),
        format!("Dir::State::Lists={}/lists", root.display()),
        format!("Dir::State::status={}/status", root.display()),
        format!("Dir::Cache={}/cache", root.display()),
        format!("Dir::Etc::sourcelist={}/sources.list", root.display()),
        "Dir::Etc::sourceparts=-".to_owned(),
        "Acquire::Languages=none".to_owned(),
        "APT::Sandbox::User=root".to_owned(),
    ];
    options.iter().for_each(|option| {
        command.arg("-o").arg(option);
    });
    command.env("LC_ALL", "C");
    command
}
